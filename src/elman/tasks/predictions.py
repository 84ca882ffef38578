"""Predictions as a table: what `elman predict` prints or writes."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from elman.data.codec import Json
from elman.data.files import replacing
from elman.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")


def check_suffix(path: Path) -> None:
    """Raises UsageError if the suffix is of no format that predictions are written in."""
    if path.suffix and path.suffix not in SUFFIXES:
        raise UsageError(f"{path}: expected a suffix of {', '.join(SUFFIXES)}, got {path.suffix!r}")


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
        return self._encoded(".csv" if self.suffix == ".parquet" else self.suffix).decode("utf-8")

    def write(self, path: Path) -> None:
        """Write a file; its suffix tells the format, without one it is that of the data. Whole or not at all."""
        check_suffix(path)
        suffix = path.suffix or self.suffix
        with replacing(path) as beside:
            beside.write_bytes(self._encoded(suffix))

    def _encoded(self, suffix: str) -> bytes:
        frame, file = self.frame(), io.BytesIO()
        if suffix == ".parquet":
            frame.write_parquet(file)
        elif suffix == ".jsonl":
            frame.write_ndjson(file)
        else:
            self._flat(frame).write_csv(file, separator="\t" if suffix == ".tsv" else ",")
        return file.getvalue()

    def _flat(self, frame: "pl.DataFrame") -> "pl.DataFrame":
        """A cell of CSV holds no list: it is written as JSON there."""
        import polars as pl

        nested = [name for name, kind in frame.schema.items() if kind.is_nested()]
        written = {name: [json.dumps(value, ensure_ascii=False) for value in self.columns[name]] for name in nested}
        return frame.with_columns(**{name: pl.Series(name, values) for name, values in written.items()})
