"""The gated recurrent unit with layer normalization."""

import torch
from torch import Tensor, nn

from elman.cells.cell import Cell, register
from elman.cells.gru import GRUGates
from elman.cells.initialization import glorot_, orthogonal_
from elman.errors import ConfigError


@register("layer_norm_gru")
class LayerNormGRU(Cell[Tensor]):
    """GRU with layer normalization: what enters the gates has the same scale at every step.

        (r, u) = sigmoid(LN(W_ru x_t) + LN(U_ru h_{t-1}) + b)       each LN over 2 H numbers, with a gain
        c_t = tanh(LN(W_c x_t) + b_c + r_t * (LN(U_c h_{t-1}) + d_c))       each LN over H numbers, with a gain
        h_t = u_t * h_{t-1} + (1 - u_t) * c_t                       update gate: u = 1 keeps, u = 0 writes

    Source: Ba, Kiros, Hinton, "Layer Normalization", 2016, arXiv:1607.06450, from eq. 23 on.
    Differs: u = 1 keeps, as in `elman.cells.GRU` and in the authors' code; in the paper it writes. Biases that add up are
    one: the gates keep that of the input, the candidate also d_c, which the reset gate multiplies. b_c begins random in
    -0.5..0.5, so that inputs of zeros do not leave a state of zeros, where the gradient of LN explodes.
    Parameters: 3 (I H + H H) + 10 H.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 2: normalized alone, the candidate of a unit would not see the input.
    Shapes: x_t (batch, I); state h (batch, H); output (batch, H), equal to the new state.
    Raises: ConfigError if the input is below 1 or the hidden size below 2.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        if hidden_size < 2:
            raise ConfigError("expected `hidden_size` >= 2, got 1: layer normalization of a single unit is always zero")
        self.from_input = nn.Linear(input_size, 3 * hidden_size, bias=False)
        self.from_hidden = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.norm_input_gates = nn.LayerNorm(2 * hidden_size)
        self.norm_input_candidate = nn.LayerNorm(hidden_size)
        self.norm_hidden_gates = nn.LayerNorm(2 * hidden_size, bias=False)
        self.norm_hidden_candidate = nn.LayerNorm(hidden_size)
        glorot_(self.from_input.weight, blocks=3)
        orthogonal_(self.from_hidden.weight, blocks=3)
        # With none, inputs of zeros keep the state at zero, where LN multiplies gradients by 316: they overflow.
        nn.init.uniform_(self.norm_input_candidate.bias, -0.5, 0.5)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_hidden.weight.new_zeros(batch_size, self.hidden_size)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., 3H), normalized: reset, update, candidate."""
        gates, candidate = self._split(self.from_input(x))
        return torch.cat([self.norm_input_gates(gates), self.norm_input_candidate(candidate)], -1)

    def gates(self, z_t: Tensor, state: Tensor) -> GRUGates:
        z_gates, z_candidate = self._split(z_t)
        h_gates, h_candidate = self._split(self.from_hidden(state))
        reset, update = (z_gates + self.norm_hidden_gates(h_gates)).sigmoid().chunk(2, -1)
        candidate = (z_candidate + reset * self.norm_hidden_candidate(h_candidate)).tanh()
        return GRUGates(reset, update, candidate)

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        gates = self.gates(z_t, state)
        hidden = gates.update * state + (1 - gates.update) * gates.candidate
        return hidden, hidden

    def _split(self, total: Tensor) -> tuple[Tensor, Tensor]:
        """The gates (..., 2H) and the candidate (..., H)."""
        return total[..., : 2 * self.hidden_size], total[..., 2 * self.hidden_size :]
