"""Predictions as a table: what `elman predict` prints or writes."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from elman.data.codec import Json
from elman.data.files import replacing
from elman.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Predictions:
    """Rows of named columns.

    Attributes:
        columns: name -> values, all of one length.
        suffix: the format of the data they were made for, one of `SUFFIXES`.
        notes: what was repaired in that data, in sentences.
    """

    columns: Mapping[str, Sequence[Json]]
    suffix: str
    notes: list[str] = field(default_factory=list)

    def frame(self) -> "pl.DataFrame":
        import polars as pl

        return pl.DataFrame(dict(self.columns))

    def text(self) -> str:
        """The table as text in the format of the data; Parquet, which is not text, as CSV."""
        buffer = io.BytesIO()
        self._write(buffer, ".csv" if self.suffix == ".parquet" else self.suffix)
        return buffer.getvalue().decode("utf-8")

    def write(self, path: Path) -> None:
        """Write a file; its suffix tells the format, without one it is that of the data. Whole or not at all."""
        suffix = path.suffix or self.suffix
        if suffix not in SUFFIXES:
            raise UsageError(f"{path}: expected a suffix of {', '.join(SUFFIXES)}, got {path.suffix!r}")
        with replacing(path) as beside, beside.open("wb") as file:
            self._write(file, suffix)

    def _write(self, file: IO[bytes], suffix: str) -> None:
        frame = self.frame()
        if suffix == ".parquet":
            frame.write_parquet(file)
        elif suffix == ".jsonl":
            frame.write_ndjson(file)
        else:
            frame.write_csv(file, separator="\t" if suffix == ".tsv" else ",")
