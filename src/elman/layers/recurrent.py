"""A cell over time, on the fastest backend that is right for it."""

from typing import Literal

import torch
from torch import Tensor

from elman.cells.cell import Cell
from elman.cells.padding import check_lengths, zero_padding
from elman.cells.scan import reverse_valid
from elman.errors import ConfigError, UsageError
from elman.layers.backends import Choice, choose, decide, run
from elman.layers.checkpoint import run_checkpointed
from elman.layers.layer import SequenceLayer
from elman.state import State


class Recurrent(SequenceLayer):
    """Any cell over a batch of sequences.

    Args:
        cell: the recurrence.
        direction: "forward", or "backward": from each row's last real step to its first. The output at t then uses the
            inputs from t on, and the final state is the one after the first time step.
        checkpoint: in training, keep the states of about sqrt(time) steps and compute the others again in the backward
            pass: far less memory, for a second forward pass. See `elman.layers.checkpoint`.
    Shapes: x (batch, time, input_size); y (batch, time, output_size); state as the cell's. Padding is never read.
    Raises: ConfigError if the direction is another; UsageError at a call if shapes or lengths do not fit.

    >>> import torch, elman.cells
    >>> layer = Recurrent(elman.cells.GRU(3, 8))
    >>> y, state = layer(torch.zeros(2, 5, 3), lengths=torch.tensor([5, 2]))
    >>> y.shape, state.shape
    (torch.Size([2, 5, 8]), torch.Size([2, 8]))
    """

    def __init__(
        self, cell: Cell, *, direction: Literal["forward", "backward"] = "forward", checkpoint: bool = False
    ) -> None:
        super().__init__()
        if direction not in ("forward", "backward"):
            raise ConfigError(f"expected `direction` 'forward' or 'backward', got {direction!r}")
        self.cell = cell
        self.direction = direction
        self.checkpoint = checkpoint
        self.input_size = cell.input_size
        self.output_size = cell.output_size
        self.causal = direction == "forward"

    def initial_state(self, batch_size: int) -> State:
        state: State = self.cell.initial_state(batch_size)
        return state

    def choice(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> Choice:
        """The backend that would run this input, and why."""
        return choose(self.cell, x, state, lengths)

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        if x.ndim != 3 or x.shape[-1] != self.input_size:
            raise UsageError(
                f"expected inputs (batch, time, {self.input_size}), got {tuple(x.shape)}: "
                f"the layer was built for {self.input_size} features"
            )
        lengths = check_lengths(lengths, x)
        x = zero_padding(x, lengths)
        if state is None:
            state = self.initial_state(len(x))
        if self.direction == "backward":
            x = reverse_valid(x, lengths)
            if "gap" in self.cell.inputs:
                x = torch.cat([x[..., :-1], _gaps_to_the_next(x[..., -1:])], -1)
        self.cell.prepare()
        choice, compiled = decide(self.cell, x, state, lengths)
        if self.checkpoint and torch.is_grad_enabled():
            y, state = run_checkpointed(choice.name, self.cell, x, state, lengths)
        else:
            y, state = run(choice.name, self.cell, x, state, lengths, compiled)
        if self.direction == "backward":
            y = reverse_valid(y, lengths)
        return y, state


def _gaps_to_the_next(reversed_gaps: Tensor) -> Tensor:
    """Reversed, a step comes after the one that follows it in time: the gap between the two stands with that one.

    The step that now comes first has no such gap; it gets what it gets forward, were it the first: see `Completed`.
    """
    return torch.cat([torch.ones_like(reversed_gaps[:, :1]), reversed_gaps[:, :-1]], 1)
