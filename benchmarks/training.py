"""Whole trainings with and without the compiled core: ``python benchmarks/training.py [--only NAME,NAME] [--share 1] --out DIR``.

Each training runs twice at once, in two processes that take turns, a block of updates each: one as it is, one with
``ELMAN_CORE=off``, where torch and the plain loop do everything. Data, settings, seed and the order of the batches are the same,
and so are the losses, but for rounding. Timed is all of an update: reading the batch, forward, backward, clipping, optimizer. The
first block, in which cells are compiled, is not timed. Ratios are medians over the blocks; seconds of an epoch are those of the
median block.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
import torch
from common import data
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table

from elman.job import gather, prepare
from elman.report.plots import settings
from elman.report.style import LIGHT
from elman.run import Data
from elman.training.memory import memory_kept
from elman.training.phase import Phase

BLOCK = 5  # updates, before it is the other one's turn
WEATHER = ["hr", "weekday", "workingday", "holiday", "weathersit", "temp", "atemp", "hum", "windspeed"]
SIDES = {"before": "off", "after": ""}  # of ELMAN_CORE


@dataclass(frozen=True)
class Training:
    """What is trained, on what, and for how many updates. Settings that are not given are those of `elman fit`."""

    task: str
    read: Callable[[], Data]
    encoder: str
    updates: int
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def rentals() -> pl.DataFrame:
    return pl.read_csv(data("bike-sharing/hour.csv.gz"), infer_schema=False)


SHAKESPEARE = partial(data, "tiny-shakespeare/input.txt")
RENTALS = {"time": ["dteday", "hr"], "target": ["cnt"], "horizon": 24, "future": WEATHER}
ZAREMBA = {"batch_size": 20, "window": 35}  # the small model of Zaremba, Sutskever, Vinyals, 2014
TRAININGS = {
    "bike-sharing gru": Training("forecast", rentals, "gru", 150, RENTALS),
    "tiny-shakespeare lstm": Training("language", SHAKESPEARE, "lstm", 150),
    "tiny-shakespeare layer_norm_lstm": Training("language", SHAKESPEARE, "layer_norm_lstm", 150),
    "japanesevowels gru": Training(
        "classify", partial(data, "japanesevowels/JapaneseVowels_TRAIN.ts"), "gru", 400
    ),
    "penn-treebank words lstm 2x200": Training(
        "language", partial(data, "penn-treebank/ptb.train.txt.gz"), "lstm", 250,
        {"level": "word", "hidden": 200, "layers": 2}, ZAREMBA,
    ),
}  # fmt: skip


@dataclass
class Turn:
    """A block of updates: how long it took, and the mean loss of each."""

    seconds: float
    losses: list[float]


def work(training: Training) -> None:
    """One of the two processes: reads how many updates to do, does them, says what came of it."""
    said = gather(
        {"training": training.settings}, encoder=training.encoder, dropout=None, budget=None, options=training.options
    )
    job = prepare(training.task, [training.read()], valid=None, format=None, said=said, console=Console(quiet=True))
    config = job.settings.training
    torch.manual_seed(config.seed)
    model = job.task.build(job.settings.encoder, config.dropout)
    phase = Phase("train", model, job.task, config, config.learning_rate, training.updates)
    say(job.task.windows(config.batch_size, config.window))
    with memory_kept():
        for line in sys.stdin:
            begin, losses = time.perf_counter(), []
            for _ in range(int(line)):
                _, total, count = phase.update(phase.done + 1)
                losses.append(float(total / count))
            say(asdict(Turn(time.perf_counter() - begin, losses)))


def say(value: Any) -> None:
    print(json.dumps(value), flush=True)


class Side:
    """A process that trains when it is told to."""

    def __init__(self, name: str, core: str, threads: int) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "ELMAN_CORE": core}
        command = [sys.executable, __file__, "--work", name]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.epoch: int = self._hear()
        self.turns: list[Turn] = []

    def turn(self, updates: int) -> None:
        assert self._process.stdin is not None
        print(updates, file=self._process.stdin, flush=True)
        self.turns.append(Turn(**self._hear()))

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(self._process.wait() or 1)
        return json.loads(line)

    @property
    def losses(self) -> list[float]:
        return [loss for turn in self.turns for loss in turn.losses]

    @property
    def seconds_an_epoch(self) -> float:
        return median(turn.seconds for turn in self.turns[1:]) / BLOCK * self.epoch


@dataclass(frozen=True)
class Result:
    """Both sides of a training."""

    name: str
    updates: int
    seconds_an_epoch: dict[str, float]
    losses: dict[str, list[float]]
    ratio: float

    @property
    def difference(self) -> float:
        """The largest of two losses of the same update, as a share of the loss."""
        before, after = (np.array(self.losses[side]) for side in SIDES)
        return float(np.max(np.abs(after - before) / np.abs(before)))

    def last(self, side: str) -> float:
        """The mean loss of the last tenth of the updates."""
        losses = self.losses[side]
        return float(np.mean(losses[-max(1, len(losses) // 10) :]))


def compare(name: str, updates: int, threads: int) -> Result:
    """Both sides in turn, until each has done that many updates."""
    sides = {side: Side(name, core, threads) for side, core in SIDES.items()}
    turns = max(2, updates // BLOCK)
    for _ in track(range(turns), name, console=Console(stderr=True)):
        for side in sides.values():
            side.turn(BLOCK)
    for side in sides.values():
        side.end()
    pairs = zip(sides["before"].turns[1:], sides["after"].turns[1:], strict=True)
    return Result(
        name,
        turns * BLOCK,
        {side: one.seconds_an_epoch for side, one in sides.items()},
        {side: one.losses for side, one in sides.items()},
        median(before.seconds / after.seconds for before, after in pairs),
    )


def table(results: Sequence[Result]) -> Table:
    columns = ("seconds an epoch, before", "after", "times as fast", "last loss, before", "after", "largest difference")
    shown = Table("training", "updates", *columns)
    for one in results:
        shown.add_row(
            one.name, str(one.updates), *(f"{one.seconds_an_epoch[side]:.3g}" for side in SIDES), f"{one.ratio:.2f}",
            *(f"{one.last(side):.4f}" for side in SIDES), f"{one.difference:.1e}",
        )  # fmt: skip
    return shown


def draw(results: Sequence[Result], path: Path) -> None:
    """The losses of both sides over the updates, a panel for each training."""
    with settings():
        figure = Figure(figsize=(7.6, 1.9 * len(results)), layout="constrained")
        for axes, one in zip(figure.subplots(len(results), 1, squeeze=False)[:, 0], results, strict=True):
            updates = range(1, one.updates + 1)
            axes.plot(updates, one.losses["before"], color=LIGHT["second"], linewidth=2.4, label="without the core")
            axes.plot(updates, one.losses["after"], color=LIGHT["accent"], linewidth=0.9, label="with the core")
            axes.set_title(f"{one.name}: {one.ratio:.2f} times as fast")
            axes.set_ylabel("loss")
        axes.set_xlabel("updates")
        axes.legend()
        figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="parts of names, comma-separated; default: all")
    parser.add_argument("--share", type=float, default=1.0, help="of the updates")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/training"))
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(TRAININGS[given.work])
        return
    names = [name for name in TRAININGS if any(part.strip() in name for part in given.only.split(","))]
    results = [compare(name, round(given.share * TRAININGS[name].updates), given.threads) for name in names]
    Console().print(table(results))
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "training.json").write_text(json.dumps([asdict(one) for one in results]))
    draw(results, given.out / "training.png")


if __name__ == "__main__":
    main()
