"""Gradient checkpointing over time: memory of the order of sqrt(T), for the price of a second forward pass."""

from contextvars import copy_context
from math import isqrt

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from elman.cells.cell import Cell
from elman.cells.wrappers.twin import twin
from elman.layers.backends import run
from elman.state import State


def run_checkpointed(choice: str, cell: Cell, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
    """As `elman.layers.backends.run`, but keeping only the states between segments of about sqrt(T) steps.

    What the backward pass needs within a segment is computed again when it gets there, with the same masks of dropout.

    Source: Chen, Xu, Zhang, Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016, arXiv:1604.06174; over time:
    Gruslys et al., "Memory-Efficient Backpropagation Through Time", 2016, arXiv:1606.03401.
    """
    # The second pass comes later: perhaps after another call has drawn other masks, in eval mode, or outside
    # `share_of_rows`. It must find the cell and the context of now.
    cell, context = twin(cell), copy_context()

    def segment(x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        return context.copy().run(run, choice, cell, x, state, lengths)

    outputs = []
    # split, not x[:, a:b]: the backward pass of an index fills a whole (batch, time, ...) tensor for every segment.
    for part in x.split(isqrt(max(x.shape[1] - 1, 0)) + 1, 1):  # type: ignore[no-untyped-call]
        steps = part.shape[1]
        real = None if lengths is None else lengths.clamp(0, steps)
        y, state = checkpoint(segment, part, state, real, use_reentrant=False)
        outputs.append(y)
        lengths = None if lengths is None else lengths - steps
    return torch.cat(outputs, 1), state
