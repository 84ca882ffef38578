"""Dynamic time warping against two plain loops, and resampling against means over a fine grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elman.evaluation.dtw import dtw, resampled

Floats = NDArray[np.float64]


def plain_dtw(q: Floats, c: Floats, radius: int) -> float:
    best = {(-1, -1): 0.0}
    for i in range(len(q)):
        for j in range(len(c)):
            if abs(i - j) <= radius:
                before = min(best.get(place, np.inf) for place in ((i - 1, j), (i, j - 1), (i - 1, j - 1)))
                best[i, j] = float(np.square(q[i] - c[j]).sum()) + before
    return best[len(q) - 1, len(c) - 1]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    queries=st.integers(1, 3),
    candidates=st.integers(1, 4),
    length=st.integers(1, 12),
    features=st.integers(1, 3),
    radius=st.integers(0, 12),
)
def test_distances_are_those_of_plain_loops(
    seed: int, queries: int, candidates: int, length: int, features: int, radius: int
) -> None:
    rng = np.random.default_rng(seed)
    q, c = rng.normal(size=(queries, length, features)), rng.normal(size=(candidates, length, features))
    expected = [[plain_dtw(one, other, radius) for other in c] for one in q]
    np.testing.assert_allclose(dtw(q, c, radius), expected, rtol=1e-9, atol=1e-9)


def test_a_shift_within_the_band_costs_nothing() -> None:
    bump = np.zeros((1, 20, 1))
    bump[0, 5:8] = 1
    late = np.roll(bump, 2, axis=1)
    assert dtw(bump, late, 2)[0, 0] == 0
    assert dtw(bump, late, 1)[0, 0] > 0
    assert dtw(bump, late, 0)[0, 0] == pytest.approx(4)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), steps=st.integers(1, 30), length=st.integers(1, 30))
def test_each_step_is_the_mean_over_its_share_of_the_time(seed: int, steps: int, length: int) -> None:
    values = np.random.default_rng(seed).normal(size=(steps, 2))
    fine = np.repeat(values, length, axis=0).reshape(length, steps, 2)
    np.testing.assert_allclose(resampled(values, length), fine.mean(axis=1), rtol=1e-9, atol=1e-9)
