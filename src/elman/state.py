"""A state is a value: a tensor or a nested tuple of them, batch first, of fixed size.

The leaves are torch tensors in training and NumPy arrays in streams; these functions serve both, so nothing that
carries a state needs code of its own to detach, reset, pick rows or save. ``()`` means "no state".
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    State: TypeAlias = Tensor | tuple["State", ...]
else:
    State = Any

NumpyState: TypeAlias = "np.ndarray[Any, Any] | tuple[NumpyState, ...]"
S = TypeVar("S")


def map_leaves(function: Callable[..., Any], state: S, *others: S) -> S:
    """Apply ``function`` leaf by leaf; named tuples stay named tuples."""
    if not isinstance(state, tuple):
        result: S = function(state, *others)
        return result
    parts = [map_leaves(function, *leaves) for leaves in zip(state, *others, strict=True)]
    return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)


def leaves(state: Any) -> Iterator[Any]:
    """The leaves, depth first: the order in which a state is saved and exported."""
    if isinstance(state, tuple):
        for part in state:
            yield from leaves(part)
    else:
        yield state


def unflatten(like: S, values: Iterator[Any]) -> S:
    """The inverse of `leaves`: a state shaped as ``like`` from leaves in order."""
    return map_leaves(lambda _: next(values), like)


def detach(state: State) -> State:
    """Cut the graph, keep the values: what truncated BPTT does between two windows."""
    return map_leaves(lambda leaf: leaf.detach(), state)


def where(rows: Any, chosen: S, other: S) -> S:
    """Row by row: ``chosen`` where ``rows`` (batch,) is true, else ``other``. Resets some streams of a batch."""

    def pick(a: Any, b: Any) -> Any:
        mask = rows.reshape((-1,) + (1,) * (a.ndim - 1))
        return np.where(mask, a, b) if isinstance(a, np.ndarray) else a.where(mask, b)

    return map_leaves(pick, chosen, other)


def select(state: S, rows: Any) -> S:
    """The rows of a state: an index, a slice or an index array along the batch."""
    return map_leaves(lambda leaf: leaf[rows], state)
