"""The linear recurrent unit."""

import math

import torch
from torch import Tensor, nn

from elman.cells.cell import register
from elman.cells.initialization import glorot_
from elman.cells.linear import Complex, LinearCell
from elman.errors import ConfigError


@register("lru")
class LRU(LinearCell[Complex]):
    """Linear recurrent unit: a bank of damped oscillators, whose states no gate touches.

        lambda = exp(-exp(nu) + i exp(theta))               |lambda| < 1, whatever is learned
        h_t = lambda * h_{t-1} + exp(gamma) * (B x_t)       complex
        y_t = Re(C h_t) + D x_t + d

    Source: Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu, De, "Resurrecting Recurrent Neural Networks for Long
    Sequences", 2023, arXiv:2303.06349, section 3 and appendix A.
    Differs: a bias d; D is a matrix, since I and H may differ; slow units from the start (`min_radius`), where the paper has
    0 to 1 and raises the lower end for long memories. It is linear: the nonlinearity is the layer above.
    Parameters: 3 I H + H + 2 H H + 3 H.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1: complex states, and outputs.
        min_radius, max_radius: of the ring 0 <= min < max < 1 in which lambda starts, uniform by area. A unit forgets in
            about 1 / (1 - |lambda|) steps.
        max_phase: lambda starts at angles of 0 to this, in radians, at most 2 pi; small ones suit long memories.
    Shapes: x_t (batch, I); state `Complex`, both leaves (batch, H); output (batch, H).
    Raises: ConfigError if a size is below 1, or the ring or the phase is out of range.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        min_radius: float = 0.9,
        max_radius: float = 0.999,
        max_phase: float = 2 * math.pi,
    ) -> None:
        super().__init__(input_size, hidden_size)
        if not 0 <= min_radius < max_radius < 1:
            raise ConfigError(f"expected 0 <= `min_radius` < `max_radius` < 1, got {min_radius} and {max_radius}")
        if not 0 < max_phase <= 2 * math.pi:
            raise ConfigError(f"expected `max_phase` above 0, at most 2 pi, got {max_phase}")
        squared = torch.empty(hidden_size, dtype=torch.float64).uniform_(min_radius**2, max_radius**2)
        phase = max_phase * (1 - torch.rand(hidden_size, dtype=torch.float64))  # above 0, which has no logarithm
        kind = torch.get_default_dtype()
        self.nu = nn.Parameter((-0.5 * squared.log()).log().to(kind))
        self.theta = nn.Parameter(phase.log().to(kind))
        self.gamma = nn.Parameter((0.5 * (1 - squared).log()).to(kind))
        self.from_input = nn.Linear(input_size, 2 * hidden_size, bias=False)
        self.skip = nn.Linear(input_size, hidden_size)
        self.readout = nn.Linear(2 * hidden_size, hidden_size, bias=False)
        nn.init.normal_(self.from_input.weight, std=math.sqrt(1 / (2 * input_size)))
        nn.init.normal_(self.readout.weight, std=math.sqrt(1 / hidden_size))
        glorot_(self.skip.weight, blocks=1)
        nn.init.zeros_(self.skip.bias)

    def initial_state(self, batch_size: int) -> Complex:
        zeros = self.nu.new_zeros(batch_size, self.hidden_size)
        return Complex(zeros, zeros)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., 3H): real and imaginary part of B x, and D x + d."""
        return torch.cat([self.from_input(x), self.skip(x)], -1)

    def coefficients(self, z: Tensor) -> tuple[Complex, Complex]:
        radius, phase, scale = (-self.nu.exp()).exp(), self.theta.exp(), self.gamma.exp()
        real, imaginary, _ = z.chunk(3, -1)
        return Complex(radius * phase.cos(), radius * phase.sin()), Complex(scale * real, scale * imaginary)

    def read(self, z: Tensor, hidden: Complex) -> Tensor:
        # Re(C h) = Re C Re h - Im C Im h: the sign is in the weight.
        y: Tensor = self.readout(torch.cat(hidden, -1)) + z.chunk(3, -1)[2]
        return y
