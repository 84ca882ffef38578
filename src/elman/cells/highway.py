"""The recurrent highway network."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from elman.cells.cell import Cell, register
from elman.cells.initialization import glorot_, orthogonal_
from elman.errors import ConfigError


class HighwayGates(NamedTuple):
    """Of each micro step: candidate in -1..1, transform in 0..1. Each (batch, L, H) from `gates`."""

    candidate: Tensor
    transform: Tensor


@register("highway")
class Highway(Cell[Tensor]):
    """Recurrent highway network: several gated layers within one time step, the last of which is the next state.

        s_0 = h_{t-1};  for l = 1 .. L:
            c_l = tanh(W_c x_t + U_cl s_{l-1} + b_cl)               candidate; W_c x_t at l = 1 only
            g_l = sigmoid(W_g x_t + U_gl s_{l-1} + b_gl)            transform gate: g = 1 writes, g = 0 carries; likewise
            s_l = g_l * c_l + (1 - g_l) * s_{l-1}
        h_t = s_L

    Source: Zilly, Srivastava, Koutnik, Schmidhuber, "Recurrent Highway Networks", 2017, arXiv:1607.03474, eq. 6 to 9.
    Differs: the carry gate is always 1 - g, as in the paper's experiments.
    Parameters: 2 I H + L (2 H H + 2 H).

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
        depth: micro steps in a time step, L >= 1.
        transform_bias: b_g at initialization; negative values carry the old state further, the more so the deeper.
    Shapes: x_t (batch, I); state h (batch, H); output (batch, H), equal to the new state.
    Raises: ConfigError if a size or the depth is below 1.
    """

    def __init__(self, input_size: int, hidden_size: int, *, depth: int = 2, transform_bias: float = -2.0) -> None:
        super().__init__(input_size, hidden_size)
        if depth < 1:
            raise ConfigError(f"expected `depth` >= 1, got {depth}")
        self.from_input = nn.Linear(input_size, 2 * hidden_size)
        recurrent = [nn.Linear(hidden_size, 2 * hidden_size, bias=False) for _ in range(depth)]
        self.from_hidden = nn.ModuleList(recurrent)
        self.deeper_biases = nn.ParameterList(torch.empty(2 * hidden_size) for _ in range(depth - 1))
        glorot_(self.from_input.weight, blocks=2)
        for layer in recurrent:
            orthogonal_(layer.weight, blocks=2)
        for bias in (self.from_input.bias, *self.deeper_biases):
            nn.init.zeros_(bias)
            nn.init.constant_(bias.chunk(2)[1], transform_bias)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_input.weight.new_zeros(batch_size, self.hidden_size)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., 2H): candidate, transform, of the first micro step."""
        z: Tensor = self.from_input(x)
        return z

    def gates(self, z_t: Tensor, state: Tensor) -> HighwayGates:
        each, _ = self._micro_steps(z_t, state)
        return HighwayGates(*(torch.stack(gate, 1) for gate in zip(*each, strict=True)))

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        _, hidden = self._micro_steps(z_t, state)
        return hidden, hidden

    def _micro_steps(self, z_t: Tensor, hidden: Tensor) -> tuple[list[HighwayGates], Tensor]:
        each = []
        for z, from_hidden in zip((z_t, *self.deeper_biases), self.from_hidden, strict=True):
            candidate, transform = (z + from_hidden(hidden)).chunk(2, -1)
            gates = HighwayGates(candidate.tanh(), transform.sigmoid())
            hidden = gates.transform * gates.candidate + (1 - gates.transform) * hidden
            each.append(gates)
        return each, hidden
