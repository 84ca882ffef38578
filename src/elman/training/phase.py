"""One phase of training: truncated BPTT over one part of the data, with the state owned here and nowhere else."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from elman.data.batch import Batch
from elman.errors import TrainingError
from elman.models.model import Model
from elman.state import State, detach, leaves, where
from elman.tasks.task import Task
from elman.training.best import Average
from elman.training.config import TrainingConfig
from elman.training.processes import ALONE, Processes


class Phase:
    """Updates over one part of the data, and everything that they depend on.

    Args:
        split: the part, "train" or "all". peak: the highest learning rate. updates: how many the rate is planned for.
        rise: updates in which the rate rises; by default the configured share.
    """

    def __init__(
        self,
        split: str,
        model: Model,
        task: Task,
        config: TrainingConfig,
        peak: float,
        updates: int,
        rise: int | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.split, self.processes = split, processes
        self.average = Average(model, config.averaging)
        self.epoch, self.read, self.done = 1, 0, 0
        self.learning_rate = self.gradient_norm = math.nan
        self._model, self._task, self._config = model, task, config
        self._optimiser, self._schedule = make_optimiser(model, config, peak, updates, rise)
        self._batches = endless(task, split, config)
        self._state: State | None = None
        self._rows = 0

    def update(self, number: int) -> tuple[Batch, Tensor, Tensor]:
        """The next update of the weights, the ``number``th: its batch, and the loss as (sum, count).

        Windows of which every row only warms up are read on the way. Raises TrainingError if loss or gradient is not finite.
        """
        while True:
            self.epoch, self.read, batch = next(self._batches)
            self._rows = len(batch.lengths)
            self.learning_rate = self._optimiser.param_groups[0]["lr"]
            self._state, total, count, self.gradient_norm = learn(
                self._model, self._task, batch, self._state, self._optimiser, self._config.clip, number, self.processes
            )
            if count > 0:
                self._schedule.step()
                self.average.take_in()
                self.done += 1
                return batch, total, count

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything to go on from here: tensors by name, and JSON-able values. Every process takes part."""
        state = self.processes.gather(self._state, self._rows)
        tensors = {f"state.{number}": leaf for number, leaf in enumerate(leaves(state))} if state is not None else {}
        tensors |= {f"model.{name}": weight for name, weight in self._model.state_dict().items()}
        tensors |= {f"average.{name}": weight for name, weight in self.average.weights.items()}
        for number, values in self._optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": value for name, value in values.items()}
        tensors["random"] = torch.get_rng_state()
        counts = iter(range(len(tensors)))
        return tensors, {
            "split": self.split, "epoch": self.epoch, "read": self.read, "done": self.done,
            "state": None if state is None else _shape(state, counts),
        }  # fmt: skip

    def resume(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go on from what `save` gave, in a phase made alike."""
        self.epoch, self.read, self.done = values["epoch"], values["read"], values["done"]
        self._batches = endless(self._task, self.split, self._config, self.epoch, self.read)
        if values["state"] is not None:
            self._state = self.processes.select(_filled(values["state"], tensors))
        self._model.load_state_dict(group(tensors, "model."))
        self.average.resume(group(tensors, "average."), self.done)
        self._resume_optimiser(group(tensors, "optimiser."))
        torch.set_rng_state(tensors["random"])

    def _resume_optimiser(self, moments: Mapping[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in moments.items():
            number, _, key = name.partition(".")
            state.setdefault(int(number), {})[key] = value.clone()
        self._optimiser.load_state_dict({**self._optimiser.state_dict(), "state": state})
        schedule = self._schedule
        schedule.last_epoch = self.done
        for settings, base, rate in zip(
            self._optimiser.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
        ):
            settings["lr"] = base * rate(self.done)


def group(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with ``prefix``, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _shape(state: State, numbers: Iterator[int]) -> Any:
    """A state with numbers for leaves and lists for tuples, as JSON has them."""
    return [_shape(part, numbers) for part in state] if isinstance(state, tuple) else next(numbers)


def _filled(shape: Any, tensors: Mapping[str, Tensor]) -> State:
    """Undoes `_shape`. Tuples are plain: the model's initial state, with which it is joined, knows their names."""
    if isinstance(shape, list):
        return tuple(_filled(part, tensors) for part in shape)
    return tensors[f"state.{shape}"].clone()


def learn(
    model: Model,
    task: Task,
    batch: Batch,
    state: State | None,
    optimiser: torch.optim.Optimizer,
    clip: float,
    update: int,
    processes: Processes = ALONE,
) -> tuple[State, Tensor, Tensor, float]:
    """One window of truncated BPTT: the state after it, the loss over all processes as (sum, count), and the gradient's norm."""
    model.train()
    part, counts = processes.part(batch), processes.counts(len(batch.lengths))
    with processes.sharing(part):
        features, state = model(part.inputs, carry(model, part, state), part.lengths)
        own, scored = task.loss(model, features, part)
    total, count = processes.sum(own.detach() * counts, scored * counts)
    norm = math.nan
    if count > 0:
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(own * counts / count)
        processes.sum_gradients(model)
        norm = clip_gradients(model, clip, total, update)
        optimiser.step()
    return state, total, count, norm


def endless(
    task: Task, split: str, config: TrainingConfig, epoch: int = 1, read: int = 0
) -> Iterator[tuple[int, int, Batch]]:
    """Passes over a part of the data, until the loop stops asking. Each starts its streams anew.

    Args:
        epoch, read: the pass to begin with, and how many of its batches are behind us.

    Yields: the number of the pass, how many of its batches were read with this one, and the batch.
    """
    while True:
        for number, batch in enumerate(task.batches(split, config.batch_size, config.window, config.seed + epoch), 1):
            if number > read:
                yield epoch, number, batch
        epoch, read = epoch + 1, 0


def carry(model: Model, batch: Batch, state: State | None) -> State:
    """The state each row starts this window with: carried and detached, or initial where the row is fresh."""
    initial = model.begin(batch.context, len(batch.lengths))
    return initial if state is None or batch.fresh.all() else where(batch.fresh, initial, detach(state))


def clip_gradients(model: Model, limit: float, loss: Tensor, update: int) -> float:
    """Clip by global norm, and give the norm before that; a loss or gradient that is not finite stops training and is named."""
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
    return float(norm)


def make_optimiser(
    model: Model, config: TrainingConfig, peak: float, updates: int, rise: int | None = None
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """AdamW with decay on matrices only; the rate rises linearly to its peak, then falls along a cosine."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=peak, fused=True)  # one pass over the weights instead of ten
    rising = max(1, round(config.warm_up * updates)) if rise is None else rise

    def rate(update: int) -> float:
        if update < rising:
            return (update + 1) / rising
        progress = min(1.0, (update - rising) / max(1, updates - rising))
        return config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * progress))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
