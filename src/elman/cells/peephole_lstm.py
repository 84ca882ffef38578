"""Long short-term memory whose gates see the memory."""

import torch
from torch import Tensor, nn

from elman.cells.cell import Cell, register
from elman.cells.initialization import glorot_, orthogonal_
from elman.cells.lstm import LSTMGates, LSTMState


@register("peephole_lstm")
class PeepholeLSTM(Cell[LSTMState]):
    """LSTM with peepholes: the gates see the memory itself, not only what the output gate lets through.

        i_t = sigmoid(W_i x_t + U_i h_{t-1} + p_i * c_{t-1} + b_i)          input gate: i = 0 writes nothing
        f_t = sigmoid(W_f x_t + U_f h_{t-1} + p_f * c_{t-1} + b_f)          forget gate: f = 1 keeps
        g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)                             candidate
        c_t = f_t * c_{t-1} + i_t * g_t
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + p_o * c_t + b_o)              output gate, sees the new memory
        h_t = o_t * tanh(c_t)

    Source: Gers, Schraudolph, Schmidhuber, "Learning Precise Timing with LSTM Recurrent Networks", 2002,
    https://jmlr.org/papers/v3/gers02a.html.
    Differs: memory blocks of one cell; tanh for both squashing functions; the whole gradient, peepholes included.
    Equal to the ONNX operator LSTM with its input P. Parameters: 4 (I H + H H + H) + 3 H.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
        forget_bias: b_f at initialization, see `elman.cells.LSTM`.
    Shapes: x_t (batch, I); state `LSTMState`, both (batch, H); output (batch, H), equal to the new hidden.
    Raises: ConfigError if a size is below 1.
    """

    def __init__(self, input_size: int, hidden_size: int, *, forget_bias: float = 1.0) -> None:
        super().__init__(input_size, hidden_size)
        self.from_input = nn.Linear(input_size, 4 * hidden_size)
        self.from_hidden = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        self.from_cell = nn.Parameter(torch.zeros(3 * hidden_size))  # input, forget, output: it begins as an LSTM
        glorot_(self.from_input.weight, blocks=4)
        orthogonal_(self.from_hidden.weight, blocks=4)
        nn.init.zeros_(self.from_input.bias)
        nn.init.constant_(self.from_input.bias.chunk(4)[1], forget_bias)

    def initial_state(self, batch_size: int) -> LSTMState:
        zeros = self.from_hidden.weight.new_zeros(batch_size, self.hidden_size)
        return LSTMState(hidden=zeros, cell=zeros)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., 4H): input, forget, candidate, output."""
        z: Tensor = self.from_input(x)
        return z

    def gates(self, z_t: Tensor, state: LSTMState) -> LSTMGates:
        return self._gates_and_cell(z_t, state)[0]

    def step(self, z_t: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        gates, cell = self._gates_and_cell(z_t, state)
        hidden = gates.output * cell.tanh()
        return hidden, LSTMState(hidden, cell)

    def _gates_and_cell(self, z_t: Tensor, state: LSTMState) -> tuple[LSTMGates, Tensor]:
        i, f, g, o = (z_t + self.from_hidden(state.hidden)).chunk(4, -1)
        to_input, to_forget, to_output = self.from_cell.chunk(3)
        input_gate = (i + to_input * state.cell).sigmoid()
        forget = (f + to_forget * state.cell).sigmoid()
        candidate = g.tanh()
        cell = forget * state.cell + input_gate * candidate
        output = (o + to_output * cell).sigmoid()
        return LSTMGates(input_gate, forget, candidate, output), cell
