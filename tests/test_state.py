"""States as values: the same functions for torch and NumPy leaves, whatever the nesting."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from elman.state import detach, leaves, map_leaves, select, unflatten, where


class Pair(NamedTuple):
    hidden: Any
    cell: Any


def state(start: float = 0.0, rows: int = 3) -> Any:
    """Two layers: a named pair and a plain leaf with more axes, the batch first; then one without a state."""
    values = torch.arange(start, start + 4 * rows).reshape(rows, 4)
    return Pair(values[:, :1], values[:, 1:2]), values[:, 2:].reshape(rows, 2, 1), ()


def as_numpy(nested: Any) -> Any:
    return map_leaves(lambda leaf: leaf.numpy(), nested)


def test_every_leaf_is_mapped_and_named_tuples_stay() -> None:
    mapped = map_leaves(lambda a, b: a + 10 * b, state(), state(100.0))
    assert isinstance(mapped[0], Pair)
    assert mapped[0].cell.tolist() == [[1011.0], [1055.0], [1099.0]]
    assert mapped[1].shape == (3, 2, 1)
    assert mapped[2] == ()


def test_states_of_different_form_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        map_leaves(torch.add, (torch.zeros(1), torch.zeros(1)), (torch.zeros(1),))


def test_leaves_are_depth_first_and_unflatten_is_the_inverse() -> None:
    before = state()
    flat = list(leaves(before))
    assert [leaf.flatten()[0].item() for leaf in flat] == [0.0, 1.0, 2.0]
    after = unflatten(before, iter(flat))
    assert isinstance(after[0], Pair)
    assert all(a is b for a, b in zip(leaves(after), flat, strict=True))
    assert list(leaves(())) == []


def test_detach_keeps_the_values_and_cuts_the_graph() -> None:
    weight = torch.ones((), requires_grad=True)
    attached = map_leaves(lambda leaf: leaf * weight, state())
    cut = detach(attached)
    assert all(leaf.requires_grad for leaf in leaves(attached))
    assert not any(leaf.requires_grad for leaf in leaves(cut))
    assert all(torch.equal(a, b) for a, b in zip(leaves(cut), leaves(state()), strict=True))


def test_detach_leaves_integers_as_they_are() -> None:
    position = torch.tensor([3, 4])
    assert [leaf.tolist() for leaf in leaves(detach((position,)))] == [[3, 4]]


@pytest.mark.parametrize("library", ["torch", "numpy"])
def test_where_and_select_go_by_rows(library: str) -> None:
    first, second = state(), state(100.0)
    rows: Any = torch.tensor([True, False, True])
    if library == "numpy":
        first, second, rows = as_numpy(first), as_numpy(second), rows.numpy()
    chosen = where(rows, first, second)
    for leaf, a, b in zip(leaves(chosen), leaves(first), leaves(second), strict=True):
        assert type(leaf) is type(a)
        assert [row.tolist() for row in leaf] == [a[0].tolist(), b[1].tolist(), a[2].tolist()]
    for picked in (select(first, [2, 0]), select(first, np.array([2, 0]))):
        for leaf, a in zip(leaves(picked), leaves(first), strict=True):
            assert [row.tolist() for row in leaf] == [a[2].tolist(), a[0].tolist()]


def test_select_by_an_index_array_copies() -> None:
    """A stream changes the rows it took, and puts them back only when the step went well."""
    before = as_numpy(state())
    taken = select(before, np.array([0, 1]))
    next(leaves(taken))[:] = -1.0
    assert next(leaves(before)).min() == 0.0
