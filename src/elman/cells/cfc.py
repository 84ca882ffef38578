"""The closed-form continuous-time network."""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from elman.cells.cell import Cell, register
from elman.cells.initialization import glorot_, orthogonal_
from elman.errors import ConfigError


class CfCGates(NamedTuple):
    """mix in 0..1, early and late in -1..1: what the state is blended of. Each (batch, H)."""

    mix: Tensor
    early: Tensor
    late: Tensor


@register("cfc")
class CfC(Cell[Tensor]):
    """Closed-form continuous-time network: the state after any time, by a formula in place of a solver.

        a_t = 1.7159 tanh(2/3 (W x_t + U h_{t-1} + b))              backbone, shared by three heads
        f_t = W_f a_t + b_f                                         pace
        g_t = tanh(W_g a_t + b_g)                                   where the state is at first, f > 0
        k_t = tanh(W_k a_t + b_k)                                   where it goes
        s_t = sigmoid(-f_t gap_t)                                   0.5 for no time, towards 0 for long, f > 0
        h_t = s_t * g_t + (1 - s_t) * k_t

    Source: Hasani et al., "Closed-form continuous-time neural networks", 2022, doi:10.1038/s42256-022-00556-7 (its
    x(t), with heads f, g, h; here k, as h is the state).
    Differs: the backbone has one layer, with LeCun's scaled tanh. Options of the authors' code that are not in the
    equation (a bias beside f t, deeper backbones) are left out.
    Parameters: F B + B + H B + 3 (B H + H), with B backbone units.

    Args:
        input_size: F + 1: F features and the time since the step before.
        hidden_size: units, H >= 1.
        backbone: units of the backbone; 0 means as many as `hidden_size`.
        gate: False leaves out the factor (1 - s_t) of k_t: the paper's variant without the second gate.
    Shapes: x_t (batch, F + 1); state h (batch, H); output (batch, H), equal to the new state.
    Raises: ConfigError if a size is below 1, `input_size` is not F + 1, or `backbone` is negative.
    """

    inputs: ClassVar[tuple[str, ...]] = ("x", "gap")

    def __init__(self, input_size: int, hidden_size: int, *, backbone: int = 0, gate: bool = True) -> None:
        super().__init__(input_size, hidden_size)
        if input_size < 2:
            raise ConfigError(
                "expected `input_size` = F + 1: F >= 1 features and one gap, the time since the step before; "
                f"got {input_size}"
            )
        if backbone < 0:
            raise ConfigError(f"expected `backbone` units >= 1, or 0 for as many as `hidden_size`, got {backbone}")
        self.gate = gate
        self.units = backbone or hidden_size
        self.from_input = nn.Linear(input_size - 1, self.units)
        self.from_hidden = nn.Linear(hidden_size, self.units, bias=False)
        self.heads = nn.Linear(self.units, 3 * hidden_size)
        glorot_(self.from_input.weight, blocks=1)
        orthogonal_(self.from_hidden.weight, blocks=1)
        glorot_(self.heads.weight, blocks=3)
        nn.init.zeros_(self.from_input.bias)
        nn.init.zeros_(self.heads.bias)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_hidden.weight.new_zeros(batch_size, self.hidden_size)

    def project(self, x: Tensor) -> Tensor:
        """(..., F + 1) -> (..., B + 1): what the backbone reads of the input; the gap."""
        return torch.cat([self.from_input(x[..., :-1]), x[..., -1:]], -1)

    def gates(self, z_t: Tensor, state: Tensor) -> CfCGates:
        z, gap = z_t.split_with_sizes([self.units, 1], -1)
        backbone = 1.7159 * (2 / 3 * (z + self.from_hidden(state))).tanh()
        pace, early, late = self.heads(backbone).chunk(3, -1)
        return CfCGates((-pace * gap).sigmoid(), early.tanh(), late.tanh())

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        mix, early, late = self.gates(z_t, state)
        hidden = mix * early + ((1 - mix) * late if self.gate else late)
        return hidden, hidden
