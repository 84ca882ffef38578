"""A cell's step as torch records it: a graph of its operations on tensors without values."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._decomp import core_aten_decompositions
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.func import functionalize
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

from elman.cells.cell import Cell
from elman.cells.wrappers.twin import tensors_in, twin_with
from elman.engine.kind import HOOKS, contents
from elman.engine.lower import OWN
from elman.engine.views import Untraceable
from elman.state import State, leaves, unflatten

DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Place:
    """Where a tensor is: an attribute of a module, and then keys of dictionaries, lists and tuples."""

    module: str
    attribute: str
    keys: tuple[Any, ...] = ()

    @property
    def name(self) -> str:
        return ".".join(map(str, (*filter(None, [self.module]), self.attribute, *self.keys)))

    def find(self, cell: nn.Module) -> Tensor:
        value = getattr(cell.get_submodule(self.module), self.attribute)
        for key in self.keys:
            value = value[key]
        found: Tensor = value
        return found


@dataclass(frozen=True)
class Record:
    """What a step did.

    Args:
        graph: of a function of (tensors at the places, input, leaves of the state) -> (output, leaves of the next state).
        places: of the cell's tensors.
        dtype: of all numbers.
        rows: the size of the batch.
    """

    graph: GraphModule
    places: tuple[Place, ...]
    dtype: torch.dtype
    rows: int


def record(cell: Cell, state: State, *, project: bool, rows: int) -> Record:
    """Runs the step once, in a batch of that size, without numbers.

    Raises: Untraceable if it cannot be run so, or computes gradients other than those of what it records.
    """
    kind = _check_cell(cell, state)
    tensors = dict(_named_tensors(cell))
    _check_tensors([*tensors.values(), *leaves(state)])
    with (
        temporarily_clear_interpreter_stack(),
        FakeTensorMode(),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
    ):
        fakes = [
            torch.empty_strided(one.shape, one.stride(), dtype=one.dtype, device="cpu") for one in tensors.values()
        ]
        shapes = [(rows, cell.input_size), *((rows, *leaf.shape[1:]) for leaf in leaves(state))]
        given = [torch.empty(shape, dtype=kind, device="cpu") for shape in shapes]
        function = _Function(cell, state, [id(one) for one in tensors.values()], project)
        if not project:
            given[0] = _attempt(lambda: function.projected(*fakes, given[0]))
        _watch(function, fakes, given)
        graph = _attempt(lambda: _record(function, [*fakes, *given]))
    return Record(graph, tuple(tensors), kind, rows)


def _check_tensors(tensors: Sequence[Tensor]) -> None:
    for one in tensors:
        if one.layout != torch.strided:
            raise Untraceable("a sparse tensor")
        if one.device.type != "cpu":
            raise Untraceable(f"a tensor on {str(one.device)!r}")
        if type(one) not in (Tensor, nn.Parameter):
            raise Untraceable(f"a tensor of a class of its own, {type(one).__name__}")


def _with_gradient(fake: Tensor) -> Tensor:
    """The same in a graph: a step may ask whether it is in one, and hook itself to it."""
    return fake.detach().requires_grad_().clone() if fake.is_floating_point() else fake


def _check_cell(cell: Cell, state: State) -> torch.dtype:
    """The type of the cell's numbers."""
    for path, module in cell.named_modules():
        if path and any(getattr(module, name) for name in HOOKS):
            raise Untraceable(f"a hook on {path!r}")
    for leaf in leaves(state):
        if not leaf.is_floating_point():
            raise Untraceable(f"a state of {leaf.dtype} numbers".replace("torch.", ""))
    kinds = {parameter.dtype for parameter in cell.parameters()} or {leaf.dtype for leaf in leaves(state)}
    if len(kinds) != 1 or not kinds <= set(DTYPES):
        raise Untraceable("weights other than all float32 or all float64")
    return kinds.pop()


def _attempt(run: Any) -> Any:
    """What a function of the cell returns; what it raises as a reason."""
    try:
        return run()
    except Untraceable:
        raise
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise Untraceable("control flow or shapes that depend on data") from error
    except Exception as error:
        message = str(error).split("\n")[0]
        if "convert all Tensors to FakeTensors" in message:
            message = "a tensor that is no attribute of the cell's modules"
        raise Untraceable(message or type(error).__name__) from error


def _record(function: Any, arguments: list[Tensor]) -> GraphModule:
    recorded = make_fx(functionalize(function, remove="mutations"), decomposition_table=_decompositions())(*arguments)
    assert isinstance(recorded, GraphModule)
    return recorded


@cache
def _decompositions() -> Mapping[Any, Any]:
    table: dict[Any, Any] = core_aten_decompositions()
    whole = {
        *OWN,
        "eye",
        "triu",
        "tril",
    }  # decomposed, these count in the narrowest type, in which torch cannot calculate
    return {operation: rule for operation, rule in table.items() if operation_name(operation) not in whole}


def operation_name(operation: Any) -> str:
    """The name of torch's operation, without the overload."""
    name: str = operation._schema.name
    return name.split("::")[-1]


class _Function:
    """A cell's step as a function of (its tensors, input, leaves of the state) -> (output, leaves of the next state).

    Args:
        ids: of the cell's tensors: in their place it finds those that it is given.
        project: whether `project` is part of the step.
    """

    def __init__(self, cell: Cell, state: State, ids: list[int], project: bool) -> None:
        self.cell = cell
        self.state = state
        self.ids = ids
        self.project = project

    def projected(self, *tensors: Tensor) -> Tensor:
        return self._with(tensors).project(tensors[-1])

    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        cell = self._with(tensors)
        x_t, *before = tensors[len(self.ids) :]
        held = _held(cell)
        y, after = cell.step(cell.project(x_t) if self.project else x_t, unflatten(self.state, iter(before)))
        if held != _held(cell):
            raise Untraceable("a step that changes what its cell holds")
        if y.ndim != 2 or [leaf.shape for leaf in leaves(after)] != [leaf.shape for leaf in before]:
            raise Untraceable("an output that is no (batch, features), or a state whose shape changes")
        return [y, *leaves(after)]

    def _with(self, tensors: Sequence[Tensor]) -> Cell:
        return twin_with(self.cell, dict(zip(self.ids, tensors, strict=False)))


def _held(cell: Cell) -> Any:
    """What a step must leave as it is, in the cell: which tensors, and all else."""
    return contents(cell), [(place, id(tensor)) for place, tensor in _named_tensors(cell)]


SMALL = (11, 7)
"""Sizes of a batch with which a step is tried: one that goes through the batch row by row would not end with a large one."""


def _watch(function: "_Function", fakes: Sequence[Tensor], given: Sequence[Tensor]) -> None:
    """Raises Untraceable if the step does what no record would show: see `_Watch`; or other things in another batch."""
    counts = set()
    for rows in (*SMALL, len(given[0])):
        batch = [one.new_empty(rows, *one.shape[1:]) for one in given]
        watched = [_with_gradient(one) for one in (*fakes, *batch)]
        with _Watch() as watch:
            _attempt(lambda watched=watched: function(*watched))
        counts.add(watch.count)
        if len(counts) > 1:
            raise Untraceable("a step that depends on the size of the batch")


class _Watch(TorchFunctionMode):
    """Counts the calls of torch.

    Raises Untraceable where a gradient is other than that of what is computed: no record of that would show it.

    Without gradients is computed what is under `no_grad`, and what autograd functions of a cell's own do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        if func in _CUTTING:
            raise Untraceable("a gradient that is cut or changed (`detach`, `data`, a hook)")
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and not torch.is_grad_enabled():
            raise Untraceable("a computation without gradients (`no_grad`, or an autograd function of its own)")
        return result


_CUTTING = (
    torch.detach,
    torch.detach_,
    Tensor.detach,
    Tensor.detach_,
    Tensor.data.__get__,  # type: ignore[attr-defined]
    Tensor.register_hook,
)


def _named_tensors(cell: nn.Module) -> Iterator[tuple[Place, Tensor]]:
    """Every tensor in the attributes of the cell's modules, once."""
    seen: set[int] = set()
    for path, module in cell.named_modules():
        for (name, *keys), tensor in tensors_in(module):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield Place(path, name, tuple(keys)), tensor
