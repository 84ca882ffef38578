"""When each operation of a Program runs: before, in, or after the recurrence of a chunk of time.

What needs no state is computed over many steps at once, before the steps; what no state needs, after them. What lives only
for one time step (a state, say) can be read only in the steps: where something else wants it, a copy is added here.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from enum import IntEnum

from elman.engine.program import Argument, Gradient, Operand, Operation, Program, values_read, whole


class Space(IntEnum):
    """Where a value lives; the numbers are those of native/core.h."""

    CONSTANT = 0
    VECTOR = 1
    INPUT = 2
    STATE = 3
    NEXT = 4
    FIXED = 5
    SEQUENCE = 6
    PREVIOUS = 7
    CHUNK = 8
    BLOCK = 9
    TILE = 10


class Part(IntEnum):
    """The parts of a plan, in the order in which they run over a chunk of time."""

    BEFORE = 0
    STEP = 1
    AFTER = 2


FLEETING = frozenset({Space.STATE, Space.NEXT, Space.FIXED, Space.PREVIOUS})
"""What can be read only in part STEP."""


@dataclass(frozen=True)
class Arranged:
    """A program in which everything can be read where it is read.

    Args:
        program: the same computation, with copies added. The operands of each ``concat`` are whole results that are
            computed straight into its columns: it is no work.
        parts: operation to the part that it runs in.
        joined: operation to the ``concat`` that it is a piece of, and its first column there.
        claims: operation to the state whose next value it is.
        lasting: the states kept at every step, for the backward pass.
    """

    program: Program
    parts: Mapping[str, Part]
    joined: Mapping[str, tuple[str, int]]
    claims: Mapping[str, str]
    lasting: frozenset[str]

    def root(self, name: str) -> tuple[str, int]:
        """The operation in whose memory a result lies, and its first column there."""
        return root_of(name, self.joined)


def root_of(name: str, joined: Mapping[str, tuple[str, int]]) -> tuple[str, int]:
    """Follows pieces of pieces: the outermost ``concat``, and the first column in it."""
    start = 0
    while name in joined:
        name, offset = joined[name]
        start += offset
    return name, start


def arrange(program: Program, spaces: Mapping[str, Space], kept: Set[str]) -> Arranged:
    """Gives each operation its part, and adds the copies that this takes.

    Args:
        program: simplified and checked.
        spaces: where its inputs, states and vectors are.
        kept: results of operations and states that the backward pass needs; a state means its value before the step.
    """
    parts = partition(program, spaces, kept)
    claims = _claims(program, parts)
    lasting = {state for state, value in program.next_states.items() if value is not None and state in kept}
    lasting |= {state for name, state in claims.items() if name in kept}
    arranged = Arranged(program, parts, _joined(program, parts, claims, kept), claims, frozenset(lasting))
    return _Copies(arranged, spaces).run()


# ---- parts ----------------------------------------------------------------------------------------------------------


def partition(program: Program, spaces: Mapping[str, Space], kept: Set[str]) -> dict[str, Part]:
    """The part of each operation.

    BEFORE: products that next states need, but that no state or other fleeting value leads to, with all that they read.
    STEP: what else the next states need. AFTER: the rest, except what would cost more memory there than its result does.
    """
    needed = _leading_to(program, (operand.value for operand in program.next_states.values() if operand is not None))
    hoisted = needed - _fleeting(program, spaces)
    products = (one.name for one in program.operations if one.kind == "matmul" and one.name in hoisted)
    before = _leading_to(program, products)
    parts = {one.name: Part.STEP if one.name in needed else Part.AFTER for one in program.operations}
    parts.update(dict.fromkeys(before, Part.BEFORE))
    lasting = _pull_into_step(program, parts, spaces, kept)
    _push_behind(program, parts, spaces, needed, lasting)
    return parts


def _leading_to(program: Program, names: Iterable[str]) -> set[str]:
    """The operations among some names, and all that they need."""
    wanted = set(names)
    for one in reversed(program.operations):
        if one.name in wanted:
            wanted.update(values_read(one))
    return wanted & {one.name for one in program.operations}


def _fleeting(program: Program, spaces: Mapping[str, Space]) -> set[str]:
    """The operations that a fleeting value leads to."""
    reached = {name for name, space in spaces.items() if space in FLEETING}
    for one in program.operations:
        if not reached.isdisjoint(values_read(one)):
            reached.add(one.name)
    return reached


def _pull_into_step(program: Program, parts: dict[str, Part], spaces: Mapping[str, Space], kept: Set[str]) -> set[str]:
    """Moves into STEP what, left behind the steps, would need as many columns kept as its own result has.

    Returns what outlives its step, so that it can be read behind the steps.
    """
    lasting = set(kept) | {operand.value for operand in ends_of(program)}
    for one in program.operations:
        if one.kind == "matmul" and parts[one.name] is Part.AFTER:
            lasting.update(values_read(one))
    for one in program.operations:
        read = {operand.value: operand for operand in one.operands if isinstance(operand, Operand)}
        if parts[one.name] is not Part.AFTER or one.kind == "matmul":
            continue
        if any(parts.get(name) is Part.AFTER for name in read):
            lasting.update(read)
            continue
        stepped = [name for name in read if parts.get(name) is Part.STEP]
        fleeting = [operand.size for name, operand in read.items() if spaces.get(name) in FLEETING]
        sizes = {other.name: other.size for other in program.operations if other.name in stepped}
        columns = sum(fleeting) + sum(sizes[name] for name in stepped if name not in lasting)
        if columns >= one.size or (one.kind == "concat" and stepped):
            parts[one.name] = Part.STEP
        else:
            lasting.update(read)
    return lasting


def _push_behind(
    program: Program, parts: dict[str, Part], spaces: Mapping[str, Space], needed: Set[str], lasting: Set[str]
) -> None:
    """Moves behind the steps what only AFTER reads, where all that it reads is kept for others anyway."""
    ends = {operand.value for operand in ends_of(program)}
    for one in reversed(program.operations):
        if parts[one.name] is not Part.STEP or one.name in needed or one.name in ends:
            continue
        readers = [other for other in program.operations if one.name in values_read(other)]
        stays = any(name not in lasting or spaces.get(name) in FLEETING for name in values_read(one))
        if not stays and all(parts[other.name] is Part.AFTER for other in readers):
            parts[one.name] = Part.AFTER


def ends_of(program: Program) -> Iterator[Operand]:
    """What outputs and gradients read."""
    yield from program.outputs.values()
    yield from (side for one in program.gradients for side in (one.left, one.right) if side is not None)


# ---- who computes into whose memory ---------------------------------------------------------------------------------


def _claims(program: Program, parts: Mapping[str, Part]) -> dict[str, str]:
    """Results that are, whole, the next value of a state, each of the first such state."""
    results = {one.name: one.size for one in program.operations if parts[one.name] is Part.STEP}
    claims: dict[str, str] = {}
    for state, operand in program.next_states.items():
        if operand is not None and operand.value in results and operand == whole(operand.value, results[operand.value]):
            claims.setdefault(operand.value, state)
    return claims


def _pieces(operation: Operation) -> Iterator[tuple[Operand, int]]:
    """The operands of a ``concat``, each with its first column there."""
    start = 0
    for operand in operation.operands:
        if isinstance(operand, Operand):
            yield operand, start
            start += operand.size


def _joined(
    program: Program, parts: Mapping[str, Part], claims: Mapping[str, str], kept: Set[str]
) -> dict[str, tuple[str, int]]:
    """The results that can be computed straight into the columns of a ``concat``."""
    free = {one.name: one.size for one in program.operations if one.name not in claims and one.name not in kept}
    joined: dict[str, tuple[str, int]] = {}
    for one in program.operations:
        for piece, start in _pieces(one) if one.kind == "concat" else ():
            name = piece.value
            is_free = name in free and name not in joined and parts[name] is parts[one.name]
            if is_free and piece == whole(name, free[name]):
                joined[name] = (one.name, start)
    return joined


# ---- copies ---------------------------------------------------------------------------------------------------------


class _Copies:
    """Rewrites an arranged program so that each operand can be read where it is read."""

    def __init__(self, arranged: Arranged, spaces: Mapping[str, Space]) -> None:
        self.program, self.spaces, self.lasting = arranged.program, spaces, arranged.lasting
        self.parts, self.joined, self.claims = dict(arranged.parts), dict(arranged.joined), dict(arranged.claims)
        self.operations: list[Operation] = []
        self.names = set(self.program.sizes())
        self.carried: dict[tuple[str, int, int], str] = {}

    def run(self) -> Arranged:
        for one in self.program.operations:
            rewrite = self._concat if one.kind == "concat" else self._matmul if one.kind == "matmul" else self._other
            self.operations.append(replace(one, operands=rewrite(one)))
        next_states = {state: self._next(state, operand) for state, operand in self.program.next_states.items()}
        outputs = {name: self._result(operand, Space.INPUT) for name, operand in self.program.outputs.items()}
        gradients = tuple(self._gradient(one) for one in self.program.gradients)
        program = replace(
            self.program,
            operations=tuple(self.operations),
            outputs=outputs,
            next_states=next_states,
            gradients=gradients,
        )
        return Arranged(program, self.parts, self.joined, self.claims, self.lasting)

    def _copy(self, argument: Argument, size: int, part: Part, base: str) -> str:
        name, number = f"{base}.copy", 1
        while name in self.names:
            number += 1
            name = f"{base}.copy{number}"
        self.names.add(name)
        self.parts[name] = part
        self.operations.append(Operation(name, "copy", size, (argument,)))
        return name

    def _is_fleeting(self, name: str) -> bool:
        state = self.claims.get(root_of(name, self.joined)[0])
        return self.spaces.get(name) in FLEETING or (state is not None and state not in self.lasting)

    def _carry(self, operand: Operand) -> Operand:
        """Columns of a fleeting value, from a copy that outlives the step."""
        key = (operand.value, operand.start, operand.size)
        if key not in self.carried:
            self.carried[key] = self._copy(replace(operand, splat=False), operand.size, Part.STEP, operand.value)
        return Operand(self.carried[key], 0, operand.size, operand.splat)

    def _readable(self, operand: Operand, part: Part) -> Operand:
        return self._carry(operand) if part is not Part.STEP and self._is_fleeting(operand.value) else operand

    def _other(self, one: Operation) -> tuple[Argument, ...]:
        part = self.parts[one.name]
        return tuple(
            self._readable(argument, part) if isinstance(argument, Operand) else argument for argument in one.operands
        )

    def _matmul(self, one: Operation) -> tuple[Argument, ...]:
        """A product reads rows in memory; a vector, which has one row for all, serves only as the addend."""
        left, *addend = self._other(one)
        if isinstance(left, Operand) and self.spaces.get(left.value) is Space.VECTOR:
            left = whole(self._copy(left, left.size, self.parts[one.name], left.value), left.size)
        return left, *addend

    def _concat(self, one: Operation) -> tuple[Argument, ...]:
        arguments: list[Argument] = []
        part = self.parts[one.name]
        for piece, start in _pieces(one):
            if self.joined.get(piece.value) == (one.name, start):
                arguments.append(piece)
                continue
            name = self._copy(self._readable(piece, part), piece.size, part, one.name)
            self.joined[name] = (one.name, start)
            arguments.append(whole(name, piece.size))
        return tuple(arguments)

    def _next(self, state: str, operand: Operand | None) -> Operand | None:
        if operand is None or self.claims.get(operand.value) == state:
            return operand
        name = self._copy(operand, self.program.states[state], Part.STEP, state)
        self.claims[name] = state
        return whole(name, self.program.states[state])

    def _result(self, operand: Operand, *readable: Space) -> Operand:
        """What is read once a chunk is done: results, kept sequences, and the spaces given."""
        space = self.spaces.get(operand.value, Space.CHUNK)
        if space is Space.VECTOR:
            return whole(self._copy(operand, operand.size, Part.AFTER, operand.value), operand.size)
        return self._carry(operand) if space not in readable and self._is_fleeting(operand.value) else operand

    def _gradient(self, one: Gradient) -> Gradient:
        left, right = (
            self._result(operand, Space.INPUT, Space.PREVIOUS) if operand is not None else None
            for operand in (one.left, one.right)
        )
        assert left is not None
        return replace(one, left=left, right=right)
