"""Long short-term memory with one gate for writing and forgetting."""

from typing import NamedTuple

from torch import Tensor, nn

from elman.cells.cell import Cell, register
from elman.cells.initialization import glorot_, orthogonal_
from elman.cells.lstm import LSTMState


class CoupledLSTMGates(NamedTuple):
    """forget and output in 0..1, candidate in -1..1; the input gate is 1 - forget. Each (batch, H)."""

    forget: Tensor
    candidate: Tensor
    output: Tensor


@register("coupled_lstm")
class CoupledLSTM(Cell[LSTMState]):
    """LSTM with coupled input and forget gates (CIFG): as much is written as is forgotten.

        f_t = sigmoid(W_f x_t + U_f h_{t-1} + b_f)          forget gate: f = 1 keeps, f = 0 writes
        g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)             candidate
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + b_o)          output gate
        c_t = f_t * c_{t-1} + (1 - f_t) * g_t
        h_t = o_t * tanh(c_t)

    Source: Greff, Srivastava, Koutnik, Steunebrink, Schmidhuber, "LSTM: A Search Space Odyssey", 2017,
    doi:10.1109/TNNLS.2016.2582924, variant CIFG.
    Differs: no peepholes; the gate that is kept is the forget gate, where the paper computes i and sets f = 1 - i: the
    same with the signs of W_f, U_f and b_f turned. Equal to the ONNX operator LSTM with `input_forget`, likewise.
    Parameters: 3 (I H + H H + H).

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
        forget_bias: b_f at initialization; larger values suit longer memories.
    Shapes: x_t (batch, I); state `LSTMState`, both (batch, H); output (batch, H), equal to the new hidden.
    Raises: ConfigError if a size is below 1.
    """

    def __init__(self, input_size: int, hidden_size: int, *, forget_bias: float = 1.0) -> None:
        super().__init__(input_size, hidden_size)
        self.from_input = nn.Linear(input_size, 3 * hidden_size)
        self.from_hidden = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        glorot_(self.from_input.weight, blocks=3)
        orthogonal_(self.from_hidden.weight, blocks=3)
        nn.init.zeros_(self.from_input.bias)
        nn.init.constant_(self.from_input.bias.chunk(3)[0], forget_bias)

    def initial_state(self, batch_size: int) -> LSTMState:
        zeros = self.from_hidden.weight.new_zeros(batch_size, self.hidden_size)
        return LSTMState(hidden=zeros, cell=zeros)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., 3H): forget, candidate, output."""
        z: Tensor = self.from_input(x)
        return z

    def gates(self, z_t: Tensor, state: LSTMState) -> CoupledLSTMGates:
        f, g, o = (z_t + self.from_hidden(state.hidden)).chunk(3, -1)
        return CoupledLSTMGates(f.sigmoid(), g.tanh(), o.sigmoid())

    def step(self, z_t: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        gates = self.gates(z_t, state)
        cell = gates.forget * state.cell + (1 - gates.forget) * gates.candidate
        hidden = gates.output * cell.tanh()
        return hidden, LSTMState(hidden, cell)
