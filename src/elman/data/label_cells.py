"""Labels as people store them: one in a cell, several in a cell, or a column of 0 and 1 for each."""

import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import polars as pl

from elman.data.rows import Rows
from elman.data.sequences import Cell, LabelKind, Layout, SequenceColumns
from elman.errors import DataError

SEPARATOR = "|"
"""Between several labels in one cell of text."""

_FLAGS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
_TRUTHS = {"true", "false"}
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"\+?(-?[0-9]+)(?:\.0*)?")


def read_labels(rows: Rows, columns: SequenceColumns, *, required: bool, notes: list[str]) -> list[Cell] | None:
    """One cell of labels for every row; None if they are not there and not required.

    With `SequenceColumns.multi` one column holds labels separated by `SEPARATOR`, or lists of labels, and an empty cell
    is no label at all; several columns hold 0 and 1 (or false and true), and a label is called as its column. Without
    it a cell holds what stands in each of the columns, and none may be empty.

    Raises: DataError that names file and line.
    """
    names = columns.label
    if not names or not all(map(rows.has, names)):
        return None
    if columns.multi and len(names) == 1:
        return [cell for part in rows.parts(names[0]) for cell in _split(part)]
    texts = {name: _texts(rows, name) for name in names}
    for name, column in texts.items():
        missing = [row for row, text in enumerate(column) if not text]
        if missing and required:
            raise DataError(
                f"{rows.place(missing[0])}: the label is missing in column {name!r}; fill it in or leave the row out"
            )
        if missing:
            notes.append(
                f"column {name!r}: the label is missing in {len(missing)} of {len(rows)} rows; no label is used"
            )
            return None
    if columns.multi:
        return _flagged(rows, texts)
    return list(zip(*texts.values(), strict=True))


def label_text(value: Any) -> str:
    """A label as text, the same for however it is held: 3, 3.0 and NumPy's 3 are "3", True is "true"; missing is "".

    >>> [label_text(value) for value in (3, 3.0, np.int8(3), 0.5, True, " yes ", None, float("nan"))]
    ['3', '3', '3', '0.5', 'true', 'yes', '', '']
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def split_labels(text: str) -> Cell:
    """The labels of a cell of text, each once.

    >>> split_labels("news | sport|news|")
    ('news', 'sport')
    """
    return _each_once(part.strip() for part in text.split(SEPARATOR))


def in_one_form(
    cells: Sequence[Cell], fitted: Layout | None, *, together: bool
) -> tuple[list[Cell], tuple[LabelKind, ...]]:
    """Cells with every label written in one way, however they were stored, and what the labels of each column are.

    Where all labels of a column are numbers, whole ones lose their point ("1.0" is "1"); where all are false and true,
    they are in lower case. Anything else stays as it stands, and so does a column with "007", which names something.

    Args:
        cells: of one column, or one label per column; not those made of columns of 0 and 1.
        fitted: the layout of the training data, which settles what the labels are; None: this is that data.
        together: a cell holds any number of labels of one column.

    >>> in_one_form([("1.0",), ("2",)], None, together=False)
    ([('1',), ('2',)], ('number',))
    >>> in_one_form([("1.0",), ("a",)], None, together=False)
    ([('1.0',), ('a',)], ('text',))
    """
    columns = [set(chain.from_iterable(cells))] if together else [set(column) for column in zip(*cells, strict=True)]
    kinds = tuple(map(_kind, columns)) if fitted is None else fitted.label_kinds
    if len(kinds) != len(columns):  # not known, or as many labels as the task will refuse
        return list(cells), kinds
    plain = [{label: _plain(label, kind) for label in labels} for labels, kind in zip(columns, kinds, strict=True)]
    if together:
        return [_each_once(plain[0][label] for label in cell) for cell in cells], kinds
    return [tuple(names[label] for names, label in zip(plain, cell, strict=True)) for cell in cells], kinds


def _kind(labels: Iterable[str]) -> LabelKind:
    known = set(labels)
    if known and all(map(_NUMBER.fullmatch, known)):
        return "number"
    if known and _TRUTHS.issuperset(map(str.lower, known)):
        return "truth"
    return "text"


def _plain(label: str, kind: LabelKind) -> str:
    if kind == "truth" and label.lower() in _TRUTHS:
        return label.lower()
    whole = _WHOLE.fullmatch(label) if kind == "number" and _NUMBER.fullmatch(label) else None
    return {"-0": "0"}.get(whole[1], whole[1]) if whole else label


def _each_once(labels: Iterable[str]) -> Cell:
    return tuple(dict.fromkeys(filter(None, labels)))


def _split(column: pl.Series) -> list[Cell]:
    if isinstance(column.dtype, pl.List | pl.Array):
        return [_each_once(map(label_text, cell if cell is not None else ())) for cell in column.to_list()]
    return [split_labels(label_text(cell)) for cell in column.to_list()]


def _texts(rows: Rows, name: str) -> list[str]:
    parts = rows.parts(name)
    if any(part.dtype.is_nested() for part in parts):
        raise DataError(f"{rows.name}: column {name!r} holds lists of labels; add --multi")
    return [label_text(cell) for part in parts for cell in part.to_list()]


def _flagged(rows: Rows, texts: dict[str, list[str]]) -> list[Cell]:
    flags: dict[str, list[bool]] = {}
    for name, column in texts.items():
        odd = next((row for row, text in enumerate(column) if text.lower() not in _FLAGS), None)
        if odd is not None:
            raise DataError(
                f"{rows.place(odd)}: expected 0 or 1 in column {name!r}, got {column[odd]!r}; "
                "with --multi several label columns say which labels apply"
            )
        flags[name] = [_FLAGS[text.lower()] for text in column]
    return [tuple(name for name in flags if flags[name][row]) for row in range(len(rows))]
