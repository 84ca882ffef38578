"""Reads columns of time stamps. Apart from `elman.data.times`, so that streams do without polars."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from elman.data.tables import text_of
from elman.data.times import DAY_FIRST, MONTH_FIRST, Ints, Times, Where, days_in
from elman.errors import ConfigError, DataError

# Not \d, which is a digit of any script: only these are read as numbers.
_CLOCK = (
    r"(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{1,2})(?::(?P<second>[0-9]{1,2})(?:[.,](?P<fraction>[0-9]{1,9}))?)?)?"
    r"\s*(?P<meridiem>[AaPp]\.?[Mm]\.?)?\s*(?P<zone>[Zz]|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
_THEN_CLOCK = rf"(?:[Tt ]\s*{_CLOCK})?"
_YEAR = r"(?P<year>[0-9]{4}|[0-9]{2})"
_MONTH_NAME = r"(?P<month_name>[A-Za-z]{3,9})\.?"
_STEP = re.compile(r"[+-]?[0-9]{1,18}(?:\.0*)?")
_COMPACT = (
    r"(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})"
    r"(?:T?(?P<hour>[0-9]{2})(?P<minute>[0-9]{2})(?P<second>[0-9]{2})?(?P<zone>Z)?)?"
)
_YEAR_MONTH = r"(?P<year>[0-9]{4})[-/ ](?P<month>[0-9]{1,2})"
_QUARTER_NAMES = ("quarter", "qtr", "q")
_LAYOUTS = (
    r"(?P<year>[0-9]{4})[-/. ](?P<month>[0-9]{1,2})[-/. ](?P<day>[0-9]{1,2})" + _THEN_CLOCK,
    _COMPACT,
    _YEAR_MONTH,
    r"(?P<year>[0-9]{4})[- ]?[Mm](?P<month>[0-9]{1,2})",
    r"(?P<year>[0-9]{4})[- ]?[Qq](?P<quarter>[1-4])",
    rf"(?P<left>[0-9]{{1,2}})[-/. ](?P<right>[0-9]{{1,2}})[-/. ]{_YEAR}{_THEN_CLOCK}",
    rf"(?P<day>[0-9]{{1,2}})[-/. ]{_MONTH_NAME}[-/. ]\s*{_YEAR}{_THEN_CLOCK}",
    rf"{_MONTH_NAME} (?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?,? (?P<year>[0-9]{{4}}){_THEN_CLOCK}",
    rf"{_MONTH_NAME}[-/ ](?P<year>[0-9]{{4}})",
)
_DIRECTIVES = {
    "d": r"(?P<day>[0-9]{1,2})",
    "m": r"(?P<month>[0-9]{1,2})",
    "Y": r"(?P<year>[0-9]{4})",
    "y": r"(?P<year>[0-9]{2})",
    "b": _MONTH_NAME,
    "B": _MONTH_NAME,
    "H": r"(?P<hour>[0-9]{1,2})",
    "I": r"(?P<hour>[0-9]{1,2})",
    "M": r"(?P<minute>[0-9]{1,2})",
    "S": r"(?P<second>[0-9]{1,2})",
    "f": r"(?P<fraction>[0-9]{1,6})",
    "p": r"(?P<meridiem>[AaPp][Mm])",
    "z": r"(?P<zone>[Zz]|[+-][0-9]{2}:?[0-9]{2})",
    "a": r"[A-Za-z]+",
    "A": r"[A-Za-z]+",
    "%": "%",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def read_times(columns: Sequence[pl.Series], format: str | None, where: Where) -> Times:
    """See `elman.data.times.parse_times`."""
    if len(columns) == 1 and columns[0].dtype != pl.String and (typed := _typed(columns[0], where)) is not None:
        return typed
    text = _joined(columns, where)
    if format is not None and format not in (DAY_FIRST, MONTH_FIRST):
        return _read(text, pattern_of(format), format, where)
    first = text[0]
    if _STEP.fullmatch(first) and not _all_compact(text):
        return Times(_steps(text, where))
    for layout in _LAYOUTS:
        if re.fullmatch(layout, first):
            if layout == _YEAR_MONTH:
                _refuse_quarters(text, where)
            return _read(text, layout, format, where)
    raise DataError(
        f"{where(0)}: expected a time such as '2011-01-31 18:00' or an integer step, got {first!r}; "
        "tell its form with --time-format (for example '%d/%m/%Y %H:%M')"
    )


def looks_like_time(column: pl.Series) -> bool:
    """Whether a column holds time stamps rather than numbers, labels or text."""
    if column.dtype.is_temporal():
        return column.dtype in (pl.Date, pl.Datetime)
    if column.dtype != pl.String:
        return False
    text = text_of(column.head(200))
    text = text.filter(text != "")
    if text.is_empty() or (_STEP.fullmatch(text[0]) and not _all_compact(text)):
        return False
    return any(bool(text.str.contains(f"^(?:{layout})$").all()) for layout in _LAYOUTS)


def _typed(column: pl.Series, where: Where) -> Times | None:
    """Times from a column that is not text; None if its values have to be read as text."""
    if column.dtype.is_numeric():
        values = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
        bad = ~(np.floor(values) == values)
        if bad.any():
            row = int(bad.argmax())
            raise DataError(f"{where(row)}: expected an integer step or a time, got {column[row]}")
        return (
            Times(column.cast(pl.Int64).to_numpy()) if not _all_compact(column.cast(pl.Int64).cast(pl.String)) else None
        )
    if column.dtype not in (pl.Date, pl.Datetime):
        return None
    if column.null_count():
        raise DataError(f"{where(int(column.is_null().arg_max() or 0))}: the time is missing")
    notes: tuple[str, ...] = ()
    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone is not None:
        notes = (f"times were converted from {column.dtype.time_zone} to UTC",)
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return Times(column.cast(pl.Datetime("us")).to_numpy().astype("datetime64[us]"), None, notes)


def _joined(columns: Sequence[pl.Series], where: Where) -> pl.Series:
    """One text per row: the columns with a blank between them, or Q before a column that is called quarter."""
    texts = []
    for column in columns:
        text = text_of(column.cast(pl.Int64, strict=False) if column.dtype.is_float() else column)
        if (missing := text == "").any():
            raise DataError(f"{where(int(missing.arg_max() or 0))}: the time is missing in column {column.name!r}")
        texts.append(text)
    if len(texts) > 1:
        texts = [text.str.replace(r"^([0-9]+)\.0+$", "$1") for text in texts]  # whole numbers, written as decimals
    joined = texts[0]
    for column, text in zip(columns[1:], texts[1:], strict=True):
        joined = joined + ("Q" if column.name.lower() in _QUARTER_NAMES else " ") + text
    return joined


def _refuse_quarters(text: pl.Series, where: Where) -> None:
    """Raise a DataError for years and numbers up to 4 only: are they quarters or months?"""
    highest = text.str.extract(r"^[0-9]{4}[/ ]([0-9]{1,2})$").cast(pl.Int64).max()
    if len(text) > 4 and isinstance(highest, int) and highest <= 4:
        raise DataError(
            f"{where(0)}: {text[0]!r} may be a year and month, or a year and quarter; no row has a number "
            "above 4. Tell it with --time-format '%Y %m', or call the column 'quarter'"
        )


def _all_compact(text: pl.Series) -> bool:
    """Whether every value is written 20110131 (or 20110131180000) and is a date between 1800 and 2199."""
    dates = r"^(18|19|20|21)[0-9][0-9](0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])([0-9]{4}|[0-9]{6})?$"
    return bool(text.str.contains(dates).all())


def _steps(text: pl.Series, where: Where) -> Ints:
    matches = text.str.contains(f"^(?:{_STEP.pattern})$")
    if not matches.all():
        row = int((~matches).arg_max() or 0)
        raise DataError(f"{where(row)}: expected an integer step like {text[0]!r} in the first row, got {text[row]!r}")
    steps: Ints = text.str.extract(r"^\+?(-?[0-9]+)").cast(pl.Int64).to_numpy()
    return steps


def pattern_of(format: str) -> str:
    """A strptime format as a regular expression with named groups."""
    if "%" not in format:
        raise ConfigError(
            f"expected a time format such as '%d/%m/%Y %H:%M', '{DAY_FIRST}' or '{MONTH_FIRST}', got {format!r}"
        )
    pattern = ""
    for literal, directive in re.findall(r"([^%]+)|%(.?)", format):
        if not literal and directive not in _DIRECTIVES:
            raise ConfigError(
                f"time format {format!r}: %{directive} is not supported; use "
                + " ".join(f"%{known}" for known in _DIRECTIVES)
            )
        pattern += re.escape(literal) if literal else _DIRECTIVES[directive]
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"time format {format!r} names one part twice") from error
    if "<year>" not in pattern:
        raise ConfigError(f"time format {format!r} has no year (%Y or %y)")
    return pattern


def _read(text: pl.Series, pattern: str, format: str | None, where: Where) -> Times:
    parts = _Parts(text, pattern)
    year = parts.numbers("year")
    if (unmatched := year < 0).any():
        row = int(unmatched.argmax())
        like = f"in the format {format!r}" if format and "%" in format else f"like {text[0]!r} in the first row"
        raise DataError(f"{where(row)}: expected a time {like}, got {text[row]!r}")
    notes: list[str] = []
    if parts.has("left"):
        format = format or _recognised_order(parts, text, where, notes)
        day, month = parts.numbers("left"), parts.numbers("right")
        if format == MONTH_FIRST:
            day, month = month, day
    else:
        day, month = parts.numbers("day", 1), parts.month()
    year = np.where(parts.is_short("year"), np.where(year < 69, 2000 + year, 1900 + year), year)
    _check(month, 1, 12, "month", text, where)
    months = (year - 1970) * 12 + month - 1
    start = months.astype("datetime64[M]").astype("datetime64[D]")
    _check(day, 1, days_in(months.astype("datetime64[M]")), "day", text, where)
    clock = _clock(parts, text, where) - _offsets(parts, text, where, notes)
    values = (start + (day - 1)).astype("datetime64[us]") + clock.astype("timedelta64[us]")
    return Times(values, format, tuple(notes))


class _Parts:
    """The named parts of every time stamp, by name."""

    def __init__(self, text: pl.Series, pattern: str) -> None:
        self._fields: Mapping[str, pl.Series] = text.str.extract_groups(f"^(?:{pattern})$").struct.unnest().to_dict()

    def has(self, name: str) -> bool:
        return name in self._fields

    def text(self, name: str) -> pl.Series:
        return self._fields[name]

    def numbers(self, name: str, default: int = -1) -> Ints:
        """The part as integers; ``default`` where a row does not have it."""
        if not self.has(name):
            return np.array([default])
        numbers: Ints = self._fields[name].cast(pl.Int64).fill_null(default).to_numpy()
        return numbers

    def month(self) -> Ints:
        if self.has("month_name"):
            short = self._fields["month_name"].str.slice(0, 3).str.to_lowercase()
            names = {name: number for number, name in enumerate(_MONTHS, 1)}
            months: Ints = short.replace_strict(names, default=0, return_dtype=pl.Int64).to_numpy()
            return months
        if self.has("quarter"):
            return self.numbers("quarter") * 3 - 2
        return self.numbers("month", 1)

    def is_short(self, name: str) -> NDArray[np.bool_]:
        short: NDArray[np.bool_] = (self._fields[name].str.len_bytes() == 2).to_numpy()
        return short


def _recognised_order(parts: _Parts, text: pl.Series, where: Where, notes: list[str]) -> str:
    """Whether dates in numbers start with the day or the month: only a part above 12 can tell."""
    left, right = parts.numbers("left"), parts.numbers("right")
    day_first, month_first = left > 12, right > 12
    if day_first.any() and month_first.any():
        row = int(month_first.argmax() if day_first.argmax() < month_first.argmax() else day_first.argmax())
        other = int(min(day_first.argmax(), month_first.argmax()))
        raise DataError(
            f"{where(row)}: {text[row]!r} and {text[other]!r} cannot both be dates in one order; "
            f"expected day/month/year or month/day/year throughout"
        )
    if not (day_first.any() or month_first.any() or (left == right).all()):
        raise DataError(
            f"{where(0)}: {text[0]!r} may be day/month or month/day, and no row settles it; "
            f"tell it with --time-format {DAY_FIRST} or --time-format {MONTH_FIRST}"
        )
    order = MONTH_FIRST if month_first.any() else DAY_FIRST
    words = "month/day/year" if order == MONTH_FIRST else "day/month/year"
    row = int((month_first | day_first).argmax())
    notes.append(f"dates were read as {words} ({text[row]!r} settles it)")
    return order


def _check(values: Ints, low: int, high: "int | Ints", part: str, text: pl.Series, where: Where) -> None:
    bad = (values < low) | (values > high)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(f"{where(row)}: {text[row]!r} is not a time: there is no {part} {values[row]} there")


def _clock(parts: _Parts, text: pl.Series, where: Where) -> Ints:
    """Microseconds since midnight. 24:00 is the next midnight."""
    hour, minute, second = (parts.numbers(name, 0) for name in ("hour", "minute", "second"))
    if parts.has("meridiem"):
        meridiem = parts.text("meridiem").str.slice(0, 1).str.to_lowercase().fill_null("")
        told = (meridiem != "").to_numpy()
        _check(np.where(told, hour, 1), 1, 12, "hour with am or pm", text, where)
        hour = np.where(told, hour % 12 + 12 * (meridiem == "p").to_numpy(), hour)
    _check(hour, 0, 24, "hour", text, where)
    _check(minute, 0, np.where(hour == 24, 0, 59), "minute", text, where)
    _check(second, 0, np.where(hour == 24, 0, 59), "second", text, where)
    clock = ((hour * 60 + minute) * 60 + second) * 1_000_000
    if parts.has("fraction"):
        micros = parts.text("fraction").fill_null("0").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64)
        clock = clock + micros.to_numpy()
    return clock


def _offsets(parts: _Parts, text: pl.Series, where: Where, notes: list[str]) -> Ints:
    """Microseconds ahead of UTC."""
    if not parts.has("zone") or parts.text("zone").null_count() == len(text):
        return np.zeros(1, np.int64)
    zones = parts.text("zone")
    if zones.null_count():
        odd = zones.is_null() != zones.is_null()[0]
        row = int(odd.arg_max() or 0)
        raise DataError(f"{where(row)}: {text[row]!r} and {text[0]!r}: expected a UTC offset in every row or in none")
    minutes = {zone: _offset_minutes(zone) for zone in zones.unique().to_list()}
    if any(minutes.values()):
        notes.append("times with a UTC offset were converted to UTC")
    offsets: Ints = zones.replace_strict(minutes, return_dtype=pl.Int64).to_numpy() * 60_000_000
    return offsets


def _offset_minutes(zone: str) -> int:
    if zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    return (-1 if zone[0] == "-" else 1) * (int(digits[:2]) * 60 + int(digits[2:]))
