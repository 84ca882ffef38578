"""Tables: named columns from CSV, TSV, JSONL, Parquet or a data frame, with the file's line of every row.

Cells of text formats stay strings until a column is asked for as numbers, so that a message shows them as written.
"""

import io
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from elman.data.source import DataInput, Source, check_text, size_fault, too_large
from elman.errors import DataError
from elman.registry import suggest

MISSING = ("", "na", "n/a", "nan", "null", "none", "?", "-")
"""Cells, in lower case and without surrounding blanks, that mean "no value"."""

TABLE_KINDS = ("csv", "tsv", "jsonl", "parquet")

_DELIMITERS = {"csv": ",", "tsv": "\t"}
_HEADER_SAMPLE = 50
_BOM = b"\xef\xbb\xbf"
_NUMBER = re.compile(r"[+-]?\d+")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+|[+-]?\d{1,3}(\.\d{3})+,\d+")
_LOOKS_LIKE_TIME = re.compile(r"\d{1,4}[-/.:]\d{1,2}([-/.:]\d{1,4})?\b")


@dataclass(frozen=True)
class Table:
    """Some or all columns of one source.

    Attributes:
        name: the source, for messages.
        names: every column of the source, in order, also those that were not kept.
        frame: the kept columns.
        lines: the file's line of each row, counted from 1; None where rows have no lines (Parquet, data frames).
    """

    name: str
    names: tuple[str, ...]
    frame: pl.DataFrame
    lines: NDArray[np.int64] | None

    def __len__(self) -> int:
        return self.frame.height

    def resolve(self, key: str) -> str:
        """The name of a column from its name or its number ("1" is the first, "-1" the last)."""
        return resolve_column(key, self.names, self.name)

    def line(self, row: int) -> int:
        """The line in the file of a row; rows without lines are counted from 1."""
        return int(self.lines[row]) if self.lines is not None else row + 1

    def place(self, row: int) -> str:
        """Where a row stands, for messages: "hour.csv, line 17"."""
        return f"{self.name}, {'row' if self.lines is None else 'line'} {self.line(row)}"

    def column(self, key: str) -> pl.Series:
        """The column as it was read."""
        return self.frame[self.resolve(key)]

    def numbers(self, key: str) -> NDArray[np.float64]:
        """The column as float64, NaN = missing. Raises DataError at the first cell that is neither, or is infinite or too large."""
        column = self.column(key)
        values, bad = parse_numbers(column)
        if bad.any():
            row = int(bad.argmax())
            raise DataError(f"{self.place(row)}: {_not_a_number(str(column[row]), column.name)}")
        if (large := too_large(values)).any():
            row = int(large.argmax())
            fault, wanted = size_fault(values[row])
            cell = str(column[row])[:40]
            raise DataError(f"{self.place(row)}: column {column.name!r} is {fault} ({cell}); expected {wanted}")
        return values

    def strings(self, key: str) -> list[str]:
        """The column as text without surrounding blanks; missing cells are ''."""
        return text_of(self.column(key)).to_list()


def read_table(
    data: DataInput,
    *,
    header: bool | None = None,
    columns: Sequence[str] | None = None,
    optional: Sequence[str] = (),
    lists: Sequence[str] = (),
) -> Table:
    """Read a table.

    Quotes: CSV follows RFC 4180, and a quote in the middle of a cell is an error. TSV has no quoting by convention:
    where every quote of the file belongs to a pair that encloses a cell, the pairs are taken off; otherwise all of
    them are read as they stand.

    Args:
        data: a `Source`, or what one is made from.
        header: whether the first row of a CSV or TSV holds names; None recognises it. Without a header columns are
            called "1", "2", ...
        columns: names or numbers of the columns to keep; None keeps all.
        optional: names of columns that are kept as well, if there are any such.
        lists: columns of JSONL, if there are any such, in which a cell may be a list of values; if one is, the column
            is a List of text.

    Raises: DataError with file and line for anything malformed, with a suggestion for an unknown column.
    """
    source = Source.of(data)
    wanted = _Wanted(columns, optional, lists)
    if source.kind == "frame":
        return _from_frame(source.frame, source.name, wanted)
    if source.kind == "parquet":
        return _from_parquet(source, wanted)
    if source.kind == "jsonl":
        return _from_jsonl(source, wanted)
    if source.kind in _DELIMITERS:
        return _from_delimited(source, _DELIMITERS[source.kind], header, wanted)
    raise DataError(
        f"{source.name}: expected a table, got {source.kind}; if it is one, say which with --format, one of "
        f"{', '.join(TABLE_KINDS)}"
    )


@dataclass(frozen=True)
class _Wanted:
    """Which columns to keep; see `read_table`."""

    columns: Sequence[str] | None
    optional: Sequence[str]
    lists: Sequence[str]

    def among(self, names: Sequence[str], source_name: str) -> list[str]:
        if self.columns is None:
            return list(names)
        resolved = [resolve_column(key, names, source_name) for key in self.columns]
        return list(dict.fromkeys([*resolved, *(name for name in self.optional if name in names)]))

    def may_list(self, name: str, names: Sequence[str], source_name: str) -> bool:
        """Whether cells of a column may be lists. Keys that name no column are passed over, as in ``optional``."""
        numbers = (key for key in self.lists if key not in names and _NUMBER.fullmatch(key))
        return name in self.lists or any(resolve_column(key, names, source_name) == name for key in numbers)


def resolve_column(key: str, names: Sequence[str], name: str) -> str:
    """The column that ``key`` means: a name, or a number from 1, or from -1 backwards. Raises DataError."""
    if key in names:
        return key
    if not _NUMBER.fullmatch(key):
        raise DataError(f"{name} has no column {key!r}; {suggest(key, names)}")
    number = int(key)
    if number == 0 or abs(number) > len(names):
        raise DataError(f"{name} has {len(names)} columns, numbered 1 to {len(names)} (-1 is the last); got {key!r}")
    return names[number - 1 if number > 0 else number]


def parse_numbers(column: pl.Series) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A column as float64 with NaN for missing cells, and a mask of cells that are not numbers."""
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return _floats(column), np.zeros(len(column), bool)
    if column.dtype == pl.Null:
        return np.full(len(column), np.nan), np.zeros(len(column), bool)
    text = text_of(column)
    values = text.cast(pl.Float64, strict=False)
    return _floats(values), (values.is_null() & (text != "")).to_numpy()


def text_of(column: pl.Series) -> pl.Series:
    """A column as stripped strings; missing cells, however written, are ''."""
    text = column.cast(pl.String).fill_null("").str.strip_chars()
    missing = text.str.to_lowercase().is_in(MISSING)
    return text.set(missing, "") if missing.any() else text


def _floats(column: pl.Series) -> NDArray[np.float64]:
    values: NDArray[np.float64] = column.cast(pl.Float64).fill_null(math.nan).to_numpy()
    return values


def _not_a_number(cell: str, column: str) -> str:
    message = f"expected a number in column {column!r}, got {cell!r}; "
    if _DECIMAL_COMMA.fullmatch(cell.strip()):
        return message + "write decimals with a point, as in 1234.5"
    return message + "mark missing values with an empty cell"


# --- CSV and TSV ----------------------------------------------------------------------------------------------------


def _from_delimited(source: Source, delimiter: str, header: bool | None, wanted: _Wanted) -> Table:
    data = source.read().removeprefix(_BOM)
    check_text(data, source.name)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    quoted = delimiter == "," or _is_quoted(data, delimiter, source.name)
    records = _records(data, delimiter, source.name, quoted)
    sample = _sample(data, delimiter, records, quoted)
    _refuse_other_delimiter(sample, delimiter, source.name)
    if header is None:
        header = _has_header(sample)
    names = _header_names(sample[0], source.name) if header else [str(i + 1) for i in range(len(sample[0]))]
    lines = records.lines[records.real][int(header) :]
    if not len(lines):
        raise DataError(f"{source.name} has a header but no rows")
    kept = wanted.among(names, source.name)
    chosen = sorted(names.index(name) for name in kept)
    frame = _cells(data[int(records.starts[0]) :], delimiter, quoted, chosen)
    frame.columns = [names[index] for index in chosen]
    if frame.height != len(records.lines):
        raise AssertionError(f"{source.name}: {frame.height} rows read, {len(records.lines)} expected")
    if not records.real.all():
        frame = frame.filter(pl.Series(records.real))
    return Table(source.name, tuple(names), frame[int(header) :].select(kept), lines)


def _cells(data: bytes, delimiter: str, quoted: bool, columns: list[int] | None = None) -> pl.DataFrame:
    return pl.read_csv(
        data,
        has_header=False,
        infer_schema=False,
        separator=delimiter,
        quote_char='"' if quoted else None,
        columns=columns,
    )


def _is_quoted(data: bytes, delimiter: str, name: str) -> bool:
    """Whether the quotes of a TSV enclose cells, rather than being part of the text.

    A pair that reaches over a line's end does not, if the lines are whole cells without it: it is two stray quotes.
    """
    if b'"' not in data:
        return False
    try:
        quoted = _records(data, delimiter, name, True)
    except DataError:
        return False
    try:
        literal = _records(data, delimiter, name, False)
    except DataError:
        return True
    return len(literal.lines) == len(quoted.lines)


@dataclass(frozen=True)
class _Records:
    """Where the records of a delimited file are, from the first that is not blank on.

    The line each begins at, its bytes, and which are not blank.
    """

    lines: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    real: NDArray[np.bool_]


def _records(data: bytes, delimiter: str, name: str, quoted: bool) -> _Records:
    """Find all records at once and check that each has as many cells as the first."""
    array = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(array == ord("\n"))
    delimiters = np.flatnonzero(array == ord(delimiter))
    all_newlines = newlines
    if quoted and b'"' in data:
        quotes = _checked_quotes(array, delimiter, all_newlines, name)
        newlines, delimiters = _outside(newlines, quotes), _outside(delimiters, quotes)
    ends = newlines if data.endswith(b"\n") and len(newlines) else np.append(newlines, len(data))
    starts = np.concatenate([[0], ends[:-1] + 1])
    cells = np.diff(np.searchsorted(delimiters, ends), prepend=0) + 1
    lines = np.searchsorted(all_newlines, starts) + 1
    real = ends > starts
    if not real.any():
        raise DataError(f"{name} holds only blank lines")
    width = int(cells[real.argmax()])
    if width == 1:  # a blank line between the values of a single column is a missing value, not an empty line
        real[int(real.argmax()) : len(real) - int(real[::-1].argmax())] = True
    ragged = real & (cells != width)
    if ragged.any():
        record = int(ragged.argmax())
        first = data[starts[real.argmax()] : ends[real.argmax()]]
        hint = f"; cells must be separated by {delimiter!r}, not by ';'" if width == 1 and b";" in first else ""
        raise DataError(
            f"{name}, line {lines[record]}: expected {_counted(width)}, as in the first line, got {cells[record]}{hint}"
        )
    begin = int(real.argmax())
    return _Records(lines[begin:], starts[begin:], ends[begin:], real[begin:])


def _counted(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _outside(positions: NDArray[np.int64], quotes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The positions that are not between an opening and a closing quote."""
    outside: NDArray[np.int64] = positions[np.searchsorted(quotes, positions) % 2 == 0]
    return outside


def _checked_quotes(
    array: NDArray[np.uint8], delimiter: str, newlines: NDArray[np.int64], name: str
) -> NDArray[np.int64]:
    """Positions of all quotes. A quote may only open or close a cell; inside a quoted cell it is doubled (RFC 4180)."""
    quotes = np.flatnonzero(array == ord('"'))
    padded = np.concatenate([[ord("\n")], array, [ord("\n")]])
    borders = np.frombuffer(f'\n"{delimiter}'.encode(), np.uint8)
    opening, closing = quotes[::2], quotes[1::2]
    stray = np.concatenate(
        [opening[~np.isin(padded[opening], borders)], closing[~np.isin(padded[closing + 2], borders)]]
    )
    if len(stray):
        line = int(np.searchsorted(newlines, stray.min())) + 1
        raise DataError(
            f"{name}, line {line}: a quote in the middle of a cell; enclose the cell in quotes and double those inside"
        )
    if len(quotes) % 2:
        line = int(np.searchsorted(newlines, quotes[-1])) + 1
        raise DataError(f"{name}, line {line}: a quote is opened and never closed")
    return quotes


def _sample(data: bytes, delimiter: str, records: _Records, quoted: bool) -> list[list[str]]:
    """The cells of the first records that are not blank, stripped."""
    real = np.flatnonzero(records.ends > records.starts)[: _HEADER_SAMPLE + 1].tolist()
    rows = _cells(data[int(records.starts[0]) : int(records.ends[real[-1]])], delimiter, quoted).rows()
    return [[(cell or "").strip() for cell in rows[record]] for record in real]


def _refuse_other_delimiter(sample: list[list[str]], delimiter: str, name: str) -> None:
    """Raise a DataError if there is one column only because the cells are separated by something else."""
    if len(sample[0]) > 1 or len(sample) < 2:
        return
    for other, word in ((";", "';'"), ("\t", "a tab"), ("|", "'|'"), (",", "','")):
        counts = {row[0].count(other) for row in sample}
        if other != delimiter and len(counts) == 1 and counts != {0}:
            cure = {"\t": "add --format tsv", ",": "add --format csv"}.get(other, "save it with ',' between the cells")
            raise DataError(f"{name}: cells seem to be separated by {word}, not by {delimiter!r}; {cure}")


def _has_header(sample: list[list[str]]) -> bool:
    """Whether the first row holds names.

    It does if some column has text there and only values below; or if no cell of it is a value at all.
    """
    first, rest = sample[0], sample[1:]
    if not any(_is_value(cell) or _is_missing(cell) for cell in first):
        return True
    below = ([row[column] for row in rest if not _is_missing(row[column])] for column in range(len(first)))
    return any(
        not _is_value(name) and not _is_missing(name) and bool(cells) and all(map(_is_value, cells))
        for name, cells in zip(first, below, strict=True)
    )


def _is_value(cell: str) -> bool:
    """Whether a cell looks like a number or a time."""
    try:
        float(cell)
    except ValueError:
        return _LOOKS_LIKE_TIME.match(cell) is not None
    return True


def _is_missing(cell: str) -> bool:
    return cell.lower() in MISSING


def _header_names(cells: list[str], name: str) -> list[str]:
    """Names from a header row; a column without a name (a saved index) is called by its number."""
    names = [cell or str(number) for number, cell in enumerate(cells, 1)]
    _refuse_duplicates(names, name)
    return names


def _refuse_duplicates(names: Sequence[str], source_name: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{source_name}: two columns are called {name!r}; rename one")
        seen.add(name)


# --- JSONL ----------------------------------------------------------------------------------------------------------


def _from_jsonl(source: Source, wanted: _Wanted) -> Table:
    data = source.read().removeprefix(_BOM)
    check_text(data, source.name)
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    for line, text in enumerate(data.split(b"\n"), 1):
        if text.strip():
            rows.append(_json_object(text, source.name, line))
            lines.append(line)
    if not rows:
        raise DataError(f"{source.name} holds only blank lines")
    names = list(dict.fromkeys(key for row in rows for key in row))
    place = np.array(lines, np.int64)
    frame = pl.DataFrame(
        {
            name: _json_column(
                [row.get(name) for row in rows], name, source.name, place, wanted.may_list(name, names, source.name)
            )
            for name in wanted.among(names, source.name)
        }
    )
    return Table(source.name, tuple(names), frame, place)


def _json_object(text: bytes, name: str, line: int) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise DataError(f"{name}, line {line}: expected one JSON object per line: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{name}, line {line}: expected one JSON object per line, got {type(value).__name__}")
    return value


def _json_column(values: list[Any], column: str, name: str, lines: NDArray[np.int64], may_list: bool) -> pl.Series:
    kinds = set(map(type, values)) - {type(None)}
    if may_list and list in kinds and dict not in kinds:
        return pl.Series(column, [_json_list(value) for value in values], pl.List(pl.String))
    if nested := kinds & {list, dict}:
        row = next(row for row, value in enumerate(values) if type(value) in nested)
        raise DataError(
            f"{name}, line {lines[row]}: expected one value in column {column!r}, got {str(values[row])[:40]!r}"
        )
    if kinds <= {bool}:
        return pl.Series(column, values, pl.Boolean)
    if kinds <= {int} and all(value is None or abs(value) < 2**63 for value in values):
        return pl.Series(column, values, pl.Int64)
    if kinds == {float}:
        return pl.Series(column, values, pl.Float64)
    return pl.Series(column, [None if value is None else str(value) for value in values], pl.String)


def _json_list(value: Any) -> list[str] | None:
    items = value if isinstance(value, list) else [value]
    return None if value is None else [item if isinstance(item, str) else json.dumps(item) for item in items]


# --- Parquet and frames ---------------------------------------------------------------------------------------------


def _from_parquet(source: Source, wanted: _Wanted) -> Table:
    data = source.read()
    try:
        with _stderr_closed():
            names = list(pl.read_parquet_schema(io.BytesIO(data)))
            kept = wanted.among(names, source.name)
            frame = pl.read_parquet(io.BytesIO(data), columns=kept).select(kept)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{source.name} is not a readable Parquet file ({reason}); is it whole?") from error
    return _table(frame, names, source.name)


@contextmanager
def _stderr_closed() -> Iterator[None]:
    """Nothing reaches standard error: a thread of polars that panics writes there before the exception arrives here."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed already
        yield
        return
    try:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123  (a descriptor is wanted)
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _from_frame(frame: Any, name: str, wanted: _Wanted) -> Table:
    if isinstance(frame, pl.DataFrame):
        return _table(frame.select(wanted.among(frame.columns, name)), frame.columns, name)
    if type(frame.index).__name__ != "RangeIndex":
        frame = frame.reset_index()
    names = [str(column) for column in frame.columns]
    _refuse_duplicates(names, name)
    kept = wanted.among(names, name)
    return _table(pl.DataFrame([_from_pandas(frame.iloc[:, names.index(key)], key) for key in kept]), names, name)


def _from_pandas(column: Any, name: str) -> pl.Series:
    """One pandas column without needing pyarrow; times with a zone become UTC."""
    kind = getattr(column.dtype, "kind", "O")
    if kind == "M":
        if getattr(column.dtype, "tz", None) is not None:
            column = column.dt.tz_convert("UTC").dt.tz_localize(None)
        return pl.Series(name, column.to_numpy("datetime64[us]"))
    if kind in "iufb":
        values = column.to_numpy(dtype="float64", na_value=math.nan) if column.isna().any() else column.to_numpy()
        return pl.Series(name, values)
    missing = column.isna().to_numpy()
    if any(isinstance(cell, list | tuple | set | np.ndarray) for cell in column):
        return pl.Series(name, [_listed(cell) for cell in column], pl.List(pl.String))
    cells = [None if gone else str(cell) for cell, gone in zip(column.tolist(), missing, strict=True)]
    return pl.Series(name, cells, pl.String)


def _listed(cell: Any) -> list[str] | None:
    """A cell of a pandas column in which some are lists."""
    if isinstance(cell, list | tuple | np.ndarray):
        return [str(item) for item in cell]
    if isinstance(cell, set):
        return sorted(map(str, cell))
    return None if cell is None or cell != cell else [str(cell)]


def _table(frame: pl.DataFrame, names: Sequence[str], name: str) -> Table:
    if not frame.height:
        raise DataError(f"{name} has no rows")
    return Table(name, tuple(names), frame, None)
