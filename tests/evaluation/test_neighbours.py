"""The nearest training sequence, found among sequences of unequal length, with gaps, on scales of their own."""

import numpy as np
import pytest
from numpy.typing import NDArray

from elman.data.examples import Examples
from elman.evaluation import neighbours
from elman.evaluation.dtw import dtw
from elman.evaluation.neighbours import Neighbours

Floats = NDArray[np.float64]


def test_equal_lengths_are_ranked_by_warped_distance_of_standardised_features() -> None:
    rng = np.random.default_rng(0)
    scale = np.array([1.0, 1e6])  # unstandardised, the second feature would decide alone
    train, test = rng.normal(size=(30, 15, 2)) * scale, rng.normal(size=(10, 15, 2)) * scale
    mean, deviation = train.mean(axis=(0, 1)), train.std(axis=(0, 1))
    expected = np.argsort(dtw((test - mean) / deviation, (train - mean) / deviation, 2), axis=1)[:, :3]
    found = Neighbours(Examples(values=list(train)), np.arange(30)).nearest(Examples(values=list(test)), count=3)
    np.testing.assert_array_equal(found, expected)


def test_a_slower_copy_is_the_nearest() -> None:
    rng = np.random.default_rng(1)
    train = [rng.normal(size=(length, 2)) for length in rng.integers(5, 20, size=40)]
    slower = [np.repeat(sequence, 3, axis=0) for sequence in train]
    found = Neighbours(Examples(values=train), np.arange(40)).nearest(Examples(values=slower))
    np.testing.assert_array_equal(found[:, 0], np.arange(40))


def test_a_missing_value_counts_as_the_mean() -> None:
    low, middle, high = (np.full((4, 1), value) for value in (-1.0, 0.0, 1.0))
    fitted = Neighbours(Examples(values=[low, middle, high, np.full((4, 1), np.nan)]), np.arange(4))
    assert fitted.nearest(Examples(values=[np.full((4, 1), np.nan)]))[0, 0] == 1
    silent = Neighbours(Examples(values=[np.full((2, 1), np.nan)] * 2), np.arange(2))
    assert silent.nearest(Examples(values=[np.zeros((3, 1))]), count=5).shape == (1, 2)


def test_the_nearest_other_is_never_the_sequence_itself() -> None:
    train = [np.full((3, 1), value) for value in (0.0, 0.0, 5.0, 6.0)]
    fitted = Neighbours(Examples(values=train), np.arange(4))
    np.testing.assert_array_equal(fitted.nearest_others(np.arange(4)), [1, 0, 3, 2])


def test_too_many_or_too_long_sequences_are_thinned() -> None:
    train = np.random.default_rng(0).normal(size=(700, 120, 60))
    fitted = Neighbours(Examples(values=list(train)), np.repeat([0, 1], 350))
    assert 400 < len(fitted.rows) < 700  # some 600 fit the bound on work
    assert (fitted.rows < 350).sum() == pytest.approx(len(fitted.rows) / 2, abs=1)
    queries = [train[row] for row in fitted.rows[:5]]
    np.testing.assert_array_equal(fitted.nearest(Examples(values=queries))[:, 0], np.arange(5))
    assert fitted._length == neighbours._MOST_STEPS


def test_an_enormous_value_is_no_warning() -> None:
    fitted = Neighbours(Examples(values=[np.zeros((2, 1)), np.ones((2, 1)), np.full((2, 1), 0.4)]), np.arange(3))
    assert fitted.nearest(Examples(values=[np.full((2, 1), 1e300)]))[0, 0] == 1
