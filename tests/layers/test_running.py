"""Running statistics, judged against a plain loop in NumPy over one value at a time."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from elman.layers.running import FLOOR, RunningState, RunningStatistics
from elman.state import leaves

NAMES = ("level", "spread", "last", "level_before", "last_before", "errors", "lags")


@dataclass
class Loop:
    """One series of one row, step by step."""

    seasons: list[int]
    horizon: int
    half_life: float
    weight: float = 0.0
    total: float = 0.0
    deviation: float = 0.0
    seen: int = 0
    last: float = 0.0
    level: float = 0.0
    missed: list[float] = field(default_factory=list)
    filled: list[float] = field(default_factory=list)

    def step(self, value: float, observed: bool) -> dict[str, np.ndarray]:
        decay, t = 0.5 ** (1 / self.half_life), len(self.filled)
        self.missed = self.missed or [0.0] * (1 + len(self.seasons))
        level_before, last_before = self.level, self.last
        shortest = min(self.seasons, default=1)
        a_season_ago = self.filled[t - shortest] if t >= shortest else 0.0
        self.filled.append(value if observed else a_season_ago)
        naive = [last_before] + [self.filled[t - s] if t >= s else last_before for s in self.seasons]
        self.weight, self.total, self.deviation = self.weight * decay, self.total * decay, self.deviation * decay
        self.missed = [m * decay for m in self.missed]
        if observed:
            self.weight, self.total, self.seen, self.last = self.weight + 1, self.total + value, self.seen + 1, value
            self.deviation += abs(value - level_before)
            self.missed = [m + abs(value - n) for m, n in zip(self.missed, naive, strict=True)]
        count = max(self.weight, 1e-6)
        self.level = self.total / count
        return {
            "level": np.array(self.level),
            "spread": np.array(self.trusted(self.deviation / count)),
            "last": np.array(self.last),
            "level_before": np.array(level_before),
            "last_before": np.array(last_before),
            "errors": np.array([self.trusted(m / count) for m in self.missed]),
            "lags": np.array([[self.lag(t, k, s) for s in self.seasons] for k in range(1, self.horizon + 1)]),
        }

    def trusted(self, statistic: float) -> float:
        trust = self.seen / (self.seen + self.half_life / 2)
        return trust * ((1 - FLOOR) * statistic + FLOOR) + 1 - trust

    def lag(self, t: int, k: int, season: int) -> float:
        """Step t + k, as many whole seasons back as it takes to be known at t."""
        place = t + k
        while place > t:
            place -= season
        return self.filled[place] if place >= 0 else self.last


def loop(values: np.ndarray, observed: np.ndarray, layer: RunningStatistics) -> dict[str, np.ndarray]:
    """(T, C) -> name -> (T, ..) with the axes of `Running`, without the batch."""
    series = [Loop(layer.seasons, layer.horizon, layer.half_life) for _ in range(values.shape[1])]
    axis = {"errors": 0, "lags": 2}
    steps = [
        [one.step(v, o > 0) for one, v, o in zip(series, row, seen, strict=True)]
        for row, seen in zip(values, observed, strict=True)
    ]
    return {
        name: np.array([np.stack([one[name] for one in step], axis.get(name, 0)) for step in steps]) for name in NAMES
    }


def made(seed: int, batch: int, time: int, series: int, missing: float) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    observed = (rng.random((batch, time, series)) >= missing).astype(np.float64)
    values = np.where(observed > 0, rng.normal(3, 2, observed.shape), np.nan)
    return torch.from_numpy(values), torch.from_numpy(observed)


def start(layer: RunningStatistics, batch: int) -> RunningState:
    return layer.initial_state(torch.zeros((), dtype=torch.float64), batch)


def assert_as_the_loop(running: dict[str, Tensor], layer: RunningStatistics, values: Tensor, observed: Tensor) -> None:
    for row in range(len(values)):
        expected = loop(values[row].numpy(), observed[row].numpy(), layer)
        for name in NAMES:
            got = running[name][row].numpy()
            wanted = expected[name].reshape(got.shape)
            np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9, err_msg=f"{name} of row {row}")


def joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts], 1) for name in NAMES}


layers = st.builds(
    RunningStatistics,
    st.integers(1, 3),
    st.lists(st.integers(1, 6), max_size=3, unique=True).map(sorted),
    st.integers(1, 8),
    st.sampled_from([0.7, 3.0, 24.0]),
)
seeds, shares = st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 0.9])


@settings(deadline=None, max_examples=25)
@given(layers, st.integers(1, 14), seeds, shares)
def test_equal_to_the_loop(layer: RunningStatistics, time: int, seed: int, missing: float) -> None:
    values, observed = made(seed, 2, time, layer.series, missing)
    running, _ = layer(values, observed, start(layer, 2))
    assert_as_the_loop(running._asdict(), layer, values, observed)


@settings(deadline=None, max_examples=25)
@given(layers, st.lists(st.integers(0, 5), min_size=1, max_size=5), seeds, shares)
def test_chunks_give_the_whole(layer: RunningStatistics, chunks: list[int], seed: int, missing: float) -> None:
    values, observed = made(seed, 2, sum(chunks), layer.series, missing)
    state, parts, begin = start(layer, 2), [], 0
    for size in chunks:
        running, state = layer(values[:, begin : begin + size], observed[:, begin : begin + size], state)
        parts.append(running._asdict())
        begin += size
    whole, last = layer(values, observed, start(layer, 2))
    for name, value in joined(parts).items():
        torch.testing.assert_close(value, getattr(whole, name), rtol=1e-9, atol=1e-9)
    for got, expected in zip(leaves(state), leaves(last), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=25)
@given(layers, st.integers(1, 6), st.integers(1, 6), seeds, shares, st.data())
def test_each_row_goes_on_from_its_own_length(
    layer: RunningStatistics, time: int, more: int, seed: int, missing: float, data: st.DataObject
) -> None:
    lengths = data.draw(st.lists(st.integers(0, time), min_size=3, max_size=3))
    values, observed = made(seed, 3, time, layer.series, missing)
    after, seen_after = made(seed + 1, 3, more, layer.series, missing)
    first, state = layer(values, observed, start(layer, 3), torch.tensor(lengths))
    second, _ = layer(after, seen_after, state)
    for row, length in enumerate(lengths):
        real = torch.cat([values[row, :length], after[row]])[None]
        seen = torch.cat([observed[row, :length], seen_after[row]])[None]
        one = {n: torch.cat([getattr(first, n)[row, :length], getattr(second, n)[row]])[None] for n in NAMES}
        assert_as_the_loop(one, layer, real, seen)


def test_a_row_of_length_zero_keeps_its_state_to_the_bit() -> None:
    layer = RunningStatistics(2, [2, 3], 4, 5.0)
    values, observed = made(0, 2, 9, 2, 0.2)
    _, state = layer(values, observed, start(layer, 2))
    _, after = layer(values, observed, state, torch.tensor([0, 4]))
    for before, now in zip(leaves(state), leaves(after), strict=True):
        assert torch.equal(before[0], now[0])
    assert not torch.equal(state.last[1], after.last[1])


def test_a_hand_made_case() -> None:
    """Values 1, 5, missing, 9 with a season of two steps and a half-life of one."""
    layer = RunningStatistics(1, [2], 3, 1.0)
    values = torch.tensor([1.0, 5.0, torch.nan, 9.0], dtype=torch.float64)[None, :, None]
    running, _ = layer(values, (~values.isnan()).double(), start(layer, 1))
    level = [1, (0.5 * 1 + 5) / 1.5, (0.25 * 1 + 0.5 * 5) / 0.75, (0.125 * 1 + 0.25 * 5 + 9) / 1.375]
    np.testing.assert_allclose(running.level[0, :, 0], level, rtol=1e-12)
    np.testing.assert_array_equal(running.last[0, :, 0], [1, 5, 5, 9])
    # the missing value is taken from two steps before, 1: it is what steps 5 and 7, counted from 1, look back to
    np.testing.assert_array_equal(running.lags[0, -1, :, 0, 0], [1, 9, 1])
    # younger than the season: the last value
    np.testing.assert_array_equal(running.lags[0, 0, :, 0, 0], [1, 1, 1])


@pytest.mark.parametrize("seasons", [[], [3], [2, 5]])
def test_the_state_has_one_size_and_the_type_of_the_weights(seasons: list[int]) -> None:
    layer = RunningStatistics(2, seasons, 4, 5.0)
    for dtype in (torch.float32, torch.float64):
        state = layer.initial_state(torch.zeros((), dtype=dtype), 3)
        _, after = layer(torch.ones(3, 7, 2, dtype=dtype), torch.ones(3, 7, 2, dtype=dtype), state)
        assert [(x.shape, x.dtype) for x in leaves(state)] == [(x.shape, x.dtype) for x in leaves(after)]
        assert all(len(leaf) == 3 for leaf in leaves(after))
