"""Summary statistics against NumPy on what is known of each sequence."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elman.data.examples import Examples
from elman.evaluation.summary import Features, summaries

Floats = NDArray[np.float64]


def plain(x: Floats) -> list[float]:
    """The features of one column (T,) in the order of `summaries`."""
    time = np.flatnonzero(~np.isnan(x))
    known, missing = x[time], 1 - len(time) / len(x)
    peak, trough = (time[known.argmax()], time[known.argmin()]) if len(time) else (0, 0)
    places = [peak / len(x), trough / len(x), missing]
    thirds = [part[~np.isnan(part)].mean() if (~np.isnan(part)).any() else np.nan for part in np.array_split(x, 3)]
    if not len(time):
        return [np.nan] * 11 + places + thirds
    slope = np.polyfit(time, known, 1)[0] if len(time) > 1 else np.nan
    changes = np.abs(np.diff(x))
    changes = changes[~np.isnan(changes)]
    change = changes.mean() if len(changes) else np.nan
    quantiles = np.quantile(known, [0, 0.25, 0.5, 0.75, 1])
    return [*quantiles, known.mean(), known.std(), known[0], known[-1], slope, change, *places, *thirds]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    features=st.integers(1, 3),
    missing=st.sampled_from([0.0, 0.4, 1.0]),
)
def test_statistics_are_numpys(seed: int, lengths: list[int], features: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    values = [rng.normal(size=(length, features)) for length in lengths]
    values = [np.where(rng.random(x.shape) < missing, np.nan, x) for x in values]
    for row, x in zip(summaries(values), values, strict=True):
        expected = np.array([plain(column) for column in x.T]).T
        np.testing.assert_allclose(row[:-1].reshape(expected.shape), expected, rtol=1e-7, atol=1e-7)
        assert row[-1] == len(x)


def test_single_steps_are_their_values_and_what_nobody_knows_is_constant() -> None:
    train = Examples(values=[np.array([[1.0, np.nan, np.nan]]), np.array([[2.0, np.nan, 5.0]])])
    features = Features(train, steps=False)
    assert features.width == 3
    np.testing.assert_array_equal(features(train), [[1, 0, np.nan], [2, 0, 5]])
    np.testing.assert_array_equal(features(Examples(values=[np.array([[np.nan, 7.0, 1.0]])])), [[np.nan, 0, 1]])
