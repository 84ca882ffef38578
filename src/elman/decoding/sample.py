"""Drawing symbols: NumPy host code over a model's scores."""

import numpy as np
from numpy.typing import NDArray

from elman.data.codec import Array, softmax
from elman.decoding.hypothesis import Hypothesis, log_softmax
from elman.errors import ConfigError
from elman.state import NumpyState, select
from elman.stepper import Stepper


class Sampler:
    """Picks a symbol from logits.

    Args:
        temperature: divides the logits; below 1 is safer, 0 always takes the likeliest (greedy).
        top_k: draw among that many of the likeliest symbols only; 0 means all.
        seed: the same seed draws the same symbols; None draws anew each time.
        banned: ids that are never drawn, such as the unknown symbol.

    Raises:
        ConfigError: a negative temperature or top_k.
    """

    def __init__(
        self, temperature: float = 1.0, top_k: int = 0, seed: int | None = None, banned: tuple[int, ...] = ()
    ) -> None:
        if not (temperature >= 0 and np.isfinite(temperature)) or top_k < 0:
            raise ConfigError(f"expected `temperature` >= 0 and `top_k` >= 0, got {temperature} and {top_k}")
        self.temperature, self.top_k, self.banned = temperature, top_k, list(banned)
        self._rng = np.random.default_rng(seed)

    def __call__(self, logits: Array) -> int:
        """The id of a symbol; logits (symbols,)."""
        scores = logits.astype(np.float64)
        scores[self.banned] = -np.inf
        if self.temperature == 0:
            return int(scores.argmax())
        return int(self._rng.choice(len(scores), p=self.probabilities(scores)))

    def probabilities(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """What `__call__` draws from, (symbols,)."""
        if 0 < self.top_k < len(scores):
            likeliest = np.argpartition(scores, -self.top_k)[-self.top_k :]
            kept = np.full(len(scores), -np.inf)
            kept[likeliest] = scores[likeliest]
            scores = kept
        with np.errstate(over="ignore"):  # a temperature next to 0 leaves the likeliest only
            return softmax((scores - scores.max()) / self.temperature)


def sample(
    stepper: Stepper, state: NumpyState, first: Array, sampler: Sampler, *, length: int, end: int | None = None
) -> list[Hypothesis]:
    """A sequence for every row, each symbol drawn by ``sampler`` given those before it. Its score is its log probability.

    Args:
        stepper: reads {"symbols": (rows,)}, any number of rows, and gives logits (rows, V).
        state: before ``first``, a row for each of its symbols.
        first: (rows,) the symbol that each row reads first: the start symbol, or the last of a prompt.
        length: symbols at most, >= 1.
        end: the symbol that ends a sequence; None: all have the full length.

    Raises: ConfigError if the length is out of range.
    """
    if length < 1:
        raise ConfigError(f"expected `length` >= 1, got {length}")
    symbols: list[list[int]] = [[] for _ in first]
    total = np.zeros(len(first))
    going, last = np.arange(len(first)), np.asarray(first, np.int64)
    for _ in range(length):
        if not len(going):
            break
        logits, state = stepper.step({"symbols": last}, state)
        last = np.array([sampler(row) for row in logits], np.int64)
        total[going] += log_softmax(logits)[np.arange(len(last)), last]
        for row, symbol in zip(going, last, strict=True):
            symbols[row].append(int(symbol))
        on = np.flatnonzero(last != end)  # all of them where there is no end symbol
        going, last, state = going[on], last[on], select(state, on)
    return [Hypothesis(tuple(ids), float(p), float(p)) for ids, p in zip(symbols, total, strict=True)]
