"""Bootstrap intervals: their coverage on data with a known truth, and what happens at the edges."""

import time

import numpy as np
import pytest

from elman.errors import UsageError
from elman.evaluation.intervals import bootstrap, bootstrap_difference
from elman.metrics.forecast import MAE
from elman.metrics.metric import Floats


def mean(totals: Floats) -> Floats:
    return np.asarray(totals[..., 0] / totals[..., 1])


def rows_of(values: Floats) -> Floats:
    return np.stack([values, np.ones(len(values))], axis=-1)


def autoregression(rng: np.random.Generator, length: int, coefficient: float) -> Floats:
    """A stationary AR(1) with mean 0."""
    values = rng.normal(size=length)
    values[0] /= np.sqrt(1 - coefficient**2)
    for t in range(1, length):
        values[t] += coefficient * values[t - 1]
    return values


def coverage(samples: list[Floats], block: int) -> float:
    """How often the 90 % interval of the mean holds the true mean 0."""
    intervals = [bootstrap(rows_of(x), mean, block=block, draws=500, level=0.9, seed=i) for i, x in enumerate(samples)]
    return float(np.mean([low <= 0 <= high for low, high in intervals]))


def test_intervals_of_independent_units_hold_the_truth_at_the_nominal_rate() -> None:
    rng = np.random.default_rng(0)
    assert 0.86 <= coverage([rng.normal(size=120) for _ in range(400)], block=1) <= 0.94


def test_dependent_units_need_blocks() -> None:
    rng = np.random.default_rng(1)
    samples = [autoregression(rng, 600, 0.7) for _ in range(300)]
    assert 0.82 <= coverage(samples, block=25) <= 0.94
    assert coverage(samples, block=1) < 0.65  # the same check without blocks must fail


def test_the_width_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(2).normal(size=5000)
    low, high = bootstrap(rows_of(values), mean, draws=4000)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(5000), rel=0.06)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=2e-3)


def test_a_paired_difference_is_surer_than_its_parts() -> None:
    rng = np.random.default_rng(3)
    hard = rng.exponential(size=300) * 10
    ours, theirs = rows_of(hard), rows_of(hard + 0.1 + 0.1 * rng.normal(size=300))
    low, high = bootstrap_difference((ours, mean), (theirs, mean))
    assert -0.15 < low < -0.1 < high < -0.05
    single = bootstrap(ours, mean)
    assert single[1] - single[0] > 1
    with pytest.raises(UsageError, match="300 and 299"):
        bootstrap_difference((ours, mean), (theirs[1:], mean))


def test_blocks_reach_every_unit_alike_around_the_end() -> None:
    rows = rows_of(np.eye(7)[6])  # only the last unit counts
    low, high = bootstrap(rows, lambda totals: totals[..., 0], block=3, draws=20_000, level=0.0001)
    assert low == high == 1
    sizes = bootstrap(rows, lambda totals: totals[..., 1], block=3)
    assert sizes == (7, 7)  # a draw has as many units as there are, though 3 does not divide 7


def test_one_unit_no_unit_and_nothing_counted() -> None:
    assert bootstrap(np.array([[6.0, 2.0]]), mean) == (3, 3)
    assert np.isnan(bootstrap(np.zeros((0, 1)), mean)).all()
    assert np.isnan(bootstrap(np.zeros((5, 2)), MAE().value)).all()
    assert np.isnan(bootstrap(rows_of(np.array([1.0, np.nan])), mean)).all()


def test_a_block_longer_than_the_data_does_not_feign_certainty() -> None:
    low, high = bootstrap(rows_of(np.arange(40.0)), mean, block=1000)
    assert low < 15 < 24 < high


def test_the_seed_decides() -> None:
    rows = rows_of(np.random.default_rng(4).normal(size=50))
    assert bootstrap(rows, mean, seed=1) == bootstrap(rows, mean, seed=1) != bootstrap(rows, mean, seed=2)


def test_a_million_units_take_seconds() -> None:
    values = np.random.default_rng(5).normal(size=1_000_000)
    start = time.perf_counter()
    low, high = bootstrap(rows_of(values), mean)
    assert time.perf_counter() - start < 20
    assert high - low == pytest.approx(2 * 1.96 / 1000, rel=0.15)


@pytest.mark.parametrize("option", [{"block": 0}, {"draws": 0}, {"level": 1.0}, {"level": 0.0}])
def test_options_out_of_range_are_refused(option: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="block"):
        bootstrap(np.ones((3, 1)), mean, **option)
