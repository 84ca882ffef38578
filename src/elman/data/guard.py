"""The input guard: what a model is fed is checked against what it was fitted on; what is wrong is counted and told."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elman.errors import ConfigError, DataError

Floats: TypeAlias = NDArray[np.float64]
Policy: TypeAlias = Literal["error", "clip", "impute"]
Reason: TypeAlias = Literal["range", "infinity", "missing", "unknown", "time"]

POLICIES: tuple[Policy, ...] = get_args(Policy)

_TIME = "time"
_WORDS: dict[str, tuple[str, str]] = {
    "range": ("value", "outside the range of the training data"),
    "infinity": ("value", "infinite"),
    "missing": ("value", "missing"),
    "unknown": ("symbol", "unknown"),
    "time": ("time stamp", "not later than the one before"),
}


class InputGuard:
    """Limits per feature, fitted on training data, and a policy for what lies outside.

    Policies: ``error`` raises a DataError; ``clip`` replaces a value by the nearest limit; ``impute`` makes it missing.
    Missing values (NaN) stay missing under every policy and are counted.

    Args:
        names: the features, in the order of the last axis of `apply`.
        low, high: (C,) limits, inclusive; infinite where a feature has none.
        policy: what to do with a value outside, or infinite.
    """

    def __init__(self, names: Sequence[str], low: ArrayLike, high: ArrayLike, policy: Policy = "clip") -> None:
        if policy not in POLICIES:
            raise ConfigError(f"expected a guard policy, one of {', '.join(POLICIES)}, got {policy!r}")
        self.names = tuple(names)
        self.low: Floats = np.asarray(low, np.float64)
        self.high: Floats = np.asarray(high, np.float64)
        self.policy: Policy = policy
        self.counts: Counter[tuple[str, Reason]] = Counter()

    @classmethod
    def fit(cls, arrays: Iterable[Floats], names: Sequence[str], policy: Policy = "clip") -> "InputGuard":
        """Limits from training data, each array (T, C): its range, widened by as much again on each side.

        A constant feature says nothing about its range: it is widened by its size, at least 1. A feature without any
        value has no limits.
        """
        low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
        for array in arrays:
            low = np.fmin(low, np.fmin.reduce(array, axis=0, initial=np.inf))
            high = np.fmax(high, np.fmax.reduce(array, axis=0, initial=-np.inf))
        known = low <= high
        spread = np.where(known, high - low, 0.0)
        spread = np.where(spread > 0, spread, np.maximum(np.abs(np.where(known, low, 0.0)), 1.0))
        return cls(names, np.where(known, low - spread, -np.inf), np.where(known, high + spread, np.inf), policy)

    def apply(self, values: ArrayLike) -> Floats:
        """(..., C) in raw units -> the same with the policy applied; counts what it meets."""
        values = np.asarray(values, np.float64)
        infinite = np.isinf(values)
        outside = ~infinite & ((values < self.low) | (values > self.high))
        self._count("missing", np.isnan(values))
        self._count("infinity", infinite)
        self._count("range", outside)
        wrong = infinite | outside
        if not wrong.any():
            return values
        if self.policy == "error":
            raise DataError(self._complaint(values, wrong))
        if self.policy == "clip":
            limited = np.clip(values, self.low, self.high)
            return np.where(np.isfinite(limited) | np.isnan(limited), limited, np.nan)  # no limit to clip to: missing
        return np.where(wrong, np.nan, values)

    def select(self, features: slice) -> "InputGuard":
        """The guard of some of the features; it counts where this one does."""
        part = InputGuard(self.names[features], self.low[features], self.high[features], self.policy)
        part.counts = self.counts
        return part

    def count_unknown(self, name: str, count: int = 1) -> None:
        """Count symbols of feature ``name`` that were not seen in training. Under ``error`` raises a DataError."""
        if count and self.policy == "error":
            raise DataError(
                f"{name}: {_counted(count, 'symbol')} not seen in training; the input guard's policy is 'error'"
            )
        self._add(name, "unknown", count)

    def check_time(self, previous: Any, now: Any) -> bool:
        """Whether ``now`` is later than ``previous``; counts if not. Under ``error`` raises a DataError."""
        if now > previous:
            return True
        if self.policy == "error":
            raise DataError(f"time does not go forward: {now} comes after {previous}; send rows in the order of time")
        self._add(_TIME, "time", 1)
        return False

    def report(self, *, without: Reason | None = None) -> list[str]:
        """What was met so far, a sentence each: "column 'temp': 3 values outside the range of the training data"."""
        sentences = []
        for (name, reason), count in self.counts.items():
            if reason == without:
                continue
            noun, what = _WORDS[reason]
            sentences.append(f"column {name!r}: {_counted(count, noun)} {what}{self._cure(reason)}")
        return sentences

    def reset(self) -> None:
        """Forget the counts."""
        self.counts.clear()

    def to_json(self) -> dict[str, Any]:
        def plain(limits: Floats) -> list[float | None]:
            return [limit if np.isfinite(limit) else None for limit in limits.tolist()]

        return {"names": list(self.names), "low": plain(self.low), "high": plain(self.high), "policy": self.policy}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "InputGuard":
        low = [-np.inf if limit is None else limit for limit in value["low"]]
        high = [np.inf if limit is None else limit for limit in value["high"]]
        return cls(value["names"], low, high, value["policy"])

    def _count(self, reason: Reason, found: NDArray[np.bool_]) -> None:
        if found.any():
            for name, count in zip(self.names, found.reshape(-1, len(self.names)).sum(axis=0).tolist(), strict=True):
                self._add(name, reason, count)

    def _add(self, name: str, reason: Reason, count: int) -> None:
        if count:
            self.counts[name, reason] += count

    def _cure(self, reason: Reason) -> str:
        if reason in ("range", "infinity"):
            return ", set to the nearest limit" if self.policy == "clip" else ", taken as missing"
        return ""

    def _complaint(self, values: Floats, wrong: NDArray[np.bool_]) -> str:
        rows = values.reshape(-1, len(self.names))
        row, feature = np.argwhere(wrong.reshape(rows.shape))[0]
        return (
            f"{self.names[feature]!r} is {rows[row, feature]:g}; expected {self.low[feature]:g} to "
            f"{self.high[feature]:g}, as in training (with a margin); the input guard's policy is 'error'"
        )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
