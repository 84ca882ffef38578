"""The LSTM with exponential gates."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from elman.cells.cell import Cell, register
from elman.cells.initialization import glorot_
from elman.errors import ConfigError

# The stabilizer before the first step: exp(NOTHING - m) is exactly 0 for every gate m, however far shut.
NOTHING = -1e30


class SLSTMState(NamedTuple):
    """hidden: what the cell shows; cell and normalizer: sums of candidates and of weights, both divided by
    exp(stabilizer). Each (batch, H)."""

    hidden: Tensor
    cell: Tensor
    normalizer: Tensor
    stabilizer: Tensor


class SLSTMGates(NamedTuple):
    """log_input and log_forget: logarithms of positive numbers; candidate in -1..1; output in 0..1. Each (batch, H)."""

    log_input: Tensor
    log_forget: Tensor
    candidate: Tensor
    output: Tensor


@register("slstm")
class SLSTM(Cell[SLSTMState]):
    """sLSTM: an LSTM that shows a weighted mean of what it has seen; new input may outweigh all that was before.

        i_t = exp(W_i x_t + U_i h_{t-1} + b_i)              input gate, may be above 1
        f_t = sigmoid or exp (W_f x_t + U_f h_{t-1} + b_f)  forget gate: f = 1 keeps
        g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)             candidate (paper: z)
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + b_o)          output gate
        c_t = f_t * c_{t-1} + i_t * g_t
        n_t = f_t * n_{t-1} + i_t                           normalizer, the sum of the weights
        h_t = o_t * c_t / n_t

    What is computed never overflows: with the stabilizer m_t = max(log f_t + m_{t-1}, log i_t), the gates are
    exp(log i_t - m_t) and exp(log f_t + m_{t-1} - m_t), and c_t and n_t are exp(-m_t) times the above: h is the same.
    Before the first step m is so low that m_1 = log i_1; so n_t >= 1 from then on, and the division is safe.

    Source: Beck et al., "xLSTM: Extended Long Short-Term Memory", 2024, arXiv:2405.04517, section 2.2, eq. 8-17.
    Differs: the cell alone; normalization, convolution and projections around it belong to the paper's block.
    Parameters: 4 (I H + H H / heads + H).

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1, a multiple of `heads`.
        heads: groups of units; U mixes the units within a group and none across (block-diagonal).
        forget: "sigmoid" or "exponential". b_f begins so that f is the same with both: from 0.5 at the first unit to
            0.993, a memory of about 150 steps, at the last.
    Shapes: x_t (batch, I); state `SLSTMState`, all (batch, H); output (batch, H), equal to the new hidden.
    Raises: ConfigError if a size is below 1, the heads do not divide it, or `forget` is another.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        heads: int = 1,
        forget: Literal["sigmoid", "exponential"] = "sigmoid",
    ) -> None:
        super().__init__(input_size, hidden_size)
        if heads < 1 or hidden_size % heads:
            raise ConfigError(f"expected `heads` >= 1 that divide `hidden_size`={hidden_size}, got {heads}")
        if forget not in ("sigmoid", "exponential"):
            raise ConfigError(f"expected `forget` 'sigmoid' or 'exponential', got {forget!r}")
        self.heads = heads
        self.forget = forget
        self.from_input = nn.Linear(input_size, 4 * hidden_size)
        self.from_hidden = nn.Parameter(torch.empty(4, heads, hidden_size // heads, hidden_size // heads))
        glorot_(self.from_input.weight, blocks=4)
        for block in self.from_hidden.flatten(0, 1):
            nn.init.orthogonal_(block)
        spread = torch.linspace(0, 5, hidden_size)
        nn.init.zeros_(self.from_input.bias)
        with torch.no_grad():
            self.from_input.bias.chunk(4)[1].copy_(spread if forget == "sigmoid" else logsigmoid(spread))

    def initial_state(self, batch_size: int) -> SLSTMState:
        zeros = self.from_hidden.new_zeros(batch_size, self.hidden_size)
        return SLSTMState(hidden=zeros, cell=zeros, normalizer=zeros, stabilizer=zeros + NOTHING)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., 4H): input, forget, candidate, output."""
        z: Tensor = self.from_input(x)
        return z

    def gates(self, z_t: Tensor, state: SLSTMState) -> SLSTMGates:
        hidden = state.hidden.reshape(-1, self.heads, self.hidden_size // self.heads)
        recurrent = torch.einsum("bhk,ghjk->bghj", hidden, self.from_hidden).flatten(1)
        i, f, g, o = (z_t + recurrent).chunk(4, -1)
        return SLSTMGates(i, logsigmoid(f) if self.forget == "sigmoid" else f, g.tanh(), o.sigmoid())

    def step(self, z_t: Tensor, state: SLSTMState) -> tuple[Tensor, SLSTMState]:
        log_input, log_forget, candidate, output = self.gates(z_t, state)
        log_kept = log_forget + state.stabilizer
        stabilizer = torch.maximum(log_kept, log_input)
        write, keep = (log_input - stabilizer).exp(), (log_kept - stabilizer).exp()
        cell = keep * state.cell + write * candidate
        normalizer = keep * state.normalizer + write
        hidden = output * cell / normalizer
        return hidden, SLSTMState(hidden, cell, normalizer, stabilizer)
