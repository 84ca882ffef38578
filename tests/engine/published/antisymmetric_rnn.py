"""The network of an antisymmetric matrix."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.cells.cell import Cell
from elman.cells.initialization import glorot_
from elman.errors import ConfigError


class AntisymmetricRNN(Cell[Tensor]):
    """Antisymmetric network, gated: Euler steps of an equation whose solutions neither grow nor fade.

        A = M - M' - gamma 1                                M strictly above the diagonal
        z_t = sigmoid(A h_{t-1} + V_z x_t + b_z)
        h_t = h_{t-1} + epsilon z_t * tanh(A h_{t-1} + V_h x_t + b_h)

    Source: Chang, Chen, Haber, Chi, "AntisymmetricRNN: A Dynamical System View on Recurrent Neural Networks", 2019,
    arXiv:1902.09689, section 3.
    Differs: M has unused weights on and below its diagonal. Parameters: 2 I H + 2 H + H H.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
        step_size: epsilon, above 0.
        diffusion: gamma, 0 or more.
    Shapes: x_t (batch, I); state h (batch, H); output (batch, H), equal to the new state.
    Raises: ConfigError if a size is below 1, or a number is out of range.
    """

    def __init__(self, input_size: int, hidden_size: int, *, step_size: float = 0.1, diffusion: float = 0.01) -> None:
        super().__init__(input_size, hidden_size)
        if step_size <= 0 or diffusion < 0:
            raise ConfigError(f"expected `step_size` above 0 and `diffusion` >= 0, got {step_size} and {diffusion}")
        self.step_size, self.diffusion = step_size, diffusion
        self.from_input = nn.Linear(input_size, 2 * hidden_size)
        self.from_hidden = nn.Parameter(torch.randn(hidden_size, hidden_size) / hidden_size**0.5)
        glorot_(self.from_input.weight, blocks=2)
        nn.init.zeros_(self.from_input.bias)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_hidden.new_zeros(batch_size, self.hidden_size)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., 2H): gate, candidate."""
        z: Tensor = self.from_input(x)
        return z

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        above = self.from_hidden.triu(1)
        diagonal = torch.eye(self.hidden_size, dtype=above.dtype, device=above.device)
        flow = F.linear(state, above - above.T - self.diffusion * diagonal)
        gate, candidate = z_t.chunk(2, -1)
        hidden = state + self.step_size * (gate + flow).sigmoid() * (candidate + flow).tanh()
        return hidden, hidden
