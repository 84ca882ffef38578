"""The minimal GRU that is parallel over time."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from elman.cells.cell import register
from elman.cells.initialization import glorot_
from elman.cells.linear import LinearCell, spread_memory_


class MinGRUGates(NamedTuple):
    """update in 0..1; the candidate without bound, above 0 with `positive`. Each (batch, H)."""

    update: Tensor
    candidate: Tensor


@register("min_gru")
class MinGRU(LinearCell[Tensor]):
    """Minimal GRU: the update gate and the candidate no longer read the state, so all time steps are computed at once.

        u_t = sigmoid(W_u x_t + b_u)                        update gate: u = 1 writes, u = 0 keeps
        c_t = W_c x_t + b_c                                 or g(W_c x_t + b_c) with `positive`
        h_t = (1 - u_t) * h_{t-1} + u_t * c_t

        g(a) = a + 1/2 where a >= 0, else sigmoid(a)

    Source: Feng, Tung, Ahmed, Bengio, Hajimirsadeghi, "Were RNNs All We Needed?", 2024, arXiv:2410.01201, section 3.1.
    Differs: scanned as it stands, not in logarithms: 1 - u is in 0..1, so that products of it neither overflow nor need a
    division, and the candidate may be negative, as in the paper's own first form. Biases of the update gate start at spread
    memories. Parameters: 2 (I H + H).

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
        self.from_input = nn.Linear(input_size, 2 * hidden_size)
        glorot_(self.from_input.weight, blocks=2)
        nn.init.zeros_(self.from_input.bias)
        update_bias = self.from_input.bias.data[:hidden_size]
        spread_memory_(update_bias, memory)
        update_bias.neg_()

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_input.weight.new_zeros(batch_size, self.hidden_size)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., 2H): update, candidate."""
        z: Tensor = self.from_input(x)
        return z

    def gates(self, z_t: Tensor, state: Tensor) -> MinGRUGates:  # noqa: ARG002  (no gate reads the state)
        return self._gates(z_t)

    def coefficients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        gates = self._gates(z)
        return 1 - gates.update, gates.update * gates.candidate

    def read(self, z: Tensor, hidden: Tensor) -> Tensor:  # noqa: ARG002
        return hidden

    def _gates(self, z: Tensor) -> MinGRUGates:
        update, candidate = z.chunk(2, -1)
        if self.positive:
            candidate = torch.where(candidate >= 0, candidate + 0.5, candidate.sigmoid())
        return MinGRUGates(update.sigmoid(), candidate)
