"""Long expressive memory."""

from typing import NamedTuple

from torch import Tensor, nn

from elman.cells.cell import Cell
from elman.cells.initialization import glorot_, orthogonal_
from elman.errors import ConfigError


class LEMState(NamedTuple):
    """hidden: y, what the cell shows; memory: z. Each (batch, H)."""

    hidden: Tensor
    memory: Tensor


class LEM(Cell[LEMState]):
    """Long expressive memory: a system of two equations of motion, each with steps of its own length, learned.

        d_t = D sigmoid(W_1 y_{t-1} + V_1 x_t + b_1)
        e_t = D sigmoid(W_2 y_{t-1} + V_2 x_t + b_2)
        z_t = (1 - d_t) * z_{t-1} + d_t * tanh(W_z y_{t-1} + V_z x_t + b_z)
        y_t = (1 - e_t) * y_{t-1} + e_t * tanh(W_y z_t + V_y x_t + b_y)

    Source: Rusch, Mishra, Erichson, Mahoney, "Long Expressive Memory for Sequence Modeling", 2022, arXiv:2110.04744, section 2.
    Differs: nothing. Parameters: 4 (I H + H H + H).

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
        longest_step: D, above 0, at most 1.
    Shapes: x_t (batch, I); state `LEMState`; output (batch, H), equal to the new hidden.
    Raises: ConfigError if a size is below 1, or the step is out of range.
    """

    def __init__(self, input_size: int, hidden_size: int, *, longest_step: float = 1.0) -> None:
        super().__init__(input_size, hidden_size)
        if not 0 < longest_step <= 1:
            raise ConfigError(f"expected `longest_step` above 0, at most 1, got {longest_step}")
        self.longest_step = longest_step
        self.from_input = nn.Linear(input_size, 4 * hidden_size)
        self.from_hidden = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.from_memory = nn.Linear(hidden_size, hidden_size, bias=False)
        glorot_(self.from_input.weight, blocks=4)
        orthogonal_(self.from_hidden.weight, blocks=3)
        orthogonal_(self.from_memory.weight, blocks=1)
        nn.init.zeros_(self.from_input.bias)

    def initial_state(self, batch_size: int) -> LEMState:
        zeros = self.from_memory.weight.new_zeros(batch_size, self.hidden_size)
        return LEMState(zeros, zeros)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., 4H): both steps, memory, hidden."""
        z: Tensor = self.from_input(x)
        return z

    def step(self, z_t: Tensor, state: LEMState) -> tuple[Tensor, LEMState]:
        size = self.hidden_size
        to_steps, to_memory, to_hidden = z_t.split_with_sizes([2 * size, size, size], -1)
        steps, memory = self.from_hidden(state.hidden).split_with_sizes([2 * size, size], -1)
        first, second = (self.longest_step * (to_steps + steps).sigmoid()).chunk(2, -1)
        memory = (1 - first) * state.memory + first * (memory + to_memory).tanh()
        hidden = (1 - second) * state.hidden + second * (self.from_memory(memory) + to_hidden).tanh()
        return hidden, LEMState(hidden, memory)
