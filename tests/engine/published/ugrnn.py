"""The update gate network."""

from typing import NamedTuple

from torch import Tensor, nn

from elman.cells.cell import Cell
from elman.cells.initialization import glorot_, orthogonal_


class UGRNNGates(NamedTuple):
    """update in 0..1, candidate in -1..1. Each (batch, H)."""

    update: Tensor
    candidate: Tensor


class UGRNN(Cell[Tensor]):
    """Update gate network: a GRU without reset gate.

        u_t = sigmoid(W_u x_t + U_u h_{t-1} + b_u)          update gate: u = 1 keeps
        c_t = tanh(W_c x_t + U_c h_{t-1} + b_c)
        h_t = u_t * h_{t-1} + (1 - u_t) * c_t

    Source: Collins, Sohl-Dickstein, Sussillo, "Capacity and Trainability in Recurrent Neural Networks", 2017,
    arXiv:1611.09913.
    Differs: the constant b^fg of the paper is where b_u starts. Parameters: 2 (I H + H H + H).

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
        keep_bias: b_u at initialization.
    Shapes: x_t (batch, I); state h (batch, H); output (batch, H), equal to the new state.
    Raises: ConfigError if a size is below 1.
    """

    def __init__(self, input_size: int, hidden_size: int, *, keep_bias: float = 1.0) -> None:
        super().__init__(input_size, hidden_size)
        self.from_input = nn.Linear(input_size, 2 * hidden_size)
        self.from_hidden = nn.Linear(hidden_size, 2 * hidden_size, bias=False)
        glorot_(self.from_input.weight, blocks=2)
        orthogonal_(self.from_hidden.weight, blocks=2)
        nn.init.zeros_(self.from_input.bias)
        nn.init.constant_(self.from_input.bias.chunk(2)[0], keep_bias)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_hidden.weight.new_zeros(batch_size, self.hidden_size)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., 2H): update, candidate."""
        z: Tensor = self.from_input(x)
        return z

    def gates(self, z_t: Tensor, state: Tensor) -> UGRNNGates:
        update, candidate = (z_t + self.from_hidden(state)).chunk(2, -1)
        return UGRNNGates(update.sigmoid(), candidate.tanh())

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        gates = self.gates(z_t, state)
        hidden = gates.update * state + (1 - gates.update) * gates.candidate
        return hidden, hidden
