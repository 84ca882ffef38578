"""The structurally constrained network."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from elman.cells.cell import Cell
from elman.cells.initialization import glorot_, orthogonal_
from elman.errors import ConfigError


class SCRNState(NamedTuple):
    """hidden (batch, H): fast; context (batch, S): slow."""

    hidden: Tensor
    context: Tensor


class SCRN(Cell[SCRNState]):
    """Structurally constrained network: a simple network beside units that only average what they read.

        s_t = (1 - alpha) B x_t + alpha s_{t-1}             context
        h_t = sigmoid(P s_t + A x_t + R h_{t-1})
        y_t = h_t, s_t                                      both are read by what comes next

    Source: Mikolov, Joulin, Chopra, Mathieu, Ranzato, "Learning Longer Memory in Recurrent Neural Networks", 2015,
    arXiv:1412.7753, section 3.
    Differs: nothing. Parameters: I (H + S) + S H + H H.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
        context_size: slow units, S >= 1.
        alpha: how much the context keeps at a step, 0..1.
    Shapes: x_t (batch, I); state `SCRNState`; output (batch, H + S).
    Raises: ConfigError if a size is below 1, or alpha is out of range.
    """

    def __init__(self, input_size: int, hidden_size: int, *, context_size: int = 40, alpha: float = 0.95) -> None:
        super().__init__(input_size, hidden_size)
        if context_size < 1 or not 0 <= alpha <= 1:
            raise ConfigError(f"expected `context_size` >= 1 and `alpha` in 0..1, got {context_size} and {alpha}")
        self.context_size = context_size
        self.alpha = alpha
        self.output_size = hidden_size + context_size
        self.from_input = nn.Linear(input_size, hidden_size + context_size, bias=False)
        self.from_context = nn.Linear(context_size, hidden_size, bias=False)
        self.from_hidden = nn.Linear(hidden_size, hidden_size, bias=False)
        glorot_(self.from_input.weight, blocks=1)
        glorot_(self.from_context.weight, blocks=1)
        orthogonal_(self.from_hidden.weight, blocks=1)

    def initial_state(self, batch_size: int) -> SCRNState:
        zeros = self.from_hidden.weight.new_zeros
        return SCRNState(zeros(batch_size, self.hidden_size), zeros(batch_size, self.context_size))

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., H + S): A x, B x."""
        z: Tensor = self.from_input(x)
        return z

    def step(self, z_t: Tensor, state: SCRNState) -> tuple[Tensor, SCRNState]:
        fast, slow = z_t.split_with_sizes([self.hidden_size, self.context_size], -1)
        context = (1 - self.alpha) * slow + self.alpha * state.context
        hidden = (self.from_context(context) + fast + self.from_hidden(state.hidden)).sigmoid()
        return torch.cat([hidden, context], -1), SCRNState(hidden, context)
