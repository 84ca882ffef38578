"""From a cell to plans that the core runs, once for each kind of cell: what is alike shares its programs."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from elman.cells.cell import Cell
from elman.engine.differentiate import differentiate
from elman.engine.native import NativePlan
from elman.engine.plan import plan_backward, plan_forward
from elman.engine.program import Backward, Program
from elman.engine.simplify import simplify
from elman.engine.trace import RandomProjection, Traced, Untraceable, trace
from elman.state import State, leaves

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


_compiled: OrderedDict[Hashable, Compiled | Untraceable] = OrderedDict()


def compile_cell(cell: Cell, state: State) -> Compiled:
    """The cell's step, compiled, for a state like this one.

    Raises: Untraceable if the step cannot be a program, with the reason.
    """
    key = (_kind(cell), _shape(state))
    found = _compiled.get(key)
    if found is None:
        found = _compiled[key] = _try(cell, state)
        if len(_compiled) > KEPT:
            _compiled.popitem(last=False)
    _compiled.move_to_end(key)
    if isinstance(found, Untraceable):
        raise Untraceable(str(found))
    return found


def _try(cell: Cell, state: State) -> Compiled | Untraceable:
    try:
        try:
            traced, projects = trace(cell, state, project=True), True
        except RandomProjection:
            traced, projects = trace(cell, state, project=False), False
    except Untraceable as reason:
        return reason.with_traceback(None)
    return Compiled(traced, projects, simplify(traced.program))


_OWN_TO_TORCH = frozenset(nn.Module().__dict__) - {"training", "_parameters", "_buffers"}


def _kind(cell: Cell) -> Hashable:
    """What the cell's step may depend on: classes, options, shapes of tensors; not what the tensors hold."""
    seen: dict[int, str] = {}
    return tuple((path, type(module), tuple(_attributes(path, module, seen))) for path, module in cell.named_modules())


def _attributes(path: str, module: nn.Module, seen: dict[int, str]) -> Iterator[Hashable]:
    for name, value in module.__dict__.items():
        if name not in _OWN_TO_TORCH:
            yield name, _frozen(value, f"{path}.{name}", seen)


def _frozen(value: Any, path: str, seen: dict[int, str]) -> Hashable:
    if isinstance(value, Tensor):  # one that is there twice is another kind than two
        return seen.setdefault(id(value), path), tuple(value.shape), value.dtype, value.device
    if isinstance(value, Mapping):
        return tuple((name, _frozen(part, f"{path}.{name}", seen)) for name, part in value.items())
    if isinstance(value, list | tuple):
        return type(value), tuple(_frozen(part, f"{path}.{i}", seen) for i, part in enumerate(value))
    return value if isinstance(value, Hashable) else id(value)


def _shape(state: State) -> Hashable:
    return _structure(state), tuple((tuple(leaf.shape[1:]), leaf.dtype) for leaf in leaves(state))


def _structure(state: Any) -> Hashable:
    return (type(state), tuple(map(_structure, state))) if isinstance(state, tuple) else None
