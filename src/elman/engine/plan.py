"""From a Program to the plan that the core runs: native/core.h says what its words mean.

`plan_forward` and `plan_backward` decide when each operation runs and where each value lives; `Plan.words` writes it down,
`describe` prints it. The order of time, rows, threads and chunks is the core's.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from elman.engine.homes import Homes, Place, Schedule, Stage, schedule
from elman.engine.parts import Arranged, Part, Space, arrange, ends_of
from elman.engine.program import POINTWISE, REDUCTIONS, Argument, Backward, Gradient, Operand, Operation, Program, whole

INTERFACE = 2
"""The version of native/core.h that the words are for."""


@dataclass(frozen=True)
class Kept:
    """What is kept at every step for the backward pass.

    Args:
        value: the result that is kept.
        width: its columns.
        state: the state whose next value it is: one step earlier it is that state before the step. "" of no state.
    """

    value: str
    width: int
    state: str = ""


@dataclass(frozen=True)
class Leaves:
    """What a plan reads and carries, by name, in the order in which its arrays are bound.

    In a backward plan the arrays of the forward call that it reads again, ``kept_inputs`` and ``kept_fixed``, under their
    forward names, follow its own ``inputs`` and ``fixed``.

    Args:
        inputs: new at each step; name to width, as everywhere here. kept_inputs: inputs of the forward program.
        states: carried from step to step. fixed: states that never change. kept_fixed: those of the forward program.
        vectors, matrices: the weights that are read, or whose gradient is computed.
    """

    inputs: Mapping[str, int]
    kept_inputs: Mapping[str, int]
    states: Mapping[str, int]
    fixed: Mapping[str, int]
    kept_fixed: Mapping[str, int]
    vectors: Mapping[str, int]
    matrices: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Plan:
    """A program, arranged for the core: in what order it runs, and what lives where.

    Outputs and gradients are bound in the order of ``program.outputs`` and by weight; a weight may have several entries in
    ``program.gradients``, which add up.

    Args:
        leaves: what it reads, by name.
        program: what is computed, copies included; its operations are not in the order in which they run.
        stages: of the parts before, step and after.
        places: where each value of the program is.
        widths: of the buffers of CHUNK, BLOCK and TILE.
        sequences: what is kept over all of time; a backward plan has those of its forward plan.
        reverse: from the last step to the first.
    """

    leaves: Leaves
    program: Program
    stages: Schedule
    places: Mapping[str, Place]
    widths: Mapping[Space, tuple[int, ...]]
    sequences: tuple[Kept, ...]
    reverse: bool

    @property
    def constants(self) -> tuple[float, ...]:
        """The numbers that operations read, each once."""
        arguments = chain.from_iterable(one.operands for one in self.program.operations)
        numbers = {argument.hex(): argument for argument in arguments if not isinstance(argument, Operand)}
        return tuple(numbers.values())

    def sequence(self, state: str) -> int:
        """Where a state is kept after each step: an index in ``sequences``, or -1."""
        places = (index for index, kept in enumerate(self.sequences) if kept.state == state)
        return -1 if self.reverse else next(places, -1)

    def place(self, operand: Operand, part: Part) -> Place:
        """Where the first column of an operand is read. After its step, the new state is found where it is kept."""
        place = self.places[operand.value]
        space, index = place.space, place.index
        if space is Space.NEXT and part is not Part.STEP:
            space, index = Space.SEQUENCE, self.sequence(list(self.leaves.states)[index])
        return Place(space, index, place.start + operand.start)

    def words(self, dtype: type[np.floating]) -> NDArray[np.int64]:
        """The plan as native/core.h defines it, for np.float32 or np.float64."""
        return np.array(list(_words(self, 0 if dtype is np.float32 else 1)), dtype=np.int64)


def plan_forward(program: Program, saved: Mapping[str, Operand]) -> Plan:
    """Plan a step of the forward pass.

    Args:
        program: checked and simplified.
        saved: what the backward pass needs of it, as in `Backward`; empty where no gradient is wanted.
    """
    leaves = _leaves(program, {}, None)
    places = _places(leaves)
    kept = {operand.value for operand in saved.values()} - program.inputs.keys()
    arranged = arrange(program, {name: place.space for name, place in places.items()}, kept)
    sequences = tuple(_sequences(arranged, kept))
    own = {one.value: Place(Space.SEQUENCE, index) for index, one in enumerate(sequences) if not one.state}
    return _plan(leaves, places, arranged, own, sequences, reverse=False)


def plan_backward(backward: Backward, forward: Plan) -> Plan:
    """Plan a step of the backward pass.

    Args:
        backward: its program is checked and simplified.
        forward: the plan made with ``backward.saved``.
    """
    leaves = _leaves(backward.program, backward.saved, forward)
    places = _places(leaves)
    places.update({name: _saved_place(operand, leaves, forward) for name, operand in backward.saved.items()})
    arranged = arrange(backward.program, {name: place.space for name, place in places.items()}, frozenset())
    return _plan(leaves, places, arranged, {}, forward.sequences, reverse=True)


def _plan(
    leaves: Leaves,
    places: Mapping[str, Place],
    arranged: Arranged,
    kept: Mapping[str, Place],
    sequences: tuple[Kept, ...],
    *,
    reverse: bool,
) -> Plan:
    stages = schedule(arranged)
    states = list(leaves.states)
    claimed = {name: Place(Space.NEXT, states.index(state)) for name, state in arranged.claims.items()}
    homes = Homes(arranged, stages, {**kept, **claimed})
    return Plan(leaves, arranged.program, stages, {**places, **homes.places}, homes.widths, sequences, reverse)


def _sequences(arranged: Arranged, kept: Set[str]) -> Iterator[Kept]:
    """The kept states first, under the names of their next values; then other results."""
    program = arranged.program
    for name, state in arranged.claims.items():
        if state in arranged.lasting:
            yield Kept(name, program.states[state], state)
    for one in program.operations:
        if one.name in kept and one.name not in arranged.claims:
            yield Kept(one.name, one.size)


# ---- what a plan reads ----------------------------------------------------------------------------------------------


def _leaves(program: Program, saved: Mapping[str, Operand], forward: Plan | None) -> Leaves:
    read = {operand.value for operand in _operands(program)}
    read |= {one.weight for one in program.operations} | {one.weight for one in program.gradients}
    weights = {name: shape for name, shape in program.weights.items() if name in read}
    known = forward.leaves if forward else None
    values = dict.fromkeys(operand.value for operand in saved.values())
    return Leaves(
        inputs={name: width for name, width in program.inputs.items() if name not in saved},
        kept_inputs={name: known.inputs[name] for name in values if name in known.inputs} if known else {},
        states={name: width for name, width in program.states.items() if program.next_states[name] is not None},
        fixed={name: width for name, width in program.states.items() if program.next_states[name] is None},
        kept_fixed={name: known.fixed[name] for name in values if name in known.fixed} if known else {},
        vectors={name: shape[0] for name, shape in weights.items() if len(shape) == 1},
        matrices={name: shape for name, shape in weights.items() if len(shape) == 2},
    )


def _operands(program: Program) -> Iterator[Operand]:
    """All that a program reads."""
    arguments = chain.from_iterable(one.operands for one in program.operations)
    yield from (argument for argument in arguments if isinstance(argument, Operand))
    yield from (operand for operand in program.next_states.values() if operand is not None)
    yield from ends_of(program)


def _places(leaves: Leaves) -> dict[str, Place]:
    spaces = {
        Space.INPUT: leaves.inputs,
        Space.STATE: leaves.states,
        Space.FIXED: leaves.fixed,
        Space.VECTOR: leaves.vectors,
    }
    return {name: Place(space, index) for space, names in spaces.items() for index, name in enumerate(names)}


def _saved_place(operand: Operand, leaves: Leaves, forward: Plan) -> Place:
    """Where a backward plan finds what is kept of the forward pass."""
    name = operand.value
    if name in leaves.kept_inputs:
        return Place(Space.INPUT, len(leaves.inputs) + list(leaves.kept_inputs).index(name), operand.start)
    if name in leaves.kept_fixed:
        return Place(Space.FIXED, len(leaves.fixed) + list(leaves.kept_fixed).index(name), operand.start)
    if name in forward.leaves.states:
        return Place(Space.PREVIOUS, forward.sequence(name), operand.start)
    return Place(Space.SEQUENCE, [kept.value for kept in forward.sequences].index(name), operand.start)


# ---- words ----------------------------------------------------------------------------------------------------------


def _words(plan: Plan, dtype: int) -> Iterator[int]:
    leaves, program = plan.leaves, plan.program
    yield from (INTERFACE, dtype, plan.reverse, len(plan.constants))
    yield from _section((width,) for width in (*leaves.inputs.values(), *leaves.kept_inputs.values()))
    yield from _section((width, plan.sequence(name)) for name, width in leaves.states.items())
    yield from _section((width,) for width in (*leaves.fixed.values(), *leaves.kept_fixed.values()))
    yield from _section((size,) for size in leaves.vectors.values())
    yield from _section(leaves.matrices.values())
    yield from _section((kept.width,) for kept in plan.sequences)
    for space in (Space.CHUNK, Space.BLOCK, Space.TILE):
        yield from _section((width,) for width in plan.widths[space])
    encoder = _Encoder(plan)
    yield from _section((*encoder.operand(operand, Part.AFTER), operand.size) for operand in program.outputs.values())
    for part, stages in zip(Part, plan.stages, strict=True):
        yield from _section(encoder.stage(stage, part) for stage in stages)
    yield from _section(encoder.gradient(one) for one in program.gradients)


def _section(entries: Iterable[Iterable[int]]) -> Iterator[int]:
    """How many entries, then the words of each."""
    entries = list(entries)
    yield len(entries)
    yield from chain.from_iterable(entries)


class _Encoder:
    """The words of stages, instructions and operands."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._constants = {number.hex(): index for index, number in enumerate(plan.constants)}
        self._operations = {kind: code for code, kind in enumerate(POINTWISE)}
        self._matrices = {name: index for index, name in enumerate(plan.leaves.matrices)}
        self._vectors = {name: index for index, name in enumerate(plan.leaves.vectors)}

    def operand(self, argument: Argument, part: Part) -> tuple[int, int, int, int]:
        if not isinstance(argument, Operand):
            return Space.CONSTANT, self._constants[argument.hex()], 0, 1
        place = self._plan.place(argument, part)
        return place.space, place.index, place.start, int(argument.splat)

    def stage(self, stage: Stage, part: Part) -> Iterator[int]:
        if stage[0].kind == "matmul":
            yield 1
            yield from self._product(stage[0], part)
        else:
            yield from (0, len(stage))
            yield from chain.from_iterable(self._instruction(one, part) for one in stage)

    def _result(self, one: Operation, part: Part) -> tuple[int, int, int, int]:
        return self.operand(whole(one.name, one.size), part)

    def _product(self, one: Operation, part: Part) -> tuple[int, ...]:
        left, *addend = one.operands
        rows = self._plan.leaves.matrices[one.weight][one.transposed]
        added = self.operand(addend[0], part) if addend else (0, 0, 0, 0)
        matrix = (self._matrices[one.weight], int(one.transposed))
        return *self.operand(left, part), rows, *matrix, one.size, len(addend), *added, *self._result(one, part)

    def _instruction(self, one: Operation, part: Part) -> tuple[int, ...]:
        result = self._result(one, part)
        operands = tuple(chain.from_iterable(self.operand(argument, part) for argument in one.operands))
        if one.kind in POINTWISE:
            return 0, self._operations[one.kind], one.size, len(one.operands), *result, *operands
        if one.kind == "gather":
            return 3, len(one.shape), *one.shape, *one.strides, *result, *operands
        read = one.operands[0]
        assert isinstance(read, Operand)
        return 1 + REDUCTIONS.index(one.kind), one.size, read.size // one.size, *result, *operands

    def gradient(self, one: Gradient) -> tuple[int, ...]:
        left = (*self.operand(one.left, Part.AFTER), one.left.size)
        if one.right is None:
            return 0, self._vectors[one.weight], *left, 0, 0, 0, 0, 0
        return 1, self._matrices[one.weight], *left, *self.operand(one.right, Part.AFTER), one.right.size


# ---- text -----------------------------------------------------------------------------------------------------------


def describe(plan: Plan) -> str:
    """The plan for readers: the stages of each part, a line for each operation, with where its result lives."""
    lines = []
    for part, stages in zip(Part, plan.stages, strict=True):
        lines.append(f"{part.name.lower()}:")
        for stage in stages:
            heads = chain(("product" if stage[0].kind == "matmul" else "instructions",), repeat(""))
            lines += [f"  {head:<14}{_line(plan, one)}" for head, one in zip(heads, stage, strict=False)]
    lines.append("gradients:")
    lines += [f"  {_gradient_text(one)}" for one in plan.program.gradients]
    return "\n".join(lines)


def _line(plan: Plan, one: Operation) -> str:
    place = plan.places[one.name]
    columns = f"[{place.start}:{place.start + one.size}]" if place.start else ""
    return f"{f'{one.name} [{one.size}] = {_right_side(one)}':<72} {place.space.name.lower()} {place.index}{columns}"


def _right_side(one: Operation) -> str:
    operands = [_operand_text(argument) for argument in one.operands]
    if one.kind == "matmul":
        product = f"{operands[0]} . {one.weight}{chr(39) * one.transposed}"
        return " + ".join([f"matmul {product}", *operands[1:]])
    axes = f" shape {one.shape} strides {one.strides}" if one.kind == "gather" else ""
    return f"{one.kind} {', '.join(operands)}{axes}"


def _operand_text(argument: Argument) -> str:
    return str(argument) if isinstance(argument, Operand) else f"{argument:g}"


def _gradient_text(one: Gradient) -> str:
    right = f" x {_operand_text(one.right)}" if one.right else ""
    return f"{one.weight} += {_operand_text(one.left)}{right}"
