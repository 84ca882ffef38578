"""From a sequence to one vector, at every step from what was read so far."""

from typing import Literal

import torch
from torch import Tensor, nn

from elman.cells.padding import check_lengths, real_steps, zero_padding
from elman.errors import ConfigError
from elman.layers.dense import Dense
from elman.layers.layer import SequenceLayer
from elman.state import State

Mode = Literal["last", "mean", "max", "attention"]
MODES: tuple[Mode, ...] = ("last", "mean", "max", "attention")
LARGEST_SCORE = 15.0  # of attention: the weights then lie within e^30, and sums of them keep their digits in float32


class Pooling(SequenceLayer):
    """All steps up to each one as one vector; the sequence as a whole is what stands at its last real step.

    A running result is causal and has a state of fixed size, so that a stream has an answer at every step; `at_end` takes the
    whole sequence's.

    Args:
        mode: "last": the step itself. "mean", "max": over the steps so far, feature by feature. "attention": the mean with
            learned weights, ``softmax_i(s_i)``, ``s_i = c tanh(u . tanh(W y_i + b) / c)`` with c = 15.
        input_size: features per time step, D.
    Shapes: y (batch, time, D) -> (batch, time, D). State: () for "last", the maximum, or the sums and the weight so far.
    Source of "attention": Yang et al., "Hierarchical Attention Networks for Document Classification", 2016, eq. 5 to 7.
    Differs: scores are bounded, smoothly, so that running sums are as exact as those over the whole.
    Raises: ConfigError if the mode is another.

    >>> pooled, _ = Pooling("mean", 1)(torch.tensor([[[1.0], [3.0], [9.0]]]))
    >>> pooled[0, :, 0]
    tensor([1.0000, 2.0000, 4.3333])
    """

    causal = True
    _none: Tensor

    def __init__(self, mode: Mode, input_size: int) -> None:
        super().__init__()
        if mode not in MODES:
            raise ConfigError(f"expected `mode` among {', '.join(MODES)}; got {mode!r}")
        self.mode = mode
        self.input_size = input_size
        self.output_size = input_size
        self.register_buffer("_none", torch.zeros(input_size), persistent=False)  # follows the model's type and device
        if mode == "attention":
            self.score = nn.Sequential(Dense(input_size, input_size), nn.Tanh(), Dense(input_size, 1, bias=False))

    def initial_state(self, batch_size: int) -> State:
        if self.mode == "last":
            return ()
        nothing = self._none.expand(batch_size, -1)
        if self.mode == "max":
            return nothing - torch.inf
        return nothing.clone(), nothing[:, :1].clone()

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        lengths = check_lengths(lengths, x)
        x = zero_padding(x, lengths)
        if self.mode == "last" or x.shape[1] == 0:
            return x, self.initial_state(len(x)) if state is None else state
        before = self.initial_state(len(x)) if state is None else state
        real = None if lengths is None else real_steps(lengths, x.shape[1])[..., None]
        if isinstance(before, Tensor):
            highest = x if real is None else x.masked_fill(~real, -torch.inf)
            pooled = torch.maximum(highest.cummax(1).values, before[:, None])
            after: State = pooled[:, -1]
        else:
            weights = self._weights(x) if real is None else self._weights(x) * real
            total, weight = before
            assert isinstance(total, Tensor)
            assert isinstance(weight, Tensor)
            totals = total[:, None] + (weights * x).cumsum(1)
            sums = weight[:, None] + weights.cumsum(1)
            pooled = totals / sums.clamp(min=torch.finfo(x.dtype).tiny)
            after = totals[:, -1], sums[:, -1]
        return zero_padding(pooled, lengths), after

    def _weights(self, y: Tensor) -> Tensor:
        """(batch, time, 1), positive."""
        if self.mode == "mean":
            return torch.ones_like(y[..., :1])
        scores: Tensor = self.score(y)
        return (LARGEST_SCORE * torch.tanh(scores / LARGEST_SCORE)).exp()


def at_end(y: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The last real step of each row, (batch, time, D) -> (batch, D); zeros for a row of length 0."""
    batch, time, size = y.shape
    lengths = check_lengths(lengths, y)
    if time == 0:
        return y.new_zeros(batch, size)
    if lengths is None:
        return y[:, -1]
    return zero_padding(y, lengths)[torch.arange(batch, device=y.device), (lengths - 1).clamp(min=0)]
