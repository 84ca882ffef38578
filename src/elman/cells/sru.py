"""The simple recurrent unit."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from elman.cells.cell import register
from elman.cells.initialization import glorot_
from elman.cells.linear import LinearCell, spread_memory_
from elman.errors import ConfigError

LARGEST_BIAS = 100.0  # a gate is shut or open long before that


class SRUGates(NamedTuple):
    """forget and reset in 0..1; the candidate without bound. Each (batch, H)."""

    candidate: Tensor
    forget: Tensor
    reset: Tensor


@register("sru")
class SRU(LinearCell[Tensor]):
    """Simple recurrent unit: a forget gate that reads the input alone, and a highway around the memory.

        c~_t = W x_t + b                                    candidate
        f_t = sigmoid(W_f x_t + b_f)                        forget gate: f = 1 keeps
        r_t = sigmoid(W_r x_t + b_r)                        reset gate: r = 1 shows the memory, r = 0 the input
        c_t = f_t * c_{t-1} + (1 - f_t) * c~_t
        h_t = r_t * g(c_t) + (1 - r_t) * alpha S x_t        S = 1 where I = H

    Source: Lei, Zhang, Wang, Dai, Artzi, "Simple Recurrent Units for Highly Parallelizable Recurrence", 2018,
    arXiv:1709.02755; its first version, whose gates do not read c_{t-1}. alpha: section 3.2 of the last version.
    Differs: the candidate has a bias; biases of the forget gate start at spread memories.
    Parameters: 3 (I H + H) + I H; without the last I H, that of S, where I = H.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
        activation: g, "tanh" as in the first version or "identity" as in the last.
        rescale: alpha = sqrt(1 + 2 exp(b_r)), which gives the output the variance of the input at the start; else 1.
        highway_bias: b_r at initialization; negative values let more of the input pass at the start.
        memory: steps in which the units forget at the start: from this many, at least 2, down to 2.
    Shapes: x_t (batch, I); state c (batch, H); output h (batch, H).
    Raises: ConfigError if a size is below 1, `memory` below 2, or the activation another.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        activation: Literal["tanh", "identity"] = "tanh",
        rescale: bool = True,
        highway_bias: float = 0.0,
        memory: float = 100.0,
    ) -> None:
        super().__init__(input_size, hidden_size)
        if activation not in ("tanh", "identity"):
            raise ConfigError(f"expected `activation` 'tanh' or 'identity', got {activation!r}")
        self.activation = activation
        if abs(highway_bias) > LARGEST_BIAS:
            raise ConfigError(f"expected `highway_bias` within {LARGEST_BIAS:g} of 0, got {highway_bias}")
        self.scale = math.sqrt(1 + 2 * math.exp(highway_bias)) if rescale else 1.0
        self.from_input = nn.Linear(input_size, 3 * hidden_size)
        glorot_(self.from_input.weight, blocks=3)
        nn.init.zeros_(self.from_input.bias)
        spread_memory_(self.from_input.bias.data.chunk(3)[1], memory)
        nn.init.constant_(self.from_input.bias.chunk(3)[2], highway_bias)
        self.skip: nn.Module = nn.Identity()
        if input_size != hidden_size:
            self.skip = nn.Linear(input_size, hidden_size, bias=False)
            glorot_(self.skip.weight, blocks=1)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_input.weight.new_zeros(batch_size, self.hidden_size)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., 4H): candidate, forget, reset, and the input for the highway."""
        return torch.cat([self.from_input(x), self.scale * self.skip(x)], -1)

    def gates(self, z_t: Tensor, state: Tensor) -> SRUGates:  # noqa: ARG002  (no gate reads the state)
        return self._gates(z_t)

    def coefficients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        gates = self._gates(z)
        return gates.forget, (1 - gates.forget) * gates.candidate

    def read(self, z: Tensor, hidden: Tensor) -> Tensor:
        _, _, reset, skipped = z.chunk(4, -1)
        reset = reset.sigmoid()
        shown = hidden.tanh() if self.activation == "tanh" else hidden
        return reset * shown + (1 - reset) * skipped

    def _gates(self, z: Tensor) -> SRUGates:
        candidate, forget, reset, _ = z.chunk(4, -1)
        return SRUGates(candidate, forget.sigmoid(), reset.sigmoid())
