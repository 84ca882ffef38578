"""Running statistics of a series as state: level, spread, last value, and the values of the last season. No weights."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from elman.state import where

FLOOR = 0.05
"""The smallest spread, as a share of the spread the values were scaled to: a quiet hour must not blow up the next one."""


class RunningState(NamedTuple):
    """What `RunningStatistics` carries: all (batch, series), the ring (batch, memory, series), the age (batch, 1).

    ``weight``, ``total``, ``deviation`` and ``errors`` (batch, series, 1 + seasons) are exponentially weighted sums over observed
    values; ``seen`` is their plain number.
    """

    weight: Tensor
    total: Tensor
    deviation: Tensor
    errors: Tensor
    seen: Tensor
    last: Tensor
    ring: Tensor
    age: Tensor


class Running(NamedTuple):
    """What is known at each step, that step included.

    Shapes: (batch, time, series), ``lags`` (batch, time, horizon, seasons, series).
    """

    level: Tensor
    spread: Tensor
    last: Tensor
    level_before: Tensor
    last_before: Tensor
    """Of one step earlier: what a value is compared with when it comes in."""
    errors: Tensor
    """(batch, time, series, 1 + seasons): how far values were, typically, from the last one and from those a season earlier."""
    lags: Tensor
    """For each step ahead: the value one season, or as many as it takes, before that step."""


class RunningStatistics(nn.Module):
    """Exponentially weighted level, spread and naive errors, and seasonal lags, of each series; causal, chunk by chunk.

    Values are expected to be scaled so that their typical deviation from the running level is 1; spread starts there. A
    missing value leaves level and spread as they are, and its place in the ring is taken by the value one (shortest) season
    earlier.

    Args:
        series: values per step, C.
        seasons: lags in steps; may be empty.
        horizon: steps ahead, H.
        half_life: steps after which a value counts half in level and spread.
    """

    def __init__(self, series: int, seasons: list[int], horizon: int, half_life: float) -> None:
        super().__init__()
        self.series, self.seasons, self.horizon, self.half_life = series, seasons, horizon, half_life
        self.memory = max(seasons, default=1)
        ahead = torch.arange(1, horizon + 1)
        # step t + k looks back to t + k - s * ceil(k / s), the nearest that is known at t
        backs = [s * torch.div(ahead + s - 1, s, rounding_mode="floor") - ahead for s in seasons]
        self.register_buffer(
            "backs", torch.stack(backs, 1) if backs else torch.zeros(horizon, 0).long(), persistent=False
        )
        self.backs: Tensor

    def initial_state(self, like: Tensor, batch_size: int) -> RunningState:
        zero = like.new_zeros(batch_size, self.series)
        errors = like.new_zeros(batch_size, self.series, 1 + len(self.seasons))
        ring = like.new_zeros(batch_size, self.memory, self.series)
        return RunningState(zero, zero, zero, errors, zero, zero, ring, like.new_zeros(batch_size, 1))

    def forward(
        self, values: Tensor, observed: Tensor, state: RunningState, lengths: Tensor | None = None
    ) -> tuple[Running, RunningState]:
        """Statistics after each step. Shapes: values and observed (0 or 1) (batch, time, series)."""
        time = values.shape[1]
        if lengths is not None:  # steps past the end are as if missing: they change no sum
            inside = torch.arange(time, device=values.device) < lengths[:, None]
            observed = observed * inside[..., None]
        values = torch.where(observed > 0, values, 0.0)
        decay = self._decay(time, values)
        count = self._weighted(observed, state.weight, decay)
        total = self._weighted(observed * values, state.total, decay)
        level = total / count.clamp(min=1e-6)
        level_before = _delayed(level, state.total / state.weight.clamp(min=1e-6))
        deviation = self._weighted(observed * (values - level_before).abs(), state.deviation, decay)
        seen = state.seen[:, None] + observed.cumsum(1)
        last = fill(values, observed, state.last[:, None], 1)
        last_before = _delayed(last, state.last)
        filled = torch.cat([state.ring, fill(values, observed, state.ring, min(self.seasons, default=1))], 1)
        age = state.age + torch.arange(1, time + 1, device=values.device)
        missed = self._missed(values, filled, last_before, age) * observed[..., None]
        errors = self._weighted(missed.flatten(2), state.errors.flatten(1), decay).view(missed.shape)
        trust = seen / (seen + self.half_life / 2)
        running = Running(
            level,
            _trusted(deviation / count.clamp(min=1e-6), trust),
            last,
            level_before,
            last_before,
            _trusted(errors / count.clamp(min=1e-6)[..., None], trust[..., None]),
            self._lags(filled, last, age),
        )
        sums = (count, total, deviation, errors, seen, last)
        return running, self._after(sums, filled, state, lengths)

    def _decay(self, time: int, like: Tensor) -> Tensor:
        """(time, time + 1): the weight of each value, and of what came before the chunk, at each step."""
        steps = torch.arange(time, device=like.device)
        ago = torch.cat([steps[:, None] - steps, steps[:, None] + 1], 1)
        weights = torch.pow(0.5, ago.clamp(min=0).to(like.dtype) / self.half_life)
        return torch.where(ago >= 0, weights, 0.0)

    @staticmethod
    def _weighted(values: Tensor, before: Tensor, decay: Tensor) -> Tensor:
        """Exponentially weighted sums, all steps in one product."""
        return torch.einsum("ts,bsc->btc", decay, torch.cat([values, before[:, None]], 1))

    def _missed(self, values: Tensor, filled: Tensor, last_before: Tensor, age: Tensor) -> Tensor:
        """(batch, time, series, 1 + seasons): how far each value is from the last one, and from those a season earlier."""
        now = self.memory + torch.arange(values.shape[1], device=values.device)
        before = [last_before]
        for season in self.seasons:
            before.append(torch.where((age > season)[..., None], filled[:, now - season], last_before))
        return (values[..., None] - torch.stack(before, -1)).abs()

    def _lags(self, filled: Tensor, last: Tensor, age: Tensor) -> Tensor:
        """(batch, time, horizon, seasons, series); the last value where the stream is younger than the lag."""
        time = last.shape[1]
        now = self.memory + torch.arange(time, device=last.device)
        index = now[:, None, None] - self.backs
        lags = filled[:, index.clamp(min=0)]
        known = age[:, :, None, None] > self.backs
        return torch.where(known[..., None], lags, last[:, :, None, None])

    def _after(
        self, sums: tuple[Tensor, ...], filled: Tensor, state: RunningState, lengths: Tensor | None
    ) -> RunningState:
        """The state after each row's last real step; a row of length 0 keeps its own. ``sums``: as the first fields."""
        time = sums[0].shape[1]
        if not time:
            return state
        if lengths is None:
            return RunningState._make([*(new[:, -1] for new in sums), filled[:, -self.memory :], state.age + time])
        rows = torch.arange(len(lengths), device=lengths.device)
        final = (lengths - 1).clamp(min=0)
        kept = (where(lengths > 0, new[rows, final], old) for new, old in zip(sums, state, strict=False))
        index = lengths[:, None] + torch.arange(self.memory, device=lengths.device)
        return RunningState._make([*kept, filled[rows[:, None], index], state.age + lengths[:, None]])


def _trusted(statistic: Tensor, trust: Tensor) -> Tensor:
    """A running statistic where enough was seen, 1, what values are scaled to, where not; never below `FLOOR`."""
    return trust * ((1 - FLOOR) * statistic + FLOOR) + (1 - trust)


def _delayed(values: Tensor, first: Tensor) -> Tensor:
    """Each step's value one step later, after ``first`` (batch, series)."""
    return torch.cat([first[:, None], values], 1)[:, :-1]


def fill(values: Tensor, observed: Tensor, before: Tensor, season: int) -> Tensor:
    """Missing values filled with the one ``season`` steps earlier, which may be filled itself.

    Shapes: values, observed (batch, time, series); before (batch, at least season, series), the filled values that precede.
    Returns: (batch, time, series).
    """
    batch, time, series = values.shape
    whole = torch.cat([before[:, -season:], values], 1)
    known = torch.cat([torch.ones_like(before[:, -season:]), observed], 1) > 0
    blocks = -(-whole.shape[1] // season)
    place = torch.arange(blocks, device=values.device)[:, None, None].expand(blocks, season, series)
    missing = blocks * season - whole.shape[1]
    known = nn.functional.pad(known, (0, 0, 0, missing)).view(batch, blocks, season, series)
    latest = torch.where(known, place, -1).cummax(1).values  # the last known block of each phase
    padded = nn.functional.pad(whole, (0, 0, 0, missing)).view(batch, blocks, season, series)
    return padded.gather(1, latest).reshape(batch, -1, series)[:, season : season + time]
