"""Counted language models against a plain implementation with dictionaries, and as distributions."""

import math
import time
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elman.errors import ConfigError, UsageError
from elman.evaluation.language_baselines import KneserNey, LanguageBaseline, Unigram, language_baselines

Gram = tuple[int, ...]


class PlainKneserNey:
    """Chen and Goodman's interpolated modified Kneser-Ney, one dictionary for each order, one symbol at a time."""

    def __init__(self, symbols: list[int], size: int, order: int) -> None:
        self.size, self.order = size, order
        self.counts: dict[int, Counter[Gram]] = {}
        grams = Counter(tuple(symbols[i : i + order]) for i in range(len(symbols) - order + 1))
        for n in range(order, 0, -1):
            self.counts[n] = grams
            grams = Counter(gram[1:] for gram in grams)
        self.discounts = {n: self._discounts(Counter(counts.values())) for n, counts in self.counts.items()}
        self.followers: dict[Gram, list[tuple[int, Gram]]] = defaultdict(list)
        for counts in self.counts.values():
            for gram, count in counts.items():
                self.followers[gram[:-1]].append((count, gram))

    @staticmethod
    def _discounts(n: Counter[int]) -> tuple[float, float, float]:
        if not n[1]:
            return (0.5, 0.5, 0.5)
        y = n[1] / (n[1] + 2 * n[2])
        if n[2] and n[3]:
            three = (1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3])
            if min(three) > 0:
                return three
        return (min(y, 0.9),) * 3

    def probability(self, context: Gram, symbol: int) -> float:
        context = context[-(self.order - 1) :] if self.order > 1 else ()
        lower = 1 / self.size if not context else self.probability_lower(context, symbol)
        n = len(context) + 1
        followers = self.followers.get(context, [])
        total = sum(count for count, _ in followers)
        if not total:
            return lower
        taken = sum(self.discounts[n][min(count, 3) - 1] for count, _ in followers)
        count = self.counts[n][(*context, symbol)]
        kept = count - self.discounts[n][min(count, 3) - 1] if count else 0.0
        return (kept + taken * lower) / total

    def probability_lower(self, context: Gram, symbol: int) -> float:
        return self.probability(context[1:], symbol)


def zipf_text(seed: int, length: int, size: int) -> NDArray[np.int64]:
    """Symbols that repeat with structure: each depends on the one before, common ones are far more common."""
    rng = np.random.default_rng(seed)
    noise = np.minimum(rng.zipf(1.5, size=length) - 1, size - 1)
    text = np.zeros(length, dtype=np.int64)
    for t in range(1, length):
        text[t] = (text[t - 1] * 3 + noise[t]) % size
    return text


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(3, 400), st.integers(2, 30), st.integers(1, 4))
def test_equal_to_the_plain_implementation(seed: int, length: int, size: int, order: int) -> None:
    text, held_out = zipf_text(seed, length + order, size), zipf_text(seed + 1, 30, size)
    model, plain = KneserNey(order), PlainKneserNey(text.tolist(), size, order)
    model.fit(text, size)
    symbols = held_out.tolist()
    expected = [-math.log(plain.probability(tuple(symbols[:i]), symbols[i])) for i in range(len(symbols))]
    np.testing.assert_allclose(model.nll(held_out), expected, rtol=1e-10)
    np.testing.assert_allclose(model.nll(held_out[10:], held_out[:10]), expected[10:], rtol=1e-10)


@pytest.mark.parametrize("model", [Unigram(), KneserNey(1), KneserNey(2), KneserNey(3), KneserNey(4)])
@pytest.mark.parametrize("length", [0, 1, 2, 500])
def test_probabilities_add_up_to_one_after_seen_and_unseen_contexts(model: LanguageBaseline, length: int) -> None:
    size = 12
    text = zipf_text(0, length, size - 2)  # two symbols of the vocabulary never come
    model.fit(text, size)
    contexts = [
        text[:0],
        text[:1],
        text[:3],
        text[-5:],
        np.array([11, 10]),
        np.array([3, 11]),
        np.array([11, *text[:1]]),
    ]
    for context in contexts:
        probabilities = [math.exp(-model.nll(np.array([symbol]), context)[0]) for symbol in range(size)]
        assert sum(probabilities) == pytest.approx(1, rel=1e-10)
        assert min(probabilities) > 0


def test_unigram_worked_by_hand() -> None:
    model = Unigram()
    model.fit(np.array([0, 0, 2]), 4)
    np.testing.assert_allclose(np.exp(-model.nll(np.array([0, 1, 2, 3]))), [3 / 7, 1 / 7, 2 / 7, 1 / 7], rtol=1e-12)


def test_a_lower_order_counts_contexts_and_not_occurrences() -> None:
    # "san francisco": 1 comes often, but after 0 only; 2 comes as rarely as after two different symbols.
    text = np.array([0, 1] * 20 + [3, 2, 4, 2])
    model = KneserNey(2)
    model.fit(text, 6)
    unseen = np.array([5])
    assert model.nll(np.array([2]), unseen)[0] < model.nll(np.array([1]), unseen)[0]
    assert model.nll(np.array([1]), np.array([0]))[0] < 0.2


def test_more_context_helps_and_every_model_beats_the_uniform() -> None:
    text, size = zipf_text(0, 20_000, 50), 50
    nats = []
    for model in (Unigram(), KneserNey(2)):
        model.fit(text[:18_000], size)
        nats.append(model.nll(text[18_000:], text[:18_000]).mean())
    assert math.log(size) > nats[0] > nats[1] + 0.3


def test_a_large_vocabulary_and_a_million_symbols_take_seconds() -> None:
    rng, size = np.random.default_rng(0), 100_000
    text = np.minimum(rng.zipf(1.2, size=1_100_000) - 1, size - 1).astype(np.int32)
    model = KneserNey(3)
    start = time.perf_counter()
    model.fit(text[:1_000_000], size)
    nll = model.nll(text[1_000_000:], text[:1_000_000])
    assert time.perf_counter() - start < 15
    assert np.isfinite(nll).all()
    assert nll.shape == (100_000,)


def test_baselines_by_name_and_wrong_use() -> None:
    assert [model.name for model in language_baselines()] == ["unigram", "ngram_3"]
    with pytest.raises(ConfigError, match="order"):
        KneserNey(0)
    with pytest.raises(UsageError, match="too many to number"):
        KneserNey(4).fit(np.array([0, 1]), 100_000)
    for model in language_baselines():
        with pytest.raises(UsageError, match=r"0 \.\. 2, got 0 \.\. 3"):
            model.fit(np.array([0, 3]), 3)
        model.fit(np.array([0, 1]), 3)
        with pytest.raises(UsageError, match="another vocabulary"):
            model.nll(np.array([7]))
