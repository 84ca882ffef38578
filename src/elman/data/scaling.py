"""Scaling of features to mean 0 and standard deviation 1, with its exact inverse."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]

_ROWS_AT_ONCE = 1 << 18
_ROUNDING = 1e-12
"""A spread below this share of the mean is rounding: the feature is constant."""


@dataclass(frozen=True, eq=False)
class Scaler:
    """Per feature: subtract a mean, divide by a scale.

    Attributes:
        mean: (C,); scale: (C,), positive, the standard deviation; 1 for a constant feature.
    """

    mean: Floats
    scale: Floats

    @classmethod
    def fit(cls, arrays: Iterable[Floats], size: int) -> "Scaler":
        """Mean and standard deviation over all rows of ``arrays``, each (T, C), perhaps memory-mapped; NaN ignored.

        Args:
            arrays: training data only.
            size: C, the number of features. One without any value gets mean 0 and scale 1.
        """
        arrays = list(arrays)
        count, total = np.zeros(size), np.zeros(size)
        for rows in _blocks(arrays):
            count += (~np.isnan(rows)).sum(axis=0)
            total += np.nansum(rows, axis=0)
        mean = total / np.maximum(count, 1)
        squares, drift = np.zeros(size), np.zeros(size)
        for rows in _blocks(arrays):
            deviation = rows - mean
            squares += np.nansum(deviation**2, axis=0)
            drift += np.nansum(deviation, axis=0)
        count = np.maximum(count, 1)
        mean = mean + drift / count  # the second pass takes out what rounding left in the first
        spread = np.sqrt(squares / count)
        return cls(mean, np.where(spread > _ROUNDING * np.abs(mean), spread, 1.0))

    def transform(self, values: ArrayLike) -> Floats:
        """(..., C) in raw units -> scaled. NaN stays."""
        scaled: Floats = (np.asarray(values, np.float64) - self.mean) / self.scale
        return scaled

    def inverse(self, values: ArrayLike) -> Floats:
        """(..., C) scaled -> raw units."""
        raw: Floats = np.asarray(values, np.float64) * self.scale + self.mean
        return raw

    def select(self, features: slice) -> "Scaler":
        """The scaler of some of the features."""
        return Scaler(self.mean[features], self.scale[features])

    def to_json(self) -> dict[str, list[float]]:
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Scaler":
        return cls(np.array(value["mean"], np.float64), np.array(value["scale"], np.float64))


def _blocks(arrays: Iterable[Floats]) -> Iterator[Floats]:
    for array in arrays:
        for start in range(0, len(array), _ROWS_AT_ONCE):
            yield np.asarray(array[start : start + _ROWS_AT_ONCE], np.float64)
