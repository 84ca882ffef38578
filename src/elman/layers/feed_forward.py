"""The block without memory that stands between linear recurrences."""

import torch.nn.functional as F
from torch import Tensor, nn

from elman.cells.padding import check_lengths, zero_padding
from elman.errors import ConfigError
from elman.layers.dense import Dense
from elman.layers.dropout import Dropout
from elman.layers.layer import SequenceLayer
from elman.state import State


class FeedForward(SequenceLayer):
    """Mixes the features of each time step by itself, through a wider hidden layer.

        y = V (gelu(W x + b) * (U x + c)) + d              gated
        y = V gelu(W x + b) + d                            not gated

    A recurrence that is linear in its state cannot compute a nonlinear function of several steps; a stack of such
    recurrences with this block after each can: ``Stack([..., Recurrent(cell), FeedForward(size), ...],
    connections="residual", layer_norm="before")``.

    Source: not gated: Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762, section 3.3, with GELU for its relu;
    gated: Shazeer, "GLU Variants Improve Transformer", 2020, arXiv:2002.05202, eq. 6 (GEGLU).
    Differs: biases, and dropout on the hidden layer.
    Parameters: with F = factor * D, gated 3 D F + 2 F + D; not gated 2 D F + F + D.

    Args:
        size: features, D >= 1.
        factor: of the hidden layer's width, F = factor * D, >= 1.
        gated: as above.
        dropout: probability, below 1, of zeroing a value of the hidden layer; in training only.
    Shapes: x (batch, time, D); y as x; state (). Causal.
    Raises: ConfigError if an option is out of range.

    >>> FeedForward(8, factor=4).output_size
    8
    """

    causal = True

    def __init__(self, size: int, *, factor: int = 2, gated: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        if size < 1 or factor < 1:
            raise ConfigError(f"expected `size` >= 1 and `factor` >= 1, got {size} and {factor}")
        self.gated = gated
        self.widen = Dense(size, factor * size * (2 if gated else 1))
        self.narrow = Dense(factor * size, size)
        self.dropout = Dropout(dropout)
        self.input_size = size
        self.output_size = size
        nn.init.zeros_(self.widen.bias)
        nn.init.zeros_(self.narrow.bias)

    def initial_state(self, batch_size: int) -> State:  # noqa: ARG002  (there is none, for any batch)
        return ()

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:  # noqa: ARG002
        lengths = check_lengths(lengths, x)
        hidden = self.widen(zero_padding(x, lengths))
        if self.gated:
            hidden, factor = hidden.chunk(2, -1)
            hidden = F.gelu(hidden) * factor
        else:
            hidden = F.gelu(hidden)
        return zero_padding(self.narrow(self.dropout(hidden)), lengths), ()
