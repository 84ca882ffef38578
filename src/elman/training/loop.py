"""The training loop: updates, validations, and a last phase on all data."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import torch

from elman.models.model import Model
from elman.state import State
from elman.tasks.task import Task
from elman.training.best import Best
from elman.training.callbacks import Callback
from elman.training.checkpoint import NEVER, Checkpoints
from elman.training.config import TrainingConfig
from elman.training.history import History, Validation
from elman.training.interrupt import Interrupt, deferred
from elman.training.memory import memory_kept
from elman.training.phase import Phase, carry
from elman.training.plan import Plan
from elman.training.processes import ALONE, Processes

FIRST = "the first process stopped"  # the only one that has callbacks: the others follow


def fit(
    model: Model,
    task: Task,
    config: TrainingConfig,
    plan: Plan,
    callbacks: Sequence[Callback] = (),
    *,
    checkpoints: Checkpoints = NEVER,
    processes: Processes = ALONE,
) -> History:
    """Train ``model`` in place and leave the best weights in it, taken further by `finish` if the plan says so.

    Ctrl-C and SIGTERM wait for the end of the update and for a checkpoint after it.

    Raises:
        TrainingError: the loss or a gradient is not finite, or a process was lost; the best weights so far are in the model.
        KeyboardInterrupt: after Ctrl-C or SIGTERM; likewise.
    """
    torch.manual_seed(config.seed)
    history, best = History(plan), Best(model, config.tolerance)
    training = Phase("train", model, task, config, config.learning_rate, plan.updates, processes=processes)
    checkpoints.resume(history, best)
    checkpoints.resume_phase(training)
    with memory_kept(), settled(model, task, history, best, callbacks), deferred() as interrupt:
        for callback in callbacks:
            callback.start(history)
        while not history.done:
            batch, total, count = training.update(history.updates + 1)
            history.updated(training.epoch, total, count, batch)
            history.learning_rate, history.gradient_norm = training.learning_rate, training.gradient_norm
            for callback in callbacks:
                callback.updated(history)
            if processes.agree(bool(history.stop)):
                history.stop = history.stop or FIRST
            if history.stop or plan.validates_after(history.updates):
                with training.average.applied():
                    # every process on everything: a tenth of the time at most, and nothing to bring into order
                    validation = processes.first(validate(model, task, config))
                    history.validated(validation, improved=best.keep(validation.loss))
                for callback in callbacks:
                    callback.validated(history)
                if processes.agree(bool(history.stop)):
                    history.stop = history.stop or FIRST
            checkpoints.offer(training, history, best, interrupt)
        best.restore()
        task.calibrate(model)
        finish(
            model, task, config, history, best, callbacks,
            checkpoints=checkpoints, processes=processes, interrupt=interrupt,
        )  # fmt: skip
        history.complete = True
    return history


@contextmanager
def settled(model: Model, task: Task, history: History, best: Best, callbacks: Sequence[Callback]) -> Iterator[None]:
    """However training ends, every callback is told; after a failure the best weights are in the model, and calibrated."""
    try:
        yield
    except BaseException:
        try:
            best.restore()
            with suppress(Exception):  # the reason why training ended is the one to tell
                task.calibrate(model)
        finally:
            with suppress(Exception):
                end(callbacks, history)
        raise
    end(callbacks, history)


def end(callbacks: Sequence[Callback], history: History) -> None:
    """Tell every callback, whatever goes wrong in another; that is raised afterwards."""
    with ExitStack() as stack:
        for callback in reversed(callbacks):
            stack.callback(callback.end, history)


def finish(
    model: Model,
    task: Task,
    config: TrainingConfig,
    history: History,
    best: Best,
    callbacks: Sequence[Callback] = (),
    *,
    checkpoints: Checkpoints = NEVER,
    processes: Processes = ALONE,
    interrupt: Interrupt | None = None,
) -> None:
    """A short last phase on all data at a low, falling rate: the held-out part, often the newest, is learned too.

    It is shorter in proportion if training stopped early: what was learned by heart then would be so now.
    """
    updates = round(history.plan.finish * history.updates / history.plan.updates)
    peak = config.finish_rate * config.learning_rate
    phase = Phase("all", model, task, config, peak, updates, rise=0, processes=processes)
    checkpoints.resume_phase(phase)
    while history.finished < updates:
        phase.update(history.updates + history.finished + 1)
        history.finished += 1
        for callback in callbacks:
            callback.finishing(history, history.finished)
        checkpoints.offer(phase, history, best, interrupt)
    phase.average.apply()


def validate(model: Model, task: Task, config: TrainingConfig) -> Validation:
    """Loss and metrics over the validation part, in eval mode, states carried as in training."""
    model.eval()
    scores, loss, count = task.metrics(), 0.0, 0.0
    state: State | None = None
    with torch.no_grad():
        for batch in task.batches("valid", config.batch_size, config.window, 0):
            features, state = model(batch.inputs, carry(model, batch, state), batch.lengths)
            batch_loss, batch_count = task.loss(model, features, batch)
            loss, count = loss + batch_loss.item(), count + float(batch_count)
            task.measure(scores, model, features, batch)
    values = {name: metric.compute() for name, metric in scores.items()}
    return Validation(loss / count if count else math.nan, {k: v for k, v in values.items() if not math.isnan(v)})
