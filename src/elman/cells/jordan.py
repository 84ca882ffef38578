"""The Jordan network: what is fed back is the output."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from elman.cells.cell import Cell, register
from elman.cells.initialization import glorot_, orthogonal_
from elman.errors import ConfigError

NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "linear": lambda total: total,
}


@register("jordan")
class Jordan(Cell[Tensor]):
    """Jordan network: the state is the network's own past output, not its hidden layer.

        h_t = tanh(W x_t + U s_{t-1} + b)
        y_t = f(V h_t + c)
        s_t = a s_{t-1} + y_t

    Source: Jordan, "Serial Order: A Parallel Distributed Processing Approach", 1986, ICS report 8604, reprinted 1997,
    doi:10.1016/S0166-4115(97)80111-2.
    Differs: tanh for the logistic function of the paper; the output that is fed back is always the network's own, never
    the target. Parameters: I H + O H + H + H O + O.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: hidden units, H >= 1.
        output_size: outputs and state units, O >= 1; 0 is as many as hidden units.
        decay: a, in 0..1 without 1: how much of the state units stays at a step; 0 feeds back the last output alone.
        nonlinearity: f: "tanh", "sigmoid" or "linear", whose state may grow without bound.
    Shapes: x_t (batch, I); state s (batch, O); output (batch, O).
    Raises: ConfigError if a size is below 1, the decay out of range or the nonlinearity another.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        output_size: int = 0,
        decay: float = 0.0,
        nonlinearity: Literal["tanh", "sigmoid", "linear"] = "tanh",
    ) -> None:
        super().__init__(input_size, hidden_size)
        if output_size < 0:
            raise ConfigError(f"expected `output_size` >= 1, or 0 for the hidden size, got {output_size}")
        if not 0 <= decay < 1:
            raise ConfigError(f"expected `decay` in 0..1 without 1, got {decay}")
        if nonlinearity not in NONLINEARITIES:
            raise ConfigError(f"expected `nonlinearity` 'tanh', 'sigmoid' or 'linear', got {nonlinearity!r}")
        self.output_size = output_size or hidden_size
        self.decay = decay
        self.nonlinearity = nonlinearity
        self.from_input = nn.Linear(input_size, hidden_size)
        self.from_hidden = nn.Linear(self.output_size, hidden_size, bias=False)
        self.to_output = nn.Linear(hidden_size, self.output_size)
        glorot_(self.from_input.weight, blocks=1)
        orthogonal_(self.from_hidden.weight, blocks=1)
        orthogonal_(self.to_output.weight, blocks=1)  # the loop through time runs through it, too
        with torch.no_grad():  # a state that sums up outputs is 1 / (1 - a) times as large as their mean
            self.from_hidden.weight.mul_(1 - decay)
        nn.init.zeros_(self.from_input.bias)
        nn.init.zeros_(self.to_output.bias)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_hidden.weight.new_zeros(batch_size, self.output_size)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., H)."""
        z: Tensor = self.from_input(x)
        return z

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        hidden = (z_t + self.from_hidden(state)).tanh()
        output = NONLINEARITIES[self.nonlinearity](self.to_output(hidden))
        return output, self.decay * state + output if self.decay else output
