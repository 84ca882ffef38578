"""Small hooks into the training loop. Each overrides only what it needs."""

import json
import math
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

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
    """Appends one JSON object per validation to ``metrics.jsonl``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def validated(self, history: History) -> None:
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
        # NaN is not JSON: a value that does not exist is null
        clean = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean) + "\n")


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
        self.bar = self.progress.add_task(
            "", total=history.plan.updates + history.plan.finish, epoch="epoch 1", loss="", metric="", speed="measuring"
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
