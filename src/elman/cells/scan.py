"""A cell over time: the plain loop that defines every recurrence, and the reversal of padded sequences."""

from typing import Protocol, TypeVar

import torch
from torch import Tensor

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
