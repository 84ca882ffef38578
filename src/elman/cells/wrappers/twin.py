"""A second face of a module: the same parameters, attributes of its own."""

from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def twin(module: M) -> M:
    """The module as it is now, sharing its parameters; what is set on either from now on does not reach the other.

    It lets a wrapper change what a cell's own `step` finds on ``self``, for one call, and leave the cell alone.
    """
    other = type(module).__new__(type(module))
    other.__dict__.update(module.__dict__)
    other.__dict__["_modules"] = {name: child and twin(child) for name, child in module._modules.items()}
    return other
