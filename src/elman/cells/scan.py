"""A cell over time: the plain loop that defines every recurrence, the parallel scan of one that is linear in its state,
and the reversal of padded sequences."""

from collections.abc import Sequence
from functools import reduce
from math import isqrt
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from elman import core
from elman.cells.memory import empty
from elman.state import where

S = TypeVar("S")


class TimeStep(Protocol[S]):
    """What the loop needs of a cell; `elman.cells.Cell` has it."""

    output_size: int

    def project(self, x: Tensor) -> Tensor: ...

    def step(self, z_t: Tensor, state: S) -> tuple[Tensor, S]: ...


def loop(cell: TimeStep[S], x: Tensor, state: S, lengths: Tensor | None = None) -> tuple[Tensor, S]:
    """Step the cell through time. Every faster form must give this result: outputs, final state, every gradient.

    Args:
        cell: the recurrence.
        x: (batch, time, input_size); time may be 0.
        state: the state before the first step.
        lengths: (batch,) integers in 0..time, the real steps of each row; None means all of them.
    Returns: outputs (batch, time, output_size), zero from ``lengths[b]`` on, and the state after ``lengths[b]`` steps.
    """
    outputs = []
    # unbind, not x[:, t]: the backward pass of an index fills a whole (batch, time, ...) tensor for every step.
    for t, z_t in enumerate(cell.project(x).unbind(1)):
        y_t, next_state = cell.step(z_t, state)
        if lengths is not None:
            is_real = t < lengths
            y_t = y_t.where(is_real[:, None], 0)
            next_state = where(is_real, next_state, state)
        state = next_state
        outputs.append(y_t)
    if not outputs:
        return x.new_zeros(len(x), 0, cell.output_size), state
    return torch.stack(outputs, dim=1), state


def linear_scan(decay: Tensor, values: Tensor, initial: Tensor) -> Tensor:
    """A recurrence that is linear and diagonal in its state, for all time steps at once.

        h_t = a_t * h_{t-1} + b_t

    The compiled core (`elman.core`) goes through time once, at the pace of the memory, on `torch.get_num_threads()` threads.
    It keeps the state in double precision. Without it, on other devices, and for types that it does not know, about
    4 sqrt(time) operations of torch do the same: time is cut into blocks of about sqrt(time) steps. All blocks at once run
    from 0, which tells what each adds; the state before each block follows from that, block by block; from there all blocks
    run again. A state is then at the end of 2 sqrt(time) sums; decays above 1 may overflow where the loop would not: their
    product over a block is taken, whatever the state.

    Either way rounding is below that of the loop, and there is nothing but products of decays, which may be 0, negative or
    complex, and too small for their logarithm. Differentiable any number of times.

    Args:
        decay: a, of any shape that broadcasts to ``values``: one that is constant in time is read, not copied.
        values: b, (batch, time, ...), real or complex; time may be 0.
        initial: h_0, of any shape that broadcasts to (batch, ...).
    Returns: h_1 to h_T, (batch, time, ...).

    >>> linear_scan(torch.tensor([0.5]), torch.tensor([[[1.0], [2.0], [4.0]]]), torch.tensor([8.0])).flatten()
    tensor([5.0000, 4.5000, 6.2500])
    """
    if values.shape[1] == 0:
        return values
    dtype = reduce(torch.promote_types, (decay.dtype, values.dtype, initial.dtype))
    decay = decay.reshape((1,) * (values.ndim - decay.ndim) + decay.shape)
    initial = initial.expand(values[:, 0].shape)
    hidden: Tensor = _LinearScan.apply(decay.to(dtype), values.to(dtype), initial.to(dtype), False)  # type: ignore[no-untyped-call]
    return hidden


class _LinearScan(torch.autograd.Function):
    """`linear_scan`; or backward in time: h_t = a_t * h_{t+1} + b_t, where h_{T+1} is the initial state."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, values: Tensor, initial: Tensor, backward_in_time: bool) -> Tensor:
        ctx.in_core = _runs_in_core(decay, values, initial)
        if ctx.in_core:
            hidden = _core_scan(decay, values, initial, backward_in_time)
        else:
            hidden = values.new_empty(values.shape)
            _scan(decay.expand(-1, values.shape[1], *decay.shape[2:]), values, initial, hidden, backward_in_time)
        ctx.save_for_backward(decay, initial, hidden)
        ctx.backward_in_time = backward_in_time
        return hidden

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None]:
        # G_t, the gradient by h_t of all that follows, is the same scan the other way, so it can be differentiated again:
        # G_t = grad_t + conj(a_{t+1}) G_{t+1}. It is the gradient by b_t; conj(h_{t-1}) G_t that by a_t.
        decay, initial, hidden = ctx.saved_tensors
        backward_in_time: bool = ctx.backward_in_time
        if ctx.in_core and not torch.is_grad_enabled():  # enabled: the gradients will be differentiated in their turn
            return *_core_gradients(decay, initial, hidden, grad, backward_in_time, ctx.needs_input_grad[0]), None
        decay = decay.conj().resolve_conj()
        # The shift brings the first decay to the other end, where it multiplies a state of zeros.
        next_decay = decay if decay.shape[1] == 1 else decay.roll(1 if backward_in_time else -1, 1)
        total = _LinearScan.apply(next_decay, grad, torch.zeros_like(initial), not backward_in_time)  # type: ignore[no-untyped-call]
        first = -1 if backward_in_time else 0
        grad_initial = decay[:, first] * total[:, first]
        if not ctx.needs_input_grad[0]:
            return None, total, grad_initial, None
        before, kept = initial[:, None], hidden[:, 1:] if backward_in_time else hidden[:, :-1]
        previous = torch.cat([kept, before] if backward_in_time else [before, kept], 1)
        return (previous.conj() * total).sum_to_size(decay.shape), total, grad_initial, None


_CORE_TYPES = {
    torch.float32: (core.FLOAT32, 0),
    torch.float64: (core.FLOAT64, 0),
    torch.complex64: (core.FLOAT32, 1),
    torch.complex128: (core.FLOAT64, 1),
}  # its dtype, and whether numbers are complex


def _runs_in_core(*tensors: Tensor) -> bool:
    """Whether the core can read these tensors: that there are numbers in memory, and nobody records what torch does."""
    return (
        all(type(tensor) in (Tensor, torch.nn.Parameter) and tensor.device.type == "cpu" for tensor in tensors)
        and all(tensor.dtype in _CORE_TYPES and tensor.numel() > 0 for tensor in tensors)
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and core.available()
    )


def _core_scan(decay: Tensor, values: Tensor, initial: Tensor, backward_in_time: bool) -> Tensor:
    """What `_scan` fills. The decay may have one time step for all."""
    hidden = empty(values.shape, values.dtype)
    batch, time = values.shape[:2]
    rows = [_adjacent(_spread(decay, values)), _adjacent(values), _adjacent(initial[:, None]), _adjacent(hidden)]
    sizes = (batch, time, rows[1].shape[2])
    core.check(core.functions().elman_scan(*_problem(values, backward_in_time), *sizes, *map(_array, rows)))
    return hidden


def _core_gradients(
    decay: Tensor, initial: Tensor, hidden: Tensor, grad: Tensor, backward_in_time: bool, by_decay: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """The gradients by decay, if wanted, values and initial state, in one pass."""
    spread = _spread(decay, hidden)
    gradients = empty(spread.shape, spread.dtype) if by_decay else None
    total = empty(hidden.shape, hidden.dtype)
    grad_initial = empty(initial.shape, initial.dtype)
    read = [_adjacent(tensor) for tensor in (spread, hidden, initial[:, None], grad)]
    written = [None if gradients is None else _adjacent(gradients), _adjacent(total), _adjacent(grad_initial[:, None])]
    sizes = (*hidden.shape[:2], read[0].shape[2])
    arrays = map(_array, read + written)
    core.check(core.functions().elman_scan_backward(*_problem(hidden, backward_in_time), *sizes, *arrays))
    return None if gradients is None else gradients.sum_to_size(decay.shape), total, grad_initial


def _problem(tensor: Tensor, backward_in_time: bool) -> tuple[int, int, int, int]:
    return *_CORE_TYPES[tensor.dtype], int(backward_in_time), torch.get_num_threads()


def _spread(decay: Tensor, values: Tensor) -> Tensor:
    """With all axes behind time; what is constant in the batch or in time stays one row, or one step."""
    return decay.expand(-1, -1, *values.shape[2:])


def _adjacent(tensor: Tensor) -> Tensor:
    """(batch, time, channels), with channels that lie side by side; a copy where they do not."""
    flat = tensor.resolve_conj().resolve_neg().reshape(*tensor.shape[:2], -1)
    return flat if flat.stride(-1) == 1 or flat.shape[-1] == 1 else flat.contiguous()


def _array(tensor: Tensor | None) -> core.Array:
    """How the core sees (batch, time, channels), where 1 in batch or time stands for all."""
    if tensor is None:
        return core.Array()
    row_stride, step_stride = (0 if tensor.shape[axis] == 1 else tensor.stride(axis) for axis in (0, 1))
    return core.Array(tensor.data_ptr(), row_stride, step_stride)


def _scan(decay: Tensor, values: Tensor, initial: Tensor, hidden: Tensor, backward_in_time: bool) -> None:
    """Fill ``hidden`` (batch, time, ...), which has the shape of ``values``; of the decay's axes only time has to."""
    time = values.shape[1]
    length = isqrt(time)
    rest = time % length  # the last steps in the direction of the scan, fewer than a block has
    blocks, after = slice(time - rest), slice(time - rest, None)
    if backward_in_time:
        blocks, after = slice(rest, None), slice(rest)

    def one_by_one(tensor: Tensor, dim: int) -> tuple[Tensor, ...]:
        return tensor.unbind(dim)[:: -1 if backward_in_time else 1]

    # (batch, blocks, length, ...) as a list over the steps within a block
    a, b, h = (one_by_one(torch.unflatten(t[:, blocks], 1, (-1, length)), 2) for t in (decay, values, hidden))
    scratch = torch.zeros_like(b[0])
    added = _run(a, b, scratch, [scratch] * length)
    starts = torch.empty_like(added)
    for kept, new, start in zip(*(one_by_one(t, 1) for t in (_product(a), added, starts)), strict=True):
        start.copy_(initial)
        initial = kept * initial + new
    _run(a, b, starts, h)
    a, b, h = (one_by_one(t[:, after], 1) for t in (decay, values, hidden))
    _run(a, b, initial.to(hidden.dtype), h)


def _product(decays: Sequence[Tensor]) -> Tensor:
    """In double precision: one error in the product of a constant decay would return in every block, and add up."""
    product = decays[0].to(torch.promote_types(decays[0].dtype, torch.float64), copy=True)
    for decay in decays[1:]:
        product.mul_(decay)
    return product


def _run(decays: Sequence[Tensor], values: Sequence[Tensor], state: Tensor, hidden: Sequence[Tensor]) -> Tensor:
    """Step by step from a state, each new one into its place in ``hidden``; the last one."""
    for decay, value, place in zip(decays, values, hidden, strict=True):
        state = torch.addcmul(value, decay, state, out=place)
    return state


def final(hidden: Tensor, initial: Tensor, lengths: Tensor | None) -> Tensor:
    """The state after each row's last real step, from that after every step.

    Args:
        hidden: (batch, time, ...); time may be 0.
        initial: (batch, ...), what a row of length 0 keeps.
        lengths: (batch,) integers in 0..time; None means that all steps are real.
    """
    if hidden.shape[1] == 0:
        return initial
    if lengths is None:
        return hidden[:, -1].clone()  # a view would keep all steps in memory for as long as the state is carried
    rows = torch.arange(len(hidden), device=hidden.device)
    return where(lengths > 0, hidden[rows, (lengths - 1).clamp(min=0)], initial)


def reverse_valid(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Reverse the real part of each row in time; the padding stays where it is, at the end. Its own inverse.

    Args:
        x: (batch, time, ...).
        lengths: (batch,) integers in 0..time; None means that all steps are real.

    >>> reverse_valid(torch.tensor([[1, 2, 3, 0], [4, 5, 6, 7]]), torch.tensor([3, 4]))
    tensor([[3, 2, 1, 0],
            [7, 6, 5, 4]])
    """
    if lengths is None:
        return x.flip(1)
    t = torch.arange(x.shape[1], device=x.device)
    mirrored = lengths[:, None] - 1 - t
    source = mirrored.where(mirrored >= 0, t)
    return x.gather(1, source.reshape(source.shape + (1,) * (x.ndim - 2)).expand(x.shape))
