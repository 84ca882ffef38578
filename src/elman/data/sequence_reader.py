"""Reads labelled sequences from every form they come in. Apart from `elman.data.sequences`, so that streams do without polars."""

from collections.abc import Sequence
from typing import NoReturn

from elman.data.array_reader import read_arrays
from elman.data.sequence_tables import read_tables
from elman.data.sequences import Layout, SequenceColumns, SequenceSet
from elman.data.source import ARRAYS, FRAME, DataInput, Source
from elman.data.tables import TABLE_KINDS
from elman.data.ts_reader import read_ts
from elman.errors import DataError

_TABLE = "table"
_FORM_OF = {"ts": "ts", ARRAYS: ARRAYS, FRAME: _TABLE, **dict.fromkeys(TABLE_KINDS, _TABLE)}
"""Kind of source -> how it is read."""


def read(
    inputs: Sequence[DataInput], columns: SequenceColumns | Layout, *, required: bool, header: bool | None, timed: bool
) -> SequenceSet:
    """See `elman.data.sequences.read_sequences`."""
    sources = [Source.of(source) for source in inputs]
    form = _form(sources)
    layout = columns if isinstance(columns, Layout) else None
    if layout is not None:
        _refuse_other_form(sources[0], form, layout)
    if form == _TABLE:
        return read_tables(sources, columns, required=required, header=header, timed=timed)
    wanted = columns.columns if isinstance(columns, Layout) else columns
    if layout is None:
        _refuse_columns(sources[0], form, wanted)
    if timed:
        _refuse_untimed(sources[0], form, layout)
    if form == "ts":
        return read_ts(sources, layout, required=required)
    if len(sources) > 1 or (arrays := sources[0].arrays) is None:
        raise DataError("expected one pair of arrays, got several; join them")
    return read_arrays(arrays, layout, multi=wanted.multi, required=required)


def _form(sources: Sequence[Source]) -> str:
    if not sources:
        raise DataError("expected at least one file")
    for source in sources:
        if source.kind not in _FORM_OF:
            raise DataError(
                f"{source.name}: expected labelled sequences in a table or a .ts file, got {source.kind}; if it is one of "
                f"these, say which with --format, one of {', '.join((*TABLE_KINDS, 'ts'))}"
            )
        if _FORM_OF[source.kind] != _FORM_OF[sources[0].kind]:
            raise DataError(
                f"expected data of one form, got {sources[0].name} and {source.name}; fit and evaluate them apart"
            )
    return _FORM_OF[sources[0].kind]


def _refuse_other_form(source: Source, form: str, layout: Layout) -> None:
    fitted = layout.form if layout.form in ("ts", ARRAYS) else _TABLE
    if form not in (fitted, ARRAYS):
        words = {"ts": "a .ts file", ARRAYS: "arrays", _TABLE: "a table"}
        raise DataError(f"{source.name}: expected {words[fitted]}, as the model was fitted on, got {words[form]}")


def _refuse_columns(source: Source, form: str, columns: SequenceColumns) -> None:
    named = [name for name, value in vars(columns).items() if value and name != "multi"]
    if named:
        options = ", ".join("--" + name.replace("_", "-") for name in named)
        what = "a .ts file has no columns, its label is the last field" if form == "ts" else "arrays have no columns"
        raise DataError(f"{source.name}: {what}; leave out {options}")
    if form == "ts" and columns.multi:
        raise DataError(f"{source.name}: a .ts file holds one label for each case; leave out --multi")


def _refuse_untimed(source: Source, form: str, layout: Layout | None) -> NoReturn:
    """Raise a DataError: neither form has times."""
    if layout is not None:
        raise DataError(
            f"{source.name}: arrays have no times, and the model was fitted with --gaps; give a table with the columns it was "
            f"fitted on, {', '.join(map(repr, layout.columns.time))} among them"
        )
    what = "a .ts file has no times" if form == "ts" else "arrays have no times"
    raise DataError(
        f"{source.name}: {what} for --gaps to read; leave it out, or give a long table with --id and --time"
    )
