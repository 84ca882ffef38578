"""How many updates: from epochs, or from a time budget measured once, before the first update."""

import copy
import math
import time

import torch

from elman.models.model import Model
from elman.tasks.task import Task
from elman.training.callbacks import Callback
from elman.training.config import TrainingConfig
from elman.training.history import History
from elman.training.loop import fit
from elman.training.plan import Plan
from elman.training.processes import ALONE, Processes

FIRST_UPDATES = 2  # slower than the rest: memory is touched and kernels are chosen for the first time
MOST_UPDATES = 20
MEASURED_SHARE = 0.03  # of the budget at most is spent on measuring updates, once there is one to go by
MARGIN = 0.94  # the share of the budget that is planned; the rest is for reading, writing and the noise of the machine
VALIDATION_SHARE = 0.1  # of the budget at most is spent on validation


def make_plan(model: Model, task: Task, config: TrainingConfig, started: float, processes: Processes = ALONE) -> Plan:
    """Work out the number of updates from epochs, budget or the number itself.

    Args:
        model: the untrained model; it is measured on a copy, its weights and the random state stay as they are.
        started: `time.perf_counter()` when the budget began to run, before the data was read.
        processes: that train together; the first one's clock counts.
    """
    per_epoch = task.windows(config.batch_size, config.window)
    finish = config.finish if task.holds_out else 0.0
    updates, validations = config.updates or config.epochs * per_epoch, config.validations
    if config.budget is not None:
        with torch.random.fork_rng(devices=[]):
            per_update, per_validation = measure(copy.deepcopy(model), task, config, config.budget, processes)
        available = MARGIN * config.budget - (time.perf_counter() - started)
        validations = max(1, min(validations, int(VALIDATION_SHARE * available / per_validation)))
        affordable = (available - validations * per_validation) / per_update / (1 + finish)
        updates = max(1, min(updates, int(affordable)))
    return processes.first(
        Plan(updates, math.ceil(updates / min(validations, updates)), per_epoch, round(finish * updates))
    )


class Clock(Callback):
    """Times updates, a bounded number of them, and the validation that ends a run."""

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self.updates: list[float] = []
        self.validation = 0.0

    def updated(self, history: History) -> None:
        self.updates.append(time.perf_counter())
        enough = history.seconds > MEASURED_SHARE * self.budget and len(self.updates) > FIRST_UPDATES
        if enough or len(self.updates) == MOST_UPDATES:
            history.stop = "measured"

    def validated(self, history: History) -> None:  # noqa: ARG002
        self.validation = time.perf_counter() - self.updates[-1]

    @property
    def per_update(self) -> float:
        measured = self.updates[FIRST_UPDATES - 1 :]
        return (measured[-1] - measured[0]) / (len(measured) - 1)


def measure(
    model: Model, task: Task, config: TrainingConfig, budget: float, processes: Processes = ALONE
) -> tuple[float, float]:
    """Seconds of one update and of one validation, on a model that is thrown away."""
    clock = Clock(budget) if processes.leads else None
    plan = Plan(MOST_UPDATES, MOST_UPDATES, MOST_UPDATES)
    fit(model, task, config, plan, [clock] if clock else [], processes=processes)
    return processes.first((clock.per_update, clock.validation) if clock else (0.0, 0.0))
