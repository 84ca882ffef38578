"""What happened in a training run so far."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from elman.data.batch import Batch
from elman.training.plan import Plan

COUNTS = ("updates", "epoch", "steps", "sequences", "stop", "best_update", "finished")
SUMS = ("train_loss", "_sum", "_count")


@dataclass(frozen=True)
class Validation:
    """One look at the validation part: the loss that selects, and the task's metrics by name."""

    loss: float
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass
class History:
    """Counts and curves of a training run; the callbacks read it.

    Attributes:
        updates: updates done. epoch: the pass over the training part, from 1. steps: real time steps trained on.
        sequences: rows of batches that were not empty. train_loss: mean loss since the validation before.
        learning_rate, gradient_norm: of the latest update; the norm is that before clipping.
        stop: a reason to stop after this update, set by a callback.
        best, best_update: the validation whose weights are kept, and the update it was made after.
        finished: updates of the last phase done. seconds_before: of training, in processes that were resumed from.
        complete: training has come to its end, the last phase too.
    """

    plan: Plan
    updates: int = 0
    epoch: int = 0
    steps: int = 0
    sequences: int = 0
    train_loss: float = float("nan")
    learning_rate: float = float("nan")
    gradient_norm: float = float("nan")
    stop: str = ""
    best: Validation | None = None
    best_update: int = 0
    finished: int = 0
    complete: bool = False
    seconds_before: float = 0.0
    curve: list[tuple[int, float, Validation]] = field(default_factory=list)
    """(update, training loss since the last validation, validation)"""
    started: float = field(default_factory=time.perf_counter)
    _sum: float = 0.0
    _count: float = 0.0

    def updated(self, epoch: int, loss: Tensor, count: Tensor, batch: Batch) -> None:
        self.updates, self.epoch = self.updates + 1, epoch
        self.steps += batch.steps
        self.sequences += int((batch.lengths > 0).sum())
        self._sum, self._count = self._sum + loss.item(), self._count + float(count)
        self.train_loss = self._sum / self._count

    def validated(self, validation: Validation, *, improved: bool) -> None:
        self.curve.append((self.updates, self.train_loss, validation))
        self._sum = self._count = 0.0
        if improved:
            self.best, self.best_update = validation, self.updates

    @property
    def done(self) -> bool:
        """No update of the training part is left to do."""
        return bool(self.stop) or self.updates >= self.plan.updates

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started + self.seconds_before

    def to_json(self) -> dict[str, Any]:
        """Everything but the plan, JSON-able; `resume` takes it."""
        values = {name: getattr(self, name) for name in (*COUNTS, *SUMS)}
        curve = [[update, loss, asdict(validation)] for update, loss, validation in self.curve]
        return {name: finite(value) for name, value in {**values, "seconds": self.seconds, "curve": curve}.items()}

    def resume(self, values: Mapping[str, Any]) -> None:
        """Go on from what `to_json` gave, in the same run; the seconds in between do not count."""
        for name in COUNTS:
            setattr(self, name, values[name])
        for name in SUMS:
            setattr(self, name, float(values[name]))
        self.seconds_before = float(values["seconds"])
        self.curve = [(update, float(loss), _validation(**one)) for update, loss, one in values["curve"]]
        self.best = next((one for update, _, one in self.curve if update == self.best_update), None)


def _validation(loss: float | str, metrics: Mapping[str, float | str]) -> Validation:
    return Validation(float(loss), {name: float(value) for name, value in metrics.items()})


def finite(values: Any) -> Any:
    """Numbers that JSON does not have as words, which ``float`` reads: "nan", "inf", "-inf"."""
    if isinstance(values, Mapping):
        return {name: finite(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [finite(value) for value in values]
    return str(values) if isinstance(values, float) and not math.isfinite(values) else values
