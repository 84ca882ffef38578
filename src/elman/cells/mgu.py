"""The minimal gated unit."""

from typing import NamedTuple

from torch import Tensor, nn

from elman.cells.cell import Cell, register
from elman.cells.initialization import glorot_, orthogonal_


class MGUGates(NamedTuple):
    """forget in 0..1, candidate in -1..1. Each (batch, H)."""

    forget: Tensor
    candidate: Tensor


@register("mgu")
class MGU(Cell[Tensor]):
    """Minimal gated unit: a GRU whose one gate both updates and resets.

        f_t = sigmoid(W_f x_t + U_f h_{t-1} + b_f)          forget gate: f = 1 writes, f = 0 keeps
        c_t = tanh(W_c x_t + U_c (f_t * h_{t-1}) + b_c)     what is kept is hidden from the candidate
        h_t = (1 - f_t) * h_{t-1} + f_t * c_t

    Source: Zhou, Wu, Zhang, Zhou, "Minimal Gated Unit for Recurrent Neural Networks", 2016,
    doi:10.1007/s11633-016-1006-2.
    Differs: nothing; the forget bias is an option. Parameters: 2 (I H + H H + H).

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
        forget_bias: b_f at initialization; negative values keep the old state longer, and hide more of it.
    Shapes: x_t (batch, I); state h (batch, H); output (batch, H), equal to the new state.
    Raises: ConfigError if a size is below 1.
    """

    def __init__(self, input_size: int, hidden_size: int, *, forget_bias: float = 0.0) -> None:
        super().__init__(input_size, hidden_size)
        self.from_input = nn.Linear(input_size, 2 * hidden_size)
        self.from_hidden_gate = nn.Linear(hidden_size, hidden_size, bias=False)
        self.from_hidden_candidate = nn.Linear(hidden_size, hidden_size, bias=False)
        glorot_(self.from_input.weight, blocks=2)
        orthogonal_(self.from_hidden_gate.weight, blocks=1)
        orthogonal_(self.from_hidden_candidate.weight, blocks=1)
        nn.init.zeros_(self.from_input.bias)
        nn.init.constant_(self.from_input.bias.chunk(2)[0], forget_bias)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_hidden_gate.weight.new_zeros(batch_size, self.hidden_size)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., 2H): forget, candidate."""
        z: Tensor = self.from_input(x)
        return z

    def gates(self, z_t: Tensor, state: Tensor) -> MGUGates:
        z_forget, z_candidate = z_t.chunk(2, -1)
        forget = (z_forget + self.from_hidden_gate(state)).sigmoid()
        candidate = (z_candidate + self.from_hidden_candidate(forget * state)).tanh()
        return MGUGates(forget, candidate)

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        gates = self.gates(z_t, state)
        hidden = (1 - gates.forget) * state + gates.forget * gates.candidate
        return hidden, hidden
