"""What happened in a training run so far."""

import time
from dataclasses import dataclass, field

from torch import Tensor

from elman.data.batch import Batch
from elman.training.plan import Plan


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
        stop: a reason to stop after this update, set by a callback.
        best, best_update: the validation whose weights are kept, and the update it was made after.
    """

    plan: Plan
    updates: int = 0
    epoch: int = 0
    steps: int = 0
    sequences: int = 0
    train_loss: float = float("nan")
    stop: str = ""
    best: Validation | None = None
    best_update: int = 0
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
    def seconds(self) -> float:
        return time.perf_counter() - self.started
