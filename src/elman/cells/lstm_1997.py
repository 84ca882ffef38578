"""Long short-term memory as it began, without a forget gate."""

from typing import NamedTuple

from torch import Tensor, nn

from elman.cells.cell import Cell, register
from elman.cells.initialization import glorot_, orthogonal_
from elman.cells.lstm import LSTMState


class LSTM1997Gates(NamedTuple):
    """input and output in 0..1, candidate in -2..2. Each (batch, H)."""

    input: Tensor
    candidate: Tensor
    output: Tensor


@register("lstm_1997")
class LSTM1997(Cell[LSTMState]):
    """Long short-term memory of 1997: what has entered the memory stays for ever; it can only be added to.

        i_t = sigmoid(W_i x_t + U_i h_{t-1} + b_i)          input gate: i = 0 writes nothing
        g_t = 4 sigmoid(W_g x_t + U_g h_{t-1} + b_g) - 2    candidate
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + b_o)          output gate
        c_t = c_{t-1} + i_t * g_t                           the "constant error carousel"
        h_t = o_t * (2 sigmoid(c_t) - 1)

    Source: Hochreiter, Schmidhuber, "Long Short-Term Memory", 1997, doi:10.1162/neco.1997.9.8.1735.
    Differs: memory blocks of one cell, no further hidden units, a bias at the candidate as at the gates; the gradient is
    the whole one, which the paper cuts where it leaves a memory cell.
    Parameters: 3 (I H + H H + H).

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: memory cells, H >= 1.
        input_bias: b_i at initialization; negative against the drift of a memory that cannot forget, as the paper
            advises.
        output_bias: b_o at initialization; negative keeps the memory from acting before it has learned anything.
    Shapes: x_t (batch, I); state `LSTMState`, both (batch, H); output (batch, H), equal to the new hidden.
    Raises: ConfigError if a size is below 1.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, input_bias: float = -1.0, output_bias: float = -1.0
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.from_input = nn.Linear(input_size, 3 * hidden_size)
        self.from_hidden = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        glorot_(self.from_input.weight, blocks=3)
        orthogonal_(self.from_hidden.weight, blocks=3)
        for bias, value in zip(self.from_input.bias.chunk(3), (input_bias, 0.0, output_bias), strict=True):
            nn.init.constant_(bias, value)

    def initial_state(self, batch_size: int) -> LSTMState:
        zeros = self.from_hidden.weight.new_zeros(batch_size, self.hidden_size)
        return LSTMState(hidden=zeros, cell=zeros)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., 3H): input, candidate, output."""
        z: Tensor = self.from_input(x)
        return z

    def gates(self, z_t: Tensor, state: LSTMState) -> LSTM1997Gates:
        i, g, o = (z_t + self.from_hidden(state.hidden)).chunk(3, -1)
        return LSTM1997Gates(i.sigmoid(), 4 * g.sigmoid() - 2, o.sigmoid())

    def step(self, z_t: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        gates = self.gates(z_t, state)
        cell = state.cell + gates.input * gates.candidate
        hidden = gates.output * (2 * cell.sigmoid() - 1)
        return hidden, LSTMState(hidden, cell)
