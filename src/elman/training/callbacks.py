"""Small hooks into the training loop. Each overrides only what it needs."""

import json
import math
import os
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from elman.data.files import write_text
from elman.errors import ElmanError
from elman.training.history import History


class Callback:
    """Called by `elman.training.loop.fit`; sets ``history.stop`` to a reason to end training after this update.

    `finishing` follows each update of the last phase, numbered from 1, which nothing stops or validates.
    """

    def start(self, history: History) -> None: ...
    def updated(self, history: History) -> None: ...
    def validated(self, history: History) -> None: ...
    def finishing(self, history: History, done: int) -> None: ...
    def end(self, history: History) -> None: ...


class EarlyStopping(Callback):
    """Stops after ``patience`` validations in a row without a lower loss."""

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def validated(self, history: History) -> None:
        since = sum(1 for update, _, _ in history.curve if update > history.best_update)
        if self.patience and since >= self.patience:
            history.stop = f"no better validation loss in {since} validations"


class MetricsLog(Callback):
    """Appends one JSON object per validation to ``metrics.jsonl``.

    A run that goes on from a checkpoint first loses the rows that were written after it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, history: History) -> None:
        if self.path.exists():
            rows = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            write_text(self.path, "".join(rows[: len(history.curve)]))

    def validated(self, history: History) -> None:
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row_of(history)) + "\n")
        except OSError as error:
            with suppress(OSError):
                os.truncate(self.path, size)  # no half of a row
            raise ElmanError(
                f"{self.path}: cannot be written: {error.strerror or error}; make room, then go on with `--resume`"
            ) from error


class BestKnown(Callback):
    """Whether training has ended with weights that a validation has chosen."""

    known = False

    def end(self, history: History) -> None:
        self.known = history.best is not None


def row_of(history: History) -> dict[str, float | None]:
    """The latest validation as it is logged; a value that does not exist is None, for JSON has no NaN."""
    update, train_loss, validation = history.curve[-1]
    row = {
        "update": update,
        "epoch": history.epoch,
        "seconds": round(history.seconds, 3),
        "train_loss": train_loss,
        "valid_loss": validation.loss,
        "kept": history.best_update == update,
        **validation.metrics,
    }
    return {name: value if math.isfinite(value) else None for name, value in row.items()}


class ProgressBar(Callback):
    """Epoch, loss, metric, sequences and steps a second, time left; plain lines where stderr is not a terminal."""

    def __init__(self, console: Console, metric: str) -> None:
        self.console, self.metric = console, metric
        columns = ("[bold]{task.fields[epoch]}", "{task.fields[loss]}", "{task.fields[metric]}", "{task.fields[speed]}")
        self.progress = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            *(TextColumn(column) for column in columns),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
            refresh_per_second=4,
        )

    def start(self, history: History) -> None:
        done, total = history.updates + history.finished, history.plan.updates + history.plan.finish
        if done:
            self.console.print(f"goes on after update {done} of {total}", highlight=False, soft_wrap=True)
        self.bar = self.progress.add_task(
            "",
            total=total,
            completed=done,
            epoch=f"epoch {max(1, history.epoch)}",
            loss="",
            metric="",
            speed="measuring",
        )
        self.progress.start()

    def updated(self, history: History) -> None:
        seconds = max(history.seconds, 1e-9)
        self.progress.update(
            self.bar,
            completed=history.updates,
            epoch=f"epoch {history.epoch}",
            loss=f"loss {history.train_loss:.4g}",
            speed=f"{history.sequences / seconds:,.0f} seq/s {history.steps / seconds:,.0f} steps/s",
        )

    def validated(self, history: History) -> None:
        update, train_loss, validation = history.curve[-1]
        shown = f"{self.metric} {validation.metrics.get(self.metric, math.nan):.4g}"
        self.progress.update(self.bar, metric=shown)
        if not self.console.is_terminal:
            mark = " *" if history.best_update == update else ""
            speed = history.steps / max(history.seconds, 1e-9)
            self.console.print(
                f"update {update}/{history.plan.updates}  epoch {history.epoch}  loss {train_loss:.4g}  "
                f"valid {validation.loss:.4g}  {shown}  {speed:,.0f} steps/s{mark}",
                highlight=False,
                soft_wrap=True,
            )

    def finishing(self, history: History, done: int) -> None:
        self.progress.update(self.bar, completed=history.plan.updates + done, epoch="last phase", loss="on all data")
        if done == 1 and not self.console.is_terminal:
            self.console.print("last phase: learning from the held-out part too", highlight=False, soft_wrap=True)

    def end(self, history: History) -> None:  # noqa: ARG002
        self.progress.stop()
