"""What recurrences that are linear in their state have in common: one description gives the step and the parallel form."""

import math
from abc import abstractmethod
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from elman.cells.cell import Cell
from elman.cells.padding import zero_padding
from elman.cells.scan import final, linear_scan
from elman.errors import ConfigError
from elman.state import map_leaves


class Complex(NamedTuple):
    """A complex state as two real leaves, which every format of export knows. Each (batch, H)."""

    real: Tensor
    imaginary: Tensor


S = TypeVar("S", Tensor, Complex)


class LinearCell(Cell[S]):
    """A recurrence that is linear and diagonal in its state: what it keeps and what it adds depend on the input alone.

        a_t, b_t = coefficients(z_t)                        |a_t| <= 1
        h_t = a_t * h_{t-1} + b_t
        y_t = read(z_t, h_t)

    A child gives `coefficients` and `read`, for one step (batch, ...) or all (batch, time, ...), and none of the two may mix
    steps. `step`, one after the other, and `scan`, parallel over time, follow. The state is a tensor or `Complex`.
    """

    @abstractmethod
    def coefficients(self, z: Tensor) -> tuple[S, S]:
        """(..., p) -> a, or what broadcasts to it, and b (..., H)."""

    @abstractmethod
    def read(self, z: Tensor, hidden: S) -> Tensor:
        """(..., p) and the new state (..., H) -> output (..., output_size)."""

    def step(self, z_t: Tensor, state: S) -> tuple[Tensor, S]:
        """Final: linear cells define `coefficients` and `read`."""
        decay, values = self.coefficients(z_t)
        hidden = _step(decay, values, state)
        return self.read(z_t, hidden), hidden

    def scan(self, x: Tensor, state: S, lengths: Tensor | None = None) -> tuple[Tensor, S]:
        """Final. The recurrence runs on over the padding, which changes no result."""
        z = self.project(x)
        decay, values = self.coefficients(z)
        hidden = _scan(decay, values, state)
        last = map_leaves(lambda steps, initial: final(steps, initial, lengths), hidden, state)
        return zero_padding(self.read(z, hidden), lengths), last


def _step(decay: S, values: S, state: S) -> S:
    if isinstance(state, Tensor):
        return decay * state + values
    return Complex(
        decay.real * state.real - decay.imaginary * state.imaginary + values.real,
        decay.real * state.imaginary + decay.imaginary * state.real + values.imaginary,
    )


def _scan(decay: S, values: S, initial: S) -> S:
    if isinstance(initial, Tensor):
        return linear_scan(decay, values, initial)
    hidden = linear_scan(torch.complex(*decay), torch.complex(*values), torch.complex(*initial))
    return Complex(hidden.real, hidden.imag)


def spread_memory_(bias: Tensor, longest: float, shortest: float = 2.0) -> None:
    """Fill the biases of forget gates, sigmoid(b), in place: n of them forget in ``longest`` down to ``shortest`` steps.

        sigmoid(b_k) = 1 - 1 / tau_k,    tau_k geometric

    A gate that starts near 1/2 forgets in two steps, and has no gradient by which to learn to keep for hundreds.
    Source: Tallec, Ollivier, "Can recurrent neural networks warp time?", 2018, arXiv:1804.11188, section 2.
    Differs: evenly spaced logarithms, for the uniform times of the paper: all scales are there, not mostly the long ones.
    Raises: ConfigError if ``longest`` is below 2.
    """
    if longest < 2:
        raise ConfigError(f"expected `memory` of 2 steps or more, got {longest}")
    with torch.no_grad():
        steps = torch.logspace(math.log10(longest), math.log10(min(shortest, longest)), len(bias), dtype=torch.float64)
        bias.copy_((steps - 1).log())
