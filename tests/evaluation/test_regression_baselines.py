"""Baselines of regression: what they learn, and that they answer whatever the data."""

import numpy as np
import pytest
from numpy.typing import NDArray

from elman.data.examples import Examples
from elman.errors import ConfigError, DataError
from elman.evaluation.baselines import make_baselines
from elman.evaluation.regression_baselines import RegressionBaseline, regression_baselines
from elman.tasks.task import Baselines

Floats = NDArray[np.float64]


def error(baseline: RegressionBaseline, test: Examples, truth: Floats) -> float:
    """RMSE as a share of the truth's deviation: 1 for the mean."""
    return float(np.sqrt(np.square(baseline.predict(test) - truth).mean()) / truth.std())


def slopes(count: int, seed: int) -> tuple[Examples, Floats]:
    """Lines of unequal length with noise; the targets are the slope, and the slope on a far-away scale."""
    rng = np.random.default_rng(seed)
    slope, lengths = rng.normal(size=count), rng.integers(8, 12, size=count)
    values = [(s * np.arange(n) + 0.1 * rng.normal(size=n))[:, None] for s, n in zip(slope, lengths, strict=True)]
    return Examples(values=values), np.stack([slope, 1e9 + 1e6 * slope], axis=-1)


def test_the_mean_is_the_mean() -> None:
    mean = regression_baselines("text", 2)[0]
    mean.fit(Examples(texts=[["a"], ["b"]]), np.array([[1.0, 10.0], [3.0, 30.0]]))
    np.testing.assert_array_equal(mean.predict(Examples(texts=[["c"]] * 2)), [[2, 20], [2, 20]])


def test_words_that_add_up_are_learned() -> None:
    rng = np.random.default_rng(0)
    words = np.array(list("abcdefgh"))
    worth = rng.normal(size=8)
    drawn = rng.integers(0, 8, size=(800, 5))
    texts, truth = [list(map(str, row)) for row in words[drawn]], worth[drawn].sum(axis=1, keepdims=True)
    ridge = regression_baselines("text")[1]
    ridge.fit(Examples(texts=texts[:600]), truth[:600])
    assert error(ridge, Examples(texts=texts[600:]), truth[600:]) < 0.35


@pytest.mark.parametrize("place", [1, 2])
def test_sequences_teach_each_target_on_its_own_scale(place: int) -> None:
    baseline = regression_baselines("values", 2)[place]
    baseline.fit(*slopes(300, seed=0))
    test, truth = slopes(100, seed=1)
    for target in range(2):
        deviation = np.square(baseline.predict(test)[:, target] - truth[:, target]).mean() ** 0.5
        assert deviation < 0.2 * truth[:, target].std()


def test_the_nearest_five_are_averaged() -> None:
    values = [np.array([[float(i)]]) for i in range(10)]
    nearest = regression_baselines("values", steps=False)[1]
    nearest.fit(Examples(values=values), np.arange(10.0)[:, None] ** 2)
    assert nearest.predict(Examples(values=[np.array([[3.1]])])) == pytest.approx(np.mean([1, 4, 9, 16, 25]))


@pytest.mark.parametrize("count", [1, 2, 30])
@pytest.mark.parametrize("kind", ["text", "sequences", "plain"])
def test_any_data_are_answered_with_numbers(kind: str, count: int) -> None:
    truth = np.stack([np.full(count, 5.0), np.arange(count, dtype=np.float64)], axis=-1)
    if kind == "text":
        train, test = Examples(texts=[[]] * count), Examples(texts=[["new"], []])
        baselines = regression_baselines("text", 2)
    else:
        length = 3 if kind == "sequences" else 1
        train = Examples(values=[np.array([[np.nan, 7.0, float(i)]] * length) for i in range(count)])
        test = Examples(values=[np.array([[1e300, 8.0, np.nan]] * length), np.array([[np.nan] * 3])])
        baselines = regression_baselines("values", 2, steps=kind == "sequences")
    for baseline in baselines:
        baseline.fit(train, truth)
        answers = baseline.predict(test)
        assert answers.shape == (2, 2)
        np.testing.assert_allclose(answers[:, 0], 5.0)
        assert (answers[:, 1] >= -1e-9).all()
        assert (answers[:, 1] <= count - 1 + 1e-9).all()


def test_the_factory_names_what_it_makes() -> None:
    names = [b.name for b in make_baselines(Baselines("regression", {"kind": "values", "targets": 2}))]
    assert names == ["mean", "nearest_dtw", "boosting"]
    with pytest.raises(ConfigError, match="text or values, got 'sound'"):
        regression_baselines("sound")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="`targets` of at least 1"):
        regression_baselines("text", 0)


def test_no_examples_are_told() -> None:
    for baseline in [*regression_baselines("values"), *regression_baselines("text")]:
        with pytest.raises(DataError, match="at least one example"):
            baseline.fit(Examples(texts=[]), np.zeros((0, 1)))
