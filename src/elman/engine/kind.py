"""What a cell's step may depend on, as a key: cells of one kind have one program."""

import types
from collections.abc import Hashable, Iterator, Mapping
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from elman.cells.cell import Cell
from elman.state import State, leaves

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

_OWN_TO_TORCH = frozenset(nn.Module().__dict__) - {"training", "_parameters", "_buffers"}
_PLAIN = (type(None), bool, int, str, bytes, slice)
_THEMSELVES = (type, types.BuiltinFunctionType, types.ModuleType, torch.dtype, torch.device, Enum)
_WELL_KNOWN = frozenset(Cell.__mro__)


def kind_of(cell: Cell, state: State) -> Hashable:
    """Equal for cells and states whose steps are the same computation: classes, options, shapes of tensors, not their values.

    Seen are all attributes of modules and classes, with what objects, functions and arrays in them hold, and the plain numbers
    among the global variables that methods name.
    """
    shapes = tuple((type(leaf), tuple(leaf.shape[1:]), leaf.dtype, leaf.device) for leaf in leaves(state))
    defaults = torch.get_default_dtype(), torch.get_default_device()
    return defaults, contents(cell), _structure(state), shapes


def contents(cell: nn.Module) -> Hashable:
    """The part of `kind_of` that the cell has."""
    walk = _Walk({id(module): path for path, module in cell.named_modules()})
    return tuple((path, walk.module(module, path)) for path, module in cell.named_modules())


def _structure(state: Any) -> Hashable:
    return (type(state), tuple(map(_structure, state))) if isinstance(state, tuple) else None


class _Walk:
    """Through all that a cell holds.

    Args:
        seen: paths of what is told elsewhere, by `id`.
    """

    def __init__(self, seen: dict[int, str]) -> None:
        self._seen = seen
        self._kept: list[Any] = []  # what is made on the way lives as long as its `id` is known

    def module(self, module: nn.Module, path: str) -> Hashable:
        hooks = tuple(bool(getattr(module, name)) for name in HOOKS)
        own = (
            (name, self._value(value, f"{path}.{name}"))
            for name, value in module.__dict__.items()
            if name not in _OWN_TO_TORCH
        )
        return type(module), tuple(self._of_class(type(module))), hooks, tuple(own)

    def _of_class(self, kind: type) -> Iterator[Hashable]:
        """What a class and those above it define; those of torch and `Cell` do not change."""
        for base in kind.__mro__:
            if base in _WELL_KNOWN or base.__module__.startswith("torch."):
                continue
            for name, value in vars(base).items():
                if isinstance(value, types.FunctionType):
                    yield name, value, tuple(_plain_globals(value))
                elif not name.startswith("__") and not hasattr(type(value), "__get__"):
                    yield name, self._value(value, f"{base.__qualname__}.{name}")

    def _value(self, value: Any, path: str) -> Hashable:
        kind = type(value)
        if kind in _PLAIN:
            return kind, value
        if kind in (float, complex):  # 0.0 and -0.0 are equal; NaN is not equal to itself
            return kind, repr(value)
        if isinstance(value, _THEMSELVES):
            return value
        if kind is tuple:
            return kind, tuple(self._value(part, f"{path}.{index}") for index, part in enumerate(value))
        first = self._seen.setdefault(id(value), path)
        if first != path and not isinstance(value, Tensor):
            return first
        return kind, self._content(value, path, first)

    def _content(self, value: Any, path: str, first: str) -> Hashable:
        if isinstance(value, Tensor):  # one that is there twice is another kind than two
            return first, tuple(value.shape), value.stride(), value.dtype, value.device
        if isinstance(value, Mapping):
            return tuple((self._value(key, path), self._value(part, f"{path}.{key}")) for key, part in value.items())
        if isinstance(value, list | tuple):
            return tuple(self._value(part, f"{path}.{index}") for index, part in enumerate(value))
        if isinstance(value, set | frozenset):
            return frozenset(self._value(part, f"{path}.{part}") for part in value)
        if isinstance(value, np.ndarray | np.generic):
            return value.shape, value.dtype.str, value.tobytes()
        if isinstance(value, nn.Module):
            return self.module(value, path), tuple(
                (name, self._value(part, path)) for name, part in value._modules.items()
            )
        return self._function(value, path) if isinstance(value, types.FunctionType) else self._object(value, path)

    def _function(self, value: types.FunctionType, path: str) -> Hashable:
        closure = [_in_cell(cell) for cell in value.__closure__ or ()]
        bound = tuple(self._value(part, f"{path}.{index}") for index, part in enumerate(closure))
        defaults = self._value(value.__defaults__, path), tuple((value.__kwdefaults__ or {}).items())
        return value.__module__, value.__code__, bound, defaults, tuple(_plain_globals(value))

    def _object(self, value: Any, path: str) -> Hashable:
        """What it would be pickled as; where it cannot be, it is what it is."""
        try:
            made = value.__reduce_ex__(4)
        except Exception:
            return value if isinstance(value, Hashable) else repr(value)
        if isinstance(made, str):
            return made
        parts = [list(part) if index > 2 and part is not None else part for index, part in enumerate(made)]
        self._kept.append(parts)
        return tuple(self._value(part, f"{path}.{index}") for index, part in enumerate(parts))


def _plain_globals(function: types.FunctionType) -> Iterator[Hashable]:
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if type(value) in (bool, int, float, str):
            yield name, repr(value)


def _in_cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet assigned
        return None
