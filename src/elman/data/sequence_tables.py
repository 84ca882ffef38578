"""Reads labelled sequences from tables: texts, plain vectors, and long tables with many rows to a sequence."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from elman.data.feature_columns import FeatureColumns
from elman.data.label_cells import in_one_form, read_labels
from elman.data.rows import Rows, counted
from elman.data.sequences import Cell, Floats, LabelKind, Layout, SequenceColumns, SequenceSet
from elman.data.source import Source
from elman.data.tables import TABLE_KINDS, Table, read_table
from elman.data.times import parse_times, show_time
from elman.errors import DataError

Ints = NDArray[np.int64]


def read_tables(
    sources: Sequence[Source], columns: SequenceColumns | Layout, *, required: bool, header: bool | None
) -> SequenceSet:
    """Sequences from one or several tables, which are appended; see `elman.data.sequences.read_sequences`."""
    fitted = columns if isinstance(columns, Layout) else None
    if isinstance(columns, Layout):
        rows, names = _later_rows(sources, columns, required, header), columns.columns
    else:
        _check_roles(columns)
        rows, names = _training_rows(sources, columns, header)
    reader = _Reader(rows, names, fitted, required)
    kind = sources[0].kind
    return replace(reader.read(), suffix=f".{kind}" if kind in TABLE_KINDS else ".csv", notes=tuple(reader.notes))


def _check_roles(columns: SequenceColumns) -> None:
    """Raise a DataError for parts that do not go together."""
    if columns.text and columns.features:
        raise DataError("expected a column of text or columns of features, got both; leave out --text or --features")
    if columns.text and columns.time:
        raise DataError("--time orders the rows of a sequence, but with --text every row is one; leave it out")
    if columns.time and not columns.id:
        raise DataError("--time orders the rows of a sequence; name the column that tells sequences apart with --id")


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
        order, times, time_format = self._order(codes)
        parts = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
        names, values, categories = self._features()
        aligned = self._fitted.aligned if self._fitted else any(self._changes(part) is not None for part in parts)
        columns = replace(self._names, time_format=time_format)
        layout = self._fitted or Layout("long", columns, names, categories, aligned, self._kinds)
        return self._gather(layout, parts, ids, values=[values[part] for part in parts], times=times)

    def _gather(
        self,
        layout: Layout,
        parts: Sequence[Ints],
        ids: Sequence[str],
        *,
        texts: tuple[str, ...] | None = None,
        values: Sequence[Floats] | None = None,
        times: Sequence[str] | None = None,
    ) -> SequenceSet:
        """The sequences, each of the rows in one of ``parts``; ``times`` are of rows, all else is of sequences."""
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

    def _order(self, codes: Ints) -> tuple[Ints, list[str] | None, str | None]:
        """Rows by sequence and time, the times as text, and the format they are written in."""
        if not self._names.time:
            return np.argsort(codes, kind="stable"), None, None
        columns = [self._rows.column(name) for name in self._names.time]
        times = parse_times(columns, format=self._names.time_format, where=self._rows.place)
        self.notes.extend(times.notes)
        stamps = times.values.astype(np.int64)
        order = np.lexsort((stamps, codes))
        same = np.flatnonzero((np.diff(codes[order]) == 0) & (np.diff(stamps[order]) == 0))
        if len(same):
            first, second = order[same[0] : same[0] + 2].tolist()
            raise DataError(
                f"{self._rows.place(second)}: the time {show_time(times.values[second])} is there already in this sequence "
                f"({self._rows.place(first)}); remove one, or name every column of the time"
            )
        as_given = np.argsort(codes, kind="stable")
        late = np.diff(stamps[as_given]) < 0
        if count := int((late & (np.diff(codes[as_given]) == 0)).sum()):
            self.notes.append(f"{counted(count, 'row')} out of time order; sorted")
        texts = [column.cast(pl.String).to_list() for column in columns]
        return order, [" ".join(row) for row in zip(*texts, strict=True)], times.format

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
