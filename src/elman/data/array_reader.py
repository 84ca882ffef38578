"""Reads labelled sequences from arrays in memory."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.arrays import Arrays
from elman.data.label_cells import in_one_form, label_text
from elman.data.rows import counted
from elman.data.sequences import Cell, Floats, Layout, SequenceColumns, SequenceSet
from elman.data.source import size_fault, too_large
from elman.errors import DataError


def read_arrays(arrays: Arrays, fitted: Layout | None, *, multi: bool, required: bool) -> SequenceSet:
    """Sequences and labels from `Arrays`.

    Args:
        arrays: what is read.
        fitted: of the data that a model was fitted on, of whatever form: arrays stand for texts or for features in its
            order. None: this is that data; features are called "1" to "C".
        multi: a sequence may have several labels, or none.
        required: whether labels must be there.

    Raises: DataError that names the index.
    """
    notes: list[str] = []
    items = _items(arrays.x)
    if isinstance(items[0], str):
        texts, values = _texts(items), None
    else:
        texts, values = None, tuple(_sequence(item, index) for index, item in enumerate(items))
        _refuse_other_widths(values)
        if missing := sum(int(np.isnan(one).sum()) for one in values):
            notes.append(f"arrays: {counted(missing, 'value')} missing")
    width = values[0].shape[1] if values is not None else 0
    names = tuple(str(number + 1) for number in range(width))
    layout = fitted or Layout("arrays", SequenceColumns(multi=multi), names)
    if fitted is not None:
        _refuse_other_content(fitted, width)
    cells = _labels(arrays.y, len(items), layout.columns.multi, required, notes)
    if cells is not None and layout.aligned:
        raise DataError(
            "arrays: the model was fitted with a label at every row of a sequence; give a table as it was then"
        )
    if cells is not None:
        cells, kinds = in_one_form(cells, fitted, together=layout.columns.multi)
        layout = fitted or replace(layout, label_kinds=kinds)
    return SequenceSet(
        name="arrays",
        layout=layout,
        texts=texts,
        values=values,
        labels=None if cells is None else tuple((cell,) for cell in cells),
        ids=tuple(map(str, range(len(items)))),
        places=tuple(f"x[{index}]" for index in range(len(items))),
        notes=tuple(notes),
    )


def _array(value: Any, name: str) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists; tensors on a device or with a gradient
        raise DataError(f"arrays: {name} cannot be made an array: {error}") from error


def _items(x: Any) -> list[Any]:
    """The sequences one by one: texts, or whatever should be (T, C)."""
    if isinstance(x, str | bytes):
        raise DataError("arrays: expected a list of texts as x, got one text; put it in a list")
    if hasattr(x, "__array__"):
        items = _rows_of(_array(x, "x"))
    elif isinstance(x, Iterable):
        items = list(x)
    else:
        raise DataError(f"arrays: expected an array or a list as x, got {type(x).__name__}")
    if not items:
        raise DataError("arrays: x holds no sequences")
    return items


def _rows_of(array: NDArray[Any]) -> list[Any]:
    if array.ndim == 1 and array.dtype.kind in "OUT":
        return list(array.tolist())
    if array.ndim == 2:
        return list(array[:, None, :])
    if array.ndim == 3:
        return list(array)
    raise DataError(
        f"arrays: expected x (sequences, steps, features), x (sequences, features) or a list of sequences, got an array "
        f"with {array.ndim} axes; one sequence alone goes in a list"
    )


def _texts(items: Sequence[Any]) -> tuple[str, ...]:
    for index, item in enumerate(items):
        if not isinstance(item, str):
            raise DataError(f"arrays: x[{index}]: expected a text, as x[0] is, got {type(item).__name__}")
    return tuple(map(str, items))


def _sequence(item: Any, index: int) -> Floats:
    array = _array(item, f"x[{index}]")
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise DataError(f"arrays: x[{index}]: expected (steps, features) or (steps,), got the shape {array.shape}")
    values = _floats(array, index)
    if not values.size:
        raise DataError(f"arrays: x[{index}] is empty, of the shape {array.shape}; leave it out")
    if (large := too_large(values)).any():
        step, feature = np.argwhere(large)[0]
        fault, wanted = size_fault(values[step, feature])
        raise DataError(
            f"arrays: x[{index}], step {step}, feature {feature}: {fault}; expected {wanted}, or NaN if it is missing"
        )
    return values


def _floats(array: NDArray[Any], index: int) -> Floats:
    words = array.dtype.kind == "O" and any(isinstance(value, str | bytes) for value in array.flat)
    if array.dtype.kind in "biufO" and not words:
        try:
            return array.astype(np.float64)
        except (ValueError, TypeError):
            pass
    raise DataError(f"arrays: x[{index}]: expected numbers, got {array.dtype} (such as {array.flat[0]!r})")


def _refuse_other_widths(values: Sequence[Floats]) -> None:
    for index, one in enumerate(values):
        if one.shape[1] != values[0].shape[1]:
            raise DataError(f"arrays: x[{index}] has {one.shape[1]} features, x[0] has {values[0].shape[1]}")


def _refuse_other_content(layout: Layout, width: int) -> None:
    expected = len(layout.names)
    if bool(width) != bool(expected):
        kinds = ("numbers", "texts") if expected else ("texts", "numbers")
        raise DataError(f"arrays: the model was fitted on {kinds[0]}, got {kinds[1]}")
    if width != expected:
        raise DataError(
            f"arrays: expected x (sequences, steps, {expected}), got {width} features: the model was fitted on "
            f"{', '.join(layout.names[:8])}{', ...' if expected > 8 else ''}"
        )


def _labels(y: Any, count: int, multi: bool, required: bool, notes: list[str]) -> list[Cell] | None:
    if y is None:
        if required:
            raise DataError("arrays: expected the labels y as well")
        return None
    items, flags = _label_items(y)
    if len(items) != count:
        raise DataError(f"arrays: expected {count} labels, as many as there are sequences, got {len(items)}")
    if multi:
        return [_flagged(item, index) if flags else _several(item, index) for index, item in enumerate(items)]
    cells = [_one(item) for item in items]
    for index, cell in enumerate(cells):
        if len(cell) != len(cells[0]):
            raise DataError(f"arrays: y[{index}] has {len(cell)} values, y[0] has {len(cells[0])}")
    missing = [index for index, cell in enumerate(cells) if "" in cell or not cell]
    if missing and required:
        raise DataError(f"arrays: y[{missing[0]}] is missing; leave out what has no label")
    if missing:
        notes.append(f"arrays: {len(missing)} of {count} labels are missing; no label is used")
        return None
    return cells


def _label_items(y: Any) -> tuple[list[Any], bool]:
    """The labels of each sequence, and whether they are rows of a matrix."""
    if isinstance(y, str | bytes) or not (hasattr(y, "__array__") or isinstance(y, Iterable)):
        raise DataError(f"arrays: expected a list or array of labels as y, got {type(y).__name__}")
    if not hasattr(y, "__array__"):
        return list(y), False
    array = _array(y, "y")
    if array.ndim not in (1, 2):
        raise DataError(f"arrays: expected y (sequences,) or (sequences, labels), got {array.ndim} axes")
    return list(array), array.ndim == 2


def _flagged(row: NDArray[Any], index: int) -> Cell:
    if not np.isin(row, (0, 1)).all():
        raise DataError(f"arrays: y[{index}]: expected a row of 0 and 1, got {row.tolist()}")
    return tuple(str(label) for label in np.flatnonzero(row))


def _several(item: Any, index: int) -> Cell:
    if isinstance(item, str) or not isinstance(item, Iterable):
        raise DataError(f"arrays: y[{index}]: expected a list or set of labels, got {item!r}")
    labels = [label_text(label) for label in item]
    if "" in labels:
        raise DataError(f"arrays: y[{index}]: a label is missing; leave it out of the list")
    return tuple(sorted(set(labels)) if isinstance(item, set | frozenset) else dict.fromkeys(labels))


def _one(item: Any) -> Cell:
    if isinstance(item, list | tuple | np.ndarray):
        return tuple(map(label_text, item))
    return (label_text(item),)
