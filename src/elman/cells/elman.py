"""The Elman network: the simple recurrent network that gave this package its name."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from elman.cells.cell import Cell, VendorWeights, register
from elman.cells.initialization import glorot_, orthogonal_
from elman.errors import ConfigError

NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
}


@register("elman")
class Elman(Cell[Tensor]):
    """Elman network: the new state is one nonlinearity of the input and the old state.

        h_t = tanh(W x_t + U h_{t-1} + b)

    Source: Elman, "Finding Structure in Time", 1990, doi:10.1207/s15516709cog1402_1.
    Differs: tanh by default for the logistic function of the paper, which is "sigmoid"; relu is from Le, Jaitly,
    Hinton, 2015, arXiv:1504.00941; the state begins at 0, the paper's at 0.5; the gradient goes through all time steps,
    the paper's through one; the output layer of the paper belongs to the model. With tanh and relu equal to
    `torch.nn.RNN`, with one bias instead of two that add up.
    Parameters: I H + H H + H.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
        nonlinearity: "tanh", "relu" or "sigmoid".
    Shapes: x_t (batch, I); state h (batch, H); output (batch, H), equal to the new state.
    Raises: ConfigError if a size is below 1 or the nonlinearity is another.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, nonlinearity: Literal["tanh", "relu", "sigmoid"] = "tanh"
    ) -> None:
        super().__init__(input_size, hidden_size)
        if nonlinearity not in NONLINEARITIES:
            raise ConfigError(f"expected `nonlinearity` 'tanh', 'relu' or 'sigmoid', got {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        self.from_input = nn.Linear(input_size, hidden_size)
        self.from_hidden = nn.Linear(hidden_size, hidden_size, bias=False)
        glorot_(self.from_input.weight, blocks=1)
        orthogonal_(self.from_hidden.weight, blocks=1)
        nn.init.zeros_(self.from_input.bias)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_hidden.weight.new_zeros(batch_size, self.hidden_size)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., H)."""
        z: Tensor = self.from_input(x)
        return z

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        hidden = NONLINEARITIES[self.nonlinearity](z_t + self.from_hidden(state))
        return hidden, hidden

    def vendor(self) -> VendorWeights | None:
        if self.nonlinearity == "sigmoid":
            return None
        bias = self.from_input.bias
        kind: Literal["rnn_tanh", "rnn_relu"] = "rnn_tanh" if self.nonlinearity == "tanh" else "rnn_relu"
        return VendorWeights(kind, self.from_input.weight, self.from_hidden.weight, bias, torch.zeros_like(bias))
