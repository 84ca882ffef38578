"""Long short-term memory, with the forget gate."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from elman.cells.cell import Cell, VendorWeights, register
from elman.cells.initialization import glorot_, orthogonal_


class LSTMState(NamedTuple):
    """hidden: what the cell shows; cell: what it remembers. Each (batch, H); a projected hidden is (batch, P)."""

    hidden: Tensor
    cell: Tensor


class LSTMGates(NamedTuple):
    """In torch's order. input, forget and output in 0..1, candidate in -1..1. Each (batch, H)."""

    input: Tensor
    forget: Tensor
    candidate: Tensor
    output: Tensor


@register("lstm")
class LSTM(Cell[LSTMState]):
    """Long short-term memory: a memory that is added to, behind gates that decide what enters, stays and shows.

        i_t = sigmoid(W_i x_t + U_i h_{t-1} + b_i)          input gate: i = 0 writes nothing
        f_t = sigmoid(W_f x_t + U_f h_{t-1} + b_f)          forget gate: f = 1 keeps
        g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)             candidate
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + b_o)          output gate
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * tanh(c_t)

    Source: Hochreiter, Schmidhuber, "Long Short-Term Memory", 1997, doi:10.1162/neco.1997.9.8.1735; forget gate: Gers,
    Schmidhuber, Cummins, "Learning to Forget", 2000, doi:10.1162/089976600300015015.
    Differs: tanh for both squashing functions. Equal to `torch.nn.LSTM`, with one bias instead of two that add up. The
    cells `lstm_1997`, `peephole_lstm`, `coupled_lstm`, `projected_lstm` and `layer_norm_lstm` are its relatives.
    Parameters: 4 (I H + H H + H).

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
        forget_bias: b_f at initialization. 1 lets gradients pass from the start (Jozefowicz, Zaremba, Sutskever, 2015);
            larger values suit longer memories.
    Shapes: x_t (batch, I); state `LSTMState`, both (batch, H); output (batch, H), equal to the new hidden.
    Raises: ConfigError if a size is below 1.
    """

    def __init__(self, input_size: int, hidden_size: int, *, forget_bias: float = 1.0) -> None:
        super().__init__(input_size, hidden_size)
        self.from_input = nn.Linear(input_size, 4 * hidden_size)
        self.from_hidden = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
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
        i, f, g, o = (z_t + self.from_hidden(state.hidden)).chunk(4, -1)
        return LSTMGates(i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid())

    def step(self, z_t: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        gates = self.gates(z_t, state)
        cell = gates.forget * state.cell + gates.input * gates.candidate
        hidden = gates.output * cell.tanh()
        return hidden, LSTMState(hidden, cell)

    def vendor(self) -> VendorWeights:
        bias = self.from_input.bias
        return VendorWeights("lstm", self.from_input.weight, self.from_hidden.weight, bias, torch.zeros_like(bias))
