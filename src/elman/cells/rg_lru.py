"""The real-gated linear recurrent unit."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from elman.cells.cell import register
from elman.cells.initialization import glorot_
from elman.cells.linear import LinearCell
from elman.errors import ConfigError

SHARPNESS = 8.0
"""c: a gate that is fully open decays as c steps of a do."""


class RGLRUGates(NamedTuple):
    """In 0..1, each (batch, H). recurrence: 0 keeps the state and lets nothing in; input: of the values."""

    recurrence: Tensor
    input: Tensor


@register("rg_lru")
class RGLRU(LinearCell[Tensor]):
    """Real-gated linear recurrent unit: a decay of each unit's own, and a gate that slows time down where it is closed.

        u_t = W x_t + b
        r_t = sigmoid(W_r u_t + b_r)                        recurrence gate: r = 0 keeps
        i_t = sigmoid(W_i u_t + b_i)                        input gate
        a_t = sigmoid(L)^(c r_t)                            c = 8
        h_t = a_t * h_{t-1} + sqrt(1 - a_t^2) * (i_t * u_t)

    Source: De et al., "Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient Language Models", 2024,
    arXiv:2402.19427, section 2.4. Differs: the linear layer before it, u, is part of the cell, so that I and H may differ;
    the convolution of the paper's block is not. W_r and W_i are of `heads` diagonal blocks.
    Parameters: I H + H + 2 (H H + H) + H, with H H / heads for H H.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
        heads: diagonal blocks of the gates' weights; divides H.
        min_decay, max_decay: 0 < min < max < 1; sigmoid(L)^c, the decay with an open gate, starts uniform between. A unit
            remembers about 1 / (1 - a) steps, and more where its gate closes.
    Shapes: x_t (batch, I); state h (batch, H); output (batch, H), equal to the new state.
    Raises: ConfigError if a size is below 1, `heads` does not divide H, or the decays are out of range.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, heads: int = 1, min_decay: float = 0.9, max_decay: float = 0.999
    ) -> None:
        super().__init__(input_size, hidden_size)
        if heads < 1 or hidden_size % heads:
            raise ConfigError(f"expected `heads` that divide the {hidden_size} units, got {heads}")
        if not 0 < min_decay < max_decay < 1:
            raise ConfigError(f"expected 0 < `min_decay` < `max_decay` < 1, got {min_decay} and {max_decay}")
        size = hidden_size // heads
        self.from_input = nn.Linear(input_size, hidden_size)
        glorot_(self.from_input.weight, blocks=1)
        nn.init.zeros_(self.from_input.bias)
        self.gate_weight = nn.Parameter(torch.empty(heads, size, 2 * size).normal_(std=math.sqrt(1 / size)))
        self.gate_bias = nn.Parameter(torch.zeros(2 * hidden_size))
        log_decay = torch.empty(hidden_size, dtype=torch.float64).uniform_(min_decay, max_decay).log() / SHARPNESS
        decay_logit = log_decay - (-log_decay.expm1()).log()  # the inverse of the sigmoid
        self.decay = nn.Parameter(decay_logit.to(self.gate_bias.dtype))

    def initial_state(self, batch_size: int) -> Tensor:
        return self.decay.new_zeros(batch_size, self.hidden_size)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., 3H): u, recurrence gate, input gate."""
        u: Tensor = self.from_input(x)
        by_head = torch.einsum("...hi,hij->...hj", u.unflatten(-1, self.gate_weight.shape[:2]), self.gate_weight)  # type: ignore[no-untyped-call]
        recurrence, input = (gate.flatten(-2) for gate in by_head.chunk(2, -1))
        return torch.cat([u, torch.cat([recurrence, input], -1) + self.gate_bias], -1)

    def gates(self, z_t: Tensor, state: Tensor) -> RGLRUGates:  # noqa: ARG002  (no gate reads the state)
        return self._gates(z_t)

    def coefficients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        gates = self._gates(z)
        log_decay = SHARPNESS * gates.recurrence * logsigmoid(self.decay)
        # 1 - a^2 without cancellation; at 0 the root has no derivative, below the smallest number it has none to pass on.
        room = -(2 * log_decay).expm1()
        scale = room.clamp(min=torch.finfo(room.dtype).tiny).sqrt()
        return log_decay.exp(), scale * gates.input * z.chunk(3, -1)[0]

    def read(self, z: Tensor, hidden: Tensor) -> Tensor:  # noqa: ARG002
        return hidden

    def _gates(self, z: Tensor) -> RGLRUGates:
        _, recurrence, input = z.chunk(3, -1)
        return RGLRUGates(recurrence.sigmoid(), input.sigmoid())
