"""The minimal LSTM that is parallel over time."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from elman.cells.cell import register
from elman.cells.initialization import glorot_
from elman.cells.linear import LinearCell, spread_memory_


class MinLSTMGates(NamedTuple):
    """forget and input, which add up to 1; the candidate without bound, above 0 with `positive`. Each (batch, H)."""

    forget: Tensor
    input: Tensor
    candidate: Tensor


@register("min_lstm")
class MinLSTM(LinearCell[Tensor]):
    """Minimal LSTM: gates and candidate no longer read the state, so all time steps are computed at once.

        f_t = sigmoid(W_f x_t + b_f)                        forget gate: f = 1 keeps
        i_t = sigmoid(W_i x_t + b_i)                        input gate
        c_t = W_c x_t + b_c                                 or g(W_c x_t + b_c) with `positive`
        h_t = (f_t * h_{t-1} + i_t * c_t) / (f_t + i_t)     a mean: its scale does not grow with time

        g(a) = a + 1/2 where a >= 0, else sigmoid(a)

    Source: Feng, Tung, Ahmed, Bengio, Hajimirsadeghi, "Were RNNs All We Needed?", 2024, arXiv:2410.01201, section 3.2.
    Differs: scanned as it stands, not in logarithms: f / (f + i) is in 0..1, so that products of it neither overflow nor
    need a division, and the candidate may be negative, as in the paper's own first form. Biases of the gates start at
    spread memories. Parameters: 3 (I H + H).

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
        positive: pass the candidate through g, as the paper does where it scans in logarithms.
        memory: steps in which the units forget at the start: from this many, at least 2, down to 2.
    Shapes: x_t (batch, I); state h (batch, H); output (batch, H), equal to the new state.
    Raises: ConfigError if a size is below 1 or `memory` below 2.
    """

    def __init__(self, input_size: int, hidden_size: int, *, positive: bool = False, memory: float = 100.0) -> None:
        super().__init__(input_size, hidden_size)
        self.positive = positive
        self.from_input = nn.Linear(input_size, 3 * hidden_size)
        glorot_(self.from_input.weight, blocks=3)
        nn.init.zeros_(self.from_input.bias)
        forget_bias, input_bias, _ = self.from_input.bias.data.chunk(3)
        spread_memory_(forget_bias, memory)
        input_bias.copy_(-forget_bias)  # sigmoid(b) and sigmoid(-b) add up to 1: the quotient is sigmoid(b)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_input.weight.new_zeros(batch_size, self.hidden_size)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., 3H): forget, input, candidate."""
        z: Tensor = self.from_input(x)
        return z

    def gates(self, z_t: Tensor, state: Tensor) -> MinLSTMGates:  # noqa: ARG002  (no gate reads the state)
        """The forget and input gates after they were divided by their sum."""
        return self._gates(z_t)

    def coefficients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        gates = self._gates(z)
        return gates.forget, gates.input * gates.candidate

    def read(self, z: Tensor, hidden: Tensor) -> Tensor:  # noqa: ARG002
        return hidden

    def _gates(self, z: Tensor) -> MinLSTMGates:
        forget, input, candidate = z.chunk(3, -1)
        difference = logsigmoid(forget) - logsigmoid(input)  # two closed gates: no quotient of zeros
        if self.positive:
            candidate = torch.where(candidate >= 0, candidate + 0.5, candidate.sigmoid())
        return MinLSTMGates(difference.sigmoid(), (-difference).sigmoid(), candidate)
