"""A selective state-space model, Mamba style."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.cells.padding import zero_padding
from elman.cells.scan import linear_scan
from elman.layers.causal_convolution import CausalConvolution
from elman.layers.dense import Dense
from elman.layers.dropout import Dropout
from elman.models.encoder import Encoder, check_positive, initial_states, register, run_blocks
from elman.state import State

EPSILON = 1e-5  # of the norms
SMALLEST_STEP, LARGEST_STEP = 1e-3, 1e-1
"""Between these begin the step sizes of the channels: with A from -1 to -N, memories from a step to a thousand."""


class SelectiveState(NamedTuple):
    """``inputs`` (batch, kernel - 1, E), the convolution's last inputs; ``hidden`` (batch, E, N)."""

    inputs: Tensor
    hidden: Tensor


class SelectiveBlock(nn.Module):
    """x + what the selective state space makes of RMSNorm(x), with dropout on what is added; see `SSM`."""

    def __init__(self, size: int, *, state_size: int, expand: int, kernel: int, dropout: float, layers: int) -> None:
        super().__init__()
        inner, rank = expand * size, math.ceil(size / 16)
        self.parts = (rank, state_size, state_size)
        self.norm = nn.RMSNorm(size, eps=EPSILON)
        self.from_input = Dense(size, 2 * inner, bias=False)
        self.convolution = CausalConvolution(inner, inner, kernel, groups=inner)
        self.select = Dense(inner, sum(self.parts), bias=False)
        self.step_size = Dense(rank, inner)
        self.log_decay = nn.Parameter(torch.arange(1.0, state_size + 1).log().repeat(inner, 1))
        self.skip = nn.Parameter(torch.ones(inner))
        self.mix = Dense(inner, size, bias=False)
        self.dropout = Dropout(dropout)
        nn.init.xavier_normal_(self.from_input.weight)
        # What `layers` of them add together then has the size of what one would.
        nn.init.xavier_normal_(self.mix.weight, gain=1 / math.sqrt(layers))
        nn.init.uniform_(self.step_size.weight, -(rank**-0.5), rank**-0.5)
        step = torch.empty(inner).uniform_(math.log(SMALLEST_STEP), math.log(LARGEST_STEP)).exp()
        self.step_size.bias.data.copy_(step.expm1().log())  # softplus gives it back

    def initial_state(self, batch_size: int) -> SelectiveState:
        inputs = self.convolution.initial_state(batch_size)
        return SelectiveState(inputs, self.log_decay.new_zeros(batch_size, *self.log_decay.shape))

    def forward(self, x: Tensor, state: SelectiveState, lengths: Tensor | None) -> tuple[Tensor, SelectiveState]:
        u, gate = self.from_input(self.norm(x)).chunk(2, -1)
        u, inputs = self.convolution(u, state.inputs, lengths)
        u = F.silu(u)
        low, write, read = self.select(u).split(self.parts, -1)
        step = zero_padding(F.softplus(self.step_size(low)), lengths)  # a step of 0 leaves the state as it is
        decay = (-step[..., None] * self.log_decay.exp()).exp()
        values = (step * u)[..., None] * write[..., None, :]
        if x.shape[1] == 1:  # plain operations, which a stream runs faster and an export can trace
            hidden = decay * state.hidden[:, None] + values
        else:
            hidden = linear_scan(decay, values, state.hidden)
        y = (hidden @ read[..., None]).squeeze(-1) + self.skip * u
        return x + self.dropout(self.mix(y * F.silu(gate))), SelectiveState(inputs, hidden[:, -1].clone())


@register("ssm")
class SSM(Encoder):
    """Selective state-space model: linear memories whose input, output and pace depend on what is read.

        r = W x_t + b                                       then, for each block, with n = RMSNorm(r):
        u, z = W_in n                                       E = expand H channels each
        u = silu(convolution_k(u) + c)                      each channel by itself; inputs before the first are zero
        l, B, C = W_s u                                     H / 16, N and N numbers a step
        Δ = softplus(W_d l + d)                             step size, one per channel
        h_t = exp(Δ A) * h_{t-1} + Δ B u                    (E, N), h_0 = 0; A = -exp(log_decay)
        r = r + W_out ((C h_t + s u) * silu(z))
        y_t = RMSNorm(r)

    Source: Gu, Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023, arXiv:2312.00752, section 3;
    norm: Zhang, Sennrich, "Root Mean Square Layer Normalization", 2019, arXiv:1910.07467.
    Differs: the input reaches the state by Δ B (Euler) and not by the exact hold of eq. 4: the paper's own code does so too.
    Over time it is a scan, in the core or in plain PyTorch, `elman.cells.scan.linear_scan`.
    Parameters: I H + H + layers (H + 2 H E + (k + 1) E + E (R + 2 N) + (R + 1) E + E N + E + E H) + H, R = H / 16 rounded up.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: features between blocks, H >= 1.
        layers: blocks. dropout: see `Encoder`; of what a block adds.
        state_size: numbers of memory per channel, N.
        expand: channels per feature, E / H.
        kernel: inputs that the convolution reads, k.
    Shapes: x (batch, time, I); y (batch, time, H); state: a `SelectiveState` for each block. Training takes memory of order
    time * E * N.
    Raises: ConfigError if a size is below 1 or an option is out of range.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        layers: int = 2,
        dropout: float = 0.0,
        state_size: int = 16,
        expand: int = 2,
        kernel: int = 4,
    ) -> None:
        super().__init__(input_size, hidden_size, layers=layers, dropout=dropout)
        check_positive(state_size=state_size, expand=expand, kernel=kernel)
        self.reach = None
        self.read = Dense(input_size, hidden_size)
        self.blocks = nn.ModuleList(
            SelectiveBlock(
                hidden_size, state_size=state_size, expand=expand, kernel=kernel, dropout=dropout, layers=layers
            )
            for _ in range(layers)
        )
        self.norm = nn.RMSNorm(hidden_size, eps=EPSILON)
        nn.init.xavier_normal_(self.read.weight)
        nn.init.zeros_(self.read.bias)

    def initial_state(self, batch_size: int) -> State:
        return initial_states(self.blocks, batch_size)

    def encode(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        x, state = run_blocks(self.blocks, self.read(x), state, lengths)
        return self.norm(x), state
