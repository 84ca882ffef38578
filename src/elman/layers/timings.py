"""Which is faster, torch's kernel or the native program: a small table, measured once a machine and stored.

`elman bench --tune` measures and stores it; nothing here measures. A cell that is exactly torch's can run on either, and both give
the same result: the table decides about speed only.
"""

import json
import math
import os
import platform
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import product, starmap
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import torch

from elman import core
from elman.data.files import write_text
from elman.errors import SlowWarning

VERSION = 1
"""Of the file; raised when its form or the meaning of a number changes."""

KINDS = ("lstm", "gru", "rnn")
"""What torch has a kernel for; "rnn" is rnn_tanh and rnn_relu, which differ in nothing that takes time."""


class Situation(NamedTuple):
    """What the choice depends on.

    Attributes:
        kind: of `KINDS`.
        training: forward and backward; or forward alone, without gradients.
        batch, time, hidden: rows, time steps, units.
    """

    kind: str
    training: bool
    batch: int
    time: int
    hidden: int


class Point(NamedTuple):
    """One measurement, in float32, with as many inputs as units.

    Attributes:
        speed: torch's seconds over the native program's: above 1 the native one is faster.
    """

    situation: Situation
    speed: float


SITUATIONS = tuple(starmap(Situation, product(KINDS, (True, False), (1, 8, 32, 128), (8, 64), (32, 128, 256, 512))))
"""What `elman bench --tune` measures."""

# Rounded from one run of `elman bench --tune` on a quiet machine with AVX-512: the points that tell where 1 is crossed.
# torch's GRU and Elman network are loops over a matrix product and some ten small operations a step; its LSTM is oneDNN's, which
# is hard to beat forward, and in short calls of few units, where what a call costs by itself decides.
DEFAULTS = (
    Point(Situation("lstm", True, 1, 8, 32), 0.75),
    Point(Situation("lstm", True, 1, 8, 128), 0.95),
    Point(Situation("lstm", True, 1, 8, 256), 3.0),
    Point(Situation("lstm", True, 32, 8, 32), 0.85),
    Point(Situation("lstm", True, 32, 8, 128), 1.1),
    Point(Situation("lstm", True, 1, 64, 32), 0.9),
    Point(Situation("lstm", True, 1, 64, 128), 1.1),
    Point(Situation("lstm", True, 32, 64, 32), 1.05),
    Point(Situation("lstm", True, 32, 64, 128), 1.2),
    Point(Situation("lstm", False, 1, 8, 32), 0.6),
    Point(Situation("lstm", False, 1, 8, 128), 0.8),
    Point(Situation("lstm", False, 1, 8, 256), 1.15),
    Point(Situation("lstm", False, 32, 8, 32), 0.7),
    Point(Situation("lstm", False, 32, 8, 128), 0.9),
    Point(Situation("lstm", False, 32, 8, 512), 1.2),
    Point(Situation("lstm", False, 1, 64, 32), 0.7),
    Point(Situation("lstm", False, 1, 64, 256), 1.2),
    Point(Situation("lstm", False, 32, 64, 32), 0.9),
    Point(Situation("lstm", False, 32, 64, 128), 0.99),
    Point(Situation("lstm", False, 32, 64, 512), 1.05),
    Point(Situation("gru", True, 1, 8, 32), 1.8),
    Point(Situation("gru", True, 32, 64, 128), 3.0),
    Point(Situation("gru", False, 1, 8, 32), 0.75),
    Point(Situation("gru", False, 1, 8, 128), 0.85),
    Point(Situation("gru", False, 8, 8, 32), 0.9),
    Point(Situation("gru", False, 8, 8, 128), 1.3),
    Point(Situation("gru", False, 1, 64, 64), 2.8),
    Point(Situation("gru", False, 32, 64, 128), 2.4),
    Point(Situation("rnn", True, 1, 8, 32), 1.0),
    Point(Situation("rnn", True, 32, 8, 32), 1.1),
    Point(Situation("rnn", True, 1, 64, 128), 3.7),
    Point(Situation("rnn", True, 32, 64, 128), 2.5),
    Point(Situation("rnn", False, 1, 8, 32), 0.5),
    Point(Situation("rnn", False, 1, 8, 256), 0.7),
    Point(Situation("rnn", False, 8, 8, 32), 0.6),
    Point(Situation("rnn", False, 8, 8, 128), 0.85),
    Point(Situation("rnn", False, 8, 8, 256), 1.3),
    Point(Situation("rnn", False, 32, 8, 32), 0.7),
    Point(Situation("rnn", False, 32, 8, 128), 1.4),
    Point(Situation("rnn", False, 1, 64, 32), 1.5),
    Point(Situation("rnn", False, 32, 64, 128), 2.7),
)
"""Where no table is stored."""

Rows: TypeAlias = list[list[Any]]

_held: ContextVar[tuple[Point, ...] | None] = ContextVar("held timings", default=None)


def faster(kind: str, batch: int, time: int, hidden: int, training: bool = True) -> Literal["native", "torch"]:
    """The faster of the two, by the nearest measured point.

    Args:
        kind: of `elman.cells.VendorWeights`: "lstm", "gru", "rnn_tanh" or "rnn_relu".
        batch, time, hidden: of the call; 0 counts as 1.
        training: whether gradients will be wanted.
    """
    wanted = Situation(kind.split("_")[0], training, batch, time, hidden)
    nearest = min(_held.get() or _points(), key=lambda point: _distance(wanted, point.situation))
    return "native" if nearest.speed >= 1 else "torch"


def _distance(wanted: Situation, measured: Situation) -> float:
    """Of sizes, by their ratios; infinite between kinds, and between training and not."""
    if wanted[:2] != measured[:2]:
        return math.inf
    return sum(math.log2(max(a, 1) / b) ** 2 for a, b in zip(wanted[2:], measured[2:], strict=True))


@contextmanager
def held() -> Iterator[None]:
    """What `hold` sets meanwhile is forgotten afterwards."""
    before = _held.set(_held.get())
    try:
        yield
    finally:
        _held.reset(before)


def hold(rows: Rows | None) -> Rows:
    """Decide by this table from now on, whatever is measured meanwhile: a training chooses as it did when it began.

    Args:
        rows: as an earlier call returned them; None: the table of now.
    Returns: the table, JSON-able.
    """
    points = _points() if rows is None else tuple(_point(*row) for row in rows)
    _held.set(points)
    return [[*point.situation, point.speed] for point in points]


def timings_file() -> Path:
    """``timings.json`` in $ELMAN_CACHE; else in the folder ``elman`` of $XDG_CACHE_HOME, or of ``~/.cache``."""
    if own := os.environ.get("ELMAN_CACHE"):
        return Path(own) / "timings.json"
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "elman" / "timings.json"


def store(points: Iterable[Point]) -> Path:
    """Write the table of this machine, whole or not at all; the file. Raises ElmanError if it cannot be written."""
    path = timings_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ",\n  ".join(json.dumps([*point.situation, point.speed]) for point in points)
    head = json.dumps({"version": VERSION, "machine": machine()})
    write_text(path, f'{head[:-1]}, "points": [\n  {rows}\n]}}\n')
    _points.cache_clear()
    return path


@cache
def _points() -> tuple[Point, ...]:
    """The stored table if there is one and it is this machine's; read once."""
    path = timings_file()
    try:
        return _parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return DEFAULTS
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        warnings.warn(
            f"{path} is not used: {reason}. `elman bench --tune` measures it anew; until then built-in figures decide",
            SlowWarning,
            stacklevel=2,
        )
        return DEFAULTS


def _parse(text: str) -> tuple[Point, ...]:
    """The points of a file. Raises ValueError that says why it cannot be used."""
    try:
        stored = json.loads(text)
        if stored["version"] != VERSION:
            raise ValueError(f"it is of version {stored['version']!r}, expected {VERSION}")
        before, now = stored["machine"], machine()
        differs = [
            f"{name} {before.get(name)!r}, now {value!r}" for name, value in now.items() if before.get(name) != value
        ]
        points = tuple(_point(*row) for row in stored["points"])
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is damaged ({type(error).__name__}: {error})") from error
    if differs:
        raise ValueError(f"it was measured elsewhere ({'; '.join(differs)})")
    if {situation[:2] for situation in SITUATIONS} - {point.situation[:2] for point in points}:
        raise ValueError("it is not complete")
    return points


def _point(kind: str, training: bool, batch: int, time: int, hidden: int, speed: float) -> Point:
    point = Point(Situation(str(kind), bool(training), int(batch), int(time), int(hidden)), float(speed))
    if min(point.situation[2:]) < 1 or not 0 < point.speed < math.inf:
        raise ValueError(f"it is damaged ({point})")
    return point


@cache
def machine() -> dict[str, str | int]:
    """What a measurement is valid for: processor, cores, and what computes."""
    return {
        "cpu": _processor(),
        "cores": os.cpu_count() or 1,
        "torch": torch.__version__,
        "core": "none" if core.why_absent() else f"{core.kernels()}, interface {core.INTERFACE}",
    }


def _processor() -> str:
    """The processor's name; its architecture where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
