"""Operations of a Program from operations on views: what tracing writes a Program with."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from torch.fx import Node

from elman.engine.program import Argument, Operand, Operation, whole
from elman.engine.views import (
    Axis,
    Factor,
    Untraceable,
    View,
    align,
    broadcast,
    fresh,
    has_rows,
    insert_axis,
    join_axes,
    length,
    merged,
    move,
    permute,
    regroup,
    select,
    with_axis,
)

LARGEST_GATHER = 4
"""Axes that a gather may have: as in native/core.h."""


def unique(name: str, taken: Collection[str]) -> str:
    """The name, with a number if it is taken."""
    number, result = 1, name
    while result in taken:
        number, result = number + 1, f"{name}.{number + 1}"
    return result


@dataclass(frozen=True)
class Weight:
    """What a Program wants of a computation on weights: some of its elements.

    Args:
        node: the computation.
        shape: (size,) of a vector, (rows, columns) of a matrix.
        sizes, strides, offset: of the elements within the contiguous result, row-major.
    """

    node: Node
    shape: tuple[int, ...]
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int


class Builder:
    """A Program under construction.

    Args:
        names: those of inputs, states and parameters: taken.
    """

    def __init__(self, names: Collection[str]) -> None:
        self.operations: list[Operation] = []
        self.weights: dict[Weight, str] = {}
        self._taken = set(names)

    def emit(self, kind: str, size: int, operands: Sequence[Argument], **fields: object) -> str:
        """Adds an operation and gives its name."""
        if size == 0:
            raise Untraceable("an empty tensor")
        name = unique(f"v{len(self.operations) + 1}", self._taken)
        self._taken.add(name)
        self.operations.append(Operation(name, kind, size, tuple(operands), **fields))  # type: ignore[arg-type]
        return name

    # Reading views.

    def argument(self, view: View) -> Argument:
        """A row of the view, as an operation element by element reads it."""
        if isinstance(view.base, float):
            return view.base
        view = self._named(view)
        assert isinstance(view.base, str)
        columns = view.columns
        if all(factor.stride == 0 for factor in columns):
            return Operand(view.base, view.offset, 1, splat=view.width > 1)
        if len(columns) == 1 and columns[0].stride == 1:
            return Operand(view.base, view.offset, view.width)
        return whole(self._gather(view), view.width)

    def adjacent(self, view: View) -> Operand:
        """A row of the view as adjacent columns."""
        argument = self.argument(view)
        if isinstance(argument, Operand) and not argument.splat:
            return argument
        return whole(self.emit("copy", view.width, (argument,)), view.width)

    def copied(self, view: View) -> View:
        """The same elements, their columns in order."""
        operand = self.adjacent(view)
        placed = fresh(operand.value, view.axes)
        return replace(placed, offset=operand.start)

    def reshaped(self, view: View, shape: Sequence[int]) -> View:
        result = regroup(view, shape) or regroup(self.copied(view), shape)
        if result is None:
            raise Untraceable("an axis that mixes rows of the batch")
        return result

    def sliced(self, view: View, axis: int, start: int, end: int, step: int = 1) -> View:
        size = length(view.axes[axis])
        start, end = (min(max(place + size if place < 0 else place, 0), size) for place in (start, end))
        if (start, end, step) == (0, size, 1):
            return view
        if end <= start:
            return with_axis(view, axis, (Factor(0, 0),))
        if has_rows([view.axes[axis]]):
            raise Untraceable("a choice of rows of the batch")
        if len(merged(view.axes[axis])) > 1:
            view = self.copied(view)
        factor = (merged(view.axes[axis]) or [Factor(1, 0)])[0]
        taken = Factor(-(-(end - start) // step), factor.stride * step)
        return replace(with_axis(view, axis, (taken,)), offset=view.offset + start * factor.stride)

    def _gather(self, view: View) -> str:
        columns = view.columns
        if len(columns) > LARGEST_GATHER:
            raise Untraceable(f"a rearrangement over more than {LARGEST_GATHER} axes")
        span = 1 + sum((factor.size - 1) * factor.stride for factor in columns)
        operand = Operand(str(view.base), view.offset, span)
        shape, strides = tuple(factor.size for factor in columns), tuple(factor.stride for factor in columns)
        return self.emit("gather", view.width, (operand,), shape=shape, strides=strides)

    # Weights.

    def _named(self, view: View) -> View:
        """A view of a value of the Program, where it was one of a computation on weights."""
        if not isinstance(view.base, Node):
            return view
        columns, total = view.columns, view.base.meta["val"].numel()
        if all(factor.stride in (0, 1) for factor in columns) and len(columns) <= 1:
            name = self._weight(Weight(view.base, (total,), (total,), (1,), 0))
            return replace(view, base=name)
        sizes, strides = tuple(factor.size for factor in columns), tuple(factor.stride for factor in columns)
        name = self._weight(Weight(view.base, (prod(sizes),), sizes, strides, view.offset))
        return fresh(name, view.axes)

    def _weight(self, weight: Weight) -> str:
        if weight not in self.weights:
            self.weights[weight] = unique(_describe(weight.node), self._taken)
            self._taken.add(self.weights[weight])
        return self.weights[weight]

    def _matrix(self, view: View) -> tuple[str, bool]:
        """The matrix of weights that a view with two axes is, and whether it is transposed."""
        assert isinstance(view.base, Node)
        shape, strides = view.shape, _strides(view)
        is_transposed = strides[0] == 1 and strides[1] == shape[0] and shape[1] > 1
        if is_transposed:
            shape, strides = shape[::-1], strides[::-1]
        if strides != (shape[1], 1):
            raise Untraceable("a matrix of weights that is rearranged in the step")
        node = view.base
        while str(node.target) == "aten.permute.default" and _swaps_last_two(node.args[1]):
            assert isinstance(node.args[0], Node)
            node, shape, is_transposed = node.args[0], shape[::-1], not is_transposed
        return self._weight(Weight(node, shape, shape, (shape[1], 1), view.offset)), is_transposed

    # Computing.

    def pointwise(self, kind: str, *operands: View | float) -> View:
        """An operation element by element, with broadcasting."""
        views = [one if isinstance(one, View) else View(float(one), 0, ()) for one in operands]
        axes = broadcast(views)
        result = fresh("", axes)
        arguments = [self.argument(align(view, axes)) for view in views]
        return replace(result, base=self.emit(kind, result.width, arguments))

    def reduce(self, kind: str, view: View, axes: Sequence[int], keep: bool = False) -> View:
        """The "sum" or "max" over some axes; ``keep``: they stay, with one place."""
        reduced = {axis % len(view.axes) for axis in axes}
        if has_rows([view.axes[axis] for axis in reduced]):
            raise Untraceable("an operation that mixes rows of the batch")
        kept = [axis for axis in range(len(view.axes)) if axis not in reduced]
        remaining = permute(view, kept)
        result: View = remaining
        if any(view.shape[axis] > 1 for axis in reduced):
            operand = self.adjacent(permute(view, [*kept, *sorted(reduced)]))
            result = fresh(self.emit(kind, remaining.width, (operand,)), remaining.axes)
        for axis in sorted(reduced) if keep else ():
            result = insert_axis(result, axis)
        return result

    def concat(self, views: Sequence[View], axis: int) -> View:
        """The views one after the other along an axis."""
        views = [view for view in views if 0 not in view.shape]
        if all(
            len(view.axes[axis]) == 1 and has_rows([view.axes[axis]]) for view in views
        ):  # one batch after the other
            stacked = self.concat([insert_axis(view, axis) for view in views], axis)
            return join_axes(stacked, axis)
        first = [move(view, axis, 0) for view in views]
        if any(has_rows(view.axes[:1]) for view in first):
            raise Untraceable("a choice of rows of the batch")
        others = broadcast([replace(view, axes=view.axes[1:]) for view in first])
        operands = [self.adjacent(align(view, (view.axes[0], *others))) for view in first]
        total = (Factor(sum(length(view.axes[0]) for view in first), 0),)
        joined = self.emit("concat", sum(operand.size for operand in operands), operands)
        return move(fresh(joined, (total, *others)), 0, axis)

    def product(self, left: View, right: View) -> View:
        """left (..., i, k) times right (..., k, j), with the same axes before the last two, at most one."""
        if is_weight(right):
            return self._product_with_weight(left, right)
        if is_weight(left):
            return transposed(self._product_with_weight(transposed(right), transposed(left)))
        spread, facing = insert_axis(left, len(left.axes) - 1), insert_axis(transposed(right), len(right.axes) - 2)
        return self.reduce("sum", self.pointwise("mul", spread, facing), (-1,))

    def _product_with_weight(self, left: View, right: View) -> View:
        if len(left.axes) == 2:
            return self._matmul(left, right)
        if has_rows(right.axes[:1]):  # the same matrix for all rows of the batch
            result = self._matmul(join_axes(left, 0), replace(right, axes=right.axes[1:]))
            cut = len(left.axes[0])
            return replace(result, axes=(result.axes[0][:cut], result.axes[0][cut:], result.axes[1]))
        count = left.shape[0]
        parts = [self._matmul(select(left, 0, index), select(right, 0, index)) for index in range(count)]
        return self.concat([insert_axis(part, 0) for part in parts], 0) if count > 1 else insert_axis(parts[0], 0)

    def _matmul(self, left: View, right: View) -> View:
        """(i, k) times a matrix of weights (k, j): one product for each i of a row."""
        outer, inner = left.axes
        if has_rows([inner]):
            raise Untraceable("an operation that mixes rows of the batch")
        weight, is_transposed = self._matrix(right)
        size = right.shape[1]
        columns = tuple(factor for factor in outer if not factor.rows)
        names = []
        for index in range(length(columns)):
            row = select(replace(left, axes=(columns, inner)), 0, index)
            fields = {"weight": weight, "transposed": is_transposed}
            names.append(self.emit("matmul", size, (self.adjacent(row),), **fields))
        joined = names[0]
        if len(names) > 1:
            joined = self.emit("concat", size * len(names), [whole(name, size) for name in names])
        return fresh(joined, (outer, (Factor(size, 0),)))


def transposed(view: View) -> View:
    """With the last two axes swapped."""
    return move(view, len(view.axes) - 2, len(view.axes) - 1)


def is_weight(view: View) -> bool:
    """Whether a factor of a product is a matrix of weights, or one for each place of the first axis."""
    return isinstance(view.base, Node) and not has_rows(view.axes[-2:]) and _has_no_steps(view.axes[:-2])


def _has_no_steps(axes: Sequence[Axis]) -> bool:
    return not has_rows(axes) or all(factor.rows for axis in axes for factor in axis)


def _strides(matrix: View) -> tuple[int, int]:
    """Strides of two axes; of one with a single place, what it has in a row-major matrix."""
    rows, columns = (merged(axis) for axis in matrix.axes)
    if len(rows) > 1 or len(columns) > 1:
        raise Untraceable("a matrix of weights that is rearranged in the step")
    inner = columns[0].stride if columns else 1
    return (rows[0].stride if rows else max(matrix.shape[1], 1) * inner), inner


def _swaps_last_two(order: Any) -> bool:
    rank = len(order)
    return rank in (2, 3) and [axis % rank for axis in order] == [*range(rank - 2), rank - 1, rank - 2]


def _describe(node: Node) -> str:
    """A name for the result of a computation on weights: a parameter that it reads, and what was done last."""
    if "path" in node.meta:
        return str(node.meta["path"])
    operation = getattr(node.target, "__name__", node.name).split(".")[0]
    waiting = [node]
    while waiting:
        first = waiting.pop(0)
        if "path" in first.meta:
            return f"{first.meta['path']}.{operation}"
        waiting += first.all_input_nodes
    return f"constant.{operation}"
