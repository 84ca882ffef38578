"""Modern continuous Hopfield networks: retrieval from a memory of real-valued patterns, one-step and differentiable."""

import math

import torch
from torch import Tensor, nn

from elman.cells.padding import check_lengths, real_steps, zero_padding
from elman.errors import ConfigError, UsageError
from elman.layers.dense import Dense
from elman.layers.layer import SequenceLayer
from elman.state import State


def retrieve(
    queries: Tensor,
    patterns: Tensor,
    beta: float,
    *,
    steps: int = 1,
    values: Tensor | None = None,
    lengths: Tensor | None = None,
) -> Tensor:
    """What a memory of patterns X = (x_1 .. x_S) holds for each query q.

        q <- X softmax(beta X^T q)                           steps - 1 times
        y  = V softmax(beta X^T q)                           V = X, or the `values` that belong to the patterns

    Source: Ramsauer et al., "Hopfield Networks is All You Need", 2020, arXiv:2008.02217, eq. 3 and 10. One step with
    beta = 1/sqrt(D) is the attention of transformers.

    Args:
        beta: inverse temperature, > 0; a large one retrieves a single pattern, a small one the mean of many.
        steps: updates, >= 1.
        lengths: how many patterns of each memory are real; an empty memory gives zeros.
    Shapes: queries (B, T, D); patterns (B, S, D) and values (B, S, E), where a batch of 1 serves all; lengths (B,);
    y (B, T, E).
    Raises: ConfigError if an option is out of range, UsageError if shapes do not fit.
    """
    _check_options(beta, steps)
    _check_shapes(queries, patterns, values)
    lengths = check_lengths(lengths, patterns)
    patterns = zero_padding(patterns, lengths)
    values = patterns if values is None else zero_padding(values, lengths)
    real = None if lengths is None else real_steps(lengths, patterns.shape[1])[:, None]
    for _ in range(steps - 1):
        queries = _weights(queries, patterns, beta, real) @ patterns
    return _weights(queries, patterns, beta, real) @ values


def retrieval_energy(queries: Tensor, patterns: Tensor, beta: float) -> Tensor:
    """The energy of each query, at least 0; a step of `retrieve` never raises it (theorem 1).

        E(q) = -1/beta log sum_i exp(beta x_i^T q) + 1/2 q^T q + 1/beta log S + 1/2 max_i x_i^T x_i

    Source: Ramsauer et al., 2020, arXiv:2008.02217, eq. 1 and 2.

    Args:
        beta: inverse temperature, > 0.
    Shapes: queries (B, T, D); patterns (B, S, D), S >= 1, where a batch of 1 serves all; result (B, T).
    Raises: ConfigError if beta is out of range, UsageError if shapes do not fit or there is no pattern.
    """
    _check_options(beta, steps=1)
    _check_shapes(queries, patterns, None)
    size = patterns.shape[1]
    if size == 0:
        raise UsageError("expected one pattern or more in `patterns`: an empty memory has no energy")
    attraction = (beta * queries @ patterns.mT).logsumexp(-1) - math.log(size)
    largest = patterns.square().sum(-1).amax(1, keepdim=True)
    return queries.square().sum(-1) / 2 + largest / 2 - attraction / beta


class HopfieldLookup(SequenceLayer):
    """Each step by itself retrieves from a memory that is learned: a lookup table with soft keys.

        y_t = W_o concat_h(V_h softmax(beta X_h^T q_h))      q = W_q x_t, cut into heads; X and V are parameters

    Source: Ramsauer et al., "Hopfield Networks is All You Need", 2020, arXiv:2008.02217, "Hopfield lookup".
    Differs: patterns and queries are not layer-normalized; put a norm before the layer if their scale varies.
    Parameters: I H + 2 S H + H O.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: width of patterns and queries, all heads together, H >= 1.
        num_patterns: patterns in memory, S >= 1.
        output_size: features of the output, O; H if not given.
        heads: memories of width H / heads, each with patterns of its own; must divide H.
        beta: inverse temperature, > 0; 1/sqrt(H / heads) if not given.
        steps: updates, >= 1.
    Shapes: x (batch, time, I); y (batch, time, O); state (). Causal.
    Raises: ConfigError if an option is out of range; UsageError at a call if shapes or lengths do not fit.
    """

    causal = True

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_patterns: int,
        *,
        output_size: int | None = None,
        heads: int = 1,
        beta: float | None = None,
        steps: int = 1,
    ) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size if output_size is None else output_size
        _check_sizes(input_size=input_size, num_patterns=num_patterns, output_size=self.output_size)
        self.beta, self.steps, self.heads = _beta(beta, steps, heads, hidden_size), steps, heads
        self.query = _projection(input_size, hidden_size)
        self.patterns = nn.Parameter(torch.randn(heads, num_patterns, hidden_size // heads))
        self.values = nn.Parameter(torch.randn(heads, num_patterns, hidden_size // heads))
        self.output = _projection(hidden_size, self.output_size)

    def initial_state(self, batch_size: int) -> State:  # noqa: ARG002  (there is none, for any batch)
        return ()

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:  # noqa: ARG002
        _check_width("x", x, self.input_size)
        lengths = check_lengths(lengths, x)
        queries = self.query(zero_padding(x, lengths)).flatten(0, 1)  # (batch * time, H)
        queries = queries.unflatten(-1, (self.heads, -1)).transpose(0, 1)
        found = retrieve(queries, self.patterns, self.beta, steps=self.steps, values=self.values)
        y = self.output(found.transpose(0, 1).flatten(1)).unflatten(0, x.shape[:2])
        return zero_padding(y, lengths), ()  # a padded step, too, has read something


class HopfieldAssociation(nn.Module):
    """Each query retrieves from the memory that comes with it: sentences of a source, past cases, prototypes.

        y_t = W_o concat_h(V_h softmax(beta X_h^T q_h))      q = W_q x_t, X = W_k m, V = W_v m, cut into heads

    Source: Ramsauer et al., "Hopfield Networks is All You Need", 2020, arXiv:2008.02217, eq. 10.
    Differs: values have a projection of their own, as in transformers, where the paper has W_k W_v; no layer
    normalization. One step with the default beta is multi-head attention without biases.
    Parameters: I H + 2 M H + H O.

    Args:
        query_size: features of a query, I >= 1.
        memory_size: features of a thing in memory, M >= 1.
        hidden_size: width of patterns and queries, all heads together, H >= 1.
        output_size: features of the output, O; H if not given.
        heads: associations of width H / heads; must divide H.
        beta: inverse temperature, > 0; 1/sqrt(H / heads) if not given.
        steps: updates, >= 1.
    Shapes: queries (batch, T, I), memory (batch, S, M), y (batch, T, O).
    Raises: ConfigError if an option is out of range.
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        hidden_size: int,
        *,
        output_size: int | None = None,
        heads: int = 1,
        beta: float | None = None,
        steps: int = 1,
    ) -> None:
        super().__init__()
        self.output_size = hidden_size if output_size is None else output_size
        _check_sizes(query_size=query_size, memory_size=memory_size, output_size=self.output_size)
        self.beta, self.steps, self.heads = _beta(beta, steps, heads, hidden_size), steps, heads
        self.query = _projection(query_size, hidden_size)
        self.key = _projection(memory_size, hidden_size)
        self.value = _projection(memory_size, hidden_size)
        self.output = _projection(hidden_size, self.output_size)

    def forward(
        self, queries: Tensor, memory: Tensor, memory_lengths: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """What the memory holds for each query; zeros from an empty memory, and in the padding.

        Args:
            memory_lengths: how much of each memory is real, (batch,); what follows is not read, NaN included.
            lengths: how many queries of each row are real, (batch,).
        Raises: UsageError if shapes do not fit.
        """
        _check_width("queries", queries, self.query.in_features)
        _check_width("memory", memory, self.key.in_features)
        if len(queries) != len(memory):
            raise UsageError(f"expected a `memory` for each of {len(queries)} rows of queries, got {len(memory)}")
        lengths, memory_lengths = check_lengths(lengths, queries), check_lengths(memory_lengths, memory)
        memory = zero_padding(memory, memory_lengths)
        found = retrieve(
            self._split(self.query(zero_padding(queries, lengths))),
            self._split(self.key(memory)),
            self.beta,
            steps=self.steps,
            values=self._split(self.value(memory)),
            lengths=None if memory_lengths is None else memory_lengths.repeat_interleave(self.heads),
        )
        joined = found.view(len(queries), self.heads, *found.shape[1:]).transpose(1, 2).flatten(2)
        return zero_padding(self.output(joined), lengths)

    def _split(self, x: Tensor) -> Tensor:
        """(batch, T, H) -> (batch * heads, T, H / heads)."""
        batch, time, width = x.shape
        return x.view(batch, time, self.heads, width // self.heads).transpose(1, 2).flatten(0, 1)


def _weights(queries: Tensor, patterns: Tensor, beta: float, real: Tensor | None) -> Tensor:
    scores = beta * queries @ patterns.mT
    if real is not None:  # the lowest finite number: a row without patterns gets weights, on zeros, and no NaN
        scores = scores.masked_fill(~real, torch.finfo(scores.dtype).min)
    return scores.softmax(-1)


def _projection(input_size: int, output_size: int) -> Dense:
    """Without bias, so that nothing found in memory stays zeros."""
    linear = Dense(input_size, output_size, bias=False)
    nn.init.xavier_uniform_(linear.weight)
    return linear


def _beta(beta: float | None, steps: int, heads: int, hidden_size: int) -> float:
    """The inverse temperature, all options checked."""
    _check_sizes(heads=heads, hidden_size=hidden_size)
    if hidden_size % heads:
        raise ConfigError(f"expected `heads` that divide `hidden_size` = {hidden_size}, got {heads}")
    chosen = 1 / math.sqrt(hidden_size // heads) if beta is None else beta
    _check_options(chosen, steps)
    return chosen


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"expected `{name}` of 1 or more, got {size}")


def _check_options(beta: float, steps: int) -> None:
    if not 0 < beta < math.inf:
        raise ConfigError(f"expected a finite `beta` above 0, got {beta}")
    if steps < 1:
        raise ConfigError(f"expected `steps` of 1 or more, got {steps}")


def _check_width(name: str, x: Tensor, size: int) -> None:
    if x.ndim != 3 or x.shape[-1] != size:
        raise UsageError(f"expected `{name}` (batch, steps, {size}), got {tuple(x.shape)}")


def _check_shapes(queries: Tensor, patterns: Tensor, values: Tensor | None) -> None:
    batch = len(queries)
    fits = (
        queries.ndim == patterns.ndim == 3 and patterns.shape[-1] == queries.shape[-1] and len(patterns) in (1, batch)
    )
    if not fits:
        raise UsageError(
            "expected `queries` (batch, time, D) and `patterns` (batch or 1, number, D), "
            f"got {tuple(queries.shape)} and {tuple(patterns.shape)}"
        )
    if values is not None and (values.ndim != 3 or values.shape[:2] != patterns.shape[:2]):
        raise UsageError(f"expected `values` {tuple(patterns.shape[:2])} + (size,), got {tuple(values.shape)}")
