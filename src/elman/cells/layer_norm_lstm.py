"""Long short-term memory with layer normalization."""

from torch import Tensor, nn

from elman.cells.cell import Cell, register
from elman.cells.initialization import glorot_, orthogonal_
from elman.cells.lstm import LSTMGates, LSTMState
from elman.errors import ConfigError


@register("layer_norm_lstm")
class LayerNormLSTM(Cell[LSTMState]):
    """LSTM with layer normalization: what enters the gates has the same scale at every step.

        (i, f, g, o) = LN(W x_t) + LN(U h_{t-1}) + b        each LN over all 4 H numbers, with a gain
        c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
        h_t = sigmoid(o) * tanh(LN(c_t))                    this LN over H numbers, with gain and bias

    Source: Ba, Kiros, Hinton, "Layer Normalization", 2016, arXiv:1607.06450, eq. 20 to 22.
    Differs: in the paper each LN of the first line has a bias beside b; the three add up, and one is kept, that of
    LN(W x). b_g begins random in -0.5..0.5, so that inputs of zeros do not leave a state of zeros, where the gradient
    of LN explodes. Parameters: 4 (I H + H H) + 14 H.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 2: normalized alone, a unit would always be zero.
        forget_bias: b_f at initialization, see `elman.cells.LSTM`.
    Shapes: x_t (batch, I); state `LSTMState`, both (batch, H); output (batch, H), equal to the new hidden.
    Raises: ConfigError if the input is below 1 or the hidden size below 2.
    """

    def __init__(self, input_size: int, hidden_size: int, *, forget_bias: float = 1.0) -> None:
        super().__init__(input_size, hidden_size)
        if hidden_size < 2:
            raise ConfigError("expected `hidden_size` >= 2, got 1: layer normalization of a single unit is always zero")
        self.from_input = nn.Linear(input_size, 4 * hidden_size, bias=False)
        self.from_hidden = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        self.norm_input = nn.LayerNorm(4 * hidden_size)
        self.norm_hidden = nn.LayerNorm(4 * hidden_size, bias=False)
        self.norm_cell = nn.LayerNorm(hidden_size)
        glorot_(self.from_input.weight, blocks=4)
        orthogonal_(self.from_hidden.weight, blocks=4)
        _, forget, candidate, _ = self.norm_input.bias.chunk(4)
        nn.init.constant_(forget, forget_bias)
        # With none, inputs of zeros keep the state at zero, where each LN multiplies gradients by 316: they overflow.
        nn.init.uniform_(candidate, -0.5, 0.5)

    def initial_state(self, batch_size: int) -> LSTMState:
        zeros = self.from_hidden.weight.new_zeros(batch_size, self.hidden_size)
        return LSTMState(hidden=zeros, cell=zeros)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., 4H), normalized: input, forget, candidate, output."""
        z: Tensor = self.norm_input(self.from_input(x))
        return z

    def gates(self, z_t: Tensor, state: LSTMState) -> LSTMGates:
        i, f, g, o = (z_t + self.norm_hidden(self.from_hidden(state.hidden))).chunk(4, -1)
        return LSTMGates(i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid())

    def step(self, z_t: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        gates = self.gates(z_t, state)
        cell = gates.forget * state.cell + gates.input * gates.candidate
        hidden = gates.output * self.norm_cell(cell).tanh()
        return hidden, LSTMState(hidden, cell)
