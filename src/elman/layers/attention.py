"""Attention: at every step a look at all of a memory, weighed by what the step asks for."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from elman.cells.padding import check_lengths, real_steps, zero_padding
from elman.errors import ConfigError, UsageError
from elman.layers.dense import Dense

Score = Literal["additive", "dot", "general", "concat"]
SCORES: tuple[Score, ...] = ("additive", "dot", "general", "concat")
Place = Literal["global", "monotonic", "predictive"]
PLACES: tuple[Place, ...] = ("global", "monotonic", "predictive")


class Memory(NamedTuple):
    """What is attended to, made ready once for all queries. A value, batch first: a decoder carries it as state.

    Shapes: values (batch, S, M), zero from ``lengths[b]`` on; keys (batch, S, K); lengths (batch,) integers.
    """

    values: Tensor
    keys: Tensor
    lengths: Tensor


class Attention(nn.Module):
    """A mean of the memory's steps, with weights that depend on a query.

        a_ts = softmax_s(score(q_t, m_s))                  over the real steps s of the memory
        context_t = sum_s a_ts m_s

    Scores:

        additive, concat   v . tanh(W q + U m)
        dot                q . m
        general            q . (W m)

    ``place`` may confine it to a window of steps |s - p_t| <= D:

        monotonic    p_t = t, the number of the query
        predictive   p_t = (S - 1) sigmoid(v_p . tanh(W_p q)), S the real steps, and a_ts exp(-(s - p_t)^2 / (2 (D / 2)^2)) for a_ts

    Source: additive: Bahdanau, Cho, Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", 2015,
    arXiv:1409.0473; the others, and windows: Luong, Pham, Manning, "Effective Approaches to Attention-based Neural Machine
    Translation", 2015, arXiv:1508.04025, eq. 7 to 10. Luong's concat, v . tanh(W [q; m]), is the additive score by another name.
    Differs: steps count from 0; the center of a monotonic window stays at the memory's last step once it is there. The weights of
    a predictive window do not add up to 1, as in the paper.
    Parameters: additive, concat A Q + A M + A; dot 0; general Q M; predictive another A Q + A.

    Args:
        score: as above.
        query_size: features of a query, Q.
        memory_size: features of a step of the memory, M; for "dot" Q = M.
        size: hidden units of additive scores and of predicted places, A; 0 means Q.
        place: "global": all steps; or a window, as above.
        window: D, the steps on either side of the center, >= 1; for "global" it says nothing.

    Shapes: query (batch, Q) or (batch, time, Q); memory (batch, S, M); lengths (batch,) integers in 0..S, the real steps of each
    memory; position (batch,) integers, the number of the first query. Returns the context (batch, M) or (batch, time, M), and the
    weights (batch, S) or (batch, time, S). Padding is never attended to or read; a memory without a step gives a context of zeros.
    Raises: ConfigError if sizes or options do not fit; UsageError at a call if shapes do not.

    >>> attention = Attention("additive", query_size=3, memory_size=4)
    >>> context, weights = attention(torch.zeros(2, 5, 3), torch.zeros(2, 7, 4), torch.tensor([7, 2]))
    >>> context.shape, weights.shape
    (torch.Size([2, 5, 4]), torch.Size([2, 5, 7]))
    """

    def __init__(
        self,
        score: Score,
        query_size: int,
        memory_size: int,
        *,
        size: int = 0,
        place: Place = "global",
        window: int = 10,
    ) -> None:
        super().__init__()
        _check(score, query_size, memory_size, size, place, window)
        self.score = score
        self.query_size = query_size
        self.memory_size = memory_size
        self.place = place
        self.window = window
        hidden = size or query_size
        if score in ("additive", "concat"):
            self.from_query = _linear(query_size, hidden)
            self.from_memory = _linear(memory_size, hidden)
            self.weigh = _linear(hidden, 1)
        elif score == "general":
            self.from_memory = _linear(memory_size, query_size)
        if place == "predictive":
            self.locate = nn.Sequential(_linear(query_size, hidden), nn.Tanh(), _linear(hidden, 1))

    def forward(
        self, query: Tensor, memory: Tensor, lengths: Tensor | None = None, position: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return self.attend(query, self.remember(memory, lengths), position)

    def remember(self, memory: Tensor, lengths: Tensor | None = None) -> Memory:
        """What does not depend on a query, once for all of them."""
        if memory.ndim != 3 or memory.shape[-1] != self.memory_size:
            raise UsageError(f"expected a memory (batch, steps, {self.memory_size}), got {tuple(memory.shape)}")
        checked = check_lengths(lengths, memory)
        values = zero_padding(memory, checked)
        if checked is None:
            checked = torch.full((len(memory),), memory.shape[1], device=memory.device)
        return Memory(values, values if self.score == "dot" else self.from_memory(values), checked)

    def attend(self, query: Tensor, memory: Memory, position: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The context and the weights of queries to a memory made ready by `remember`."""
        if query.ndim not in (2, 3) or query.shape[-1] != self.query_size:
            raise UsageError(
                f"expected queries (batch, {self.query_size}) or (batch, time, {self.query_size}), got {tuple(query.shape)}"
            )
        if len(query) != len(memory.values):
            raise UsageError(f"expected a memory for each of {len(query)} rows of queries, got {len(memory.values)}")
        queries = query if query.ndim == 3 else query[:, None]
        weights = self._weights(queries, memory, position)
        context = weights @ memory.values
        return (context, weights) if query.ndim == 3 else (context[:, 0], weights[:, 0])

    def _weights(self, queries: Tensor, memory: Memory, position: Tensor | None) -> Tensor:
        """(batch, time, S)."""
        seen = real_steps(memory.lengths, memory.values.shape[1])[:, None]
        if self.place == "global":
            return _softmax(self._scores(queries, memory.keys), seen)
        steps = torch.arange(seen.shape[-1], device=seen.device)
        distance = steps - self._center(queries, memory.lengths, position)
        weights = _softmax(self._scores(queries, memory.keys), seen & (distance.abs() <= self.window))
        if self.place == "predictive":
            weights = weights * torch.exp(-2 * (distance / self.window) ** 2)
        return weights

    def _scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        if self.score in ("dot", "general"):
            return queries @ keys.mT
        hidden = torch.tanh(self.from_query(queries)[:, :, None] + keys[:, None])
        scores: Tensor = self.weigh(hidden)[..., 0]
        return scores

    def _center(self, queries: Tensor, lengths: Tensor, position: Tensor | None) -> Tensor:
        """p_t, (batch, time, 1)."""
        last = (lengths - 1)[:, None, None]
        if self.place == "predictive":
            share: Tensor = self.locate(queries).sigmoid()
            return share * last
        t = torch.arange(queries.shape[1], device=queries.device)[:, None]
        first = torch.zeros_like(lengths) if position is None else position
        return torch.minimum(first[:, None, None] + t, last)


def _softmax(scores: Tensor, seen: Tensor) -> Tensor:
    """Weights over the steps that are seen; zeros, not NaN, where none is."""
    return scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(-1) * seen


def _linear(inputs: int, outputs: int) -> Dense:
    linear = Dense(inputs, outputs, bias=False)
    nn.init.xavier_uniform_(linear.weight)
    return linear


def _check(score: str, query_size: int, memory_size: int, size: int, place: str, window: int) -> None:
    if score not in SCORES:
        raise ConfigError(f"expected `score` among {', '.join(SCORES)}; got {score!r}")
    if place not in PLACES:
        raise ConfigError(f"expected `place` among {', '.join(PLACES)}; got {place!r}")
    if query_size < 1 or memory_size < 1 or size < 0:
        raise ConfigError(
            f"expected `query_size` and `memory_size` >= 1 and `size` >= 0, got {query_size}, {memory_size} and {size}"
        )
    if score == "dot" and query_size != memory_size:
        raise ConfigError(
            f"the score 'dot' needs queries and memory of one size, got {query_size} and {memory_size}; use 'general'"
        )
    if window < 1:
        raise ConfigError(f"expected `window` >= 1, got {window}")
