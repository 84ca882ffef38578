"""The coupled oscillatory network."""

from typing import NamedTuple

from torch import Tensor, nn

from elman.cells.cell import Cell
from elman.cells.initialization import glorot_, orthogonal_
from elman.errors import ConfigError


class CoRNNState(NamedTuple):
    """hidden: y, where the oscillators are; velocity: z. Each (batch, H)."""

    hidden: Tensor
    velocity: Tensor


class CoRNN(Cell[CoRNNState]):
    """Coupled oscillatory network: damped oscillators that push one another.

        z_t = z_{t-1} + dt (tanh(W y_{t-1} + U z_{t-1} + V x_t + b) - gamma y_{t-1} - epsilon z_{t-1})
        y_t = y_{t-1} + dt z_t

    Source: Rusch, Mishra, "Coupled Oscillatory Recurrent Neural Network (coRNN)", 2021, arXiv:2010.00951, section 2.
    Differs: nothing; of the two schemes of the paper, the one in which the damping is explicit.
    Parameters: I H + 2 H H + H.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
        time_step: dt, above 0.
        gamma: how strongly an oscillator is pulled back, above 0.
        epsilon: damping, above 0.
    Shapes: x_t (batch, I); state `CoRNNState`; output (batch, H), equal to the new hidden.
    Raises: ConfigError if a size is below 1, or a number is not above 0.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, time_step: float = 0.1, gamma: float = 2.7, epsilon: float = 4.7
    ) -> None:
        super().__init__(input_size, hidden_size)
        if min(time_step, gamma, epsilon) <= 0:
            raise ConfigError(f"expected numbers above 0, got {time_step=}, {gamma=}, {epsilon=}")
        self.time_step, self.gamma, self.epsilon = time_step, gamma, epsilon
        self.from_input = nn.Linear(input_size, hidden_size)
        self.from_hidden = nn.Linear(hidden_size, hidden_size, bias=False)
        self.from_velocity = nn.Linear(hidden_size, hidden_size, bias=False)
        glorot_(self.from_input.weight, blocks=1)
        orthogonal_(self.from_hidden.weight, blocks=1)
        orthogonal_(self.from_velocity.weight, blocks=1)
        nn.init.zeros_(self.from_input.bias)

    def initial_state(self, batch_size: int) -> CoRNNState:
        zeros = self.from_hidden.weight.new_zeros(batch_size, self.hidden_size)
        return CoRNNState(zeros, zeros)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., H)."""
        z: Tensor = self.from_input(x)
        return z

    def step(self, z_t: Tensor, state: CoRNNState) -> tuple[Tensor, CoRNNState]:
        force = (self.from_hidden(state.hidden) + self.from_velocity(state.velocity) + z_t).tanh()
        pull = self.gamma * state.hidden + self.epsilon * state.velocity
        velocity = state.velocity + self.time_step * (force - pull)
        hidden = state.hidden + self.time_step * velocity
        return hidden, CoRNNState(hidden, velocity)
