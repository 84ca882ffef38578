"""In which order a plan's operations run, and where each result lives: few stages, small memory."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TypeAlias

from elman.engine.parts import Arranged, Part, Space, ends_of
from elman.engine.program import POINTWISE, Argument, Operand, Operation, values_read

Stage: TypeAlias = tuple[Operation, ...]
"""One ``matmul``, or other operations that run one after the other while their rows are in the cache."""

Schedule: TypeAlias = tuple[tuple[Stage, ...], ...]
"""The stages of each part."""


@dataclass(frozen=True)
class Place:
    """Where the first column of a value is."""

    space: Space
    index: int
    start: int = 0


# ---- order ----------------------------------------------------------------------------------------------------------


def schedule(arranged: Arranged) -> Schedule:
    """The stages of each part: as few as products allow; what can wait until it is needed waits."""
    return tuple(tuple(_stages(arranged, part)) for part in Part)


def _stages(arranged: Arranged, part: Part) -> Iterator[Stage]:
    needs = _needs(arranged, part)
    ranks = _ranks(needs)
    for rank in sorted(set(ranks.values())):
        here = {name: one for name, (one, _) in needs.items() if ranks[name] == rank}
        if rank % 2:
            yield from ((one,) for one in here.values())
        else:
            yield tuple(_depth_first(here, needs))


_Needs: TypeAlias = dict[str, tuple[Operation, list[str]]]


def _needs(arranged: Arranged, part: Part) -> _Needs:
    """The operations of a part that are work, each with those of the same part that it reads."""
    makers: dict[str, list[str]] = {}
    needs: _Needs = {}
    for one in arranged.program.operations:
        if arranged.parts[one.name] is not part:
            continue
        before = [maker for name in values_read(one) for maker in makers.get(name, ())]
        if one.kind == "concat":
            makers[one.name] = before
        else:
            makers[one.name] = [one.name]
            needs[one.name] = one, list(dict.fromkeys(before))
    return needs


def _ranks(needs: _Needs) -> dict[str, int]:
    """Even ranks are stages of instructions, odd ones products. Each waits for its readers; what has none does not wait."""
    product = {name: one.kind == "matmul" for name, (one, _) in needs.items()}
    earliest: dict[str, int] = {}
    for name, (_, reads) in needs.items():
        after = [earliest[other] + (product[other] or product[name]) for other in reads]
        rank = max(after, default=0)
        earliest[name] = rank + (rank % 2 != product[name])
    latest: dict[str, int] = {}
    readers: dict[str, list[str]] = {name: [] for name in needs}
    for name in reversed(needs):
        before = [latest[other] - (product[other] or product[name]) for other in readers[name]]
        rank = min(before, default=earliest[name])
        latest[name] = rank - (rank % 2 != product[name])
        for other in needs[name][1]:
            readers[other].append(name)
    return latest


def _depth_first(here: Mapping[str, Operation], needs: _Needs) -> Iterator[Operation]:
    """A stage in an order where results are read soon: the longer way to an operand goes first."""
    inner = {other for name in here for other in needs[name][1]}
    depth: dict[str, int] = {}
    for name in here:
        depth[name] = 1 + max((depth[other] for other in needs[name][1] if other in here), default=0)
    done: set[str] = set()
    for last in (name for name in here if name not in inner):
        stack = [last]
        while stack:
            name = stack[-1]
            missing = [other for other in needs[name][1] if other in here and other not in done]
            if missing:
                stack.append(max(missing, key=lambda other: depth[other]))
                continue
            stack.pop()
            if name not in done:
                done.add(name)
                yield here[name]


# ---- places ---------------------------------------------------------------------------------------------------------


@dataclass
class _Life:
    """A result with all that is computed into its columns: from which stage and operation to which it is needed."""

    first: int
    last: int
    stages: set[int] = field(default_factory=set)
    parts: set[Part] = field(default_factory=set)
    in_memory: bool = False  # read or written by a product


class _Slots:
    """The buffers of one space; one that is free again is taken again for a result as wide."""

    def __init__(self) -> None:
        self.widths: list[int] = []
        self.free: list[int] = []

    def take(self, width: int) -> int:
        for index in reversed(self.free):
            if self.widths[index] == width:
                self.free.remove(index)
                return index
        self.widths.append(width)
        return len(self.widths) - 1


class Homes:
    """Gives every result its place.

    Args:
        arranged: the program.
        stages: its schedule.
        fixed_places: where the results are that are a state's next value or kept for the backward pass.

    Attributes:
        places: every result's place.
        widths: of the buffers of CHUNK, BLOCK and TILE.
    """

    def __init__(self, arranged: Arranged, stages: Schedule, fixed_places: Mapping[str, Place]) -> None:
        self._arranged = arranged
        self._sizes = {one.name: one.size for one in arranged.program.operations}
        self._places = dict(fixed_places)
        self._slots = {space: _Slots() for space in (Space.CHUNK, Space.BLOCK, Space.TILE)}
        self._lives: dict[str, _Life] = {}
        self._live(stages)
        operations = [one for part in stages for stage in part for one in stage]
        self._heirs = dict(self._inheritances(operations))
        self._allocate(operations)
        roots = {name: arranged.root(name) for name in self._sizes}
        self.places = {
            name: Place(self._places[root].space, self._places[root].index, start)
            for name, (root, start) in roots.items()
        }
        self.widths = {space: tuple(slots.widths) for space, slots in self._slots.items()}

    def _root(self, name: str) -> str:
        return self._arranged.root(name)[0]

    def _live(self, stages: Schedule) -> None:
        time, number = 0, 0
        for part, its_stages in zip(Part, stages, strict=True):
            for stage in its_stages:
                for one in stage:
                    self._touch(one, time, number, part)
                    time += 1
                number += 1
        ends = {self._root(operand.value) for operand in ends_of(self._arranged.program)}
        for root in ends & self._lives.keys():
            self._lives[root].last = time
            self._lives[root].parts = set(Part)

    def _touch(self, one: Operation, time: int, stage: int, part: Part) -> None:
        for name in (one.name, *values_read(one)):
            if name in self._sizes:
                life = self._lives.setdefault(self._root(name), _Life(time, time))
                life.last = time
                life.stages.add(stage)
                life.parts.add(part)
                life.in_memory |= one.kind == "matmul"

    def _space(self, life: _Life) -> Space:
        if len(life.parts) > 1:
            return Space.CHUNK
        return Space.BLOCK if len(life.stages) > 1 or life.in_memory else Space.TILE

    def _inheritances(self, operations: Sequence[Operation]) -> Iterator[tuple[str, str]]:
        """Addends that can be computed straight into the memory of the product that they are added to."""
        for time, one in enumerate(operations):
            for operand in one.operands[1:] if one.kind == "matmul" else ():
                if not isinstance(operand, Operand) or operand.value not in self._sizes:
                    continue
                name, heir = self._root(operand.value), self._root(one.name)
                ends = self._lives[name].last == time and self._lives[heir].first == time
                fits = self._sizes[name] == self._sizes[heir] and self._space(self._lives[name]) is Space.BLOCK
                if ends and fits and name not in self._places and self._aligned(one, name):
                    yield name, heir

    def _allocate(self, operations: Sequence[Operation]) -> None:
        for time, one in enumerate(operations):
            root = self._root(one.name)
            dying = {self._root(name) for name in values_read(one) if name in self._sizes} | {root}
            dying = {name for name in dying if self._lives[name].last == time and name not in self._heirs}
            if root not in self._places:
                taken = self._settle(one, root, dying)
                dying.discard(taken)
            for place in (self._places[name] for name in sorted(dying)):
                if place.space in self._slots:
                    self._slots[place.space].free.append(place.index)

    def _settle(self, one: Operation, root: str, dying: Set[str]) -> str:
        """Gives a result its place, and the heirs of that. Returns the name of the result whose place it is, if any."""
        line = [root]
        while line[-1] in self._heirs:
            line.append(self._heirs[line[-1]])
        place, taken = self._places.get(line[-1]), ""
        if place is None:
            space = self._space(self._lives[line[-1]])
            taken = self._in_place(one, root, space, dying)
            place = self._places[taken] if taken else Place(space, self._slots[space].take(self._sizes[root]))
        self._places.update(dict.fromkeys(line, place))
        return taken

    def _in_place(self, one: Operation, root: str, space: Space, dying: Set[str]) -> str:
        """The operand, not needed any more, whose memory the result can take: element by element, at the same columns."""
        for operand in (operand for operand in self._overwritten(one) if isinstance(operand, Operand)):
            name = self._root(operand.value) if operand.value in self._sizes else ""
            if name not in dying or name == root or self._sizes[name] != self._sizes[root]:
                continue
            own = self._places[name].space
            fits = own is space or (own is Space.CHUNK and space is Space.BLOCK)
            if fits and self._aligned(one, name):
                return name
        return ""

    def _overwritten(self, one: Operation) -> tuple[Argument, ...]:
        if one.kind == "matmul":
            return one.operands[1:]
        return one.operands if one.kind in POINTWISE else ()

    def _aligned(self, one: Operation, root: str) -> bool:
        """Whether all columns that an operation reads of a result are those that it would write in its place."""
        start = self._arranged.root(one.name)[1]
        for position, operand in enumerate(one.operands):
            if not isinstance(operand, Operand) or operand.value not in self._sizes:
                continue
            own, first = self._arranged.root(operand.value)
            multiplied = one.kind == "matmul" and position == 0
            if own == root and (multiplied or operand.splat or first + operand.start != start):
                return False
        return True
