"""The GRU for values that are missing and times that are irregular."""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from elman.cells.cell import Cell, register
from elman.cells.initialization import glorot_, orthogonal_
from elman.errors import ConfigError


class GRUDState(NamedTuple):
    """hidden (batch, H); last: each feature's last observed value (batch, F); age: the time since then (batch, F)."""

    hidden: Tensor
    last: Tensor
    age: Tensor


class GRUDGates(NamedTuple):
    """input_decay (batch, F) and hidden_decay (batch, H) in 0..1, 1 keeps; reset and update in 0..1 and candidate in
    -1..1, each (batch, H)."""

    input_decay: Tensor
    hidden_decay: Tensor
    reset: Tensor
    update: Tensor
    candidate: Tensor


@register("gru_d")
class GRUD(Cell[GRUDState]):
    """GRU with trainable decays: a missing value fades from the last one seen to the mean, and so does the state.

        d_t  = age_{t-1} + gap_t                                    time since each feature was seen (paper: delta)
        gx_t = exp(-max(0, w * d_t + v))                            input decay, one rate a feature
        gh_t = exp(-max(0, W_d d_t + b_d))                          hidden decay
        x'_t = m_t * x_t + (1 - m_t) * gx_t * last_{t-1}            where nothing was seen: towards the mean, 0
        h'   = gh_t * h_{t-1}
        r_t  = sigmoid(W_r x'_t + U_r h' + V_r m_t + b_r)           reset gate, acts before the recurrent product
        u_t  = sigmoid(W_u x'_t + U_u h' + V_u m_t + b_u)           update gate: u = 1 writes, u = 0 keeps
        c_t  = tanh(W_c x'_t + U_c (r_t * h') + V_c m_t + b_c)
        h_t  = (1 - u_t) * h' + u_t * c_t
        last_t = m_t * x_t + (1 - m_t) * last_{t-1}
        age_t  = (1 - m_t) * d_t

    Source: Che et al., "Recurrent Neural Networks for Multivariate Time Series with Missing Values", 2018,
    doi:10.1038/s41598-018-24271-9.
    Differs: the empirical mean of every feature is 0: values are to be standardized by the mean of those observed, and
    before the first observation the last value is that mean. The gap of the first step counts; the paper's is 0.
    Parameters: 3 (F H + F H + H H + H) + F H + H + 2 F.

    Args:
        input_size: 2 F + 1: F values, F masks (above 0.5: observed) and the time since the step before. The number that
            stands for a missing value is never read, NaN included.
        hidden_size: units, H >= 1.
    Shapes: x_t (batch, 2 F + 1); state `GRUDState`; output (batch, H), equal to the new hidden.
    Raises: ConfigError if a size is below 1 or `input_size` is not 2 F + 1.
    """

    inputs: ClassVar[tuple[str, ...]] = ("x", "mask", "gap")

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        if input_size < 3 or input_size % 2 == 0:
            raise ConfigError(
                "expected `input_size` = 2 F + 1: F >= 1 values, a mask for each, and one gap, "
                f"the time since the step before; got {input_size}"
            )
        self.features = input_size // 2
        self.from_input = nn.Linear(2 * self.features, 3 * hidden_size)  # W and V: of values and masks
        self.from_hidden = nn.Linear(hidden_size, 2 * hidden_size, bias=False)
        self.from_hidden_candidate = nn.Linear(hidden_size, hidden_size, bias=False)
        # All rates begin above 0: where a rate is negative the decay is 1 and has no gradient.
        self.input_rate = nn.Parameter(torch.full((self.features,), 0.1))
        self.input_rate_bias = nn.Parameter(torch.zeros(self.features))
        self.hidden_rate = nn.Linear(self.features, hidden_size)
        glorot_(self.from_input.weight, blocks=3)
        orthogonal_(self.from_hidden.weight, blocks=2)
        orthogonal_(self.from_hidden_candidate.weight, blocks=1)
        nn.init.zeros_(self.from_input.bias)
        nn.init.uniform_(self.hidden_rate.weight, 0, 0.1 / self.features)
        nn.init.zeros_(self.hidden_rate.bias)

    def initial_state(self, batch_size: int) -> GRUDState:
        weight = self.from_hidden.weight
        unseen = weight.new_zeros(batch_size, self.features)
        return GRUDState(hidden=weight.new_zeros(batch_size, self.hidden_size), last=unseen, age=unseen)

    def project(self, x: Tensor) -> Tensor:
        """(..., 2 F + 1) -> (..., 2 F + 1): values, 0 where missing; masks, 0 or 1; gap. No weights: what the state keeps
        of the input then needs no gradient."""
        value, mask, gap = self._parts(x)
        observed = mask > 0.5
        return torch.cat([value.where(observed, 0), observed.to(x.dtype), gap], -1)

    def gates(self, z_t: Tensor, state: GRUDState) -> GRUDGates:
        value, mask, gap = self._parts(z_t)
        age = state.age + gap
        input_decay = (-(self.input_rate * age + self.input_rate_bias).relu()).exp()
        hidden_decay = (-self.hidden_rate(age).relu()).exp()
        hidden = hidden_decay * state.hidden
        z = self.from_input(torch.cat([value + (1 - mask) * input_decay * state.last, mask], -1))
        z_gates, z_candidate = z.split_with_sizes([2 * self.hidden_size, self.hidden_size], -1)
        reset, update = (z_gates + self.from_hidden(hidden)).sigmoid().chunk(2, -1)
        candidate = (z_candidate + self.from_hidden_candidate(reset * hidden)).tanh()
        return GRUDGates(input_decay, hidden_decay, reset, update, candidate)

    def step(self, z_t: Tensor, state: GRUDState) -> tuple[Tensor, GRUDState]:
        value, mask, gap = self._parts(z_t)
        gates = self.gates(z_t, state)
        hidden = (1 - gates.update) * gates.hidden_decay * state.hidden + gates.update * gates.candidate
        last = value + (1 - mask) * state.last
        return hidden, GRUDState(hidden, last, age=(1 - mask) * (state.age + gap))

    def _parts(self, x: Tensor) -> tuple[Tensor, ...]:
        """Values, masks, gap."""
        return x.split_with_sizes([self.features, self.features, 1], -1)
