"""Runs the words of a plan in plain NumPy: written from native/core.h alone, to judge plans, and the core.

Slow and strict: memory that nothing has written yet holds NaN, every index is checked, and what an operand may be in each part
is asserted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[Any]

CONSTANT, VECTOR, INPUT, STATE, NEXT, FIXED, SEQUENCE, PREVIOUS, CHUNK, BLOCK, TILE = range(11)
STEP = 1
STEP_ONLY = {STATE, NEXT, FIXED, PREVIOUS}
WRITABLE = {NEXT, SEQUENCE, CHUNK, BLOCK, TILE}

OPERATIONS: tuple[Callable[..., Any], ...] = (
    lambda a: a,
    lambda a: -a,
    np.abs,
    np.sign,
    np.exp,
    np.expm1,
    np.log,
    np.log1p,
    np.sqrt,
    lambda a: 1 / np.sqrt(a),
    lambda a: 1 / a,
    np.sin,
    np.cos,
    special.erf,
    np.tanh,
    special.expit,
    lambda a: np.where(a > 0, a, np.where(np.isnan(a), a, 0)),
    np.floor,
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / b,
    np.maximum,
    np.minimum,
    lambda a, b: a**b,
    lambda a, b: a > b,
    lambda a, b: a >= b,
    lambda a, b: a < b,
    lambda a, b: a <= b,
    lambda a, b: a == b,
    lambda a, b: a != b,
    lambda a, b, c: a * b + c,
    lambda a, b, c: np.where(a != 0, b, c),
    lambda a, b: a * b * (1 - b),
    lambda a, b: a * (1 - b * b),
)


class At(NamedTuple):
    """An operand."""

    space: int
    number: int
    start: int
    splat: int


@dataclass
class Instruction:
    """kind: 0 pointwise, 1 sum, 2 maximum, 3 gather, as the words have it; what: the operation, or groups and length."""

    kind: int
    what: tuple[int, ...]
    result: At
    operands: tuple[At, ...]
    strides: tuple[int, ...] = ()


@dataclass
class Product:
    left: At
    rows: int
    matrix: int
    transposed: int
    columns: int
    addend: At | None
    result: At


@dataclass
class Gradient:
    is_matrix: int
    index: int
    left: tuple[At, int]
    right: tuple[At, int]


Stage = Product | list[Instruction]


class Words:
    """A plan, decoded."""

    def __init__(self, words: Sequence[int], constants: Sequence[float]) -> None:
        self._words, self._next = [int(word) for word in words], 0
        assert self._words[0] == 2, "the version"
        _, self.dtype, self.reverse, count = self._take(4)
        assert count == len(constants)
        self.constants = list(constants)
        self.inputs = self._column()
        self.states = [self._take(2) for _ in range(self._one())]
        self.fixed, self.vectors = self._column(), self._column()
        self.matrices = [self._take(2) for _ in range(self._one())]
        self.sequences, self.chunks, self.blocks, self.tiles = (self._column() for _ in range(4))
        self.outputs = [(self._at(), self._one()) for _ in range(self._one())]
        self.parts = [[self._stage() for _ in range(self._one())] for _ in range(3)]
        self.gradients = [self._gradient() for _ in range(self._one())]
        assert self._next == len(self._words), "words are left over"
        self._check()

    def _take(self, count: int) -> tuple[int, ...]:
        self._next += count
        assert self._next <= len(self._words)
        return tuple(self._words[self._next - count : self._next])

    def _one(self) -> int:
        return self._take(1)[0]

    def _column(self) -> list[int]:
        return list(self._take(self._one()))

    def _at(self) -> At:
        return At(*self._take(4))

    def _stage(self) -> Stage:
        if self._one() == 0:
            return [self._instruction() for _ in range(self._one())]
        left = self._at()
        rows, matrix, transposed, columns, has_addend = self._take(5)
        addend, result = self._at(), self._at()
        return Product(left, rows, matrix, transposed, columns, addend if has_addend else None, result)

    def _instruction(self) -> Instruction:
        kind = self._one()
        if kind == 0:
            *what, count = self._take(3)
            result = self._at()
            return Instruction(kind, tuple(what), result, tuple(self._at() for _ in range(count)))
        if kind == 3:
            axes = self._one()
            assert 1 <= axes <= 4
            sizes, strides = self._take(axes), self._take(axes)
            return Instruction(kind, sizes, self._at(), (self._at(),), strides)
        return Instruction(kind, self._take(2), self._at(), (self._at(),))

    def _gradient(self) -> Gradient:
        is_matrix, index = self._take(2)
        return Gradient(is_matrix, index, (self._at(), self._one()), (self._at(), self._one()))

    # ---- what the header asks of a plan

    def width(self, at: At) -> int:
        widths = (
            [1] * len(self.constants), self.vectors, self.inputs, *[[width for width, _ in self.states]] * 2, self.fixed,
            self.sequences, self.sequences, self.chunks, self.blocks, self.tiles,
        )  # fmt: skip
        assert 0 <= at.number < len(widths[at.space]), at
        return widths[at.space][at.number]

    def _inside(self, at: At, size: int) -> None:
        assert at.start >= 0, at
        assert at.start + (1 if at.splat else size) <= self.width(at), (at, size)

    def _check(self) -> None:
        for operand, width in self.outputs:
            assert operand.space in (INPUT, CHUNK, SEQUENCE)
            assert not operand.splat
            self._inside(operand, width)
        for part, stages in enumerate(self.parts):
            for stage in stages:
                for each in stage if isinstance(stage, list) else [stage]:
                    if isinstance(each, Instruction):
                        self._check_instruction(each)
                    else:
                        self._check_product(each)
                    self._check_spaces(each, part)
        for one in self.gradients:
            shape = self.matrices[one.index] if one.is_matrix else (self.vectors[one.index],)
            sides = (one.left, one.right)[: len(shape)]
            assert tuple(width for _, width in sides) == shape
            for side, width in sides:
                assert side.space in (INPUT, CHUNK, SEQUENCE, PREVIOUS)
                assert not side.splat
                self._inside(side, width)

    def _check_spaces(self, each: Instruction | Product, part: int) -> None:
        read = each.operands if isinstance(each, Instruction) else (each.left, *([each.addend] if each.addend else []))
        assert each.result.space in WRITABLE
        assert not (self.reverse and each.result.space == SEQUENCE), "what the forward pass has kept is overwritten"
        assert part == STEP or STEP_ONLY.isdisjoint(at.space for at in (each.result, *read)), each

    def _check_instruction(self, one: Instruction) -> None:
        size = one.what[-1] if one.kind == 0 else one.what[0] if one.kind < 3 else prod(one.what)
        self._inside(one.result, size)
        for at in one.operands:
            if one.kind == 3:
                reach = [(n - 1) * stride for n, stride in zip(one.what, one.strides, strict=True)]
                first, last = sum(min(r, 0) for r in reach), sum(max(r, 0) for r in reach)
                assert at.start + first >= 0
                read = range(at.start + first, at.start + last + 1)
            else:
                length = 1 if at.splat else prod(one.what) if one.kind else size
                read = range(at.start, at.start + length)
            assert read.stop <= self.width(at), (at, read)
            same_place = one.kind == 0 and not at.splat and at[:3] == one.result[:3]
            assert same_place or not _overlap(one.result, size, at, read), one

    def _check_product(self, one: Product) -> None:
        shape = self.matrices[one.matrix]
        assert (shape[::-1] if one.transposed else shape) == (one.rows, one.columns)
        self._inside(one.result, one.columns)
        self._inside(one.left, one.rows)
        assert not _overlap(one.result, one.columns, one.left, range(one.left.start, one.left.start + one.rows))
        assert one.left.space not in (CONSTANT, VECTOR, TILE)
        assert one.result.space != TILE
        if one.addend:
            assert one.addend.space not in (CONSTANT, TILE)
            self._inside(one.addend, one.columns)
            read = range(one.addend.start, one.addend.start + one.columns)
            assert one.addend[:3] == one.result[:3] or not _overlap(one.result, one.columns, one.addend, read)
        assert not any(at.splat for at in (one.left, one.result, one.addend) if at)


def _overlap(result: At, size: int, at: At, read: range) -> bool:
    columns = range(max(result.start, read.start), min(result.start + size, read.stop))
    return result[:2] == at[:2] and len(columns) > 0


@dataclass
class Call:
    """The arrays of one run, in the order of the plan. Inputs (batch, steps, width), states (batch, width).

    chunk: steps in a chunk. shards: the rows are dealt out to so many. tile: rows in a tile.
    """

    batch: int
    steps: int
    inputs: Sequence[Array]
    initial: Sequence[Array | None]
    fixed: Sequence[Array]
    vectors: Sequence[Array]
    matrices: Sequence[Array]
    sequences: Sequence[Array] | None = None
    sequence_initial: Sequence[Array | None] = ()
    lengths: Array | None = None
    chunk: int = 3
    shards: int = 1
    tile: int = 2


@dataclass
class Results:
    """Outputs (batch, steps, width), zero after a sequence's end; states after the last step; gradients by index."""

    outputs: list[Array]
    final: list[Array]
    sequences: list[Array]
    matrix_gradients: dict[int, Array] = field(default_factory=dict)
    vector_gradients: dict[int, Array] = field(default_factory=dict)


def run(words: Sequence[int], constants: Sequence[float], call: Call) -> Results:
    """What elman_run computes, in float64."""
    plan = Words(words, constants)
    assert [array.shape for array in call.inputs] == [(call.batch, call.steps, width) for width in plan.inputs]
    assert [array.shape for array in call.fixed] == [(call.batch, width) for width in plan.fixed]
    lengths = np.full(call.batch, call.steps) if call.lengths is None else call.lengths
    shape = call.batch, call.steps
    results = Results(
        [np.zeros((*shape, width)) for _, width in plan.outputs],
        [np.zeros((call.batch, width)) if given is None else given.copy()
         for given, (width, _) in zip(call.initial, plan.states, strict=True)],
        [np.full((*shape, width), np.nan) for width in plan.sequences] if call.sequences is None else [*call.sequences],
    )  # fmt: skip
    for one in plan.gradients:
        if one.is_matrix:
            results.matrix_gradients[one.index] = np.zeros(plan.matrices[one.index])
        else:
            results.vector_gradients[one.index] = np.zeros(plan.vectors[one.index])
    order = np.argsort(-lengths, kind="stable")
    for shard in range(call.shards):
        _Shard(plan, call, results, order[shard :: call.shards], lengths).run()
    return results


class _Shard:
    """Some rows of the batch, longest first, over all of time."""

    def __init__(self, plan: Words, call: Call, results: Results, rows: Array, lengths: Array) -> None:
        self.plan, self.call, self.results, self.lengths = plan, call, results, lengths
        self.rows = rows
        self.next: list[Array] = []

    def run(self) -> None:
        steps = list(range(self.call.steps))
        if self.plan.reverse:
            steps.reverse()
        for first in range(0, len(steps), self.call.chunk):
            self._chunk(steps[first : first + self.call.chunk])

    def _chunk(self, steps: list[int]) -> None:
        active = [self.rows[self.lengths[self.rows] > step] for step in steps]
        self.row = np.concatenate(active)
        self.time = np.repeat(steps, [len(rows) for rows in active])
        self.memory = {CHUNK: self._fresh(self.plan.chunks)}
        everything = np.arange(len(self.row))
        before, step, after = self.plan.parts
        self._part(before, everything)
        for one in steps:
            here = everything[self.time == one]
            self.next = [np.full_like(state, np.nan) for state in self.results.final]
            self._part(step, here)
            for state, new in zip(self.results.final, self.next, strict=True):
                state[self.row[here]] = new[self.row[here]]
        self._part(after, everything)
        self._gradients(everything)
        for output, (at, width) in zip(self.results.outputs, self.plan.outputs, strict=True):
            output[self.row, self.time] = self.read(at, width, everything)

    def _fresh(self, widths: list[int]) -> list[Array]:
        return [np.full((len(self.row), width), np.nan) for width in widths]

    def _part(self, stages: list[Stage], rows: Array) -> None:
        self.memory[BLOCK] = self._fresh(self.plan.blocks)
        for stage in stages:
            if isinstance(stage, Product):
                self._product(stage, rows)
                continue
            self.memory[TILE] = self._fresh(self.plan.tiles)
            for first in range(0, len(rows), self.call.tile):
                for one in stage:
                    self._instruction(one, rows[first : first + self.call.tile])

    def _product(self, one: Product, rows: Array) -> None:
        matrix = self.call.matrices[one.matrix]
        product = self.read(one.left, one.rows, rows) @ (matrix.T if one.transposed else matrix)
        if one.addend:
            product = product + self.read(one.addend, one.columns, rows)
        self.write(one.result, product, rows)

    def _instruction(self, one: Instruction, rows: Array) -> None:
        if one.kind == 0:
            code, size = one.what
            result = OPERATIONS[code](*(self.read(at, size, rows) for at in one.operands))
            self.write(one.result, np.broadcast_to(result, (len(rows), size)), rows)
        elif one.kind == 3:
            columns = sum(
                np.arange(n).reshape(-1, *[1] * (len(one.what) - axis - 1)) * stride
                for axis, (n, stride) in enumerate(zip(one.what, one.strides, strict=True))
            )
            everything = self.read(one.operands[0]._replace(start=0), self.plan.width(one.operands[0]), rows)
            self.write(one.result, everything[:, one.operands[0].start + np.ravel(columns)], rows)
        else:
            values = self.read(one.operands[0], prod(one.what), rows).reshape(len(rows), *one.what)
            self.write(one.result, values.sum(2) if one.kind == 1 else values.max(2), rows)

    def _gradients(self, rows: Array) -> None:
        for one in self.plan.gradients:
            left = self.read(*one.left, rows)
            if one.is_matrix:
                self.results.matrix_gradients[one.index] += left.T @ self.read(*one.right, rows)
            else:
                self.results.vector_gradients[one.index] += left.sum(0)

    def read(self, at: At, size: int, rows: Array) -> Array:
        columns: Array = self._memory(at, rows)[:, at.start : at.start + (1 if at.splat else size)]
        return columns

    def _memory(self, at: At, rows: Array) -> Any:
        row, time = self.row[rows], self.time[rows]
        if at.space == CONSTANT:
            return np.full((len(rows), 1), self.plan.constants[at.number])
        if at.space == VECTOR:
            return np.broadcast_to(self.call.vectors[at.number], (len(rows), self.plan.vectors[at.number]))
        if at.space in (INPUT, SEQUENCE):
            return (self.call.inputs if at.space == INPUT else self.results.sequences)[at.number][row, time]
        if at.space in (STATE, NEXT, FIXED):
            return {STATE: self.results.final, NEXT: self.next, FIXED: self.call.fixed}[at.space][at.number][row]
        if at.space == PREVIOUS:
            initial = self.call.sequence_initial[at.number]
            first = np.zeros((self.call.batch, self.plan.sequences[at.number])) if initial is None else initial
            return np.where(time[:, None] == 0, first[row], self.results.sequences[at.number][row, time - 1])
        return self.memory[at.space][at.number][rows]

    def write(self, at: At, values: Array, rows: Array) -> None:
        row, time = self.row[rows], self.time[rows]
        columns = slice(at.start, at.start + values.shape[1])
        if at.space == NEXT:
            self.next[at.number][row, columns] = values
            sequence = self.plan.states[at.number][1]
            if sequence >= 0:
                self.results.sequences[sequence][row, time, columns] = values
        elif at.space == SEQUENCE:
            self.results.sequences[at.number][row, time, columns] = values
        else:
            self.memory[at.space][at.number][rows, columns] = values
