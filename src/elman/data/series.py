"""Time series on regular grids: what the tasks and codecs of series work on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from elman.data.source import DataInput
from elman.data.times import Frequency, TimeArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Role: TypeAlias = Literal["targets", "past", "future"]
Categories: TypeAlias = Mapping[str, Sequence[str]]

MAX_CATEGORIES = 50
"""A column of text with more values than this is free text, not categories."""


@dataclass(frozen=True)
class SeriesColumns:
    """Which columns play which part, by name or number.

    Attributes:
        targets: what is forecast.
        time: one or more columns that make the time stamp together; () finds it.
        past: known up to now. future: known ahead. static: constant within a series.
        id: tells several series apart.
        time_format: a strptime format, "dayfirst" or "monthfirst".
    """

    targets: tuple[str, ...]
    time: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    id: str | None = None
    time_format: str | None = None

    def named(self) -> list[str]:
        """Every column that is named, in order."""
        return [*self.targets, *self.time, *self.past, *self.future, *self.static, *([self.id] if self.id else [])]


@dataclass(frozen=True, eq=False)
class Series:
    """One series on its regular grid.

    Attributes:
        id: "" if there is only one.
        times: (T,) int64 steps or datetime64[us], equally spaced.
        values: (T, C) float64, NaN = missing; may be memory-mapped.
        static: (S,) float64, NaN = missing.
    """

    id: str
    times: TimeArray
    values: Floats
    static: Floats

    def __len__(self) -> int:
        return len(self.values)

    def part(self, start: int, stop: int) -> "Series":
        """The rows from ``start`` to before ``stop``, without copying."""
        return replace(self, times=self.times[start:stop], values=self.values[start:stop])


@dataclass(frozen=True, eq=False)
class SeriesSet:
    """Series with the same columns and frequency.

    Attributes:
        series: in the order in which their ids appear first.
        targets, past, future: names of the columns of ``values``, which holds them in this order. A categorical
            column is one 0/1 column per category, named "column=category".
        static: names of the static features.
        frequency: the distance between rows.
        source: the columns as resolved, with the time format that was recognised: what later data is read with.
        categories: the known values of each categorical column.
        timed: False if rows were numbered because there are no times.
        notes: sentences on what was decided and repaired, with counts.
    """

    series: tuple[Series, ...]
    targets: tuple[str, ...]
    past: tuple[str, ...]
    future: tuple[str, ...]
    static: tuple[str, ...]
    frequency: Frequency
    source: SeriesColumns
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    timed: bool = True
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of every ``values``."""
        return self.targets + self.past + self.future

    @property
    def lengths(self) -> list[int]:
        return [len(series) for series in self.series]

    def positions(self, role: Role) -> slice:
        """Where the columns of a role stand in ``values``."""
        names: tuple[str, ...] = getattr(self, role)
        start = {"targets": 0, "past": len(self.targets), "future": len(self.targets) + len(self.past)}[role]
        return slice(start, start + len(names))

    def spill(self, folder: Path) -> "SeriesSet":
        """Write all values to ``folder/values.npy`` and give the same set with memory-mapped values."""
        folder.mkdir(parents=True, exist_ok=True)
        borders = np.concatenate([[0], np.cumsum(self.lengths)])
        path = folder / "values.npy"
        shape = (int(borders[-1]), len(self.columns))
        written = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=shape)
        for series, start in zip(self.series, borders[:-1], strict=True):
            written[start : start + len(series)] = series.values
        written.flush()
        del written
        mapped = np.lib.format.open_memmap(path, mode="r")
        parts = (mapped[start:stop] for start, stop in pairwise(borders.tolist()))
        return replace(self, series=tuple(replace(s, values=v) for s, v in zip(self.series, parts, strict=True)))


def read_series(
    sources: Sequence[DataInput],
    columns: SeriesColumns,
    *,
    frequency: Frequency | None = None,
    categories: Categories | None = None,
    header: bool | None = None,
) -> SeriesSet:
    """Read series from one or several tables, which are appended.

    Args:
        sources: what is read; see `elman.data.source.Source`.
        columns: which column plays which part.
        frequency: of the data that a model was fitted on; None infers it.
        categories: known values of categorical columns, from the data that a model was fitted on; a column that is
            not in it must be numeric. None finds them: a column of text with at most `MAX_CATEGORIES` values.
        header: see `elman.data.tables.read_table`.

    Raises: DataError that names file and line: two rows with one time stamp, a time off the grid, a bad number, a
        static column that varies, a column with two roles.
    """
    from elman.data.series_reader import read

    return read(sources, columns, frequency, categories, header)
