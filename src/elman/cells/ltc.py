"""The liquid time-constant network."""

import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from elman.cells.cell import Cell, register
from elman.cells.initialization import glorot_, orthogonal_
from elman.errors import ConfigError


class LTCGates(NamedTuple):
    """conductance f (batch, H) in 0..1, before the first of the solver's steps: how fast the state goes to A."""

    conductance: Tensor


@register("ltc")
class LTC(Cell[Tensor]):
    """Liquid time-constant network: each unit a leak whose pace the inputs and the other units set.

        dh/dt = -(1/tau + f) * h + f * A                            f = sigmoid(W x_t + U h + b), tau > 0

    solved from step to step by N unfolds of the fused (semi-implicit Euler) solver, with d = gap_t / N:

        h <- (h + d f * A) / (1 + d (1/tau + f))                    f anew in each

    Source: Hasani, Lechner, Amini, Rus, Grosu, "Liquid Time-constant Networks", 2021, arXiv:2006.04439, eq. 1 and 3.
    Differs: f is one layer with a sigmoid, so that it is never negative, the denominator never below 1, and the state
    stays between 0 and A; the paper's experiments have a tanh or a sum over synapses. A gap below 0 counts as 0.
    Parameters: F H + H H + 3 H.

    Args:
        input_size: F + 1: F features and the time since the step before.
        hidden_size: units, H >= 1.
        unfolds: solver steps N from one time step to the next; the paper's code has 6.
    Shapes: x_t (batch, F + 1); state h (batch, H); output (batch, H), equal to the new state.
    Raises: ConfigError if a size is below 1, `input_size` is not F + 1, or `unfolds` is below 1.
    """

    inputs: ClassVar[tuple[str, ...]] = ("x", "gap")

    def __init__(self, input_size: int, hidden_size: int, *, unfolds: int = 6) -> None:
        super().__init__(input_size, hidden_size)
        if input_size < 2:
            raise ConfigError(
                "expected `input_size` = F + 1: F >= 1 features and one gap, the time since the step before; "
                f"got {input_size}"
            )
        if unfolds < 1:
            raise ConfigError(f"expected `unfolds` >= 1 solver steps, got {unfolds}")
        self.unfolds = unfolds
        self.from_input = nn.Linear(input_size - 1, hidden_size)
        self.from_hidden = nn.Linear(hidden_size, hidden_size, bias=False)
        # Units of several paces, from 1 to 10 time units. About half of them are pulled up, half down, and f begins near
        # 1/tau: a state that rests half way to A can be moved both ways.
        self.log_tau = nn.Parameter(torch.linspace(0, math.log(10), hidden_size))
        self.target = nn.Parameter(torch.empty(hidden_size).bernoulli_(0.5).mul_(2).sub_(1))
        glorot_(self.from_input.weight, blocks=1)
        orthogonal_(self.from_hidden.weight, blocks=1)
        with torch.no_grad():
            self.from_input.bias.copy_(-self.log_tau)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_hidden.weight.new_zeros(batch_size, self.hidden_size)

    def project(self, x: Tensor) -> Tensor:
        """(..., F + 1) -> (..., H + 1): W x + b; the time of one solver step."""
        return torch.cat([self.from_input(x[..., :-1]), x[..., -1:].relu() / self.unfolds], -1)

    def gates(self, z_t: Tensor, state: Tensor) -> LTCGates:
        return LTCGates((z_t[..., :-1] + self.from_hidden(state)).sigmoid())

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        time, leak = z_t[..., -1:], (-self.log_tau).exp()
        for _ in range(self.unfolds):
            f = self.gates(z_t, state).conductance
            state = (state + time * f * self.target) / (1 + time * (leak + f))
        return state, state
