"""Greedy decoding and drawn sequences, judged against reading again what they wrote."""

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import chisquare

from elman.decoding.greedy import greedy
from elman.decoding.sample import Sampler, sample
from elman.errors import ConfigError
from elman.state import NumpyState
from elman.stepper import Arrays

LOGITS = np.random.default_rng(0).normal(size=(5, 5, 5)) * 2
END = 0


class Trigrams:
    """The next symbol depends on the last two; the one before the last is the state."""

    def begin(self, context: Arrays, batch_size: int) -> NumpyState:  # noqa: ARG002
        return np.full(batch_size, 4)

    def step(self, inputs: Arrays, state: NumpyState) -> tuple[np.ndarray, NumpyState]:
        assert isinstance(state, np.ndarray)
        return LOGITS[state, inputs["symbols"]], inputs["symbols"]


def score(first: int, symbols: tuple[int, ...]) -> float:
    read = [4, first, *symbols]
    return sum(float(log_softmax(LOGITS[a, b])[c]) for a, b, c in zip(read, read[1:], symbols, strict=False))


@pytest.mark.parametrize("end", [None, END])
def test_greedy_takes_the_likeliest_symbol_again_and_again(end: int | None) -> None:
    net, first = Trigrams(), np.arange(5)
    found = greedy(net, net.begin({}, 5), first, length=7, end=end)
    for start, hypothesis in zip(first.tolist(), found, strict=True):
        read = [4, start]
        while len(read) < 9 and (end is None or len(read) == 2 or read[-1] != end):
            read.append(int(LOGITS[read[-2], read[-1]].argmax()))
        assert hypothesis.symbols == tuple(read[2:])
        assert hypothesis.log_probability == pytest.approx(score(start, hypothesis.symbols))
        assert hypothesis.score == hypothesis.log_probability
    assert end is None or len({len(hypothesis.symbols) for hypothesis in found}) > 1


def test_banned_symbols_are_never_taken() -> None:
    net = Trigrams()
    found = greedy(net, net.begin({}, 5), np.arange(5), length=9, banned=(0, 2, 3))
    assert {symbol for hypothesis in found for symbol in hypothesis.symbols} <= {1, 4}


def test_drawn_sequences_have_the_probabilities_of_the_model() -> None:
    net, count = Trigrams(), 4000
    found = sample(net, net.begin({}, count), np.ones(count, int), Sampler(seed=0), length=2, end=END)
    pairs = [(END,), *((a, b) for a in range(1, 5) for b in range(5))]
    expected = np.array([count * np.exp(score(1, pair)) for pair in pairs])
    drawn = np.array([sum(hypothesis.symbols == pair for hypothesis in found) for pair in pairs])
    assert drawn.sum() == count
    often = expected > 5
    counted, thought = np.append(drawn[often], drawn[~often].sum()), np.append(expected[often], expected[~often].sum())
    assert chisquare(counted, thought).pvalue > 1e-3
    assert all(h.log_probability == pytest.approx(score(1, h.symbols)) for h in found[:50])


def test_no_rows_and_wrong_lengths() -> None:
    net = Trigrams()
    assert greedy(net, net.begin({}, 0), np.array([], int), length=3) == []
    with pytest.raises(ConfigError, match="expected `length` >= 1, got 0"):
        greedy(net, net.begin({}, 1), np.array([1]), length=0)
