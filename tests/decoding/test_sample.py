"""Drawing symbols, judged against the distribution they are drawn from."""

from collections import Counter

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import chisquare

from elman.decoding import Sampler
from elman.errors import ConfigError

LOGITS = np.array([0.3, -1.0, 2.0, 0.9, 1.7, -4.0], dtype=np.float32)


def drawn(sampler: Sampler, count: int, logits: np.ndarray = LOGITS) -> Counter[int]:
    return Counter(sampler(logits) for _ in range(count))


@pytest.mark.parametrize("top_k", [0, 2])
def test_temperature_zero_takes_the_likeliest(top_k: int) -> None:
    assert drawn(Sampler(0.0, top_k), 20) == {2: 20}
    assert drawn(Sampler(0.0, top_k, banned=(2, 4)), 20) == {3: 20}


@pytest.mark.parametrize(
    ("temperature", "top_k", "banned"), [(1.0, 0, ()), (0.6, 0, (4,)), (2.5, 3, ()), (1.0, 3, (2,))]
)
def test_frequencies_are_those_of_the_softmax(temperature: float, top_k: int, banned: tuple[int, ...]) -> None:
    allowed = [i for i in np.argsort(-LOGITS) if i not in banned][: top_k or None]
    expected = 20_000 * softmax(LOGITS[allowed].astype(np.float64) / temperature)
    counts = drawn(Sampler(temperature, top_k, seed=0, banned=banned), 20_000)
    assert set(counts) <= set(allowed)
    assert chisquare([counts[int(i)] for i in allowed], expected).pvalue > 1e-3


def test_ties_do_not_widen_top_k() -> None:
    counts = drawn(Sampler(1.0, 2, seed=0), 200, np.array([1.0, 1.0, 1.0, 0.0]))
    assert len(counts) == 2


def test_top_k_beyond_the_symbols_is_all_of_them() -> None:
    scores = LOGITS.astype(np.float64)
    np.testing.assert_array_equal(Sampler(1.0, 99).probabilities(scores), Sampler(1.0).probabilities(scores))


def test_seed() -> None:
    def text(seed: int | None) -> list[int]:
        sampler = Sampler(seed=seed)
        return [sampler(LOGITS) for _ in range(30)]

    assert text(5) == text(5)
    assert text(5) != text(6)
    assert text(None) != text(None)


def test_extreme_logits_and_temperatures() -> None:
    assert Sampler(1e-6, seed=0)(LOGITS) == 2
    assert drawn(Sampler(1e-310, seed=0), 20) == {2: 20}  # no logit can be divided by it
    assert set(drawn(Sampler(1e-310, seed=0), 100, np.array([5.0, 5.0, 4.0]))) == {0, 1}
    assert Sampler(1.0, seed=0)(np.array([-1e30, 1e30, 0.0])) == 1
    assert len(drawn(Sampler(1e6, seed=0), 300)) == len(LOGITS)


def test_the_logits_stay_as_they_were() -> None:
    logits = LOGITS.astype(np.float64)
    Sampler(banned=(1,))(logits)
    np.testing.assert_array_equal(logits, LOGITS)


@pytest.mark.parametrize(("temperature", "top_k"), [(-0.1, 0), (np.nan, 0), (np.inf, 0), (1.0, -1)])
def test_options_out_of_range(temperature: float, top_k: int) -> None:
    with pytest.raises(ConfigError, match="expected `temperature` >= 0 and `top_k` >= 0"):
        Sampler(temperature, top_k)
