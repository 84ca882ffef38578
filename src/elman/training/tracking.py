"""Training followed elsewhere: what a tracker is, and which there are."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from elman.decoding import generate
from elman.errors import UsageError
from elman.models.model import Model
from elman.models.stepper import TorchStepper
from elman.registry import suggest
from elman.tasks.task import Task
from elman.training.callbacks import Callback, row_of
from elman.training.history import History
from elman.training.settings import Settings

POINTS = 1000  # of each curve per update, at most
SAMPLED = 300  # symbols of text that a language model writes at the end
NOT_CURVES = ("update", "seconds", "kept")  # of a row of `metrics.jsonl`: its place, its time, and what is no figure
NEEDS = {"tensorboard": "tensorboard", "wandb": "wandb"}
"""Trackers, and the module of the package that each needs."""


@dataclass(frozen=True)
class Tracked:
    """What a tracker knows of a run.

    Attributes:
        folder: of the run. model: the one being trained.
        figures: called when training is over: the PNG files of plots, by title.
    """

    folder: Path
    settings: Settings
    task: Task
    model: Model
    figures: Callable[[], Mapping[str, Path]]


class Tracker(Callback, ABC):
    """Sends curves, histograms and results somewhere. Nothing it does changes the weights or the random numbers."""

    def __init__(self, run: Tracked) -> None:
        self.run = run

    @abstractmethod
    def scalars(self, values: Mapping[str, float], update: int) -> None:
        """Points of curves."""

    @abstractmethod
    def histograms(self, values: Mapping[str, Tensor], update: int) -> None:
        """Distributions of weights and gradients."""

    @abstractmethod
    def results(self, history: History) -> None:
        """What there is to show of a training that has come to its end."""

    @abstractmethod
    def close(self) -> None:
        """Everything is written."""

    def updated(self, history: History) -> None:
        if history.updates % max(1, history.plan.updates // POINTS) == 0:
            values = {"learning_rate": history.learning_rate, "gradient_norm": history.gradient_norm}
            self.scalars({f"update/{name}": value for name, value in values.items()}, history.updates)

    def validated(self, history: History) -> None:
        row = row_of(history)
        curves = {name: value for name, value in row.items() if name not in NOT_CURVES and value is not None}
        self.scalars(curves, history.updates)
        self.histograms(weights_and_gradients(self.run.model), history.updates)

    def end(self, history: History) -> None:
        try:
            if history.complete:
                self.results(history)
        finally:
            self.close()


class Guarded(Callback):
    """A tracker that cannot do harm once it has started: where it fails, a note says so and training goes on without it.

    Args:
        name: of the tracker. tell: shows a note.
    """

    def __init__(self, name: str, tracker: Tracker, tell: Callable[[str], object]) -> None:
        self._name, self._tracker, self._tell = name, tracker, tell
        self._works = True

    def start(self, history: History) -> None:
        self._tracker.start(history)

    def updated(self, history: History) -> None:
        self._attempt(self._tracker.updated, history)

    def validated(self, history: History) -> None:
        self._attempt(self._tracker.validated, history)

    def end(self, history: History) -> None:
        if self._works:
            self._attempt(self._tracker.end, history)
        else:
            with suppress(Exception):
                self._tracker.close()

    def _attempt(self, hook: Callable[[History], None], history: History) -> None:
        if not self._works:
            return
        try:
            hook(history)
        except Exception as error:  # whatever another package raises
            self._works = False
            self._tell(f"--track {self._name} has failed and is left out: {type(error).__name__}: {error}")


def weights_and_gradients(model: Model) -> dict[str, Tensor]:
    """Every parameter as it is, and its gradient in the latest update where it has a finite one."""
    named = list(model.named_parameters())
    weights = {f"weights/{name}": weight.detach() for name, weight in named}
    gradients = {f"gradients/{name}": weight.grad for name, weight in named if weight.grad is not None}
    return {name: values for name, values in {**weights, **gradients}.items() if bool(values.isfinite().all())}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, by dotted names: ``training.learning_rate``."""
    names: dict[str, Any] = {}
    for name, value in values.items():
        names |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return names


def best_values(history: History) -> dict[str, float]:
    """Loss and metrics of the validation whose weights are kept."""
    if history.best is None:
        return {}
    values = {"valid_loss": history.best.loss, **history.best.metrics, "update": history.best_update}
    return {f"best.{name}": value for name, value in values.items() if math.isfinite(value)}


def sample_text(run: Tracked) -> str:
    """What a language model writes; nothing for other tasks."""
    run.model.eval()
    try:
        drawn = generate(run.task.codec, TorchStepper(run.model), "", SAMPLED, temperature=0.8, top_k=0, seed=1)
    except UsageError:  # it is no language model
        return ""
    return "".join(drawn)


def trackers_of(wanted: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names of trackers, from a comma-separated text or a list.

    Raises UsageError for an unknown one, or one whose package is not installed.
    """
    given = wanted.split(",") if isinstance(wanted, str) else wanted or ()
    names = tuple(dict.fromkeys(name.strip() for name in given))
    for name in names:
        if name not in NEEDS:
            raise UsageError(f"there is no tracker {name!r}; {suggest(name, NEEDS)}")
        if find_spec(NEEDS[name]) is None:
            raise UsageError(f"--track {name} needs the package {NEEDS[name]}: pip install 'elman[track]'")
    return names


def make_trackers(names: Sequence[str], run: Tracked, tell: Callable[[str], object]) -> list[Guarded]:
    """The trackers of these names, see `trackers_of`, ready to be callbacks. One that fails is told of in a note."""
    made: list[Guarded] = []
    for name in names:
        if name == "tensorboard":
            from elman.training.tensorboard import TensorBoard

            made.append(Guarded(name, TensorBoard(run), tell))
        else:
            from elman.training.wandb import WeightsAndBiases

            made.append(Guarded(name, WeightsAndBiases(run), tell))
    return made
