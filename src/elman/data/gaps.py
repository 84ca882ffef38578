"""The time between the rows of a sequence, as a model reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from elman.data.source import too_large
from elman.data.times import duration, parse_time, show_time
from elman.errors import DataError

RowTimes: TypeAlias = NDArray[np.float64] | NDArray[np.datetime64]
"""(T,) the times of rows: numbers, or datetime64[us]."""

LINEAR = 5.0
"""Median gaps up to which a gap is read as it is: where rows come by chance, 97 % of all."""


@dataclass(frozen=True)
class Clock:
    """Times of rows to gaps, the time since the row before of the same sequence:

        g_t   = (time_t - time_{t-1}) / unit
        gap_t = min(g_t, 5) + ln(max(g_t / 5, 1))

    As far as gaps are usual, time is linear, which cells for irregular time build on; a year's silence in hourly data is a 12, not
    the 8760 that would drown all else in a cell that reads the gap as one more feature. The first row has gap 1, as if another had
    come the usual time before: at 0, a cell that solves an equation over the gap would not read the row at all.

    Attributes:
        stamps: times are calendar times, not numbers.
        unit: the median gap in training, above 0, in microseconds or in the unit of the numbers.
    """

    stamps: bool
    unit: float

    @classmethod
    def fit(cls, sequences: Sequence[RowTimes], name: str) -> "Clock":
        """From training data, of which ``name`` says where it comes from. Raises DataError if it has no gaps."""
        gaps = np.concatenate([np.diff(_ticks(times)) for times in sequences])
        if not (gaps > 0).any():
            raise DataError(
                f"{name}: expected sequences of several rows, got one row for each, and no time between them; leave out --gaps"
            )
        real = gaps[gaps > 0]  # steps beyond 2**53 may be one number
        return cls(sequences[0].dtype.kind == "M", float(np.median(real)))

    @property
    def unit_name(self) -> str:
        return duration(round(self.unit)) if self.stamps else f"{self.unit:g}"

    def gaps(self, times: RowTimes, last: RowTimes | None = None) -> NDArray[np.float32]:
        """(T,) times -> (T, 1) gaps; ``last`` (1,) is the time of the row before them, if there is one."""
        ticks = _ticks(times if last is None else np.concatenate([last, times]))
        gaps = np.diff(ticks) / self.unit
        if last is None:
            gaps = np.concatenate([[1.0], gaps])
        read: NDArray[np.float64] = np.minimum(gaps, LINEAR) + np.log(np.maximum(gaps / LINEAR, 1))
        return read[:, None].astype(np.float32)

    def check(self, times: RowTimes, place: str) -> None:
        """Raise a DataError unless these are times of the kind that training had."""
        kinds = ("numbers", "time stamps")
        if (times.dtype.kind == "M") != self.stamps:
            raise DataError(
                f"{place}: expected times as {kinds[self.stamps]}, as in training, got {kinds[not self.stamps]}"
            )

    def read(self, time: str | float | None, *, format: str | None, last: RowTimes | None) -> RowTimes:
        """The time of one row of a stream, (1,), which must be later than ``last``. Raises DataError.

        Args:
            format: `elman.data.times.Times.format` of the training data.
        """
        if time is None:
            raise DataError(
                'expected a "time" with every row: the model was fitted with --gaps and reads the time between rows'
            )
        now = _calendar(time, format) if self.stamps else _number(time)
        if last is not None and not now[0] > last[0]:
            raise DataError(
                f"time {show(now[0])} is not later than that of the row before, {show(last[0])}: send rows in order"
            )
        return now

    def write(self, times: RowTimes) -> list[str | float]:
        """Times as JSON, each of which `recall` and `read` understand."""
        return [str(time) if self.stamps else float(time) for time in times]

    def recall(self, written: str | float | None) -> RowTimes | None:
        """The time (1,) that was written; None if that is None."""
        return None if written is None else np.array([written], "datetime64[us]" if self.stamps else np.float64)

    def to_json(self) -> dict[str, Any]:
        return {"stamps": self.stamps, "unit": self.unit}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Clock":
        return cls(values["stamps"], values["unit"])


def show(time: "np.float64 | np.int64 | np.datetime64") -> str:
    """A number, or a time as `elman.data.times.show_time` shows it.

    >>> show(np.float64(0.25)), show(np.datetime64("2026-07-01T18:00", "us"))
    ('0.25', '2026-07-01 18:00')
    """
    return np.format_float_positional(time, trim="-") if isinstance(time, np.floating) else show_time(time)


def _ticks(times: RowTimes) -> "NDArray[np.float64] | NDArray[np.int64]":
    """Numbers as they are, calendar times in microseconds: whole numbers, whose differences are exact."""
    return times.astype(np.int64) if times.dtype.kind == "M" else times.astype(np.float64)


def _calendar(time: str | float, format: str | None) -> RowTimes:
    return np.array([parse_time(str(time), steps=False, format=format)], "datetime64[us]")


def _number(time: str | float) -> RowTimes:
    try:
        number = np.array([np.nan if isinstance(time, bool) else float(time)])
    except (TypeError, ValueError):
        number = np.array([np.nan])
    if np.isnan(number[0]) or too_large(number)[0]:
        raise DataError(f"the row's time: expected a number, as in training, got {time!r}")
    return number
