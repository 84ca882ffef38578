"""The independently recurrent neural network."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from elman.cells.cell import Cell, register
from elman.cells.initialization import glorot_
from elman.errors import ConfigError

NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "tanh": torch.tanh}


@register("indrnn")
class IndRNN(Cell[Tensor]):
    """Independently recurrent network: each unit sees its own past alone; units meet in the layer above.

        h_t = relu(W x_t + u * h_{t-1} + b)                 u: one number a unit

    Source: Li, Li, Cook, Zhu, Gao, "Independently Recurrent Neural Network (IndRNN): Building A Longer and Deeper RNN",
    2018, arXiv:1803.04831, eq. 2.
    Differs: the bound on u holds at initialization; the paper also clips u to it after every update. The authors start
    the last layer, where only the last output is read, with every u near 1.
    Parameters: I H + 2 H.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
        nonlinearity: "relu" or "tanh".
        steps: the longest memory wanted, T time steps. u begins uniform in 0..2^(1/T), so that over T steps no unit's
            gradient grows more than twofold; 0 stands for sequences of any length, and the bound 1.
    Shapes: x_t (batch, I); state h (batch, H); output (batch, H), equal to the new state.
    Raises: ConfigError if a size is below 1, the nonlinearity another, or the steps are negative.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, nonlinearity: Literal["relu", "tanh"] = "relu", steps: int = 0
    ) -> None:
        super().__init__(input_size, hidden_size)
        if nonlinearity not in NONLINEARITIES:
            raise ConfigError(f"expected `nonlinearity` 'relu' or 'tanh', got {nonlinearity!r}")
        if steps < 0:
            raise ConfigError(f"expected `steps` >= 1, or 0 for any number, got {steps}")
        self.nonlinearity = nonlinearity
        self.from_input = nn.Linear(input_size, hidden_size)
        self.from_hidden = nn.Parameter(torch.empty(hidden_size))
        glorot_(self.from_input.weight, blocks=1)
        nn.init.zeros_(self.from_input.bias)
        nn.init.uniform_(self.from_hidden, 0.0, 2 ** (1 / steps) if steps else 1.0)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_hidden.new_zeros(batch_size, self.hidden_size)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., H)."""
        z: Tensor = self.from_input(x)
        return z

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        hidden = NONLINEARITIES[self.nonlinearity](z_t + self.from_hidden * state)
        return hidden, hidden
