"""Long short-term memory with a projected output."""

from torch import Tensor, nn

from elman.cells.cell import Cell, register
from elman.cells.initialization import glorot_, orthogonal_
from elman.cells.lstm import LSTMGates, LSTMState
from elman.errors import ConfigError


@register("projected_lstm")
class ProjectedLSTM(Cell[LSTMState]):
    """LSTM with projection (LSTMP): a large memory that is fed back and shown through a narrow door.

        i_t = sigmoid(W_i x_t + U_i h_{t-1} + b_i)          input gate: i = 0 writes nothing
        f_t = sigmoid(W_f x_t + U_f h_{t-1} + b_f)          forget gate: f = 1 keeps
        g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)             candidate
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + b_o)          output gate
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = R (o_t * tanh(c_t))                           P numbers of H

    Source: Sak, Senior, Beaufays, "Long Short-Term Memory Based Recurrent Neural Network Architectures for Large
    Vocabulary Speech Recognition", 2014, arXiv:1402.1128.
    Differs: no peepholes, no part of the output that is not fed back. Equal to `torch.nn.LSTM` with `proj_size`, with
    one bias instead of two that add up. Parameters: 4 (I H + P H + H) + H P.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: memory cells, H >= 1.
        projection_size: numbers shown and fed back, P in 1..H; 0 is half as many as memory cells.
        forget_bias: b_f at initialization, see `elman.cells.LSTM`.
    Shapes: x_t (batch, I); state `LSTMState`: hidden (batch, P), cell (batch, H); output (batch, P), equal to the new
    hidden.
    Raises: ConfigError if a size is below 1 or the projection is not within 1..H.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, projection_size: int = 0, forget_bias: float = 1.0
    ) -> None:
        super().__init__(input_size, hidden_size)
        if not 0 <= projection_size <= hidden_size:
            raise ConfigError(
                f"expected `projection_size` in 1..{hidden_size}, the hidden size, or 0 for half of it, "
                f"got {projection_size}"
            )
        self.output_size = projection_size or max(1, hidden_size // 2)
        self.from_input = nn.Linear(input_size, 4 * hidden_size)
        self.from_hidden = nn.Linear(self.output_size, 4 * hidden_size, bias=False)
        self.projection = nn.Linear(hidden_size, self.output_size, bias=False)
        glorot_(self.from_input.weight, blocks=4)
        orthogonal_(self.from_hidden.weight, blocks=4)
        orthogonal_(self.projection.weight, blocks=1)
        nn.init.zeros_(self.from_input.bias)
        nn.init.constant_(self.from_input.bias.chunk(4)[1], forget_bias)

    def initial_state(self, batch_size: int) -> LSTMState:
        weight = self.from_hidden.weight
        return LSTMState(
            hidden=weight.new_zeros(batch_size, self.output_size), cell=weight.new_zeros(batch_size, self.hidden_size)
        )

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
        hidden = self.projection(gates.output * cell.tanh())
        return hidden, LSTMState(hidden, cell)
