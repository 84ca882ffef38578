"""The interface of a metric: sums and counts per unit, turned into one number at the end."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Metric(ABC):
    """A figure computed from sums, so that batches, processes and bootstrap draws all combine exactly.

    A metric reduces what it sees to a row of sums per *unit* (a sequence, an origin, a block of text). The value comes
    from the total of those rows; an interval comes from totals of resampled units.
    """

    name: str
    higher_is_better: bool = False

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._rows: list[Floats] = []

    @abstractmethod
    def statistics(self, *args: Any, **kwargs: Any) -> Floats:
        """Sums (units, k) for some units; the arguments are those of the metric's family (see each file)."""

    @abstractmethod
    def value(self, totals: Floats) -> Floats:
        """Totals (..., k) -> values (...); NaN where nothing was counted."""

    def update(self, *args: Any) -> None:
        self._rows.append(self.statistics(*args))

    def units(self) -> Floats:
        """All rows seen so far, in the order seen: (units, k)."""
        return np.concatenate(self._rows) if self._rows else np.zeros((0, 1))

    def compute(self) -> float:
        """The value over everything seen; NaN if nothing was."""
        rows = self.units()
        return float(self.value(rows.sum(axis=0))) if len(rows) else float("nan")


def ratio(total: Floats, count: Floats) -> Floats:
    """total / count, NaN where the count is 0; without a warning."""
    quotient: Floats = np.full(np.shape(total), np.nan)
    np.divide(total, count, out=quotient, where=np.asarray(count) > 0)
    return quotient
