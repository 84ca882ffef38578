"""Reads series from tables. Apart from `elman.data.series`, so that streams do without polars."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from elman.data.series import MAX_CATEGORIES, Categories, Floats, Ints, Series, SeriesColumns, SeriesSet
from elman.data.source import DataInput, Source
from elman.data.tables import Table, parse_numbers, read_table, text_of
from elman.data.time_reader import looks_like_time
from elman.data.times import Frequency, TimeArray, infer_frequency, parse_times, show_time
from elman.errors import DataError

_MAX_STRETCH = 50
"""A grid may have this many times the rows of the file (and 10 000 more); beyond, a time stamp is surely wrong."""


def read(
    sources: Sequence[DataInput],
    columns: SeriesColumns,
    frequency: Frequency | None,
    categories: Categories | None,
    header: bool | None,
) -> SeriesSet:
    """See `elman.data.series.read_series`."""
    if not columns.targets:
        raise DataError("expected at least one target column")
    wanted = columns.named() if columns.time else None
    rows = _Rows([read_table(Source.of(source), header=header, columns=wanted) for source in sources])
    notes: list[str] = []
    names = rows.resolve(columns)
    if not names.time:
        names = replace(names, time=_find_time(rows, names, notes))
    ids, codes = rows.ids(names.id)
    times, time_format = _times(rows, names, codes, notes)
    order = np.lexsort((np.arange(len(codes)), times.astype(np.int64), codes))
    _tell_sorting(times, codes, notes)
    _refuse_repeated(rows, times, codes, order, names)
    groups = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    frequency = frequency or _infer([times[group] for group in groups], rows.name)
    features = _Features(rows, categories, notes)
    blocks = [features.read(group) for group in (names.targets, names.past, names.future, names.static)]
    values, static = _joined(blocks[:3], len(codes)), _joined(blocks[3:], len(codes))
    _refuse_varying(rows, groups, ids, blocks[3])
    series = tuple(
        _on_grid(rows, ids[codes[group[0]]], group, times[group], values[group], static[group], frequency)
        for group in groups
    )
    _tell_gaps(series, groups, times, frequency, notes)
    targets, past, future, fixed = (tuple(name for name, _ in block) for block in blocks)
    source = replace(names, time_format=time_format)
    timed = bool(names.time)
    known = {name: tuple(values) for name, values in features.categories.items()}
    return SeriesSet(series, targets, past, future, fixed, frequency, source, known, timed, tuple(notes))


class _Rows:
    """The rows of several tables as one."""

    def __init__(self, tables: Sequence[Table]) -> None:
        if not tables:
            raise DataError("expected at least one file")
        self._tables = tables
        self._starts = np.cumsum([0] + [len(table) for table in tables])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def name(self) -> str:
        return ", ".join(table.name for table in self._tables)

    @property
    def names(self) -> tuple[str, ...]:
        return self._tables[0].names

    def place(self, row: int) -> str:
        table = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._tables[table].place(row - int(self._starts[table]))

    def column(self, name: str) -> pl.Series:
        parts = [table.column(name).rename(name) for table in self._tables]
        if len({part.dtype for part in parts}) > 1:
            parts = [text_of(part) for part in parts]
        return pl.concat(parts)

    def numbers(self, name: str) -> Floats:
        return np.concatenate([table.numbers(name) for table in self._tables])

    def resolve(self, columns: SeriesColumns) -> SeriesColumns:
        """Every key as a name. A column may have one role."""
        table = self._tables[0]
        resolve = table.resolve
        names = replace(
            columns,
            targets=tuple(map(resolve, columns.targets)),
            time=tuple(map(resolve, columns.time)),
            past=tuple(map(resolve, columns.past)),
            future=tuple(map(resolve, columns.future)),
            static=tuple(map(resolve, columns.static)),
            id=resolve(columns.id) if columns.id else None,
        )
        roles = replace(names, time=()).named()  # an hour may be part of the time and a covariate known ahead too
        for name in roles:
            if roles.count(name) > 1:
                raise DataError(f"{table.name}: column {name!r} is named twice; a column has one role")
        return names

    def ids(self, name: str | None) -> tuple[list[str], Ints]:
        """The ids in order of first appearance, and the number of each row's id."""
        if name is None:
            return [""], np.zeros(len(self), np.int64)
        text = text_of(self.column(name))
        if (missing := text == "").any():
            raise DataError(f"{self.place(int(missing.arg_max() or 0))}: the id is missing in column {name!r}")
        ids = text.unique(maintain_order=True).to_list()
        codes: Ints = text.replace_strict(ids, list(range(len(ids))), return_dtype=pl.Int64).to_numpy()
        return ids, codes


def _find_time(rows: _Rows, columns: SeriesColumns, notes: list[str]) -> tuple[str, ...]:
    """The only column that holds times, if none was named."""
    used = set(columns.named())
    found = [name for name in rows.names if name not in used and looks_like_time(rows.column(name))]
    if len(found) == 1:
        notes.append(f"column {found[0]!r} holds the times; name it with --time if that is wrong")
        return (found[0],)
    why = f"columns {', '.join(map(repr, found))} could be times" if found else "no column holds times"
    notes.append(f"{why}; row numbers are the steps (name a time column with --time)")
    return ()


def _times(rows: _Rows, columns: SeriesColumns, codes: Ints, notes: list[str]) -> tuple[TimeArray, str | None]:
    if not columns.time:
        steps = np.empty(len(codes), np.int64)
        order = np.argsort(codes, kind="stable")
        counts = np.bincount(codes)
        steps[order] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
        return steps, columns.time_format
    parsed = parse_times([rows.column(name) for name in columns.time], format=columns.time_format, where=rows.place)
    notes.extend(parsed.notes)
    return parsed.values, parsed.format


def _infer(times: Sequence[TimeArray], name: str) -> Frequency:
    try:
        return infer_frequency(times)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


class _Features:
    """Reads columns as numbers, and columns of text as one 0/1 column per category."""

    def __init__(self, rows: _Rows, categories: Categories | None, notes: list[str]) -> None:
        self._rows = rows
        self._fitted = categories is not None
        self._notes = notes
        self.categories: dict[str, Sequence[str]] = dict(categories or {})

    def read(self, names: Iterable[str]) -> list[tuple[str, Floats]]:
        return [feature for name in names for feature in self._column(name)]

    def _column(self, name: str) -> Iterator[tuple[str, Floats]]:
        column = self._rows.column(name)
        if name not in self.categories and not self._fitted and (found := _categories_of(column)):
            self.categories[name] = found
            self._notes.append(f"column {name!r} is categorical: {', '.join(found)}")
        known = self.categories.get(name)
        if known is None:
            values = self._rows.numbers(name)
            self._tell_missing(name, np.isnan(values))
            yield name, values
            return
        text = text_of(column)
        unseen = (text != "") & ~text.is_in(list(known))
        if count := int(unseen.sum()):
            what = f"{_plural(count, 'value')} not seen in training (such as {text.filter(unseen)[0]!r})"
            self._notes.append(f"column {name!r}: {what}, taken as missing")
        missing = ((text == "") | unseen).to_numpy()
        self._tell_missing(name, (text == "").to_numpy())
        for category in known:
            yield f"{name}={category}", np.where(missing, np.nan, (text == category).to_numpy().astype(np.float64))

    def _tell_missing(self, name: str, missing: NDArray[np.bool_]) -> None:
        if count := int(missing.sum()):
            share = 100 * count / len(missing)
            self._notes.append(f"column {name!r}: {_plural(count, 'value')} missing ({share:.2g} %)")


def _categories_of(column: pl.Series) -> tuple[str, ...]:
    """The distinct values of a column of labels, sorted; () if it holds numbers, even mistyped ones, or free text."""
    if column.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return ()
    _, not_number = parse_numbers(column)
    text = text_of(column)
    if 2 * int(not_number.sum()) <= int((text != "").sum()):
        return ()
    values = text.filter(text != "").unique().sort().to_list()
    return tuple(values) if len(values) <= MAX_CATEGORIES else ()


def _joined(blocks: Sequence[list[tuple[str, Floats]]], length: int) -> Floats:
    arrays = [values for block in blocks for _, values in block]
    return np.stack(arrays, axis=1) if arrays else np.empty((length, 0))


def _refuse_repeated(rows: _Rows, times: TimeArray, codes: Ints, order: Ints, columns: SeriesColumns) -> None:
    same = (np.diff(codes[order]) == 0) & (np.diff(times[order].astype(np.int64)) == 0)
    if not same.any():
        return
    first, second = order[same.argmax()], order[same.argmax() + 1]
    cure = "remove one" if columns.id else "remove one, or name the column that tells series apart with --id"
    raise DataError(
        f"{rows.place(int(second))}: the time {show_time(times[second])} is there already "
        f"({rows.place(int(first))}); {cure}, or name every column of the time (such as --time date,hour)"
    )


def _refuse_varying(
    rows: _Rows, groups: Sequence[Ints], ids: Sequence[str], block: Sequence[tuple[str, Floats]]
) -> None:
    for name, values in block:
        for group, label in zip(groups, ids, strict=True):
            known = group[~np.isnan(values[group])]
            different = values[known] != values[known[:1]]
            if different.any():
                row = int(known[different.argmax()])
                raise DataError(
                    f"{rows.place(row)}: static column {name.partition('=')[0]!r} varies within series {label!r}; "
                    "expected one value per series"
                )


def _on_grid(
    rows: _Rows, id: str, group: Ints, times: TimeArray, values: Floats, static: Floats, frequency: Frequency
) -> Series:
    origin = times[0]
    off = ~frequency.on_grid(times, origin)
    if off.any():
        row = int(off.argmax())
        raise DataError(
            f"{rows.place(int(group[row]))}: time {show_time(times[row])} is not on the grid that starts at "
            f"{show_time(origin)} and is {frequency.name}"
        )
    index = frequency.index(times, origin)
    repeated = np.diff(index) == 0
    if repeated.any():
        row = int(repeated.argmax()) + 1
        raise DataError(
            f"{rows.place(int(group[row]))}: time {show_time(times[row])} and {show_time(times[row - 1])} "
            f"({rows.place(int(group[row - 1]))}) fall into one step of data that is {frequency.name}"
        )
    length = int(index[-1]) + 1
    if length > _MAX_STRETCH * len(times) + 10_000:
        gap = int(np.diff(index).argmax())
        raise DataError(
            f"{rows.place(int(group[gap + 1]))}: is the time {show_time(times[gap + 1])} right, "
            f"{index[gap + 1] - index[gap]} steps after the one before ({frequency.name})? "
            f"{length} steps would be needed for {len(times)} rows"
        )
    grid = np.full((length, values.shape[1]), np.nan)
    grid[index] = values
    return Series(id, frequency.add(origin, np.arange(length)), grid, _first_known(static))


def _first_known(static: Floats) -> Floats:
    """(rows, S) -> (S,): the first value of each column that is not missing."""
    first = np.argmax(~np.isnan(static), axis=0)
    known: Floats = static[first, np.arange(static.shape[1])]
    return known


def _tell_sorting(times: TimeArray, codes: Ints, notes: list[str]) -> None:
    count = 0
    by_series = np.argsort(codes, kind="stable")
    for part in np.split(times.astype(np.int64)[by_series], np.cumsum(np.bincount(codes))[:-1]):
        count += int((part < np.maximum.accumulate(part)).sum())
    if count:
        notes.append(f"{_plural(count, 'row')} out of time order; sorted")


def _tell_gaps(
    series: Sequence[Series], groups: Sequence[Ints], times: TimeArray, frequency: Frequency, notes: list[str]
) -> None:
    gaps = rows = 0
    largest, after = 0, ""
    for one, group in zip(series, groups, strict=True):
        if len(one) == len(group):
            continue
        missing = np.diff(frequency.index(times[group], times[group[0]])) - 1
        gaps += int((missing > 0).sum())
        rows += int(missing.sum())
        if missing.max() > largest:
            largest, after = int(missing.max()), show_time(times[group[missing.argmax()]])
    if rows:
        notes.append(
            f"{_plural(rows, 'row')} missing in {_plural(gaps, 'gap')} of a grid that is {frequency.name}; "
            f"filled as missing values (the largest: {_plural(largest, 'row')} after {after})"
        )


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
