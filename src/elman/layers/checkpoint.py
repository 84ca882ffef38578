"""Gradient checkpointing over time: memory of the order of sqrt(T), for the price of a second forward pass."""

from collections.abc import Callable, Sequence
from contextvars import copy_context
from math import isqrt
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.checkpoint import get_device_states, set_device_states

from elman.cells.cell import Cell
from elman.cells.wrappers.twin import tensors_in, twin, twin_with
from elman.errors import UsageError
from elman.layers.backends import run
from elman.state import State, leaves, unflatten

Function: TypeAlias = Callable[..., tuple[Tensor, ...]]
"""Of tensors. Its results depend on them and on nothing else that has a gradient."""


def run_checkpointed(choice: str, cell: Cell, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
    """As `elman.layers.backends.run`, but keeping only the states between segments of about sqrt(T) steps.

    What the backward pass needs within a segment is computed again when it gets there, with the same masks of dropout.
    `torch.utils.checkpoint` does that too, but keeps a graph without values of all steps: some 16 KiB a step, whatever the
    sizes. Here the first pass makes none. The cell's weights, and what its `prepare` has made of them, are found in the
    attributes of its modules: tensors, or dictionaries, lists and tuples of them.

    Raises: UsageError in the backward pass if a step reads a weight that is kept elsewhere.

    Source: Chen, Xu, Zhang, Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016, arXiv:1604.06174; over time:
    Gruslys et al., "Memory-Efficient Backpropagation Through Time", 2016, arXiv:1606.03401.
    """
    # The second pass comes later: perhaps after another call has drawn other masks, in eval mode, or outside
    # `share_of_rows`. It must find the cell and the context of now.
    cell, context = twin(cell), copy_context()
    weights = [tensor for module in cell.modules() for _, tensor in tensors_in(module) if tensor.requires_grad]
    carried = list(leaves(state))
    count = len(carried)

    def segment(lengths: Tensor | None) -> Function:
        def steps(x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
            given = twin_with(cell, dict(zip(map(id, weights), tensors[count:], strict=True)))
            before = unflatten(state, iter(tensors[:count]))
            y, after = context.copy().run(run, choice, given, x, before, lengths)
            return y, *leaves(after)

        return _same_conditions(steps, x.device.type)

    outputs = []
    # split, not x[:, a:b]: the backward pass of an index fills a whole (batch, time, ...) tensor for every segment.
    for part in x.split(isqrt(max(x.shape[1] - 1, 0)) + 1, 1):  # type: ignore[no-untyped-call]
        steps = part.shape[1]
        real = None if lengths is None else lengths.clamp(0, steps)
        y, *carried = _Recomputed.apply(segment(real), part, *carried, *weights)  # type: ignore[no-untyped-call]
        outputs.append(y)
        lengths = None if lengths is None else lengths - steps
    return torch.cat(outputs, 1), unflatten(state, iter(carried))


def _same_conditions(function: Function, device: str) -> Function:
    """The function, which at every later call draws the same random numbers, in the same precision, as at the first."""
    precision, mixed = torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
    generator = torch.get_rng_state()
    generators: list[tuple[list[int], list[Tensor]]] = []

    def call(*tensors: Tensor) -> tuple[Tensor, ...]:
        if not generators:
            generators.append(get_device_states(*tensors))
            return function(*tensors)
        devices, states = generators[0]
        with torch.random.fork_rng(devices, device_type=device), torch.autocast(device, precision, mixed):
            torch.set_rng_state(generator)
            set_device_states(devices, states, device_type=device)
            return function(*tensors)

    return call


class _Recomputed(torch.autograd.Function):
    """A function that makes no graph when it is called, and is called again for its gradients; these too are such a function."""

    @staticmethod
    def forward(ctx: Any, function: Function, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.function = function
        ctx.save_for_backward(*tensors)
        return function(*tensors)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[1:]
        found = iter(_Recomputed.apply(_gradients(ctx.function, needed), *ctx.saved_tensors, *slopes))  # type: ignore[no-untyped-call]
        return None, *(next(found) if need else None for need in needed)


def _gradients(function: Function, needed: tuple[bool, ...]) -> Function:
    """The gradients of a function's results, weighed by slopes, by those of its tensors: a function of (*tensors, *slopes)."""

    def gradients(*given: Tensor) -> tuple[Tensor, ...]:
        again = torch.is_grad_enabled()
        tensors, slopes = given[: len(needed)], given[len(needed) :]
        if not again:  # as leaves: one may have been made of another, which is not this function's business
            tensors = tuple(one.detach().requires_grad_(need) for one, need in zip(tensors, needed, strict=True))
        with torch.enable_grad():
            results = function(*tensors)
        pairs = [(y, slope) for y, slope in zip(results, slopes, strict=True) if y.requires_grad]
        if not again:
            _check_leaves([y for y, _ in pairs], tensors)
        return torch.autograd.grad(
            [y for y, _ in pairs],
            [one for one, need in zip(tensors, needed, strict=True) if need],
            [slope for _, slope in pairs],
            create_graph=again,
            materialize_grads=True,
        )

    return gradients


def _check_leaves(results: Sequence[Tensor], known: Sequence[Tensor]) -> None:
    """Raises UsageError if there is another tensor to which a gradient of the results goes: it would be lost."""
    ids = set(map(id, known))
    seen, waiting = set(), [result.grad_fn for result in results]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [before for before, _ in node.next_functions]
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in ids:
            raise UsageError(
                f"expected a cell whose weights are in attributes of its modules, found another {tuple(leaf.shape)} in its "
                "steps, which `checkpoint` does not see: register it, or keep what `prepare` makes as tensors or tuples of them"
            )
