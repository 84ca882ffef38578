"""The gated orthogonal unit."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.cells.cell import Cell
from elman.cells.initialization import glorot_, orthogonal_


class GORU(Cell[Tensor]):
    """Gated orthogonal unit: a GRU that turns its state by a rotation, which keeps lengths.

        z_t = sigmoid(W_z x_t + U_z h_{t-1} + b_z)          z = 1 keeps
        r_t = sigmoid(W_r x_t + U_r h_{t-1} + b_r)
        c_t = modReLU(W_c x_t + r_t * (Q h_{t-1}), b)       modReLU(a, b) = sign(a) relu(|a| + b)
        h_t = z_t * h_{t-1} + (1 - z_t) * c_t
        Q = exp(S - S')                                     orthogonal, whatever S

    Source: Jing et al., "Gated Orthogonal Recurrent Units: On Learning to Forget", 2019, arXiv:1706.02761, section 3.
    Differs: the rotation is the exponential of an antisymmetric matrix (Lezcano-Casado, Martinez-Rubio, 2019,
    arXiv:1901.08428) instead of a product of rotations in planes. Parameters: 3 I H + 3 H + 3 H H.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
    Shapes: x_t (batch, I); state h (batch, H); output (batch, H), equal to the new state.
    Raises: ConfigError if a size is below 1.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.from_input = nn.Linear(input_size, 3 * hidden_size, bias=False)
        self.from_hidden = nn.Linear(hidden_size, 2 * hidden_size)
        self.generator = nn.Parameter(torch.randn(hidden_size, hidden_size) / hidden_size**0.5)
        self.threshold = nn.Parameter(torch.zeros(hidden_size))
        glorot_(self.from_input.weight, blocks=3)
        orthogonal_(self.from_hidden.weight, blocks=2)
        nn.init.ones_(self.from_hidden.bias)

    def prepare(self) -> None:
        self.__dict__["rotation"] = self._rotation()

    def _rotation(self) -> Tensor:
        rotation: Tensor = torch.linalg.matrix_exp(self.generator - self.generator.T)
        return rotation

    def __getstate__(self) -> Any:
        """For deep copies, which a part of a graph would refuse."""
        self.__dict__.pop("rotation", None)
        return super().__getstate__()  # type: ignore[no-untyped-call]

    def initial_state(self, batch_size: int) -> Tensor:
        return self.threshold.new_zeros(batch_size, self.hidden_size)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., 3H): keep, reset, candidate."""
        z: Tensor = self.from_input(x)
        return z

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        z_keep, z_reset, z_candidate = z_t.chunk(3, -1)
        keep, reset = self.from_hidden(state).chunk(2, -1)
        rotation = self.__dict__.get("rotation")
        turned = F.linear(state, self._rotation() if rotation is None else rotation)
        total = z_candidate + (z_reset + reset).sigmoid() * turned
        candidate = total.sign() * (total.abs() + self.threshold).relu()
        keep = (z_keep + keep).sigmoid()
        hidden = keep * state + (1 - keep) * candidate
        return hidden, hidden
