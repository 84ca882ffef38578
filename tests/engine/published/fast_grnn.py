"""The fast gated network, for very small devices."""

import torch
from torch import Tensor, nn

from elman.cells.cell import Cell
from elman.cells.initialization import glorot_, orthogonal_
from elman.errors import ConfigError


class FastGRNN(Cell[Tensor]):
    """Fast gated recurrent network: one matrix pair for gate and candidate, which differ in their biases only.

        a_t = W x_t + U h_{t-1}                             of low rank, where asked for: U = U_1 U_2'
        z_t = sigmoid(a_t + b_z)                            z = 1 keeps
        c_t = tanh(a_t + b_c)
        h_t = (zeta (1 - z_t) + nu) * c_t + z_t * h_{t-1}   zeta and nu: learned numbers in 0..1

    Source: Kusupati et al., "FastGRNN: A Fast, Accurate, Stable and Tiny Kilobyte Sized Gated Recurrent Neural Network",
    2018, arXiv:1901.02358, section 3.2.
    Differs: nothing; zeta and nu are learned through a sigmoid, as in the paper's code.
    Parameters: I H + H H + 2 H + 2; 2 R H instead of H H with rank R.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
        rank: R, of U; 0: full.
    Shapes: x_t (batch, I); state h (batch, H); output (batch, H), equal to the new state.
    Raises: ConfigError if a size is below 1, or the rank below 0.
    """

    def __init__(self, input_size: int, hidden_size: int, *, rank: int = 0) -> None:
        super().__init__(input_size, hidden_size)
        if rank < 0:
            raise ConfigError(f"expected `rank` >= 0, got {rank}")
        self.from_input = nn.Linear(input_size, hidden_size, bias=False)
        self.to_rank = nn.Linear(hidden_size, rank, bias=False) if rank else nn.Identity()
        self.from_hidden = nn.Linear(rank or hidden_size, hidden_size, bias=False)
        self.gate_bias = nn.Parameter(torch.ones(hidden_size))
        self.candidate_bias = nn.Parameter(torch.ones(hidden_size))
        self.zeta = nn.Parameter(torch.ones(1))
        self.nu = nn.Parameter(-4 * torch.ones(1))
        glorot_(self.from_input.weight, blocks=1)
        orthogonal_(self.from_hidden.weight, blocks=1)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_hidden.weight.new_zeros(batch_size, self.hidden_size)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., H)."""
        z: Tensor = self.from_input(x)
        return z

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        total = z_t + self.from_hidden(self.to_rank(state))
        gate = (total + self.gate_bias).sigmoid()
        candidate = (total + self.candidate_bias).tanh()
        hidden = (self.zeta.sigmoid() * (1 - gate) + self.nu.sigmoid()) * candidate + gate * state
        return hidden, hidden
