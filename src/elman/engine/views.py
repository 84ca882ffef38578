"""Where the elements of a traced tensor are: strides over the columns of a row, so that reshaping costs nothing.

A traced tensor has a batch axis somewhere, a Program's value has none: it is one flat row for each sequence. A `View` says
which column of a row each element of the tensor is. All that torch does without copying is arithmetic on views.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple, TypeAlias

from torch.fx import Node


class Untraceable(Exception):  # noqa: N818  (an answer, of which users see the message only)
    """A step has no form as a Program. The message says what stands in the way, as part of a sentence."""


class Factor(NamedTuple):
    """Part of an axis: ``size`` places, ``stride`` columns apart; or, if ``rows``, the batch."""

    size: int
    stride: int
    rows: bool = False


Axis: TypeAlias = tuple[Factor, ...]
"""An axis in row-major order; () has length 1. More than one factor where reshaping has joined what lies apart."""


@dataclass(frozen=True)
class View:
    """The elements of a tensor.

    Args:
        base: the value that has them: its name in the Program, a number, or a torch computation on weights.
        offset: the column of the first.
        axes: of the tensor, the batch included.
    """

    base: str | float | Node
    offset: int
    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return tuple(map(length, self.axes))

    @property
    def columns(self) -> list[Factor]:
        """The elements of one row, row-major, as few factors as possible."""
        return merged(factor for axis in self.axes for factor in axis if not factor.rows)

    @property
    def width(self) -> int:
        """How many elements a row has."""
        return prod(factor.size for factor in self.columns)


def length(axis: Axis) -> int:
    return prod(factor.size for factor in axis)


def has_rows(axes: Sequence[Axis]) -> bool:
    return any(factor.rows for axis in axes for factor in axis)


def whole_axis(size: int, rows: int) -> Axis:
    """An axis of that size, all places the same column until `fresh`; the batch, if it has the size of that, ``rows``."""
    if size == rows:
        return (Factor(size, 0, rows=True),)
    if size and size % rows == 0:
        raise Untraceable("an axis of a size that depends on the batch")
    return (Factor(size, 0),) if size != 1 else ()


def fresh(base: str | float | Node, axes: Sequence[Axis]) -> View:
    """Those axes of a value that has just been computed: its columns are the elements in order."""
    if sum(factor.rows for axis in axes for factor in axis) > 1:
        raise Untraceable("an operation that mixes rows of the batch")
    stride, placed = 1, []
    for axis in reversed(axes):
        factors = []
        for factor in reversed(axis):
            factors.append(factor if factor.rows else Factor(factor.size, stride))
            stride *= 1 if factor.rows else factor.size
        placed.append(tuple(reversed(factors)))
    return View(base, 0, tuple(reversed(placed)))


def merged(factors: Iterator[Factor] | Axis) -> list[Factor]:
    """The same elements in the same order, neighbours joined where their strides allow it."""
    result: list[Factor] = []
    for factor in factors:
        if factor.size == 1:
            continue
        last = result[-1] if result else None
        if last and not last.rows and not factor.rows and last.stride == factor.size * factor.stride:
            result[-1] = Factor(last.size * factor.size, factor.stride)
        else:
            result.append(factor)
    return result


def regroup(view: View, shape: Sequence[int]) -> View | None:
    """The elements in the same order under another shape; ``None`` if strides cannot say it."""
    waiting = merged(factor for axis in view.axes for factor in axis)[::-1]
    axes = []
    for size in shape:
        axis: list[Factor] = []
        while size > 1:
            if not waiting:
                return None
            factor = waiting.pop()
            if size % factor.size == 0:
                axis.append(factor)
                size //= factor.size
            elif factor.size % size == 0 and not factor.rows:
                inner = factor.size // size
                axis.append(Factor(size, factor.stride * inner))
                waiting.append(Factor(inner, factor.stride))
                size = 1
            else:
                return None
        axes.append(tuple(axis))
    return View(view.base, view.offset, tuple(axes))


def broadcast(views: Sequence[View]) -> tuple[Axis, ...]:
    """The axes of what is computed of them element by element."""
    rank = max(len(view.axes) for view in views)
    padded = [((),) * (rank - len(view.axes)) + view.axes for view in views]
    return tuple(max(axes, key=lambda axis: (has_rows([axis]), length(axis))) for axes in zip(*padded, strict=True))


def align(view: View, axes: Sequence[Axis]) -> View:
    """The view repeated along those axes where it has one place."""
    padded = ((),) * (len(axes) - len(view.axes)) + view.axes
    return replace(view, axes=tuple(map(_aligned, padded, axes)))


def _aligned(axis: Axis, wanted: Axis) -> Axis:
    if length(axis) == 1:
        return tuple(factor._replace(stride=0) for factor in wanted)
    if _places_in_a_row(axis) != _places_in_a_row(wanted):
        raise Untraceable("an operation that mixes rows of the batch")
    return axis


def _places_in_a_row(axis: Axis) -> tuple[int, int]:
    """The length of an axis within a row, before and after the batch."""
    sizes: list[int] = [1, 1]
    for factor in axis:
        if factor.rows:
            sizes = [sizes[1], 1]
        else:
            sizes[1] *= factor.size
    return (sizes[0], sizes[1]) if has_rows([axis]) else (-1, sizes[1])


def permute(view: View, order: Sequence[int]) -> View:
    return replace(view, axes=tuple(view.axes[axis] for axis in order))


def move(view: View, start: int, end: int) -> View:
    """With one axis at another place."""
    order = list(range(len(view.axes)))
    order.insert(end, order.pop(start))
    return permute(view, order)


def with_axis(view: View, axis: int, factors: Axis) -> View:
    return replace(view, axes=(*view.axes[:axis], factors, *view.axes[axis + 1 :]))


def insert_axis(view: View, axis: int) -> View:
    return replace(view, axes=(*view.axes[:axis], (), *view.axes[axis:]))


def join_axes(view: View, axis: int) -> View:
    """With an axis and the next as one."""
    return replace(view, axes=(*view.axes[:axis], view.axes[axis] + view.axes[axis + 1], *view.axes[axis + 2 :]))


def select(view: View, axis: int, index: int) -> View:
    """One place of an axis, which goes."""
    offset = view.offset
    for factor in reversed(view.axes[axis]):
        if factor.rows:
            raise Untraceable("a choice of rows of the batch")
        offset += index % factor.size * factor.stride
        index //= factor.size
    return View(view.base, offset, view.axes[:axis] + view.axes[axis + 1 :])
