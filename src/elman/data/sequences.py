"""Labelled sequences: what the many-to-one tasks learn from, however it was stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from elman.data.gaps import RowTimes
from elman.data.source import DataInput

Floats: TypeAlias = NDArray[np.float64]
Form: TypeAlias = Literal["text", "table", "long", "ts", "arrays"]
Cell: TypeAlias = tuple[str, ...]
"""What a label column says at one place: one label, several of them, or one number per column, as text."""
LabelKind: TypeAlias = Literal["number", "truth", "text"]
"""What all labels of a column are: numbers, false and true, or anything else."""


@dataclass(frozen=True)
class SequenceColumns:
    """Which columns play which part, by name or number, as the user said it.

    Attributes:
        label: what is learned: one column; several are 0/1 columns of labels that may come together (`multi`), or numbers.
        text: the column of text; None: the data are numbers.
        id: tells the sequences of a long table apart; None: every row is a sequence of its own.
        time: columns that order the rows of a sequence; () keeps the order of the file.
        time_format: a strptime format, "dayfirst" or "monthfirst".
        features: the columns to read; () are all that play no other part.
        group: rows that belong together and are never divided between training and validation.
        multi: a sequence may have several labels, or none.
    """

    label: tuple[str, ...] = ()
    text: str | None = None
    id: str | None = None
    time: tuple[str, ...] = ()
    time_format: str | None = None
    features: tuple[str, ...] = ()
    group: str | None = None
    multi: bool = False


@dataclass(frozen=True)
class Layout:
    """What a file must hold to be read as the training data was; a part of the codec, so JSON-able.

    Attributes:
        form: how sequences are stored.
        columns: as in `SequenceColumns`, but resolved: names that stand in the file, `features` complete.
        names: (C,) what the features of a step are called; a category is one 0/1 feature, "column=category".
        categories: column of text -> its categories, as in training.
        aligned: labels were given at every row of a sequence, not once for all of it.
        label_kinds: what the labels of each column were; one for all where a cell holds several; () if not known.
    """

    form: Form
    columns: SequenceColumns
    names: tuple[str, ...] = ()
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    aligned: bool = False
    label_kinds: tuple[LabelKind, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "form": self.form,
            "columns": vars(self.columns),
            "names": list(self.names),
            "categories": {name: list(values) for name, values in self.categories.items()},
            "aligned": self.aligned,
            "label_kinds": list(self.label_kinds),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Layout":
        columns: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values["columns"].items()
        }
        return cls(
            values["form"],
            SequenceColumns(**columns),
            tuple(values["names"]),
            {name: tuple(known) for name, known in values["categories"].items()},
            values["aligned"],
            tuple(values.get("label_kinds", ())),  # runs of earlier versions have none
        )


@dataclass(frozen=True, eq=False)
class SequenceSet:
    """N sequences of text or of numbers.

    Attributes:
        name: where they come from, for messages.
        layout: how they were stored.
        texts: N texts, as they stand; None where the data are numbers.
        values: N arrays (T_i, C) float64, NaN = missing; None where the data are texts.
        labels: per sequence one cell for all of it, or T_i cells where `Layout.aligned`; None: not given.
        ids: N names: the id, or the number of the line or row.
        places: N places for messages: "reviews.tsv, line 17".
        groups: N groups, or None.
        times: per sequence the time stamps of its rows as text, or None.
        moments: N arrays (T_i,) of what these stand for, numbers or datetime64[us]; None where there are none.
        suffix: the format that predictions are written in, one of .csv .tsv .jsonl .parquet
        notes: what was repaired, in sentences.
    """

    name: str
    layout: Layout
    texts: tuple[str, ...] | None
    values: tuple[Floats, ...] | None
    labels: tuple[tuple[Cell, ...], ...] | None
    ids: tuple[str, ...]
    places: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    times: tuple[tuple[str, ...], ...] | None = None
    moments: tuple[RowTimes, ...] | None = None
    suffix: str = ".csv"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> "SequenceSet":
        """Some of the sequences, in the order given; without the notes."""

        def some(values: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
            return None if values is None else tuple(values[row] for row in rows)

        names = ("texts", "values", "labels", "groups", "times", "moments")
        parts = {name: some(getattr(self, name)) for name in names}
        return replace(self, ids=some(self.ids), places=some(self.places), notes=(), **parts)  # type: ignore[arg-type]


def read_sequences(
    sources: Sequence[DataInput],
    columns: SequenceColumns | Layout,
    *,
    labels: Literal["required", "optional"] = "required",
    header: bool | None = None,
    timed: bool = False,
) -> SequenceSet:
    """Read labelled sequences.

    - A text table (`SequenceColumns.text`): a row is a text, kept as it stands.
    - A long table (`SequenceColumns.id`): rows of one id are the steps of a sequence, in order of time.
    - A plain table: a row is a vector, a sequence of one step.
    - ``.ts`` files; see `elman.data.ts_reader.read_ts`.
    - `elman.data.arrays.Arrays`, which may stand for any other form once a layout is known.

    Features of tables are numbers (missing cells are NaN) or, in columns of text, categories.

    Args:
        sources: one or several of one form, appended; see `elman.data.source.Source`.
        columns: which column plays which part, for data to train on; the layout of that data for all later data.
        labels: whether they must be there. Optional ones that are missing in some places are not used at all (a note
            tells).
        header: see `elman.data.tables.read_table`.
        timed: whether every row must have a time, as only those of long tables do.

    Raises: DataError that names file and line.
    """
    from elman.data.sequence_reader import read

    return read(sources, columns, required=labels == "required", header=header, timed=timed)
