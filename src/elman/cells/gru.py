"""The gated recurrent unit."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.cells.cell import Cell, VendorWeights, register
from elman.cells.initialization import glorot_, orthogonal_
from elman.errors import ConfigError


class GRUGates(NamedTuple):
    """In torch's order. reset and update in 0..1, candidate in -1..1. Each (batch, H)."""

    reset: Tensor
    update: Tensor
    candidate: Tensor


@register("gru")
class GRU(Cell[Tensor]):
    """Gated recurrent unit: one gate divides the state between old and new, another hides the old from the new.

        r_t = sigmoid(W_r x_t + U_r h_{t-1} + b_r)          reset gate: r = 0 hides the state from the candidate
        u_t = sigmoid(W_u x_t + U_u h_{t-1} + b_u)          update gate: u = 1 keeps, u = 0 writes
        c_t = tanh(W_c x_t + b_c + r_t * (U_c h_{t-1} + d_c))       reset "after" the recurrent product
        c_t = tanh(W_c x_t + b_c + U_c (r_t * h_{t-1}))             reset "before" it
        h_t = u_t * h_{t-1} + (1 - u_t) * c_t

    Source: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014, arXiv:1406.1078, eq. 5 to 8.
    Differs: the paper's reset acts before the product; by default it acts after it, so that one product serves all
    gates. That one is equal to `torch.nn.GRU`, without the biases of it that add up: only the candidate keeps a second
    one, d_c. The paper leaves biases out of its equations.
    Parameters: 3 (I H + H H + H) + H; with reset "before" 3 (I H + H H + H).

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
        reset: where the reset gate acts: "after" the recurrent product, as in torch, or "before" it, as in the paper.
    Shapes: x_t (batch, I); state h (batch, H); output (batch, H), equal to the new state.
    Raises: ConfigError if a size is below 1 or the reset acts elsewhere.
    """

    def __init__(self, input_size: int, hidden_size: int, *, reset: Literal["after", "before"] = "after") -> None:
        super().__init__(input_size, hidden_size)
        if reset not in ("after", "before"):
            raise ConfigError(f"expected `reset` 'after' or 'before', got {reset!r}")
        self.reset = reset
        self.from_input = nn.Linear(input_size, 3 * hidden_size)
        self.from_hidden = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        if reset == "after":  # before the product it would add up with the bias of the input
            self.candidate_bias = nn.Parameter(torch.zeros(hidden_size))
        glorot_(self.from_input.weight, blocks=3)
        orthogonal_(self.from_hidden.weight, blocks=3)
        nn.init.zeros_(self.from_input.bias)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_hidden.weight.new_zeros(batch_size, self.hidden_size)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., 3H): reset, update, candidate."""
        z: Tensor = self.from_input(x)
        return z

    def gates(self, z_t: Tensor, state: Tensor) -> GRUGates:
        if self.reset == "after":
            return self._gates_reset_after(z_t, state)
        return self._gates_reset_before(z_t, state)

    def _gates_reset_after(self, z_t: Tensor, state: Tensor) -> GRUGates:
        z_reset, z_update, z_candidate = z_t.chunk(3, -1)
        h_reset, h_update, h_candidate = self.from_hidden(state).chunk(3, -1)
        reset = (z_reset + h_reset).sigmoid()
        update = (z_update + h_update).sigmoid()
        candidate = (z_candidate + reset * (h_candidate + self.candidate_bias)).tanh()
        return GRUGates(reset, update, candidate)

    def _gates_reset_before(self, z_t: Tensor, state: Tensor) -> GRUGates:
        two, weight = 2 * self.hidden_size, self.from_hidden.weight
        reset, update = (z_t[..., :two] + F.linear(state, weight[:two])).sigmoid().chunk(2, -1)
        candidate = (z_t[..., two:] + F.linear(reset * state, weight[two:])).tanh()
        return GRUGates(reset, update, candidate)

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        gates = self.gates(z_t, state)
        hidden = gates.update * state + (1 - gates.update) * gates.candidate
        return hidden, hidden

    def vendor(self) -> VendorWeights | None:
        if self.reset == "before":
            return None
        bias = self.from_input.bias
        bias_hh = torch.cat([bias.new_zeros(2 * self.hidden_size), self.candidate_bias])
        return VendorWeights("gru", self.from_input.weight, self.from_hidden.weight, bias, bias_hh)
