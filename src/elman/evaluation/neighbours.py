"""The nearest training sequences under dynamic time warping."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from elman.data.examples import Examples, Rows, spread_sample
from elman.evaluation.dtw import dtw, resampled
from elman.metrics.metric import Floats

_MOST_STEPS = 100  # more of them are averaged away: warping is about the course, and costs the square of its length
_BAND = 0.1
_MOST_DEVIATIONS = 1e4  # keeps squares finite in float32
# What keeps a query to some milliseconds on one core. A cell of the distance costs some 20 multiplications beside its own.
_MOST_WORK = 100_000_000
_MOST_CANDIDATES = 5_000
_FEWEST_CANDIDATES = 100
_PAIRS_AT_ONCE = 16_000  # small enough for the rows of the distance to stay in the processor's cache


class Neighbours:
    """Training sequences to compare with, all brought to one length.

    Features are standardised by their mean and deviation in training, and a missing value counts as the mean. All
    sequences are resampled to the longest length in training, or to 100 steps if that is more, so that the band of
    Sakoe and Chiba, 10 % of it to either side and at least one step, means the same for every pair. Where there are too
    many for a quick answer, a sample stands for them.

    Args:
        examples: values, at least one.
        keys: (N,) labels or targets that the sample should spread over.

    Attributes:
        rows: which of the examples are compared with, ascending.
    """

    def __init__(self, examples: Examples, keys: NDArray[np.generic]) -> None:
        values = examples.require_values()
        self._length = min(max(map(len, values)), _MOST_STEPS)
        self._radius = min(self._length - 1, max(1, math.ceil(_BAND * self._length)))
        self._mean, self._scale = _mean_and_scale(values)
        work = self._length * (2 * self._radius + 1) * (len(self._mean) + 20)
        self.rows = spread_sample(keys, int(np.clip(_MOST_WORK // work, _FEWEST_CANDIDATES, _MOST_CANDIDATES)))
        self._candidates = self._prepared([values[row] for row in self.rows])

    def nearest(self, examples: Examples, count: int = 1) -> Rows:
        """Places in `rows`, (N, count or all that there are), the nearest first."""
        return self._search(self._prepared(examples.require_values()), count)

    def nearest_others(self, places: Rows) -> Rows:
        """For some places in `rows` the place nearest to it that is not itself, (N,); there must be two."""
        found = self._search(self._candidates[places], 2)
        return np.where(found[:, 0] == places, found[:, 1], found[:, 0])

    def _search(self, queries: Floats, count: int) -> Rows:
        found = np.empty((len(queries), min(count, len(self.rows))), dtype=np.int64)
        at_once = max(1, _PAIRS_AT_ONCE // len(self.rows))
        for start in range(0, len(queries), at_once):
            distances = dtw(queries[start : start + at_once], self._candidates, self._radius)
            found[start : start + at_once] = np.argsort(distances, axis=1, kind="stable")[:, : found.shape[1]]
        return found

    def _prepared(self, values: Sequence[Floats]) -> Floats:
        """(N, length, C) in float32, which ranks distances well enough and takes half the time."""
        prepared = np.empty((len(values), self._length, len(self._mean)), dtype=np.float32)
        for row, sequence in zip(prepared, values, strict=True):
            deviations = np.nan_to_num((sequence - self._mean) / self._scale)
            row[:] = resampled(np.clip(deviations, -_MOST_DEVIATIONS, _MOST_DEVIATIONS), self._length)
        return prepared  # type: ignore[return-value]


def _mean_and_scale(values: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Of each feature (C,) over what is known; 0 and 1 where nothing is, and 1 for a feature that never changes."""
    everything = np.concatenate(values)
    known = ~np.isnan(everything)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, everything, 0.0).sum(axis=0) / count
    deviation = np.sqrt(np.where(known, np.square(everything - mean), 0.0).sum(axis=0) / count)
    return mean, np.where(deviation > 0, deviation, 1.0)
