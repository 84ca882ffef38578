"""A second face of a module: the same parameters, attributes of its own."""

from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any, TypeVar

from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def twin(module: M) -> M:
    """The module as it is now, sharing its parameters; what is set on either from now on does not reach the other.

    It lets a wrapper change what a cell's own `step` finds on ``self``, for one call, and leave the cell alone.
    """
    other = type(module).__new__(type(module))
    other.__dict__.update(module.__dict__)
    other.__dict__["_modules"] = {name: child and twin(child) for name, child in module._modules.items()}
    return other


def twin_with(module: M, tensors: Mapping[int, Tensor]) -> M:
    """A twin with other tensors, by the `id` of those in whose place they are; and with lists and dictionaries of its own."""
    other = twin(module)
    for part in other.modules():
        for name, value in part.__dict__.items():
            if name not in _OWN_TO_TORCH:
                part.__dict__[name] = _replaced(value, tensors)
    return other


def tensors_in(module: nn.Module) -> Iterator[tuple[tuple[Any, ...], Tensor]]:
    """The tensors in the attributes of one module: parameters, buffers, others, also in lists, tuples and dictionaries of them.

    Each with the attribute's name and the keys that lead from there to the tensor.
    """
    own = {name: value for name, value in module.__dict__.items() if name not in ("_parameters", "_buffers")}
    return _tensors({**module._parameters, **module._buffers, **own})


_OWN_TO_TORCH = frozenset(nn.Module().__dict__) - {"_parameters", "_buffers"}


def _tensors(value: Any) -> Iterator[tuple[tuple[Any, ...], Tensor]]:
    if isinstance(value, Tensor):
        yield (), value
    elif isinstance(value, dict | list | tuple):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            for keys, tensor in _tensors(part):
                yield (key, *keys), tensor


def _replaced(value: Any, tensors: Mapping[int, Tensor]) -> Any:
    if isinstance(value, Tensor):
        return tensors.get(id(value), value)
    if isinstance(value, dict):
        other = copy(value)
        other.update({key: _replaced(part, tensors) for key, part in value.items()})
        return other
    if isinstance(value, list | tuple):
        parts = [_replaced(part, tensors) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value
