"""From a cell to plans that the core runs, once for each kind of cell: what is alike shares its programs."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from threading import Lock

import torch

from elman.cells.cell import Cell
from elman.engine.differentiate import differentiate
from elman.engine.kind import kind_of
from elman.engine.native import NativePlan
from elman.engine.plan import plan_backward, plan_forward
from elman.engine.program import Backward, Program
from elman.engine.simplify import simplify
from elman.engine.trace import RandomProjection, Traced, Untraceable, trace
from elman.state import State

KEPT = 256  # kinds of cells whose programs are kept; a model has a handful


@dataclass(frozen=True)
class Wanted:
    """The gradients that a call needs: none of a frozen weight is computed."""

    inputs: frozenset[str]
    states: frozenset[str]
    weights: frozenset[str]


@dataclass(frozen=True)
class Plans:
    """The plans of a call, in the core. ``backward`` is None where no gradient is wanted."""

    forward: NativePlan
    backward: NativePlan | None


@dataclass
class Compiled:
    """A cell's step as programs and plans.

    Args:
        traced: the program of a step, and the cell's weights as it reads them.
        projects: whether the program begins with the raw input; else torch runs `project`, which draws random numbers.
        program: of a step, simplified.
    """

    traced: Traced
    projects: bool
    program: Program
    _plans: dict[tuple[Wanted | None, torch.dtype], Plans] = field(default_factory=dict)

    def backward(self, wanted: Wanted) -> Backward:
        """The program of the gradients."""
        return differentiate(self.program, wanted.inputs, wanted.states, wanted.weights)

    def plans(self, wanted: Wanted | None, dtype: torch.dtype) -> Plans:
        """The plans that give these gradients; None for no gradient, where nothing is kept."""
        key = wanted, dtype
        if key not in self._plans:
            self._plans[key] = self._plan(wanted, dtype)
        return self._plans[key]

    def _plan(self, wanted: Wanted | None, dtype: torch.dtype) -> Plans:
        if wanted is None:
            return Plans(NativePlan(plan_forward(self.program, {}), dtype), None)
        backward = self.backward(wanted)
        forward = plan_forward(self.program, backward.saved)
        return Plans(NativePlan(forward, dtype), NativePlan(plan_backward(backward, forward), dtype))


_compiled: OrderedDict[Hashable, Compiled | str] = OrderedDict()  # a program, or why there is none
_lock = Lock()


def compile_cell(cell: Cell, state: State) -> Compiled:
    """The cell's step, compiled, for a state like this one.

    Raises: Untraceable if the step cannot be a program, with the reason.
    """
    key = kind_of(cell, state)
    with _lock:
        found = _compiled.get(key)
        if found is None:
            found = _compiled[key] = _try(cell, state)
            if len(_compiled) > KEPT:
                _compiled.popitem(last=False)
        _compiled.move_to_end(key)
    if isinstance(found, str):
        raise Untraceable(found)
    return found


def _try(cell: Cell, state: State) -> Compiled | str:
    try:
        try:
            traced, projects = trace(cell, state, project=True), True
        except RandomProjection:
            traced, projects = trace(cell, state, project=False), False
    except Untraceable as reason:
        return str(reason)
    return Compiled(traced, projects, simplify(traced.program))
