"""The engine against torch: ``python benchmarks/engine.py [--threads 1,2] [--rows lstm,gru] [--shapes 32x100x64x128]``.

Forward and backward in float32, gradients of the weights and none of the input. Each cell on the native backend runs in turns with
what it is compared with; the figures are ratios of medians, above 1 where the native one is faster, beside the bars that were set
before. Output and gradients are compared with the loop's in the same run; where rounding sets them apart, with those in float64.
"""

import argparse
import copy
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch.nn.functional import relu, softplus
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from elman.cells import (
    GRU,
    GRUD,
    LRU,
    LSTM,
    MGU,
    SLSTM,
    Cell,
    CoupledLSTM,
    Elman,
    Highway,
    Jordan,
    LayerNormLSTM,
    MinGRU,
    PeepholeLSTM,
)
from elman.cells.wrappers import Zoneout
from elman.errors import ElmanError
from elman.experiments.bench_contenders import build_layer, forward, innermost_cell, sample_input
from elman.experiments.bench_rivals import torch_call, torch_module
from elman.experiments.bench_timing import Call, Shape, interleave, matrix_calls, matrix_rate, on_threads, training_call
from elman.layers import Recurrent, Stack
from elman.layers.backends import BACKENDS
from elman.layers.timings import machine
from elman.testing.compare import TOLERANCE, relative_difference

SHAPES = tuple(map(Shape.parse, ("32x100x64x128", "32x35x200x200x2", "64x200x128x256", "128x50x512x512")))
LONG = tuple(map(Shape.parse, ("8x512x128x128", "8x2048x128x128", "8x8192x128x128")))
MOST_ROUNDS = 60
COPIED = 2**26  # numbers, 256 MiB: more than any cache holds
TRAFFIC = 5  # arrays (batch, time, channels) that must move: x and y forward; x, y and the slope backward


@dataclass(frozen=True)
class Bar:
    """What a row is compared with. least: the ratio to reach at each shape, those without are not run; wanted: geometric mean."""

    against: str
    least: Mapping[Shape, float]
    wanted: float | None = None


@dataclass(frozen=True)
class Row:
    """A cell and its bars. make: of (input_size, hidden_size); backend: what is measured."""

    name: str
    make: Callable[[int, int], Cell]
    bars: Sequence[Bar]
    shapes: Sequence[Shape] = SHAPES
    backend: str = "native"
    reads: Sequence[str] = ("x",)
    with_lengths: bool = False


def every(value: float, shapes: Sequence[Shape] = SHAPES, **others: float) -> dict[Shape, float]:
    """One bar for all shapes, but for those named by place: ``first=3.0``."""
    places = {"first": 0, "second": 1, "last": len(shapes) - 1}
    return dict.fromkeys(shapes, value) | {shapes[places[name]]: other for name, other in others.items()}


def rows() -> list[Row]:
    gated = [Bar("loop", every(1.9, first=3.0), 2.6), Bar("nn.LSTM", every(0.75), 1.0)]
    slow = [Bar("loop", every(1.8), 2.6)]
    linear = [
        Bar("loop", every(1.6, LONG, last=1.2)),
        Bar("log-space", every(4, LONG)),
        Bar("nn.GRU", every(3.3, LONG)),
    ]
    first_and_third = SHAPES[::2]
    return [
        Row("lstm", LSTM, [Bar("nn.LSTM", every(1.0, second=0.95), 1.3)]),
        Row("gru", GRU, [Bar("nn.GRU", every(1.7), 2.3)]),
        Row("elman", Elman, [Bar("nn.RNN", every(1.7), 2.4)]),
        Row("layer_norm_lstm", LayerNormLSTM, gated),
        Row("peephole_lstm", PeepholeLSTM, gated),
        Row("highway of depth 5", partial(Highway, depth=5), [Bar("loop", every(2.2, first=3.5), 3.0)]),
        Row("jordan", Jordan, slow),
        Row("mgu", MGU, slow),
        Row("zoneout lstm", lambda inputs, hidden: Zoneout(LSTM(inputs, hidden), 0.05, 0.5), slow),
        Row("coupled_lstm", CoupledLSTM, slow),
        Row("slstm", SLSTM, slow),
        Row("gru_d", GRUD, slow, reads=GRUD.inputs),
        Row("min_gru", partial(MinGRU, positive=True), linear, LONG, "auto"),
        Row("lru", LRU, linear, LONG, "auto"),
        Row("lstm with lengths", LSTM, [Bar("padded", every(1.6), 1.9), Bar("packed nn.LSTM", every(4, first_and_third), 6.0)],
            with_lengths=True),
        Row("gru with lengths", GRU, [Bar("padded", every(1.6), 1.9), Bar("packed nn.GRU", every(2.5, first_and_third), 4.0)],
            with_lengths=True),
    ]  # fmt: skip


def log_space(cell: Cell, x: Tensor) -> Tensor:
    """A linear recurrence as a cumulative sum of logarithms (Heinsen 2023; Feng et al. 2024), real or complex."""
    if isinstance(cell, MinGRU):
        update, candidate = cell.project(x).chunk(2, -1)
        log_candidate = torch.where(candidate >= 0, (relu(candidate) + 0.5).log(), -softplus(-candidate))
        decays, values = (-softplus(update)).cumsum(1), log_candidate - softplus(-update)
        return (decays + torch.logcumsumexp(values - decays, 1)).exp()
    assert isinstance(cell, LRU)
    real, imaginary, skip = cell.project(x).chunk(3, -1)
    steps = torch.arange(1, x.shape[1] + 1)[:, None]
    decays = torch.complex(-cell.nu.exp(), cell.theta.exp()) * steps
    values = (torch.complex(real, imaginary) * cell.gamma.exp()).log()
    hidden = (decays + torch.logcumsumexp(values - decays, 1)).exp()
    y: Tensor = cell.readout(torch.cat([hidden.real, hidden.imag], -1)) + skip
    return y


def packed(module: torch.nn.RNNBase, x: Tensor, lengths: Tensor) -> Tensor:
    y, _ = module(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    padded: Tensor = pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])[0]
    return padded


def rival(
    name: str, backend: str, layer: Stack, shape: Shape, x: Tensor, slope: Tensor, lengths: Tensor | None
) -> Call:
    """The call of that name with which a row is compared, on the same input."""
    if name == "loop":
        return training_call(layer, lambda: forward(layer, x, "loop", lengths), slope)
    if name == "padded":
        return training_call(layer, lambda: forward(layer, x, backend), slope)
    if name == "log-space":
        return training_call(layer, lambda: log_space(innermost_cell(layer), x), slope)
    module = torch_module(name.rpartition(".")[2].lower(), shape)
    if name.startswith("packed"):
        assert lengths is not None
        return training_call(module, lambda: packed(module, x, lengths), slope)
    return torch_call(module, x[..., : shape.inputs], slope)


@dataclass(frozen=True)
class Result:
    """One row at one shape. difference: from the loop, of which so much is allowed; ratios: by what it is compared with."""

    row: Row
    shape: Shape
    threads: int
    backend: str
    difference: float
    allowed: float
    seconds: dict[str, list[float]]

    @property
    def own(self) -> float:
        return median(self.seconds["own"])

    @property
    def ratios(self) -> dict[str, float]:
        return {
            bar.against: median(self.seconds[bar.against]) / self.own
            for bar in self.row.bars
            if bar.against in self.seconds
        }

    @property
    def limits(self) -> dict[str, float]:
        """Of a linear recurrence: seconds to move its arrays at the speed of a copy, and the rate of large products."""
        if self.row.shapes != LONG:
            return {}
        bandwidth = 2 * 4 * COPIED / min(self.seconds["copy"])
        moved = TRAFFIC * 4 * self.shape.batch * self.shape.time * self.shape.hidden
        return {
            "gigabytes_per_second": bandwidth / 1e9,
            "share_of_bandwidth_limit": moved / bandwidth / self.own,
            "matrix_gflops": max(matrix_rate(min(self.seconds[name])) for name in matrix_calls()),
        }

    def to_json(self) -> dict[str, Any]:
        bars = {bar.against: {"ratio": self.ratios[bar.against], "least": bar.least[self.shape]}
                for bar in self.row.bars if bar.against in self.ratios}  # fmt: skip
        return {
            "row": self.row.name, "shape": str(self.shape), "threads": self.threads, "backend": self.backend,
            "difference": self.difference, "allowed": self.allowed, "milliseconds": 1000 * self.own, "against": bars, **self.limits,
            "seconds": self.seconds,
        }  # fmt: skip


def uniform_lengths(shape: Shape) -> Tensor:
    """From 1 to all steps, evenly spaced: half of the steps are real, in a small batch too, where a draw is off by a tenth."""
    lengths = torch.linspace(1, shape.time, shape.batch).round().to(torch.int64)
    return lengths[torch.randperm(shape.batch)]


def measure(row: Row, shape: Shape, threads: int, rounds: int, budget: float) -> Result:
    """Agreement first, then the rounds."""
    torch.manual_seed(0)
    layer = build_layer(row.make, shape, row.reads)
    x, slope = sample_input(shape, row.reads), torch.randn(shape.batch, shape.time, layer.output_size)
    lengths = uniform_lengths(shape) if row.with_lengths else None
    with on_threads(threads):
        difference, allowed = disagreement(row, layer, x, slope, lengths)
        calls: dict[str, Call] = {"own": training_call(layer, lambda: forward(layer, x, row.backend, lengths), slope)}
        for bar in row.bars:
            if shape in bar.least:
                calls[bar.against] = rival(bar.against, row.backend, layer, shape, x, slope, lengths)
        if row.shapes == LONG:
            source, target = torch.ones(COPIED), torch.empty(COPIED)
            calls |= matrix_calls() | {"copy": lambda: target.copy_(source)}
        seconds = interleave(calls, least=rounds, most=MOST_ROUNDS, budget=budget)
        first = layer.layers[0]
        assert isinstance(first, Recurrent)
        backend = first.choice(x).name if row.backend == "auto" else row.backend
    return Result(row, shape, threads, backend, difference, allowed, seconds)


def disagreement(row: Row, layer: Stack, x: Tensor, slope: Tensor, lengths: Tensor | None) -> tuple[float, float]:
    """The largest difference from the loop, of the output and every gradient, over the largest value of each tensor; and
    what is allowed. The loop rounds, too: where the two are further apart, float64 is the judge, and allows twice its error."""
    actual, loop = (with_gradients(layer, x, slope, backend, lengths) for backend in (row.backend, "loop"))
    tolerance = TOLERANCE[torch.float32]
    if (difference := largest_difference(actual, loop)) <= tolerance:
        return difference, tolerance
    exact = with_gradients(copy.deepcopy(layer).double(), x.double(), slope.double(), "loop", lengths)
    return largest_difference(actual, exact), max(tolerance, 2 * largest_difference(loop, exact))


def largest_difference(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    return max(relative_difference(actual[name], value) for name, value in expected.items())


def with_gradients(layer: Stack, x: Tensor, slope: Tensor, backend: str, lengths: Tensor | None) -> dict[str, Tensor]:
    torch.manual_seed(1)  # zoneout draws its masks
    y = forward(layer, x, backend, lengths)
    gradients = torch.autograd.grad(y, list(layer.parameters()), slope)
    return {"output": y.detach()} | dict(zip((name for name, _ in layer.named_parameters()), gradients, strict=True))


def compared(value: float, bar: float) -> str:
    return f"{value:.2f} >= {bar:g}" if value >= bar else f"[red]{value:.2f} < {bar:g}[/red]"


def table(results: Sequence[Result], shapes: Sequence[Shape], threads: int) -> Table:
    """A line for each row and what it is compared with."""
    title = "one thread" if threads == 1 else f"{threads} threads, for information"
    shown = Table("row", "against", *map(str, shapes), "mean, wanted", "differs by", title=title, title_justify="left")
    for row in dict.fromkeys(result.row.name for result in results):
        own = {result.shape: result for result in results if result.row.name == row}
        worst = max(own.values(), key=lambda result: result.difference / result.allowed)
        agrees = (
            f"{worst.difference:.0e}" if worst.difference <= worst.allowed else f"[red]{worst.difference:.0e}[/red]"
        )
        for bar in next(iter(own.values())).row.bars:
            ratios = {
                shape: result.ratios[bar.against] for shape, result in own.items() if bar.against in result.ratios
            }
            cells = [compared(ratios[shape], bar.least[shape]) if shape in ratios else "" for shape in shapes]
            mean = geometric_mean(ratios.values()) if ratios else math.nan
            shown.add_row(row, bar.against, *cells, compared(mean, bar.wanted) if bar.wanted else f"{mean:.2f}", agrees)
    return shown


def limits_table(results: Sequence[Result]) -> Table:
    """How near linear recurrences are to what the memory allows."""
    shown = Table("row", "shape", "threads", "on", "ms", "GB/s of a copy", "share of that limit",
                  title="linear recurrences", title_justify="left")  # fmt: skip
    for result in results:
        if limits := result.limits:
            figures = (f"{limits['gigabytes_per_second']:.1f}", f"{limits['share_of_bandwidth_limit']:.0%}")
            about = (result.row.name, str(result.shape), str(result.threads), result.backend)
            shown.add_row(*about, f"{1000 * result.own:.1f}", *figures)
    return shown


def show(results: Sequence[Result]) -> None:
    say = Console() if sys.stdout.isatty() else Console(width=150)
    say.print(", ".join(f"{name} {value}" for name, value in machine().items()), highlight=False)
    for threads in dict.fromkeys(result.threads for result in results):
        for shapes in (SHAPES, LONG):
            own = [result for result in results if result.threads == threads and result.shape in shapes]
            if own:
                say.print(table(own, shapes, threads), highlight=False)
    if any(result.limits for result in results):
        say.print(limits_table(results), highlight=False)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join(row.name for row in rows())
    parser.add_argument("--rows", default="", help=f"beginnings of names, comma between; all: {names}")
    parser.add_argument("--shapes", default="", help=f"some of {' '.join(map(str, (*SHAPES, *LONG)))}, comma between")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5, help="at least")
    parser.add_argument("--budget", type=float, default=3.0, help="seconds for the rounds of one row at one shape")
    parser.add_argument("--backend", choices=BACKENDS, help="measured in place of each row's own")
    parser.add_argument("--out", type=Path, default=Path("runs/engine.json"))
    return parser.parse_args()


def parsed(text: str) -> Shape:
    try:
        return Shape.parse(text)
    except ElmanError as error:
        sys.exit(str(error))


def chosen(given: argparse.Namespace) -> list[tuple[Row, Shape, int]]:
    """What is to be measured, in order; a name or shape that is none ends the program."""
    names = [name.strip() for name in given.rows.split(",") if name.strip()]
    shapes = [parsed(text) for text in given.shapes.split(",") if text]
    known = rows()
    if strange := [name for name in names if not any(row.name.startswith(name) for row in known)]:
        sys.exit(f"no row begins with {', '.join(strange)}; rows: {'; '.join(row.name for row in known)}")
    taken = [row for row in known if not names or any(row.name.startswith(name) for name in names)]
    found = [
        (row, shape, int(threads))
        for threads in given.threads.split(",")
        for row in taken
        for shape in row.shapes
        if not shapes or shape in shapes
    ]
    if not found:
        sys.exit(f"no row has a shape {given.shapes}")
    return found


def write(path: Path, results: Sequence[Result]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    about = machine() | {"load": os.getloadavg()[0]}
    path.write_text(json.dumps({"machine": about, "rows": [result.to_json() for result in results]}) + "\n")


def main() -> None:
    given, results, wrong = arguments(), list[Result](), list[str]()
    for row, shape, threads in track(chosen(given), "engine", console=Console(stderr=True)):
        row = row if given.backend is None else replace(row, backend=given.backend)
        try:
            results.append(measure(row, shape, threads, given.rounds, given.budget))
        except ElmanError as error:
            wrong.append(f"{row.name} at {shape}: {error}")
        write(given.out, results)  # each time: it takes long
    show(results)
    wrong += [
        f"{one.row.name} at {one.shape} is not equal to the loop: {one.difference:.1e}, allowed {one.allowed:.1e}"
        for one in results
        if one.difference > one.allowed
    ]
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()
