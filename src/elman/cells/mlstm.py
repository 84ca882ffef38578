"""The LSTM with a matrix memory."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from elman.cells.cell import Cell, register
from elman.cells.initialization import glorot_
from elman.cells.linear import spread_memory_
from elman.cells.padding import zero_padding
from elman.errors import ConfigError

CHUNK = 64
"""Steps that `MLSTM.scan` takes at once: all pairs of them within, one state from chunk to chunk."""
LARGEST_EXPONENT = 80.0
"""Of the floor exp(-m) under the normalizer: e^80 is far above any sum that an input gate of e^-80 left, and still finite."""


class MLSTMState(NamedTuple):
    """With N heads of size D = H / N: memory C (batch, N, D, D) and normalizer n (batch, N, D), both times e^-m; stabilizer m
    (batch, N)."""

    memory: Tensor
    normalizer: Tensor
    stabilizer: Tensor


class MLSTMGates(NamedTuple):
    """All in 0..1. input and forget (batch, N), both times what makes the larger of them 1; output (batch, H)."""

    input: Tensor
    forget: Tensor
    output: Tensor


class Projected(NamedTuple):
    """What needs no state. query, key, value (..., N, D); log_input, log_forget (..., N); output (..., H), a gate."""

    query: Tensor
    key: Tensor
    value: Tensor
    log_input: Tensor
    log_forget: Tensor
    output: Tensor


@register("mlstm")
class MLSTM(Cell[MLSTMState]):
    """LSTM with a matrix memory: stores values under keys, by their outer product, and recalls them by a query.

        q_t, k_t, v_t = W_q x_t + b_q,  (W_k x_t + b_k) / sqrt(D),  W_v x_t + b_v           by head
        i_t = exp(w_i x_t + b_i),  f_t = sigmoid(w_f x_t + b_f)                             one number a head
        o_t = sigmoid(W_o x_t + b_o)
        C_t = f_t * C_{t-1} + i_t * v_t k_t^T               matrix memory
        n_t = f_t * n_{t-1} + i_t * k_t                     normalizer
        h_t = o_t * C_t q_t / max(|n_t q_t|, 1)

    C and n are carried times e^{-m_t}, where m_t = max(log f_t + m_{t-1}, log i_t), so that no exponential overflows.

    Source: Beck et al., "xLSTM: Extended Long Short-Term Memory", 2024, arXiv:2405.04517, section 2.3 and appendix A.2.
    Differs: the cell alone, without the norm, convolution and projections of the paper's block; f is the sigmoid of the two
    forms that the paper allows. `scan` works chunk by chunk: pairs of steps within a chunk at once, the state between chunks.
    Parameters: 4 (I H + H) + 2 (I + 1); with N heads 2 N (I + 1).

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units, H >= 1.
        heads: N, memories side by side; divides H. The state has H H / N numbers: more heads are cheaper, and hold less.
        memory: steps in which the first head forgets at the start, at least 2; the last in 20, or sooner.
    Shapes: x_t (batch, I); state `MLSTMState`; output h (batch, H).
    Raises: ConfigError if a size is below 1, `heads` does not divide H, or `memory` is below 2.
    """

    def __init__(self, input_size: int, hidden_size: int, *, heads: int = 1, memory: float = 400.0) -> None:
        super().__init__(input_size, hidden_size)
        if heads < 1 or hidden_size % heads:
            raise ConfigError(f"expected `heads` that divide the {hidden_size} units, got {heads}")
        self.heads = heads
        self.from_input = nn.Linear(input_size, 4 * hidden_size)
        self.from_input_gates = nn.Linear(input_size, 2 * heads)
        glorot_(self.from_input.weight, blocks=4)
        glorot_(self.from_input_gates.weight, blocks=2)
        nn.init.zeros_(self.from_input.bias)
        nn.init.zeros_(self.from_input_gates.bias)
        spread_memory_(self.from_input_gates.bias.data[heads:], memory, shortest=20.0)

    def initial_state(self, batch_size: int) -> MLSTMState:
        size = self.hidden_size // self.heads
        zeros = self.from_input.weight.new_zeros
        return MLSTMState(
            zeros(batch_size, self.heads, size, size),
            zeros(batch_size, self.heads, size),
            zeros(batch_size, self.heads),
        )

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., 4H + 2N): query, key, value, output gate, input gates, forget gates."""
        return torch.cat([self.from_input(x), self.from_input_gates(x)], -1)

    def gates(self, z_t: Tensor, state: MLSTMState) -> MLSTMGates:
        return self._gates(self._split(z_t), state)[0]

    def step(self, z_t: Tensor, state: MLSTMState) -> tuple[Tensor, MLSTMState]:
        z = self._split(z_t)
        gates, stabilizer = self._gates(z, state)
        forget, added = gates.forget[..., None], gates.input[..., None] * z.key
        memory = forget[..., None] * state.memory + z.value[..., None] * added[..., None, :]
        normalizer = forget * state.normalizer + added
        recalled = (memory @ z.query[..., None])[..., 0]
        y = gates.output * _normalized(recalled, (normalizer * z.query).sum(-1), stabilizer).flatten(-2)
        return y, MLSTMState(memory, normalizer, stabilizer)

    def scan(self, x: Tensor, state: MLSTMState, lengths: Tensor | None = None) -> tuple[Tensor, MLSTMState]:
        if x.shape[1] == 0:
            return x.new_zeros(len(x), 0, self.hidden_size), state
        z = self._split(self.project(x))
        if lengths is not None:  # padding keeps everything and adds nothing
            padding = (torch.arange(x.shape[1], device=x.device) >= lengths[:, None])[..., None]
            z = z._replace(
                log_input=z.log_input.masked_fill(padding, -torch.inf),
                log_forget=z.log_forget.masked_fill(padding, 0.0),
            )
        outputs = []
        for chunk in zip(*(torch.split(part, CHUNK, 1) for part in z), strict=True):
            y, state = _chunk(Projected(*chunk), state)
            outputs.append(y)
        return zero_padding(torch.cat(outputs, 1), lengths), state

    def _split(self, z: Tensor) -> Projected:
        H, N = self.hidden_size, self.heads
        query, key, value, output, log_input, forget = torch.split(z, [H, H, H, H, N, N], -1)
        query, key, value = (part.unflatten(-1, (N, -1)) for part in (query, key, value))  # type: ignore[no-untyped-call]
        return Projected(query, key / math.sqrt(H // N), value, log_input, logsigmoid(forget), output.sigmoid())

    @staticmethod
    def _gates(z: Projected, state: MLSTMState) -> tuple[MLSTMGates, Tensor]:
        """The stabilized gates, and the new stabilizer."""
        stabilizer = torch.maximum(z.log_forget + state.stabilizer, z.log_input)
        # In this order what the sum above rounds off comes back; else it would be lost anew at every step.
        forget = (z.log_forget - (stabilizer - state.stabilizer)).exp()
        return MLSTMGates((z.log_input - stabilizer).exp(), forget, z.output), stabilizer


def _normalized(recalled: Tensor, weight: Tensor, stabilizer: Tensor) -> Tensor:
    """C q / max(|n q|, 1), where all of it is times e^-m. Shapes: recalled (..., D), the others (...)."""
    floor = (-stabilizer).clamp(max=LARGEST_EXPONENT).exp()
    return recalled / torch.maximum(weight.abs(), floor)[..., None]


def _chunk(z: Projected, state: MLSTMState) -> tuple[Tensor, MLSTMState]:
    """Steps (batch, L, ...) at once: the outputs (batch, L, H) and the state after the last.

    What step s has added weighs exp(F_t - F_s + log i_s) at step t, where F is the running sum of log f; the state before
    the chunk weighs exp(F_t + m). The sums are in double precision, since small differences of large ones go into exponents.
    """
    query, key, value = (part.transpose(1, 2) for part in z[:3])  # (batch, N, L, D)
    log_input = z.log_input.transpose(1, 2).double()  # (batch, N, L)
    total_forget = z.log_forget.transpose(1, 2).double().cumsum(-1)
    steps = torch.arange(query.shape[2], device=query.device)
    later = steps > steps[:, None]
    log_weights = total_forget[..., :, None] - total_forget[..., None, :] + log_input[..., None, :]
    log_weights = log_weights.masked_fill(later, -torch.inf)  # (batch, N, t, s)
    log_kept = total_forget + state.stabilizer[..., None].double()
    # Rounded before it is used: one m for all.
    stabilizer = torch.maximum(log_weights.amax(-1), log_kept).to(query.dtype)
    weights = (log_weights - stabilizer[..., None]).exp().to(query.dtype)
    kept = (log_kept - stabilizer).exp().to(query.dtype)[..., None]

    scores = weights * (query @ key.mT)
    recalled = scores @ value + kept * (query @ state.memory.mT)
    weight = scores.sum(-1) + (kept * query @ state.normalizer[..., None])[..., 0]
    y = z.output * _normalized(recalled, weight, stabilizer).transpose(1, 2).flatten(-2)

    added = weights[:, :, -1, :, None] * key
    last = kept[:, :, -1]
    memory = last[..., None] * state.memory + value.mT @ added
    normalizer = last * state.normalizer + added.sum(-2)
    return y, MLSTMState(memory, normalizer, stabilizer[..., -1].clone())
