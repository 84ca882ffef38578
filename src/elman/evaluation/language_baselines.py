"""What a language model has to beat: counts of symbols, and of symbols in a row."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elman.errors import ConfigError, UsageError
from elman.metrics.metric import Floats

Ids = NDArray[np.integer]
_NO_CONTEXT = np.zeros(0, dtype=np.int64)


class LanguageBaseline(ABC):
    """A model of the next symbol that is fitted by counting.

    Every symbol of the vocabulary has a probability above 0 after every context, and they add up to 1.
    """

    name: str

    @abstractmethod
    def fit(self, ids: Ids, vocabulary_size: int) -> None:
        """Count a stream of symbols (N,), each in 0 .. vocabulary_size - 1."""

    @abstractmethod
    def nll(self, ids: Ids, context: Ids = _NO_CONTEXT) -> Floats:
        """Negative log likelihood (N,) of each symbol, nats; `context` holds the symbols before the first one."""


class Unigram(LanguageBaseline):
    """How often each symbol came, plus one, so that a symbol never seen is not impossible (Laplace)."""

    name = "unigram"

    def fit(self, ids: Ids, vocabulary_size: int) -> None:
        counts = np.bincount(_checked(ids, vocabulary_size), minlength=vocabulary_size)
        self._nll = np.log(len(ids) + vocabulary_size) - np.log1p(counts)

    def nll(self, ids: Ids, context: Ids = _NO_CONTEXT) -> Floats:  # noqa: ARG002
        return np.asarray(self._nll[_checked(ids, len(self._nll))])


class KneserNey(LanguageBaseline):
    """Interpolated Kneser-Ney of n symbols in a row with modified discounts.

        p_n(w | h) = (c(h w) - D(c(h w))) / c(h) + gamma(h) p_{n-1}(w | h')         h': h without its first symbol
        gamma(h)   = sum over w of D(c(h w)) / c(h)                                 1 where h was never seen
        p_0(w)     = 1 / vocabulary_size

    c counts n-grams at the highest order, and below it the different symbols seen before an n-gram. D is one of three
    discounts, for a count of 1, 2, and 3 or more, estimated at each order from how many n-grams have counts 1 to 4; one
    discount n1 / (n1 + 2 n2) for all counts where these are too few.

    Source: Chen, Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling", 1998, section 3
    (TR-10-98).
    Differs: one stream without sentence padding, so a context may reach across a line end, which is a
    symbol like others.

    Args:
        order: n, at least 1; vocabulary_size ** n must stay under 2 ** 63 (trigrams: two million symbols).

    Raises: ConfigError if the order is below 1; UsageError from `fit` if n-grams of this vocabulary are too many to
    number.
    """

    def __init__(self, order: int = 3) -> None:
        if order < 1:
            raise ConfigError(f"expected `order` of at least 1, got {order}")
        self.order = order
        self.name = f"ngram_{order}"

    def fit(self, ids: Ids, vocabulary_size: int) -> None:
        if vocabulary_size**self.order >= 2**63:
            raise UsageError(f"{self.order}-grams of {vocabulary_size} symbols are too many to number; lower `order`")
        self._vocabulary_size = vocabulary_size
        self._levels: list[_Level] = []  # lowest order first
        order = min(self.order, len(ids))
        if order == 0:
            return
        grams, counts = np.unique(_pack(_checked(ids, vocabulary_size), order, vocabulary_size), return_counts=True)
        for n in range(order, 0, -1):
            self._levels.insert(0, _level(grams, counts, vocabulary_size))
            grams, counts = np.unique(grams % vocabulary_size ** (n - 1), return_counts=True)

    def nll(self, ids: Ids, context: Ids = _NO_CONTEXT) -> Floats:
        before = context[max(0, len(context) - self.order + 1) :]
        stream = _checked(np.concatenate([before, ids]), self._vocabulary_size)
        probability = np.full(len(stream), 1 / self._vocabulary_size)
        for n, level in enumerate(self._levels, start=1):
            grams = _pack(stream, n, self._vocabulary_size)
            follows = probability[n - 1 :]  # the first n - 1 symbols have too few before them, and keep the lower order
            follows *= _look_up(level.contexts, level.left_over, grams // self._vocabulary_size, 1.0)
            follows += _look_up(level.grams, level.kept, grams, 0.0)
        return np.asarray(-np.log(probability[len(before) :]))


def language_baselines() -> list[LanguageBaseline]:
    """The baselines that stand beside every language model."""
    return [Unigram(), KneserNey(order=3)]


@dataclass(frozen=True)
class _Level:
    """One order: what each n-gram keeps of its probability, and what each context leaves to the order below."""

    grams: NDArray[np.int64]
    kept: Floats
    contexts: NDArray[np.int64]
    left_over: Floats


def _level(grams: NDArray[np.int64], counts: NDArray[np.int64], vocabulary_size: int) -> _Level:
    """`grams` are sorted, so those of one context stand together."""
    contexts, start, context_of = np.unique(grams // vocabulary_size, return_index=True, return_inverse=True)
    discounts = _discounts(counts)[np.minimum(counts, 3)]
    totals = np.add.reduceat(counts, start)
    return _Level(
        grams, (counts - discounts) / totals[context_of], contexts, np.add.reduceat(discounts, start) / totals
    )


def _discounts(counts: NDArray[np.int64]) -> Floats:
    """What is taken from a count of 0 (nothing), 1, 2, and 3 or more: Chen and Goodman, equation 26."""
    n1, n2, n3, n4 = (int((counts == c).sum()) for c in range(1, 5))
    if n1 == 0:
        return np.array([0.0, 0.5, 0.5, 0.5])  # no count of 1 to learn from
    single = n1 / (n1 + 2 * n2)
    if min(n2, n3) > 0:
        modified = np.array([0.0, 1 - 2 * single * n2 / n1, 2 - 3 * single * n3 / n2, 3 - 4 * single * n4 / n3])
        if (modified[1:] > 0).all():
            return modified
    return np.array([0.0, *[min(single, 0.9)] * 3])  # n2 = 0 would take a count of 1 whole


def _pack(stream: NDArray[np.int64], n: int, vocabulary_size: int) -> NDArray[np.int64]:
    """Each n symbols in a row as one integer, the first symbol highest: (N - n + 1,)."""
    size = max(0, len(stream) - n + 1)
    packed = np.zeros(size, dtype=np.int64)
    for i in range(n):
        packed *= vocabulary_size
        packed += stream[i : i + size]
    return packed


def _look_up(keys: NDArray[np.int64], values: Floats, wanted: NDArray[np.int64], default: float) -> Floats:
    """The value beside each wanted key in the sorted keys, or the default."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], default)


def _checked(ids: Ids | Sequence[int], vocabulary_size: int) -> NDArray[np.int64]:
    stream = np.asarray(ids, dtype=np.int64)
    if len(stream) and (stream.min() < 0 or stream.max() >= vocabulary_size):
        raise UsageError(
            f"expected symbol ids in 0 .. {vocabulary_size - 1}, got {stream.min()} .. {stream.max()}; "
            "was another vocabulary used?"
        )
    return stream
