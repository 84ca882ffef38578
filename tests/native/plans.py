"""Plans written by hand, as ``native/core.h`` defines their words, and one call that runs a plan on NumPy arrays."""

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from elman import core

Array: TypeAlias = NDArray[Any]
Words: TypeAlias = list[int]

CONSTANT, VECTOR, INPUT, STATE, NEXT, FIXED, SEQUENCE, PREVIOUS, CHUNK, BLOCK, TILE = range(11)
DTYPES: dict[int, np.dtype[Any]] = {core.FLOAT32: np.dtype(np.float32), core.FLOAT64: np.dtype(np.float64)}
NOWHERE = [0, 0, 0, 0]  # the words of an operand that is not there


def flat(pieces: Iterable[Words]) -> Words:
    return [word for piece in pieces for word in piece]


def at(space: int, index: int = 0, start: int = 0, splat: bool = False) -> Words:
    return [space, index, start, int(splat)]


def pointwise(operation: str, size: int, result: Words, *operands: Words) -> Words:
    return [0, core.operations().index(operation), size, len(operands), *result, *flat(operands)]


def total(groups: int, length: int, result: Words, operand: Words) -> Words:
    return [1, groups, length, *result, *operand]


def greatest(groups: int, length: int, result: Words, operand: Words) -> Words:
    return [2, groups, length, *result, *operand]


def gather(sizes: Sequence[int], strides: Sequence[int], result: Words, operand: Words) -> Words:
    return [3, len(sizes), *sizes, *strides, *result, *operand]


def instructions(*lines: Words) -> Words:
    return [0, len(lines), *flat(lines)]


def product(
    read: Words, k: int, matrix: int, transposed: bool, n: int, result: Words, addend: Words | None = None
) -> Words:
    return [1, *read, k, matrix, int(transposed), n, int(addend is not None), *(addend or NOWHERE), *result]


def matrix_gradient(index: int, left: Words, left_width: int, right: Words, right_width: int) -> Words:
    return [1, index, *left, left_width, *right, right_width]


def vector_gradient(index: int, left: Words, left_width: int) -> Words:
    return [0, index, *left, left_width, *NOWHERE, 0]


@dataclass
class Plan:
    """The sections of a plan, in the order of its words."""

    reverse: bool = False
    constants: list[float] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    states: list[tuple[int, int]] = field(default_factory=list)
    fixed: list[int] = field(default_factory=list)
    vectors: list[int] = field(default_factory=list)
    matrices: list[tuple[int, int]] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    tiles: list[int] = field(default_factory=list)
    outputs: list[tuple[Words, int]] = field(default_factory=list)
    before: list[Words] = field(default_factory=list)
    step: list[Words] = field(default_factory=list)
    after: list[Words] = field(default_factory=list)
    gradients: list[Words] = field(default_factory=list)

    def buffers(self, dtype: int) -> Words:
        """The words up to the outputs: what decides how large the arrays of a call are."""
        words = [core.INTERFACE, dtype, int(self.reverse), len(self.constants), len(self.inputs), *self.inputs]
        words += [len(self.states), *(word for state in self.states for word in state)]
        words += [len(self.fixed), *self.fixed, len(self.vectors), *self.vectors]
        words += [len(self.matrices), *(word for matrix in self.matrices for word in matrix)]
        for section in (self.sequences, self.chunks, self.blocks, self.tiles):
            words += [len(section), *section]
        return words

    def words(self, dtype: int) -> Words:
        words = [*self.buffers(dtype), len(self.outputs)]
        words += [word for operand, width in self.outputs for word in (*operand, width)]
        for section in (self.before, self.step, self.after, self.gradients):
            words += [len(section), *(word for part in section for word in part)]
        return words


def create(words: Sequence[int], constants: Sequence[float] = ()) -> int | None:
    """The address of a plan; None if the core refuses it (``elman_error`` says why)."""
    numbers = (ctypes.c_double * max(1, len(constants)))(*constants)
    plan: int | None = core.functions().elman_plan_create((ctypes.c_int64 * len(words))(*words), len(words), numbers)
    return plan


def array(values: Array | None) -> core.Array:
    """Rows, then steps (or columns of a matrix), by their strides; anything with a last axis more has adjacent columns."""
    if values is None:
        return core.Array(None, 0, 0)
    rows, steps = (*values.strides, 0)[:2]
    return core.Array(values.ctypes.data, rows // values.itemsize, steps // values.itemsize)


def matrix(values: Array) -> core.Array:
    return core.Array(values.ctypes.data, *(stride // values.itemsize for stride in values.strides))


@dataclass
class Call:
    """Arrays of one run: inputs and outputs (batch, steps, width) in any layout, states and fixed (batch, width)."""

    batch: int
    steps: int
    lengths: Array | None = None
    threads: int = 1
    inputs: Sequence[Array] = ()
    outputs: Sequence[Array] = ()
    initial: Sequence[Array | None] = ()
    final: Sequence[Array | None] = ()
    fixed: Sequence[Array] = ()
    vectors: Sequence[Array] = ()
    matrices: Sequence[Array] = ()
    sequences: Sequence[core.Memory] = ()
    sequence_initial: Sequence[Array | None] = ()
    matrix_gradients: Sequence[Array | None] = ()
    vector_gradients: Sequence[Array | None] = ()
    stop: int | None = None

    def run(self, plan: int) -> int:
        """What elman_run returns."""

        def arrays(values: Sequence[Array | None]) -> Any:
            return (core.Array * len(values))(*(array(one) for one in values)) if values else None

        def pointers(values: Sequence[Array | None]) -> Any:
            return (ctypes.c_void_p * len(values))(*(None if one is None else one.ctypes.data for one in values))

        lengths = None if self.lengths is None else np.ascontiguousarray(self.lengths, dtype=np.int64)
        call = core.Call(
            batch=self.batch,
            steps=self.steps,
            lengths=None if lengths is None else lengths.ctypes.data_as(ctypes.POINTER(ctypes.c_int64)),
            threads=self.threads,
            vectors=pointers(self.vectors),
            matrices=(core.Array * len(self.matrices))(*map(matrix, self.matrices)),
            sequences=(ctypes.c_void_p * len(self.sequences))(*(one.address for one in self.sequences)),
            matrix_gradients=pointers(self.matrix_gradients) if self.matrix_gradients else None,
            vector_gradients=pointers(self.vector_gradients) if self.vector_gradients else None,
            stop=None if self.stop is None else ctypes.pointer(ctypes.c_int(self.stop)),
            **{
                name: arrays(getattr(self, name))
                for name in ("inputs", "outputs", "initial", "final", "fixed", "sequence_initial")
            },
        )
        result: int = core.functions().elman_run(plan, ctypes.byref(call))
        return result


def run(plan: Plan, dtype: int, call: Call) -> None:
    """Makes a plan, runs it, and expects both to work."""
    address = create(plan.words(dtype), plan.constants)
    assert address is not None, core.functions().elman_error().decode()
    try:
        assert call.run(address) == 0, core.functions().elman_error().decode()
    finally:
        core.functions().elman_plan_destroy(address)


def sequence_memory(plan: Plan, dtype: int, total_steps: int) -> list[core.Memory]:
    size = core.functions().elman_sequence_size
    return [core.Memory(DTYPES[dtype].itemsize * size(dtype, width, total_steps)) for width in plan.sequences]


def lstm_forward(inputs: int, hidden: int, spare: int = 1) -> Plan:
    """States h and c; sequences h, c, gates i f g o, tanh c; output h. `spare`: makes chunks wide, hence few of rows."""
    gates = 4 * hidden
    cell = [
        pointwise("sigmoid", 2 * hidden, at(SEQUENCE, 2), at(CHUNK)),
        pointwise("tanh", hidden, at(SEQUENCE, 2, 2 * hidden), at(CHUNK, 0, 2 * hidden)),
        pointwise("sigmoid", hidden, at(SEQUENCE, 2, 3 * hidden), at(CHUNK, 0, 3 * hidden)),
        pointwise("mul", hidden, at(TILE), at(SEQUENCE, 2, hidden), at(STATE, 1)),
        pointwise("fma", hidden, at(NEXT, 1), at(SEQUENCE, 2), at(SEQUENCE, 2, 2 * hidden), at(TILE)),
        pointwise("tanh", hidden, at(SEQUENCE, 3), at(NEXT, 1)),
        pointwise("mul", hidden, at(NEXT, 0), at(SEQUENCE, 2, 3 * hidden), at(SEQUENCE, 3)),
    ]
    return Plan(
        inputs=[inputs],
        states=[(hidden, 0), (hidden, 1)],
        vectors=[gates],
        matrices=[(gates, inputs), (gates, hidden)],
        sequences=[hidden, hidden, gates, hidden],
        chunks=[gates, spare],
        tiles=[hidden],
        outputs=[(at(SEQUENCE, 0), hidden)],
        before=[product(at(INPUT), inputs, 0, True, gates, at(CHUNK), at(VECTOR))],
        step=[product(at(STATE), hidden, 1, True, gates, at(CHUNK), at(CHUNK)), instructions(*cell)],
    )


def lstm_backward(inputs: int, hidden: int, spare: int = 1) -> Plan:
    """Inputs dy and x; states dh and dc; sequences as above; output dx; gradients of W, U and the bias."""
    gates = 4 * hidden
    i, f, g, o = (at(SEQUENCE, 2, place * hidden) for place in range(4))
    di, df, dg, do = (at(CHUNK, 0, place * hidden) for place in range(4))
    cell = [
        pointwise("add", hidden, at(TILE, 0), at(STATE, 0), at(INPUT, 0)),
        pointwise("mul", hidden, at(TILE, 1), at(TILE, 0), at(SEQUENCE, 3)),
        pointwise("sigmoid_slope", hidden, do, at(TILE, 1), o),
        pointwise("mul", hidden, at(TILE, 1), at(TILE, 0), o),
        pointwise("tanh_slope", hidden, at(TILE, 1), at(TILE, 1), at(SEQUENCE, 3)),
        pointwise("add", hidden, at(TILE, 1), at(TILE, 1), at(STATE, 1)),
        pointwise("mul", hidden, at(TILE, 0), at(TILE, 1), g),
        pointwise("sigmoid_slope", hidden, di, at(TILE, 0), i),
        pointwise("mul", hidden, at(TILE, 0), at(TILE, 1), at(PREVIOUS, 1)),
        pointwise("sigmoid_slope", hidden, df, at(TILE, 0), f),
        pointwise("mul", hidden, at(TILE, 0), at(TILE, 1), i),
        pointwise("tanh_slope", hidden, dg, at(TILE, 0), g),
        pointwise("mul", hidden, at(NEXT, 1), at(TILE, 1), f),
    ]
    forward = lstm_forward(inputs, hidden)
    return replace(
        forward,
        reverse=True,
        inputs=[hidden, inputs],
        states=[(hidden, -1), (hidden, -1)],
        chunks=[gates, inputs, spare],
        tiles=[hidden, hidden],
        outputs=[(at(CHUNK, 1), inputs)],
        before=[],
        step=[instructions(*cell), product(at(CHUNK), gates, 1, False, hidden, at(NEXT))],
        after=[product(at(CHUNK), gates, 0, False, inputs, at(CHUNK, 1))],
        gradients=[
            matrix_gradient(0, at(CHUNK), gates, at(INPUT, 1), inputs),
            matrix_gradient(1, at(CHUNK), gates, at(PREVIOUS, 0), hidden),
            vector_gradient(0, at(CHUNK), gates),
        ],
    )


def assorted() -> Plan:
    """Everything that an LSTM does not use: sums, maxima, gathers, splats, constants, what is fixed, a state not kept."""
    first = [
        total(1, 8, at(TILE, 0), at(INPUT)),
        greatest(2, 4, at(TILE, 1, 1), at(INPUT)),
        gather([6], [-1], at(TILE, 2), at(STATE, 0, 5)),
        gather([2, 3], [1, 2], at(TILE, 3), at(STATE)),
        pointwise("fma", 6, at(TILE, 2), at(TILE, 2), at(FIXED), at(VECTOR, 0, 1)),
        pointwise("add", 6, at(TILE, 2), at(TILE, 2), at(TILE, 0, 0, True)),
        pointwise("mul", 6, at(TILE, 3), at(TILE, 1, 2, True), at(TILE, 3)),
        pointwise("gt", 6, at(TILE, 4), at(TILE, 2), at(CONSTANT, 0, 0, True)),
        pointwise("where", 6, at(TILE, 2), at(TILE, 4), at(TILE, 2), at(TILE, 3)),
        pointwise("mul", 6, at(BLOCK), at(CONSTANT, 1, 0, True), at(TILE, 2)),
    ]
    second = [
        pointwise("tanh", 6, at(NEXT), at(BLOCK, 1, 1)),
        pointwise("copy", 6, at(CHUNK, 0, 2), at(NEXT)),
        pointwise("copy", 2, at(CHUNK, 0, 0), at(INPUT, 0, 3)),
    ]
    return Plan(
        constants=[0.25, 0.5],
        inputs=[8],
        states=[(6, -1)],
        fixed=[6],
        vectors=[7],
        matrices=[(6, 6), (8, 5)],
        chunks=[8, 5],
        blocks=[6, 8],
        tiles=[1, 3, 6, 6, 6],
        outputs=[(at(CHUNK, 1, 1), 4), (at(INPUT, 0, 2), 3)],
        step=[
            instructions(*first),
            product(at(BLOCK), 6, 0, False, 6, at(BLOCK, 1, 1)),
            instructions(*second),
        ],
        after=[product(at(CHUNK), 8, 1, False, 5, at(CHUNK, 1))],
    )


def assorted_by_numpy(call: Call, weights: Mapping[str, Array]) -> tuple[Array, Array]:
    """The outputs (batch, steps, 4) and last states that `assorted` should give, in float64, sequence by sequence."""
    outputs, finals = np.zeros((call.batch, call.steps, 4)), []
    for row in range(call.batch):
        assert call.initial[0] is not None
        state = call.initial[0][row].astype(float)
        for step in range(call.steps if call.lengths is None else call.lengths[row]):
            x = call.inputs[0][row, step].astype(float)
            sums = state[::-1] * call.fixed[0][row] + weights["vector"][1:] + x.sum()
            turned = state.reshape(3, 2).T.reshape(-1) * x.reshape(2, 4).max(axis=1)[1]
            state = np.tanh(0.5 * np.where(sums > 0.25, sums, turned) @ weights["recurrent"])
            outputs[row, step] = (np.concatenate([x[3:5], state]) @ weights["readout"])[1:]
        finals.append(state)
    return outputs, np.array(finals).reshape(call.batch, 6)
