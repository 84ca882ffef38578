"""A cell's step as torch records it: a graph of its operations on tensors without values."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._decomp import core_aten_decompositions
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
from elman.cells.wrappers.twin import twin
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
    if any(one.layout != torch.strided for one in tensors.values()):
        raise Untraceable("a sparse tensor")
    with FakeTensorMode(), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        fakes = [torch.empty_strided(one.shape, one.stride(), dtype=one.dtype) for one in tensors.values()]
        shapes = [(rows, cell.input_size), *((rows, *leaf.shape[1:]) for leaf in leaves(state))]
        given = [torch.empty(shape, dtype=kind) for shape in shapes]
        function = _Function(cell, state, [id(one) for one in tensors.values()], project)
        if not project:
            given[0] = _attempt(lambda: function.projected(*fakes, given[0]))
        with _Watch():
            _attempt(lambda: function(*fakes, *given))
        graph = _attempt(lambda: _record(function, [*fakes, *given]))
    return Record(graph, tuple(tensors), kind, rows)


def _check_cell(cell: Cell, state: State) -> torch.dtype:
    """The type of the cell's numbers."""
    for path, module in cell.named_modules():
        if path and any(getattr(module, name) for name in _HOOKS):
            raise Untraceable(f"a hook on {path!r}")
    for leaf in leaves(state):
        if not leaf.is_floating_point():
            raise Untraceable(f"a state of {leaf.dtype} numbers".replace("torch.", ""))
    kinds = {parameter.dtype for parameter in cell.parameters()} or {leaf.dtype for leaf in leaves(state)}
    if len(kinds) != 1 or not kinds <= set(DTYPES):
        raise Untraceable("weights other than all float32 or all float64")
    return kinds.pop()


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


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
    return {operation: rule for operation, rule in table.items() if operation_name(operation) not in OWN}


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
        y, after = cell.step(cell.project(x_t) if self.project else x_t, unflatten(self.state, iter(before)))
        if y.ndim != 2 or [leaf.shape for leaf in leaves(after)] != [leaf.shape for leaf in before]:
            raise Untraceable("an output that is no (batch, features), or a state whose shape changes")
        return [y, *leaves(after)]

    def _with(self, tensors: Sequence[Tensor]) -> Cell:
        cell = twin(self.cell)
        replacing = dict(zip(self.ids, tensors, strict=False))
        for module in cell.modules():
            module.__dict__.update({name: _replaced(value, replacing) for name, value in module.__dict__.items()})
        return cell


class _Watch(TorchFunctionMode):
    """Raises Untraceable where a gradient is other than that of what is computed: no record of that would show it.

    Without gradients is computed what is under `no_grad`, and what autograd functions of a cell's own do.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
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
        own = {name: value for name, value in module.__dict__.items() if name not in ("_parameters", "_buffers")}
        for name, value in {**module._parameters, **module._buffers, **own}.items():
            for keys, tensor in _tensors(value):
                if id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield Place(path, name, keys), tensor


def _tensors(value: Any) -> Iterator[tuple[tuple[Any, ...], Tensor]]:
    if isinstance(value, Tensor):
        yield (), value
    elif isinstance(value, dict | list | tuple):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            for keys, tensor in _tensors(part):
                yield (key, *keys), tensor


def _replaced(value: Any, tensors: Mapping[int, Tensor]) -> Any:
    """The same with other tensors, by the `id` of those in their place."""
    if isinstance(value, Tensor):
        return tensors.get(id(value), value)
    if not any(id(tensor) in tensors for _, tensor in _tensors(value)):
        return value
    if isinstance(value, dict):
        return {key: _replaced(part, tensors) for key, part in value.items()}
    parts = [_replaced(part, tensors) for part in value]
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
