"""The quasi-recurrent network."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from elman.cells.cell import Cell, register
from elman.cells.initialization import glorot_
from elman.cells.linear import spread_memory_
from elman.cells.padding import zero_padding
from elman.cells.scan import final, linear_scan
from elman.errors import ConfigError


class QRNNState(NamedTuple):
    """cell (batch, H): what is remembered; pending (batch, K - 1, 3H): what inputs so far add to each of the next steps."""

    cell: Tensor
    pending: Tensor


class QRNNGates(NamedTuple):
    """candidate in -1..1, forget and output in 0..1. Each (batch, H)."""

    candidate: Tensor
    forget: Tensor
    output: Tensor


@register("qrnn")
class QRNN(Cell[QRNNState]):
    """Quasi-recurrent network: gates are a causal convolution of the input, and only a gated mean goes through time.

        g_t = tanh(sum_k W_g,k x_{t-k} + b_g)               candidate, k = 0 to K - 1
        f_t = sigmoid(sum_k W_f,k x_{t-k} + b_f)            forget gate: f = 1 keeps
        o_t = sigmoid(sum_k W_o,k x_{t-k} + b_o)            output gate
        c_t = f_t * c_{t-1} + (1 - f_t) * g_t
        h_t = o_t * c_t

    Source: Bradbury, Merity, Xiong, Socher, "Quasi-Recurrent Neural Networks", 2016, arXiv:1611.01576, with fo-pooling
    (eq. 4). Differs: biases; those of the forget gate start at spread memories. Parameters: K 3 I H + 3 H.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
        window: K >= 2, the inputs that a gate reads, its own step's included.
        memory: steps in which the units forget at the start: from this many, at least 2, down to 2.
    Shapes: x_t (batch, I); state `QRNNState`; output h (batch, H).
    Raises: ConfigError if a size is below 1, or `window` or `memory` below 2.
    """

    def __init__(self, input_size: int, hidden_size: int, *, window: int = 2, memory: float = 100.0) -> None:
        super().__init__(input_size, hidden_size)
        if window < 2:
            raise ConfigError(f"expected `window` of 2 inputs or more, got {window}; without a convolution, take 'sru'")
        self.window = window
        self.from_input = nn.Linear(input_size, 3 * hidden_size)
        self.from_earlier = nn.Linear(input_size, (window - 1) * 3 * hidden_size, bias=False)
        glorot_(self.from_input.weight, blocks=3)
        glorot_(self.from_earlier.weight, blocks=3 * (window - 1))
        nn.init.zeros_(self.from_input.bias)
        spread_memory_(self.from_input.bias.data.chunk(3)[1], memory)

    def initial_state(self, batch_size: int) -> QRNNState:
        weight = self.from_input.weight
        pending = weight.new_zeros(batch_size, self.window - 1, 3 * self.hidden_size)
        return QRNNState(weight.new_zeros(batch_size, self.hidden_size), pending)

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., K 3H): what an input adds at its own step, and at each of the next K - 1."""
        return torch.cat([self.from_input(x), self.from_earlier(x)], -1)

    def gates(self, z_t: Tensor, state: QRNNState) -> QRNNGates:
        return self._gates(z_t[..., : 3 * self.hidden_size] + state.pending[:, 0])

    def step(self, z_t: Tensor, state: QRNNState) -> tuple[Tensor, QRNNState]:
        gates = self.gates(z_t, state)
        cell = gates.forget * state.cell + (1 - gates.forget) * gates.candidate
        later = z_t[..., 3 * self.hidden_size :].unflatten(-1, (self.window - 1, -1))  # type: ignore[no-untyped-call]
        kept = torch.cat([state.pending[:, 1:], torch.zeros_like(state.pending[:, :1])], 1)
        return gates.output * cell, QRNNState(cell, kept + later)

    def scan(self, x: Tensor, state: QRNNState, lengths: Tensor | None = None) -> tuple[Tensor, QRNNState]:
        total, *later = self.project(x).chunk(self.window, -1)
        pending: list[Tensor] = []  # after every step, for the next step, the one after ...
        for ahead, values in reversed(list(enumerate(later, start=1))):
            if pending:
                values = values + _delayed(pending[0], state.pending[:, ahead])
            pending.insert(0, values)
        gates = self._gates(total + _delayed(pending[0], state.pending[:, 0]))
        cell = linear_scan(gates.forget, (1 - gates.forget) * gates.candidate, state.cell)
        last = QRNNState(final(cell, state.cell, lengths), final(torch.stack(pending, 2), state.pending, lengths))
        return zero_padding(gates.output * cell, lengths), last

    @staticmethod
    def _gates(total: Tensor) -> QRNNGates:
        candidate, forget, output = total.chunk(3, -1)
        return QRNNGates(candidate.tanh(), forget.sigmoid(), output.sigmoid())


def _delayed(values: Tensor, first: Tensor) -> Tensor:
    """(batch, time, D), each step's values one step later, after ``first`` (batch, D)."""
    return torch.cat([first[:, None], values], 1)[:, :-1]
