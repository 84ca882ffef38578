"""Proof that a stream gives what the whole sequence gave, and how long a step takes."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from elman.data.codec import Json, Push
from elman.errors import ElmanError
from elman.streaming.session import StreamSession

TOLERANCE = 1e-5
"""Largest difference allowed, as a share of the largest number of the answers: float32 in another order of operations."""


@dataclass(frozen=True)
class Proof:
    """A replay in figures.

    Attributes:
        steps: rows pushed. numbers: numbers compared. largest: their largest absolute difference, in raw units.
        scale: the largest absolute number among the offline answers.
        p50, p99: microseconds per push, the codec included.
    """

    steps: int
    numbers: int
    largest: float
    scale: float
    p50: float
    p99: float

    @property
    def holds(self) -> bool:
        return self.numbers > 0 and math.isfinite(self.largest) and self.largest <= TOLERANCE * self.scale


def prove(session: StreamSession, replay: Iterable[tuple[Push, Json]]) -> Proof:
    """Push every row of ``replay`` and compare each answer with the offline one beside it.

    Raises:
        ElmanError: an answer has another shape than the offline one.
    """
    session.reset()
    steps, largest, scale, count, seconds = 0, 0.0, 0.0, 0, []
    for row, expected in replay:
        begin = time.perf_counter()
        got = session.push(row.x, row.time, row.future)
        seconds.append(time.perf_counter() - begin)
        steps += 1
        for a, b in _pairs(got, expected, "y"):
            largest, scale, count = max(largest, _difference(a, b)), max(scale, abs(b)), count + 1
    p50, p99 = np.percentile(seconds or [np.nan], [50, 99]) * 1e6
    return Proof(steps, count, largest, scale, float(p50), float(p99))


def _difference(a: float, b: float) -> float:
    """Infinite where one of the two is not finite: `max` passes over NaN, and a stream that answers it is not proved."""
    return abs(a - b) if math.isfinite(a) and math.isfinite(b) else math.inf


def _pairs(got: Json, expected: Json, where: str) -> Iterator[tuple[float, float]]:
    """The numbers of two answers of one shape, side by side."""
    if isinstance(got, Mapping) and isinstance(expected, Mapping) and set(got) == set(expected):
        for key in expected:
            yield from _pairs(got[key], expected[key], f"{where}.{key}")
    elif isinstance(got, list) and isinstance(expected, list) and len(got) == len(expected):
        for i, (a, b) in enumerate(zip(got, expected, strict=True)):
            yield from _pairs(a, b, f"{where}[{i}]")
    elif isinstance(got, int | float) and isinstance(expected, int | float):
        yield float(got), float(expected)
    elif got != expected:
        raise ElmanError(f"the stream answered {where} = {got!r} where the whole sequence gave {expected!r}")
