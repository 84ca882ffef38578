"""Reads labelled sequences from tables: texts, plain vectors, and long tables with many rows to a sequence."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from elman.data.feature_columns import FeatureColumns
from elman.data.gaps import RowTimes, show
from elman.data.label_cells import in_one_form, read_labels
from elman.data.rows import Rows, counted
from elman.data.sequences import Cell, Floats, LabelKind, Layout, SequenceColumns, SequenceSet
from elman.data.source import Source, size_fault, too_large
from elman.data.tables import TABLE_KINDS, Table, read_table, text_of
from elman.data.times import TimeArray, Where, parse_times
from elman.errors import DataError

Ints = NDArray[np.int64]

_STEP = r"^[+-]?[0-9]{1,18}(?:\.0*)?$"
"""A whole number as `parse_times` reads it: a step, or a date written 20110131."""
_LONGEST_STEP = 1e18
_DECIMAL = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"


def read_tables(
    sources: Sequence[Source], columns: SequenceColumns | Layout, *, required: bool, header: bool | None, timed: bool
) -> SequenceSet:
    """Sequences from one or several tables, which are appended; see `elman.data.sequences.read_sequences`."""
    fitted = columns if isinstance(columns, Layout) else None
    if isinstance(columns, Layout):
        rows, names = _later_rows(sources, columns, required, header), columns.columns
    else:
        _check_roles(columns, timed)
        rows, names = _training_rows(sources, columns, header)
    reader = _Reader(rows, names, fitted, required)
    kind = sources[0].kind
    return replace(reader.read(), suffix=f".{kind}" if kind in TABLE_KINDS else ".csv", notes=tuple(reader.notes))


def _check_roles(columns: SequenceColumns, timed: bool) -> None:
    """Raise a DataError for parts that do not go together."""
    if columns.text and columns.features:
        raise DataError("expected a column of text or columns of features, got both; leave out --text or --features")
    if columns.text and columns.time:
        raise DataError("--time orders the rows of a sequence, but with --text every row is one; leave it out")
    if columns.time and not columns.id:
        raise DataError("--time orders the rows of a sequence; name the column that tells sequences apart with --id")
    if timed and columns.text:
        raise DataError(
            "--gaps reads the time between the rows of a sequence, but with --text every row is one; leave it out"
        )
    if timed and not columns.time:
        missing = "the column of their time with --time"
        if not columns.id:
            missing += " and the one that tells sequences apart with --id"
        raise DataError(f"--gaps reads the time between the rows of a sequence; name {missing}")


def _training_rows(
    sources: Sequence[Source], columns: SequenceColumns, header: bool | None
) -> tuple[Rows, SequenceColumns]:
    keys = _keys(columns) if columns.text or columns.features else None
    lists = columns.label if columns.multi else ()
    first = read_table(sources[0], header=header, columns=keys, lists=lists)
    names = _resolved(columns, first)
    if header is None and _header_is_data(first, columns, names):
        return _training_rows(sources, columns, False)
    later = [read_table(source, header=header, columns=_keys(names), lists=names.label) for source in sources[1:]]
    return Rows([first, *later]), names


def _later_rows(sources: Sequence[Source], layout: Layout, required: bool, header: bool | None) -> Rows:
    names = layout.columns
    if header is None and all(name.isdecimal() for name in _keys(names)):
        header = False  # columns are called by number where training had no header
    must = _keys(replace(names, label=names.label if required else (), group=None))
    optional = [*names.label, *([names.group] if names.group else [])]
    lists = names.label if names.multi else ()
    return Rows([read_table(source, header=header, columns=must, optional=optional, lists=lists) for source in sources])


def _keys(columns: SequenceColumns) -> list[str]:
    """Every column that is named."""
    single = [name for name in (columns.text, columns.id, columns.group) if name]
    return list(dict.fromkeys([*single, *columns.label, *columns.time, *columns.features]))


def _resolved(columns: SequenceColumns, table: Table) -> SequenceColumns:
    """Columns by name, with all features; a column has one role, but for rows of a time that are features as well."""

    def resolve(key: str | None) -> str | None:
        return None if key is None else table.resolve(key)

    names = replace(
        columns,
        label=tuple(map(table.resolve, columns.label)),
        text=resolve(columns.text),
        id=resolve(columns.id),
        time=tuple(map(table.resolve, columns.time)),
        features=tuple(map(table.resolve, columns.features)),
        group=resolve(columns.group),
    )
    roles = Counter(_roles(names))
    for name, count in roles.items():
        if count > 1:
            raise DataError(f"{table.name}: column {name!r} is named twice; a column has one role")
    for name in (*names.time, *([names.group] if names.group else [])):
        if name in names.label or name == names.text:
            raise DataError(f"{table.name}: column {name!r} is named twice; a column has one role")
    if not names.text and not names.features:
        taken = {*_keys(names)}
        names = replace(names, features=tuple(name for name in table.names if name not in taken))
        if not names.features:
            raise DataError(
                f"{table.name}: no column is left for features beside {', '.join(map(repr, sorted(taken)))}"
            )
    return names


def _roles(names: SequenceColumns) -> list[str]:
    return [*names.label, *names.features, *(name for name in (names.text, names.id) if name)]


def _header_is_data(table: Table, columns: SequenceColumns, names: SequenceColumns) -> bool:
    """Whether what was taken for names is a first row of data: its label is one of the labels below.

    Rows of texts and labels without any number look like names; who has no header tells columns by number.
    """
    if not columns.label or table.lines is None or not all(key.lstrip("-").isdecimal() for key in _keys(columns)):
        return False
    return all(name in table.strings(name) for name in names.label)


class _Ordered(NamedTuple):
    """rows: by sequence and time. Of every row in the order of the file, if there are times: times as text, moments as what they
    stand for; format: what they are written in."""

    rows: Ints
    times: Sequence[str] | None = None
    moments: RowTimes | None = None
    format: str | None = None


def _decimals(column: pl.Series, where: Where) -> Floats | None:
    """Times that are numbers and not all whole ones; None if they are anything else, which is for `parse_times`."""
    if column.dtype == pl.String:
        column = text_of(column)
        steps, numbers = column.str.contains(_STEP), column.str.contains(_DECIMAL)
        if steps.all():
            return None
        if not numbers.all():
            if (numbers & ~steps).any() and 2 * numbers.sum() >= len(column):  # `parse_times` would blame the decimals
                row = int((~numbers).fill_null(False).arg_max() or 0)
                given = repr(column[row])
                raise DataError(f"{where(row)}: expected a time that is a number, as most here are, got {given}")
            return None
    elif not column.dtype.is_numeric():
        return None
    values: Floats = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
    if (wrong := np.isnan(values) | too_large(values)).any():
        row = int(wrong.argmax())
        fault, wanted = size_fault(values[row])
        missing = f"the time is missing in column {column.name!r}"
        raise DataError(
            f"{where(row)}: {missing if np.isnan(values[row]) else f'the time is {fault}; expected {wanted}'}"
        )
    whole = (values == np.floor(values)) & (np.abs(values) < _LONGEST_STEP)
    return None if whole.all() and column.dtype != pl.String else values


class _Reader:
    """Makes sequences of rows.

    Args:
        rows: what is read.
        names: which column is what.
        fitted: the layout of the training data; None: this is that data.
        required: whether labels must be there.
    """

    def __init__(self, rows: Rows, names: SequenceColumns, fitted: Layout | None, required: bool) -> None:
        self.notes: list[str] = []
        self._rows = rows
        self._names = names
        self._fitted = fitted
        self._required = required
        self._cells = read_labels(rows, names, required=required, notes=self.notes)
        if required and self._cells is None:
            raise DataError(f"{rows.name}: expected labels; name the column that holds them with --label")
        self._kinds: tuple[LabelKind, ...] = ()
        if self._cells is not None and not (names.multi and len(names.label) > 1):  # else they are names of columns
            self._cells, self._kinds = in_one_form(self._cells, fitted, together=names.multi)

    def read(self) -> SequenceSet:
        if self._names.text:
            return self._texts(self._names.text)
        if self._names.id:
            return self._long(self._names.id)
        return self._plain()

    def _texts(self, column: str) -> SequenceSet:
        texts = self._rows.column(column).cast(pl.String).fill_null("")
        if empty := int((texts.str.strip_chars() == "").sum()):
            self.notes.append(f"column {column!r}: {empty} of {len(texts)} texts are empty")
        layout = self._fitted or Layout("text", self._names, label_kinds=self._kinds)
        return self._gather(layout, self._single_rows(), self._row_ids(), texts=tuple(texts.to_list()))

    def _plain(self) -> SequenceSet:
        names, values, categories = self._features()
        layout = self._fitted or Layout("table", self._names, names, categories, label_kinds=self._kinds)
        return self._gather(layout, self._single_rows(), self._row_ids(), values=np.split(values, len(values)))

    def _long(self, column: str) -> SequenceSet:
        ids, codes = self._sequences(column)
        ordered = self._order(codes)
        parts = np.split(ordered.rows, np.flatnonzero(np.diff(codes[ordered.rows])) + 1)
        names, values, categories = self._features()
        aligned = self._fitted.aligned if self._fitted else any(self._changes(part) is not None for part in parts)
        columns = replace(self._names, time_format=ordered.format)
        layout = self._fitted or Layout("long", columns, names, categories, aligned, self._kinds)
        return self._gather(layout, parts, ids, values=[values[part] for part in parts], ordered=ordered)

    def _gather(
        self,
        layout: Layout,
        parts: Sequence[Ints],
        ids: Sequence[str],
        *,
        texts: tuple[str, ...] | None = None,
        values: Sequence[Floats] | None = None,
        ordered: "_Ordered | None" = None,
    ) -> SequenceSet:
        """The sequences, each of the rows in one of ``parts``."""
        times, moments = (None, None) if ordered is None else (ordered.times, ordered.moments)
        return SequenceSet(
            name=self._rows.name,
            layout=layout,
            texts=texts,
            values=None if values is None else tuple(values),
            labels=self._labels(parts, ids, layout.aligned),
            ids=tuple(ids),
            places=tuple(self._rows.place(int(part[0])) for part in parts),
            groups=self._groups(parts, ids),
            times=None if times is None else tuple(tuple(times[row] for row in part) for part in parts),
            moments=None if moments is None else tuple(moments[part] for part in parts),
        )

    def _features(self) -> tuple[tuple[str, ...], Floats, dict[str, tuple[str, ...]]]:
        columns = FeatureColumns(self._rows, self._fitted.categories if self._fitted else None, self.notes)
        names, values = columns.read(self._names.features)
        return names, values, columns.categories

    def _single_rows(self) -> list[Ints]:
        return np.split(np.arange(len(self._rows)), len(self._rows))

    def _row_ids(self) -> list[str]:
        """The ids of rows that are sequences of their own: as given, or their lines."""
        if not self._names.id:
            return [str(self._rows.line(row)) for row in range(len(self._rows))]
        ids, codes = self._sequences(self._names.id)
        if len(ids) < len(codes):
            row = int((codes != np.arange(len(codes))).argmax())  # ids are numbered as they appear
            raise DataError(
                f"{self._rows.place(row)}: the id {ids[codes[row]]!r} is there already; with --text every row is a sequence"
            )
        return ids

    def _sequences(self, column: str) -> tuple[list[str], Ints]:
        """The ids in order of first appearance, and the number of each row's id; those of two files are two."""
        text = self._rows.strings(column)
        if (missing := text == "").any():
            row = int(missing.arg_max() or 0)
            raise DataError(f"{self._rows.place(row)}: the id is missing in column {column!r}")
        numbers: dict[tuple[int, str], int] = {}
        keys = zip(self._rows.tables.tolist(), text.to_list(), strict=True)
        codes = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
        ids = [id for _, id in numbers]
        if repeated := len(ids) - len(set(ids)):
            self.notes.append(
                f"{counted(repeated, 'id')} of one file used in another again; taken as sequences of their own"
            )
        return ids, codes

    def _order(self, codes: Ints) -> "_Ordered":
        """Rows by sequence and time."""
        if not self._names.time:
            return _Ordered(np.argsort(codes, kind="stable"))
        columns = [self._rows.column(name) for name in self._names.time]
        format = self._names.time_format
        values: Floats | TimeArray | None
        values = _decimals(columns[0], self._rows.place) if len(columns) == 1 and not format else None
        if values is None:
            times = parse_times(columns, format=format, where=self._rows.place)
            self.notes.extend(times.notes)
            values, format = times.values, times.format
        calendar = values.dtype.kind == "M"
        stamps = values.astype(np.int64) if calendar else values
        order = np.lexsort((stamps, codes))
        same = np.flatnonzero((np.diff(codes[order]) == 0) & (np.diff(stamps[order]) == 0))
        if len(same):
            first, second = order[same[0] : same[0] + 2].tolist()
            raise DataError(
                f"{self._rows.place(second)}: the time {show(values[second])} is there already in this sequence "
                f"({self._rows.place(first)}); remove one, or name every column of the time"
            )
        as_given = np.argsort(codes, kind="stable")
        late = np.diff(stamps[as_given]) < 0
        if count := int((late & (np.diff(codes[as_given]) == 0)).sum()):
            self.notes.append(f"{counted(count, 'row')} out of time order; sorted")
        texts = [column.cast(pl.String).to_list() for column in columns]
        moments: RowTimes = values.astype("datetime64[us]") if calendar else values.astype(np.float64)
        return _Ordered(order, [" ".join(row) for row in zip(*texts, strict=True)], moments, format)

    def _changes(self, part: Ints) -> int | None:
        """The first row of a sequence at which the label is another one."""
        cells = self._cells
        return None if cells is None else next((int(row) for row in part if cells[row] != cells[part[0]]), None)

    def _labels(self, parts: Sequence[Ints], ids: Sequence[str], aligned: bool) -> tuple[tuple[Cell, ...], ...] | None:
        cells = self._cells
        if cells is None:
            return None
        if aligned:
            return tuple(tuple(cells[row] for row in part) for part in parts)
        for part, id in zip(parts, ids, strict=True):
            if (row := self._changes(part)) is not None:
                varies = f"{self._rows.place(row)}: the label varies within sequence {id!r}"
                if self._required:
                    raise DataError(f"{varies}; expected one for all of it, as in training")
                self.notes.append(f"{varies}; no label is used")
                return None
        return tuple((cells[part[0]],) for part in parts)

    def _groups(self, parts: Sequence[Ints], ids: Sequence[str]) -> tuple[str, ...] | None:
        column = self._names.group
        if column is None or not self._rows.has(column):
            return None
        groups = self._rows.strings(column).to_list()
        for part, id in zip(parts, ids, strict=True):
            for row in part.tolist():
                if not groups[row]:
                    raise DataError(f"{self._rows.place(row)}: the group is missing in column {column!r}")
                if groups[row] != groups[part[0]]:
                    raise DataError(
                        f"{self._rows.place(row)}: the group in column {column!r} varies within sequence {id!r}"
                    )
        return tuple(groups[part[0]] for part in parts)
