"""The LSTM whose input and state gate each other first."""

from torch import Tensor, nn

from elman.cells.cell import Cell
from elman.cells.initialization import glorot_, orthogonal_
from elman.cells.lstm import LSTMState
from elman.errors import ConfigError


class MogrifierLSTM(Cell[LSTMState]):
    """Mogrifier LSTM: before an LSTM's step, input and hidden state scale one another in turn.

        x^i = 2 sigmoid(Q^i h^{i-1}) * x^{i-2}              odd i <= rounds;  x^{-1} = x_t
        h^i = 2 sigmoid(R^i x^{i-1}) * h^{i-2}              even i <= rounds; h^0 = h_{t-1}
        h_t, c_t = LSTM(x^last, h^last, c_{t-1})

    Source: Melis, Kocisky, Blunsom, "Mogrifier LSTM", 2020, arXiv:1909.01792, section 2.
    Differs: Q and R are of full rank. Parameters: 4 (I H + H H + H) + rounds I H.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
        rounds: how often one scales the other, >= 0; 0 is an LSTM.
        forget_bias: of the forget gate at initialization.
    Shapes: x_t (batch, I); state `LSTMState`, both (batch, H); output (batch, H), equal to the new hidden.
    Raises: ConfigError if a size is below 1, or the rounds are below 0.
    """

    def __init__(self, input_size: int, hidden_size: int, *, rounds: int = 5, forget_bias: float = 1.0) -> None:
        super().__init__(input_size, hidden_size)
        if rounds < 0:
            raise ConfigError(f"expected `rounds` >= 0, got {rounds}")
        sizes = [(hidden_size, input_size) if i % 2 == 0 else (input_size, hidden_size) for i in range(rounds)]
        self.scales = nn.ModuleList(nn.Linear(before, after, bias=False) for before, after in sizes)
        self.from_input = nn.Linear(input_size, 4 * hidden_size)
        self.from_hidden = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        glorot_(self.from_input.weight, blocks=4)
        orthogonal_(self.from_hidden.weight, blocks=4)
        nn.init.zeros_(self.from_input.bias)
        nn.init.constant_(self.from_input.bias.chunk(4)[1], forget_bias)

    def initial_state(self, batch_size: int) -> LSTMState:
        zeros = self.from_hidden.weight.new_zeros(batch_size, self.hidden_size)
        return LSTMState(zeros, zeros)

    def step(self, z_t: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        x, hidden = z_t, state.hidden
        for i, scale in enumerate(self.scales):
            if i % 2 == 0:
                x = 2 * scale(hidden).sigmoid() * x
            else:
                hidden = 2 * scale(x).sigmoid() * hidden
        i, f, g, o = (self.from_input(x) + self.from_hidden(hidden)).chunk(4, -1)
        cell = f.sigmoid() * state.cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        return hidden, LSTMState(hidden, cell)
