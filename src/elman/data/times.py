"""Time stamps as people write them, and the frequency of a series.

A time is an int64 step or a NumPy datetime64[us] without zone (UTC where the data has offsets).
"""

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from elman.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl

TimeArray: TypeAlias = "NDArray[np.int64] | NDArray[np.datetime64]"
Ints: TypeAlias = NDArray[np.int64]
Where: TypeAlias = Callable[[int], str]

DAY_FIRST, MONTH_FIRST = "dayfirst", "monthfirst"

_ISO = re.compile(r"\d{4}-\d\d-\d\d(?!\d)")
_INTEGER = re.compile(r"([+-]?\d{1,18})(?:\.0*)?")


@dataclass(frozen=True)
class Times:
    """Parsed time stamps.

    Attributes:
        values: (rows,) int64 steps or datetime64[us].
        format: what later data of the same origin should be parsed with: the format that was told, "dayfirst" or
            "monthfirst" where it was recognised, else None.
        notes: sentences on what was decided or converted.
    """

    values: TimeArray
    format: str | None = None
    notes: tuple[str, ...] = ()


def parse_times(columns: "Sequence[pl.Series]", *, format: str | None = None, where: Where) -> Times:
    """Time stamps from one column, or from several that are joined with a blank (date and hour; year, month, day).

    Understood without being told: plain integers (steps), ISO 8601 (offsets are converted to UTC), 2011-04,
    1990M3, 1990Q1, 20110131, month names; dd/mm/yy or mm/dd/yyyy (also with . or -) when the column settles which.

    Args:
        columns: text or typed columns of equal length.
        format: a strptime format, or "dayfirst" or "monthfirst" for dates written in numbers.
        where: the place of a row, for messages ("hour.csv, line 17").

    Raises: DataError for the first row that cannot be read, and for dates that stay ambiguous.
    """
    from elman.data.time_reader import read_times

    return read_times(columns, format, where)


def parse_time(text: str, *, steps: bool, format: str | None = None) -> "np.int64 | np.datetime64":
    """One time, as it comes in a stream: ISO 8601 or like the data that `parse_times` read.

    Args:
        steps: integers are expected, not calendar times.
        format: what `Times.format` was for the data the model was fitted on.

    Raises: DataError if it cannot be read, or is of the other kind.
    """
    text = text.strip()
    if steps:
        if (integer := _INTEGER.fullmatch(text)) is None:
            raise DataError(f"the row's time: expected an integer step, got {text!r}")
        return np.int64(integer[1])
    if format is None or format in (DAY_FIRST, MONTH_FIRST) or not _is_written(text, format):
        if _ISO.match(text) and (time := _from_iso(text)) is not None:
            return time
        format = format if format in (DAY_FIRST, MONTH_FIRST) else None
    import polars as pl

    values = parse_times([pl.Series([text])], format=format, where=lambda _: "the row's time").values
    if values.dtype.kind == "i":
        raise DataError(f"the row's time: expected a time such as '2011-01-31 18:00', got the integer {text}")
    return np.datetime64(values[0], "us")


def _is_written(text: str, format: str) -> bool:
    from elman.data.time_reader import pattern_of

    return re.fullmatch(pattern_of(format), text) is not None


def _from_iso(text: str) -> np.datetime64 | None:
    """A time by Python's own parser, which is fast for a single one; None if it is written otherwise."""
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    if time.tzinfo is not None:
        time = time.astimezone(dt.UTC).replace(tzinfo=None)
    return np.datetime64(time, "us")


# --- frequency ------------------------------------------------------------------------------------------------------

_SECOND = 1_000_000
_MINUTE, _HOUR, _DAY, _WEEK = 60 * _SECOND, 3600 * _SECOND, 86400 * _SECOND, 7 * 86400 * _SECOND
_YEAR_DAYS = 365.25
_UNITS = ((_WEEK, "week"), (_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute"), (_SECOND, "second"))
_NAMES = {"hour": "hourly", "day": "daily", "week": "weekly"}
_MONTH_NAMES = {1: "monthly", 3: "quarterly", 12: "yearly"}
_LONGEST_SEASON = 4000
_SHORTEST_MONTH = 25 * _DAY

Unit: TypeAlias = Literal["step", "microsecond", "month"]


@dataclass(frozen=True)
class Frequency:
    """The distance between two rows of a regular series.

    Attributes:
        unit: "step" (integer times), "microsecond" (a fixed duration) or "month" (calendar months).
        count: how many of the unit, >= 1.
        month_end: for months: every time is the last day of its month.
    """

    unit: Unit
    count: int = 1
    month_end: bool = False

    def __post_init__(self) -> None:
        if self.unit not in ("step", "microsecond", "month") or self.count < 1:
            raise ConfigError(f"expected a frequency of at least one step, microsecond or month, got {self}")

    @property
    def name(self) -> str:
        """In words: "hourly", "every 15 minutes", "monthly", "steps"."""
        if self.unit == "step":
            return "steps" if self.count == 1 else f"every {self.count} steps"
        if self.unit == "month":
            return _MONTH_NAMES.get(self.count, f"every {_counted(self.count, 'month')}")
        for size, unit in _UNITS:
            if self.count == size:
                return _NAMES.get(unit, f"every {unit}")
        return f"every {duration(self.count)}"

    def seasons(self) -> list[int]:
        """Lengths in steps of the cycles that such data usually has (hour, day, week, year), shortest first."""
        if self.unit == "step":
            return []
        if self.unit == "month":
            return [12 // self.count] if self.count < 12 and 12 % self.count == 0 else []
        cycles = [cycle // self.count for cycle in (_HOUR, _DAY, _WEEK) if cycle % self.count == 0]
        if self.count >= _DAY:
            cycles.append(int(_YEAR_DAYS * _DAY / self.count))
        return sorted({cycle for cycle in cycles if 1 < cycle <= _LONGEST_SEASON})

    def index(self, times: TimeArray, origin: "np.int64 | np.datetime64") -> Ints:
        """Grid positions of ``times``, counted from ``origin``. Raises DataError for a time between two positions."""
        off = ~self.on_grid(times, origin)
        if off.any():
            raise DataError(
                f"time {show_time(times[off.argmax()])} is not on the grid that starts at {show_time(origin)} "
                f"and is {self.name}"
            )
        return self._distance(times, origin) // self.count

    def on_grid(self, times: TimeArray, origin: "np.int64 | np.datetime64") -> NDArray[np.bool_]:
        """Which ``times`` are a whole number of steps from ``origin``."""
        on_grid: NDArray[np.bool_] = self._distance(times, origin) % self.count == 0
        return on_grid

    def add(self, time: Any, steps: Any) -> Any:
        """``time`` (a scalar or an array) moved by ``steps`` (an integer or an array) steps."""
        if self.unit == "step":
            return time + np.int64(self.count) * steps
        if self.unit == "microsecond":
            return time + np.timedelta64(self.count, "us") * steps
        time = np.asarray(time, "datetime64[us]")
        month, day, clock = _month_day_clock(time)
        month = month + self.count * np.asarray(steps)
        last = days_in(month) - 1
        day = last if self.month_end else np.minimum(day, last)
        moved = month.astype("datetime64[D]") + day
        return moved.astype("datetime64[us]") + clock

    def to_json(self) -> dict[str, str | int | bool]:
        return {"unit": self.unit, "count": self.count, "month_end": self.month_end}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Frequency":
        return cls(value["unit"], value["count"], value["month_end"])

    def _distance(self, times: TimeArray, origin: "np.int64 | np.datetime64") -> Ints:
        """From ``origin`` in units of this frequency."""
        if (self.unit == "step") != (times.dtype.kind == "i"):
            kinds = ("integer steps", "calendar times")
            expected, came = kinds if self.unit == "step" else kinds[::-1]
            raise DataError(f"expected {expected}, as in the data the frequency is from, got {came}")
        if self.unit == "month":
            times, origin = times.astype("datetime64[M]"), origin.astype("datetime64[M]")
        distance: Ints = (times - origin).astype(np.int64)  # type: ignore[operator]
        return distance


def infer_frequency(series: Sequence[TimeArray]) -> Frequency:
    """The frequency that explains the times of all series, each sorted and without repetition.

    The most common difference must divide every other one: larger ones are gaps (missing rows, weekends). Days of equal
    date, or ends of months, are calendar months.

    Raises: DataError if no series has two rows, or if some difference is not a multiple of the usual one.
    """
    series = [times for times in series if len(times) > 1]
    if not series:
        raise DataError(
            "expected at least two rows with different times in one series, so that the frequency can be told"
        )
    if series[0].dtype.kind == "i":
        return Frequency("step", _common_step(series, _describe_steps))
    return _calendar_frequency(series) or _fixed_frequency(series)


def show_time(time: Any) -> str:
    """A time in as few words as it needs: "2011-01-31", "2011-01-31 18:00", "17"."""
    if not isinstance(time, np.datetime64):
        return str(int(time))
    date, _, clock = str(time.astype("datetime64[us]")).partition("T")
    clock = clock.removesuffix(".000000").removesuffix(":00")
    return date if clock == "00:00" else f"{date} {clock}"


def days_in(months: NDArray[np.datetime64]) -> Ints:
    """Days in each month, for datetime64[M]."""
    starts = months.astype("datetime64[D]")
    days: Ints = ((months + 1).astype("datetime64[D]") - starts).astype(np.int64)
    return days


def duration(microseconds: int) -> str:
    """A duration in the largest unit that divides it: "90 minutes", "1 day", "0.5 seconds"."""
    for size, unit in _UNITS:
        if microseconds % size == 0:
            return _counted(microseconds // size, unit)
    return f"{microseconds / _SECOND:g} seconds"


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def _describe_steps(steps: int) -> str:
    return _counted(steps, "step")


def _fixed_frequency(series: Sequence[TimeArray]) -> Frequency:
    try:
        return Frequency("microsecond", _common_step([times.astype("datetime64[us]") for times in series], duration))
    except DataError:
        if (loose := _loose_months(series)) is not None:
            return loose
        raise


def _common_step(series: Sequence[TimeArray], describe: Callable[[int], str]) -> int:
    differences = np.concatenate([np.diff(times.astype(np.int64)) for times in series])
    values, counts = np.unique(differences, return_counts=True)
    step = int(values[counts.argmax()])
    odd = values[values % step != 0]
    if len(odd):
        before, after = _pair_apart(series, int(odd[0]))
        raise DataError(
            f"rows are not on a regular grid: most are {describe(step)} apart, but {show_time(before)} and "
            f"{show_time(after)} are {describe(int(odd[0]))} apart; resample to a regular grid, or use row numbers as "
            "steps"
        )
    return step


def _pair_apart(series: Sequence[TimeArray], difference: int) -> tuple[Any, Any]:
    for times in series:
        found = np.flatnonzero(np.diff(times.astype(np.int64)) == difference)
        if len(found):
            return times[found[0]], times[found[0] + 1]
    raise AssertionError("the difference comes from these series")


def _month_day_clock(times: TimeArray) -> tuple[NDArray[np.datetime64], Ints, NDArray[np.timedelta64]]:
    """Month, day in the month from 0, and time of day."""
    month, date = times.astype("datetime64[M]"), times.astype("datetime64[D]")
    return month, (date - month.astype("datetime64[D]")).astype(np.int64), times - date


def _calendar_frequency(series: Sequence[TimeArray]) -> Frequency | None:
    """Months, if all times fall on one day of the month (or, in short months, on the last) at one time of day."""
    month, day, clock = _month_day_clock(np.concatenate([times.astype("datetime64[us]") for times in series]))
    is_end = day == days_in(month) - 1
    if (clock != clock[0]).any() or not (is_end | (day == day.max())).all():
        return None
    months = [times.astype("datetime64[M]").astype(np.int64) for times in series]
    if any((np.diff(numbers) == 0).any() for numbers in months):
        return None
    return Frequency("month", _common_step(months, lambda count: _counted(count, "month")), bool(is_end.all()))


def _loose_months(series: Sequence[TimeArray]) -> Frequency | None:
    """Months, if every month has at most one row on whatever day (the first working day, say)."""
    if min(int(np.diff(times.astype(np.int64)).min()) for times in series) < _SHORTEST_MONTH:
        return None
    months = [times.astype("datetime64[M]").astype(np.int64) for times in series]
    if any((np.diff(numbers) == 0).any() for numbers in months):
        return None
    return Frequency("month", _common_step(months, lambda count: _counted(count, "month")))
