"""Beam search, judged against the list of all sequences there are."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from elman.decoding.beam import beam_search
from elman.decoding.greedy import greedy
from elman.errors import ConfigError
from elman.state import NumpyState
from elman.stepper import Arrays

SYMBOLS, START, END = 4, 3, 0


class Net:
    """A recurrent network with random weights; an integer leaf beside its hidden layer counts steps."""

    def __init__(self, seed: int, hidden: int = 5) -> None:
        rng = np.random.default_rng(seed)
        self.embedding = rng.normal(size=(SYMBOLS, hidden))
        self.from_hidden = rng.normal(size=(hidden, hidden))
        self.output = rng.normal(size=(hidden, SYMBOLS)) * 1.5

    def begin(self, context: Arrays, batch_size: int) -> NumpyState:
        start = np.zeros((batch_size, len(self.from_hidden)))
        start += context.get("start", np.zeros(batch_size))[:, None]
        return start, (np.zeros(batch_size, np.int64),)

    def step(self, inputs: Arrays, state: NumpyState) -> tuple[np.ndarray, NumpyState]:
        hidden, (count,) = state
        assert isinstance(hidden, np.ndarray)
        assert isinstance(count, np.ndarray)
        assert len(inputs["symbols"]) == len(hidden) == len(count)
        hidden = np.tanh(self.embedding[inputs["symbols"]] + hidden @ self.from_hidden + 0.1 * count[:, None])
        return hidden @ self.output, (hidden, (count + 1,))


def log_probability(net: Net, symbols: tuple[int, ...]) -> float:
    """Of a sequence after the start symbol, one symbol at a time."""
    state, total, read = net.begin({}, 1), 0.0, START
    for symbol in symbols:
        logits, state = net.step({"symbols": np.array([read])}, state)
        total += float(log_softmax(logits[0])[symbol])
        read = symbol
    return total


def every_sequence(length: int, end: int | None) -> Iterator[tuple[int, ...]]:
    if end is None:
        yield from product(range(SYMBOLS), repeat=length)
        return
    others = [symbol for symbol in range(SYMBOLS) if symbol != end]
    for before in range(length):
        yield from ((*symbols, end) for symbols in product(others, repeat=before))
    yield from product(others, repeat=length)


def ranked(net: Net, length: int, end: int | None, alpha: float) -> list[tuple[float, tuple[int, ...]]]:
    """Score and symbols of every sequence there is, best first."""
    scored = [
        (log_probability(net, symbols) / ((5 + len(symbols)) / 6) ** alpha, symbols)
        for symbols in every_sequence(length, end)
    ]
    return sorted(scored, reverse=True)


@pytest.mark.parametrize("alpha", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("end", [None, END])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_beam_that_holds_everything_finds_the_best_there_is(seed: int, end: int | None, alpha: float) -> None:
    net, length = Net(seed), 4
    (best,) = beam_search(
        net, net.begin({}, 1), np.array([START]), beam=SYMBOLS**length, length=length, end=end, alpha=alpha
    )
    expected = ranked(net, length, end, alpha)
    assert [hypothesis.symbols for hypothesis in best] == [symbols for _, symbols in expected]
    np.testing.assert_allclose([hypothesis.score for hypothesis in best], [score for score, _ in expected])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    beam=st.integers(1, 6),
    length=st.integers(1, 6),
    end=st.sampled_from([None, END]),
    alpha=st.sampled_from([0.0, 0.6, 1.0]),
)
def test_scores_are_those_of_reading_the_sequences_again(
    seed: int, beam: int, length: int, end: int | None, alpha: float
) -> None:
    net = Net(seed)
    (found,) = beam_search(net, net.begin({}, 1), np.array([START]), beam=beam, length=length, end=end, alpha=alpha)
    assert 1 <= len(found) <= beam
    assert len({hypothesis.symbols for hypothesis in found}) == len(found)
    assert [hypothesis.score for hypothesis in found] == sorted((h.score for h in found), reverse=True)
    for hypothesis in found:
        assert hypothesis.log_probability == pytest.approx(log_probability(net, hypothesis.symbols))
        normalizer = ((5 + len(hypothesis.symbols)) / 6) ** alpha
        assert hypothesis.score == pytest.approx(hypothesis.log_probability / normalizer)
        assert len(hypothesis.symbols) == length or hypothesis.symbols[-1] == end
        assert end not in hypothesis.symbols[:-1]


def textbook(net: Net, beam: int, length: int, alpha: float) -> list[tuple[int, ...]]:
    """Beam search that never ends early: the best sequences, best first."""
    alive: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    done: list[tuple[float, tuple[int, ...]]] = []
    for step in range(1, length + 1):
        longer = [
            (log_probability(net, (*symbols, symbol)), (*symbols, symbol))
            for _, symbols in alive
            for symbol in range(SYMBOLS)
        ]
        kept = sorted(longer, reverse=True)[:beam]
        over = [(p, symbols) for p, symbols in kept if symbols[-1] == END or step == length]
        done += [(p / ((5 + step) / 6) ** alpha, symbols) for p, symbols in over]
        alive = [one for one in kept if one not in over]
    return [symbols for _, symbols in sorted(done, reverse=True)[:beam]]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    beam=st.integers(1, 4),
    length=st.integers(1, 6),
    alpha=st.sampled_from([0.0, 0.6, 2.0, 6.0]),
)
def test_ending_early_changes_nothing(seed: int, beam: int, length: int, alpha: float) -> None:
    net = Net(seed)
    (found,) = beam_search(net, net.begin({}, 1), np.array([START]), beam=beam, length=length, end=END, alpha=alpha)
    assert [hypothesis.symbols for hypothesis in found] == textbook(net, beam, length, alpha)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), length=st.integers(1, 8), end=st.sampled_from([None, END]))
def test_a_beam_of_one_is_greedy(seed: int, length: int, end: int | None) -> None:
    net = Net(seed)
    state, first = net.begin({}, 1), np.array([START])
    ((found,),) = beam_search(net, state, first, beam=1, length=length, end=end)
    (expected,) = greedy(net, state, first, length=length, end=end)
    assert found.symbols == expected.symbols
    assert found.log_probability == pytest.approx(expected.log_probability)


def test_rows_are_searched_each_for_itself() -> None:
    net, first = Net(3), np.array([START, 1, 2])
    state = net.begin({"start": np.array([0.0, 1.0, -1.0])}, 3)
    together = beam_search(net, state, first, beam=3, length=5, end=END, alpha=0.6)
    for row, start in enumerate([0.0, 1.0, -1.0]):
        alone = net.begin({"start": np.array([start])}, 1)
        (expected,) = beam_search(net, alone, first[row : row + 1], beam=3, length=5, end=END, alpha=0.6)
        assert [hypothesis.symbols for hypothesis in together[row]] == [hypothesis.symbols for hypothesis in expected]
        np.testing.assert_allclose([h.score for h in together[row]], [h.score for h in expected])
    assert len({hypotheses[0].symbols for hypotheses in together}) > 1


def test_a_wider_beam_finds_what_a_greedy_step_misses() -> None:
    better = 0
    for seed in range(20):
        net = Net(seed)
        state, first = net.begin({}, 1), np.array([START])
        ((narrow,),) = beam_search(net, state, first, beam=1, length=6)
        ((wide, *_),) = beam_search(net, state, first, beam=8, length=6)
        assert wide.log_probability >= narrow.log_probability - 1e-12  # of so few sequences, on these nets
        better += wide.log_probability > narrow.log_probability + 1e-6
    assert better >= 3


def test_length_normalization_prefers_longer_sequences() -> None:
    def lengths(alpha: float) -> list[int]:
        found = []
        for seed in range(20):
            net = Net(seed)
            state, first = net.begin({}, 1), np.array([START])
            ((best, *_),) = beam_search(net, state, first, beam=SYMBOLS**4, length=4, end=END, alpha=alpha)
            found.append(len(best.symbols))
        return found

    plain, normalized = lengths(0.0), lengths(2.0)
    assert all(short <= long for short, long in zip(plain, normalized, strict=True))
    assert sum(plain) < sum(normalized)


class Impatient:
    """Nearly always ends."""

    def __init__(self) -> None:
        self.rows = 0

    def begin(self, context: Arrays, batch_size: int) -> NumpyState:  # noqa: ARG002
        return ()

    def step(self, inputs: Arrays, state: NumpyState) -> tuple[np.ndarray, NumpyState]:
        self.rows += len(inputs["symbols"])
        return np.tile([5.0, 0.5, 0.0, 0.0], (len(inputs["symbols"]), 1)), state


def test_a_search_ends_when_nothing_can_overtake() -> None:
    net = Impatient()
    (found,) = beam_search(net, (), np.array([START]), beam=2, length=1000, end=END)
    assert [hypothesis.symbols for hypothesis in found] == [(END,), (1, END)]
    assert net.rows == 2  # the likeliest that goes on is less likely than both


def test_banned_symbols_are_never_taken() -> None:
    net = Net(1)
    (found,) = beam_search(net, net.begin({}, 1), np.array([START]), beam=8, length=4, banned=(1, 2))
    assert len(found) == 8
    assert {symbol for hypothesis in found for symbol in hypothesis.symbols} == {0, 3}
    assert found[0].log_probability == pytest.approx(log_probability(net, found[0].symbols))


def test_no_rows() -> None:
    net = Net(1)
    assert beam_search(net, net.begin({}, 0), np.array([], np.int64), beam=2, length=3) == []


@pytest.mark.parametrize(("beam", "length", "alpha"), [(0, 1, 0.0), (1, 0, 0.0), (1, 1, -0.1), (1, 1, np.nan)])
def test_options_out_of_range(beam: int, length: int, alpha: float) -> None:
    net = Net(0)
    with pytest.raises(ConfigError, match=f"expected `beam` and `length` >= 1 and `alpha` >= 0, got {beam}, {length}"):
        beam_search(net, net.begin({}, 1), np.array([START]), beam=beam, length=length, alpha=alpha)
