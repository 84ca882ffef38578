"""The training loop: truncated BPTT with the state owned here, and nowhere else."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from elman.data.batch import Batch
from elman.errors import TrainingError
from elman.models.model import Model
from elman.state import State, detach, where
from elman.tasks.task import Task
from elman.training.best import Best
from elman.training.callbacks import Callback
from elman.training.config import TrainingConfig
from elman.training.history import History, Validation
from elman.training.plan import Plan


def fit(model: Model, task: Task, config: TrainingConfig, plan: Plan, callbacks: Sequence[Callback] = ()) -> History:
    """Train ``model`` in place and leave the best weights in it, taken further by `finish` if the plan says so.

    Raises:
        TrainingError: the loss or a gradient is not finite; the best weights so far are in the model.
    """
    torch.manual_seed(config.seed)
    history, best = History(plan), Best(model, config.averaging, config.tolerance)
    optimiser, schedule = make_optimiser(model, config, config.learning_rate, plan.updates)
    try:
        for callback in callbacks:
            callback.start(history)
        state: State | None = None
        for epoch, batch in endless(task, "train", config):
            state, total, count = learn(model, task, batch, state, optimiser, config.clip, history.updates + 1)
            if count == 0:  # every row of this window only warms up
                continue
            schedule.step()
            best.average()
            history.updated(epoch, total, count, batch)
            for callback in callbacks:
                callback.updated(history)
            if history.stop or plan.validates_after(history.updates):
                with best.averaged():
                    validation = validate(model, task, config)
                    history.validated(validation, improved=best.keep(validation.loss))
                for callback in callbacks:
                    callback.validated(history)
            if history.stop or history.updates == plan.updates:
                break
        best.restore()
        finish(model, task, config, history, callbacks)
    except BaseException:
        best.restore()
        raise
    finally:
        for callback in callbacks:
            callback.end(history)
    return history


def finish(
    model: Model, task: Task, config: TrainingConfig, history: History, callbacks: Sequence[Callback] = ()
) -> None:
    """A short last phase on all data at a low, falling rate: the held-out part, often the newest, is learned too.

    It is shorter in proportion if training stopped early: what was learned by heart then would be so now.
    """
    updates = round(history.plan.finish * history.updates / history.plan.updates)
    best = Best(model, config.averaging)
    optimiser, schedule = make_optimiser(model, config, config.finish_rate * config.learning_rate, updates, rise=0)
    state: State | None = None
    batches = endless(task, "all", config)
    done = 0
    while done < updates:
        _, batch = next(batches)
        state, _, count = learn(model, task, batch, state, optimiser, config.clip, history.updates + done + 1)
        if count > 0:
            schedule.step()
            best.average()
            done += 1
            for callback in callbacks:
                callback.finishing(history, done)
    best.take_average()


def learn(
    model: Model,
    task: Task,
    batch: Batch,
    state: State | None,
    optimiser: torch.optim.Optimizer,
    clip: float,
    update: int,
) -> tuple[State, Tensor, Tensor]:
    """One window of truncated BPTT: the state after it, and the loss as (sum, count)."""
    model.train()
    features, state = model(batch.inputs, carry(model, batch, state), batch.lengths)
    total, count = task.loss(model, features, batch)
    if count > 0:
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(total / count)
        clip_gradients(model, clip, total, update)
        optimiser.step()
    return state, total, count


def endless(task: Task, split: str, config: TrainingConfig) -> Iterator[tuple[int, Batch]]:
    """Passes over a part of the data, numbered from 1, until the loop stops asking. Each starts its streams anew."""
    epoch = 0
    while True:
        epoch += 1
        for batch in task.batches(split, config.batch_size, config.window, config.seed + epoch):
            yield epoch, batch


def carry(model: Model, batch: Batch, state: State | None) -> State:
    """The state each row starts this window with: carried and detached, or initial where the row is fresh."""
    initial = model.begin(batch.context, len(batch.lengths))
    return initial if state is None or batch.fresh.all() else where(batch.fresh, initial, detach(state))


def clip_gradients(model: Model, limit: float, loss: Tensor, update: int) -> None:
    """Clip by global norm; a loss or gradient that is not finite stops training and is named."""
    if not math.isfinite(loss.item()):
        raise TrainingError(
            f"update {update}: the loss is {loss.item()}; the best weights so far are kept. "
            "Try a lower `training.learning_rate` or `training.clip`, and look for extreme values in the data"
        )
    norm = nn.utils.get_total_norm(p.grad for p in model.parameters() if p.grad is not None)
    if not torch.isfinite(norm):
        name = next(n for n, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all())
        raise TrainingError(
            f"update {update}: the gradient of `{name}` is not finite; the best weights so far are kept. "
            "Try a lower `training.learning_rate` or `training.clip`"
        )
    nn.utils.clip_grads_with_norm_(model.parameters(), limit, norm)  # after the check: it would spread NaN to all


def make_optimiser(
    model: Model, config: TrainingConfig, peak: float, updates: int, rise: int | None = None
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW with decay on matrices only; the rate rises linearly to its peak, then falls along a cosine."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=peak)
    rising = max(1, round(config.warm_up * updates)) if rise is None else rise

    def rate(update: int) -> float:
        if update < rising:
            return (update + 1) / rising
        progress = min(1.0, (update - rising) / max(1, updates - rising))
        return config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * progress))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, rate)


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
