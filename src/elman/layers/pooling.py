"""From a sequence to one vector."""

from typing import Literal

import torch
from torch import Tensor, nn

from elman.errors import ConfigError
from elman.layers.padding import check_lengths, real_steps, zero_padding

MODES = ("last", "mean", "max", "attention")


class Pooling(nn.Module):
    """The real steps of each row as one vector. A row of length 0 gives zeros.

    Args:
        mode: "last": the last real step. "mean", "max": over the real steps, feature by feature. "attention": the mean
            with learned weights, ``softmax_t(u . tanh(W y_t + b))`` over the real steps.
        input_size: features per time step, D.
    Shapes: y (batch, time, D), lengths (batch,) -> (batch, D).
    Source of "attention": Yang et al., "Hierarchical Attention Networks for Document Classification", 2016, eq. 5 to 7.
    Raises: ConfigError if the mode is another.

    >>> Pooling("mean", 1)(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2]))
    tensor([[2.]])
    """

    def __init__(self, mode: Literal["last", "mean", "max", "attention"], input_size: int) -> None:
        super().__init__()
        if mode not in MODES:
            raise ConfigError(f"expected `mode` among {', '.join(MODES)}; got {mode!r}")
        self.mode = mode
        self.input_size = input_size
        self.output_size = input_size
        if mode == "attention":
            self.score = nn.Sequential(
                nn.Linear(input_size, input_size), nn.Tanh(), nn.Linear(input_size, 1, bias=False)
            )

    def forward(self, y: Tensor, lengths: Tensor | None = None) -> Tensor:
        batch, time, size = y.shape
        lengths = check_lengths(lengths, y)
        if time == 0:
            return y.new_zeros(batch, size)
        y = zero_padding(y, lengths)
        if lengths is None:
            lengths = torch.full((batch,), time, device=y.device)
        if self.mode == "last":  # of a row without steps this is padding, and so zero
            return y[torch.arange(batch, device=y.device), (lengths - 1).clamp(min=0)]
        if self.mode == "mean":
            return y.sum(1) / lengths.clamp(min=1)[:, None]
        mask = real_steps(lengths, time)[..., None]
        if self.mode == "max":
            return y.masked_fill(~mask, -torch.inf).amax(1).where((lengths > 0)[:, None], 0)
        # The lowest number, not -inf: a row without steps would be 0/0.
        scores: Tensor = self.score(y)
        weights = scores.masked_fill(~mask, torch.finfo(y.dtype).min).softmax(1)
        return (weights * y).sum(1)
