"""How fast this machine trains: cells x backends x shapes, beside torch.nn and, where it is installed, JAX.

Forward and backward, float32, gradients of the weights and none of the input. All that share a shape run in turns.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, NamedTuple

import torch

from elman.cells.cell import CELLS
from elman.errors import UsageError
from elman.experiments.bench_contenders import Contender, contenders
from elman.experiments.bench_timing import Call, Shape, interleave, matrix_calls, matrix_rate, on_threads
from elman.layers.backends import BACKENDS
from elman.layers.timings import machine
from elman.registry import suggest

DEFAULT_CELLS = ("lstm", "gru", "elman", "layer_norm_lstm", "highway", "min_gru")
DEFAULT_SHAPES = (Shape(32, 100, 64, 128), Shape(32, 35, 200, 200, 2))
DEFAULT_ROUNDS = 9

Progress = Callable[[str, int, int], None]
"""Told what is about to run, how many are done, and how many there are."""


@dataclass(frozen=True)
class Row:
    """One cell of one shape on one backend, or a rival.

    Attributes:
        cell: its registered name; a rival computes the same.
        backend: of elman, or "nn.LSTM", "nn.GRU", "nn.RNN", "lax.scan".
        batch, time, inputs, hidden, layers: the shape.
        milliseconds, fastest: the median of all rounds, and the least.
        gflop: 10^9 multiplications and additions of the matrix products; what works on single numbers is not counted.
        gflops, share_of_peak: of them in a second, and over the best rate of a large matrix product in the same run.
        yardstick, ratio: torch's module, and its median time over this one: above 1 this one is faster.
    """

    cell: str
    backend: str
    batch: int
    time: int
    inputs: int
    hidden: int
    layers: int
    milliseconds: float
    fastest: float
    gflop: float
    gflops: float
    share_of_peak: float
    yardstick: str
    ratio: float

    @property
    def shape(self) -> Shape:
        return Shape(self.batch, self.time, self.inputs, self.hidden, self.layers)


@dataclass(frozen=True)
class Bench:
    """What was measured, on what machine.

    Attributes:
        peak: GFLOP/s of a large matrix product by each library, the best of the run.
        notes: sentences about what was left out.
    """

    machine: dict[str, str | int]
    threads: int
    rounds: int
    peak: dict[str, float]
    rows: list[Row]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        about = self.machine | {"threads": self.threads, "rounds": self.rounds, "peak_gflops": self.peak}
        return {"machine": about, "rows": [asdict(row) for row in self.rows], "notes": self.notes}


class _Timed(NamedTuple):
    """What ran at one shape, and the seconds of each, and of the matrix products, in each round."""

    shape: Shape
    contenders: list[Contender]
    seconds: dict[str, list[float]]


def measure(
    cells: Sequence[str] = DEFAULT_CELLS,
    backends: Sequence[str] = (),
    shapes: Sequence[Shape] = DEFAULT_SHAPES,
    *,
    threads: int = 1,
    rounds: int = DEFAULT_ROUNDS,
    progress: Progress | None = None,
) -> Bench:
    """Time all of it.

    Args:
        cells: registered names.
        backends: of elman; none named: all that a cell has.
        threads: for all; one stays on one core.
        rounds: each runs once in each of them, after two that do not count.
    Raises: UsageError if a name is unknown, a number out of range, or nothing is left to measure; ConfigError if a cell cannot
    have a shape.
    """
    _check(backends, rounds)
    kinds = {name: CELLS.get(name) for name in cells}
    timed, notes = list[_Timed](), dict[str, None]()
    with on_threads(threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        products = matrix_calls()
        for done, shape in enumerate(shapes):
            if progress is not None:
                progress(str(shape), done, len(shapes))
            timed.append(_time(shape, list(contenders(kinds, backends, shape, notes)), products, rounds))
    if not any(one.contenders for one in timed):
        raise UsageError(f"there is nothing to measure: {'; '.join(notes) or 'no cell or no shape is named'}")
    peak = {name: max(matrix_rate(min(one.seconds[name])) for one in timed) for name in products}
    rows = [_row(one, contender, max(peak.values())) for one in timed for contender in _by_cell(one.contenders)]
    return Bench(machine(), threads, rounds, peak, rows, list(notes))


def _check(backends: Sequence[str], rounds: int) -> None:
    if rounds < 1:
        raise UsageError(f"expected `rounds` >= 1, got {rounds}")
    for name in backends:
        if name not in BACKENDS:
            raise UsageError(f"there is no backend {name!r}; {suggest(name, BACKENDS)}")


def _time(shape: Shape, running: list[Contender], products: dict[str, Call], rounds: int) -> _Timed:
    calls = {one.name: one.call for one in running} | products
    return _Timed(shape, running, interleave(calls, least=rounds, most=rounds))


def _by_cell(running: list[Contender]) -> list[Contender]:
    """Rivals beside the cell that they are."""
    order = list(dict.fromkeys(one.cell for one in running))
    return sorted(running, key=lambda one: order.index(one.cell))


def _row(timed: _Timed, one: Contender, peak: float) -> Row:
    seconds = timed.seconds[one.name]
    middle = median(seconds)
    return Row(
        one.cell,
        one.backend,
        *timed.shape,
        milliseconds=1000 * middle,
        fastest=1000 * min(seconds),
        gflop=one.gflop,
        gflops=one.gflop / middle,
        share_of_peak=one.gflop / middle / peak,
        yardstick=one.yardstick.rpartition(" ")[2],
        ratio=median(timed.seconds[one.yardstick]) / middle,
    )
