"""The rows of several tables as one table."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from elman.data.tables import Table, text_of
from elman.errors import DataError


class Rows:
    """Tables one below the other; columns go by name.

    Args:
        tables: at least one; those columns that are used must be in each.
    """

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tables
        self._starts = np.cumsum([0] + [len(table) for table in tables])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def name(self) -> str:
        return ", ".join(dict.fromkeys(table.name for table in self._tables))

    @property
    def tables(self) -> NDArray[np.int64]:
        """(rows,) the number of the table that each row is from."""
        return np.repeat(np.arange(len(self._tables)), np.diff(self._starts))

    def has(self, name: str) -> bool:
        return all(name in table.frame.columns for table in self._tables)

    def place(self, row: int) -> str:
        """Where a row stands, for messages: "hour.csv, line 17"."""
        table, own = self._own(row)
        return table.place(own)

    def line(self, row: int) -> int:
        table, own = self._own(row)
        return table.line(own)

    def parts(self, name: str) -> list[pl.Series]:
        """A column of each table, as it was read."""
        return [table.column(name) for table in self._tables]

    def column(self, name: str) -> pl.Series:
        """A column with one value in a cell; as text if its type differs between the tables. Raises DataError."""
        parts = [part.rename(name) for part in self.parts(name)]
        if any(part.dtype.is_nested() for part in parts):
            raise DataError(f"{self.name}: expected one value in each cell of column {name!r}, got lists")
        if len({part.dtype for part in parts}) > 1:
            parts = [part.cast(pl.String) for part in parts]
        return pl.concat(parts)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """See `elman.data.tables.Table.numbers`."""
        return np.concatenate([table.numbers(name) for table in self._tables])

    def strings(self, name: str) -> pl.Series:
        """A column as text without surrounding blanks; missing cells are ''."""
        return text_of(self.column(name))

    def _own(self, row: int) -> tuple[Table, int]:
        table = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._tables[table], row - int(self._starts[table])


def counted(count: int, noun: str) -> str:
    """A number of things, for notes.

    >>> counted(1, "row"), counted(3, "row")
    ('1 row', '3 rows')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
