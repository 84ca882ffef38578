"""A sequence of any length as one row of numbers, for models that know no time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from elman.data.examples import Examples
from elman.metrics.metric import Floats, ratio

_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
_PARTS = 3
_CELLS_AT_ONCE = 4_000_000


class Features:
    """Rows of numbers for trees: the summary of a sequence of several steps, the values themselves of a single step.

    Args:
        examples: the training examples. A feature that none of them knows is 0 everywhere: it cannot be binned.
        steps: sequences have several steps.
    """

    def __init__(self, examples: Examples, steps: bool) -> None:
        self._steps = steps
        self._known: NDArray[np.bool_] = np.asarray(~np.isnan(self._of(examples)).all(axis=0))

    @property
    def width(self) -> int:
        return len(self._known)

    def __call__(self, examples: Examples) -> Floats:
        """(N, features), NaN = missing."""
        return np.where(self._known, self._of(examples), 0.0)

    def _of(self, examples: Examples) -> Floats:
        values = examples.require_values()
        return summaries(values) if self._steps else np.stack([sequence[-1] for sequence in values])


def summaries(values: Sequence[Floats]) -> Floats:
    """N sequences (T_i, C), NaN = missing -> (N, F).

    Of each feature: the quartiles and extremes, mean, standard deviation, first and last known value, slope, mean
    absolute change of a step, where the highest and the lowest value stand (0 to 1), the mean of each third, and the share
    that is missing; then the length. NaN where nothing is known.
    """
    lengths = np.array([len(sequence) for sequence in values])
    columns = values[0].shape[1]
    rows = np.empty((len(values), columns * (len(_QUANTILES) + 9 + _PARTS) + 1))
    for length in np.unique(lengths):
        same = np.flatnonzero(lengths == length)
        at_once = max(1, _CELLS_AT_ONCE // (int(length) * columns))
        for start in range(0, len(same), at_once):
            part = same[start : start + at_once]
            rows[part] = _of_one_length(np.stack([values[row] for row in part]))
    return rows


def _of_one_length(x: Floats) -> Floats:
    """(N, T, C) -> (N, F)."""
    N, T, _ = x.shape
    known = ~np.isnan(x)
    filled = np.where(known, x, 0.0)
    count = known.sum(axis=1).astype(np.float64)
    mean = ratio(filled.sum(axis=1), count)
    centred = np.where(known, x - np.nan_to_num(mean)[:, None], 0.0)
    time = np.broadcast_to(np.arange(T)[:, None], x.shape)
    from_mean_time = np.where(known, time - np.nan_to_num(ratio((time * known).sum(axis=1), count))[:, None], 0.0)
    both = known[:, 1:] & known[:, :-1]
    changes = np.abs(np.diff(filled, axis=1))
    features = [
        *_quantiles(x, count),
        mean,
        np.sqrt(ratio(np.square(centred).sum(axis=1), count)),
        _at(x, known.argmax(axis=1)),
        _at(x, T - 1 - known[:, ::-1].argmax(axis=1)),
        ratio((from_mean_time * centred).sum(axis=1), np.square(from_mean_time).sum(axis=1)),
        ratio(np.where(both, changes, 0.0).sum(axis=1), both.sum(axis=1).astype(np.float64)),
        np.where(known, x, -np.inf).argmax(axis=1) / T,
        np.where(known, x, np.inf).argmin(axis=1) / T,
        1 - count / T,
    ]
    for part in np.array_split(np.arange(T), _PARTS):
        features.append(ratio(filled[:, part].sum(axis=1), known[:, part].sum(axis=1).astype(np.float64)))
    return np.concatenate([*features, np.full((N, 1), float(T))], axis=1)


def _quantiles(x: Floats, count: Floats) -> list[Floats]:
    """Each quantile (N, C) of what is known, with straight lines between its values."""
    ordered = np.sort(x, axis=1)  # missing values last
    quantiles = []
    for level in _QUANTILES:
        place = level * np.maximum(count - 1, 0)
        below = np.floor(place)
        low, high = _at(ordered, below.astype(np.int64)), _at(ordered, np.ceil(place).astype(np.int64))
        quantiles.append(low + (place - below) * (high - low))
    return quantiles


def _at(x: Floats, step: NDArray[np.int64]) -> Floats:
    """The value of each feature at its step: (N, T, C), (N, C) -> (N, C)."""
    return np.take_along_axis(x, step[:, None], axis=1)[:, 0]
