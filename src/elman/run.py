"""A run: a folder on disk and what can be done with it. The Python face of elman."""

import json
import platform
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.data.arrays import ArrayLike, Arrays
from elman.data.source import DataInput, Source
from elman.errors import RunError, UsageError
from elman.tasks.predictions import Predictions
from elman.tasks.task import Task
from elman.training.settings import Settings, load_settings, make_task

if TYPE_CHECKING:
    from elman.evaluation.evaluate import Evaluation
    from elman.models.model import Model
    from elman.streaming import StreamSession

Data = DataInput | ArrayLike | Sequence[object]


def version() -> str:
    from importlib.metadata import version as installed

    return installed("elman")


@dataclass(frozen=True)
class Fitted:
    """What `fit` says at the end: the shape of its ``--json``."""

    run: str
    task: str
    encoder: str
    parameters: int
    epochs: int
    seconds: float
    best: dict[str, float]


class Run:
    """A trained model in its folder. Every verb but `fit` needs only that folder.

    Args:
        path: the folder that `fit` wrote.

    Raises:
        RunError: it is not a run, is damaged, or was written by a newer version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.settings: Settings = load_settings(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, task={self.settings.task!r}, encoder={self.settings.encoder.name!r})"

    @cached_property
    def task(self) -> Task:
        """The task with its fitted codec and the tail of the data."""
        task = make_task(self.settings.task, self.settings.options)
        task.restore(self.path)
        return task

    @cached_property
    def model(self) -> "Model":
        from elman.models.load import load_model

        return load_model(self.path)

    @cached_property
    def fitted(self) -> Fitted:
        """The summary that `fit` left."""
        path = self.path / "result.json"
        try:
            return Fitted(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise RunError(
                f"{path}: not found; expected a run whose training has finished: go on with `elman fit ... --resume`"
            ) from None
        except (ValueError, TypeError) as error:
            raise RunError(f"{path}: damaged: {error}") from error

    def curve(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.jsonl``: one per validation. Raises RunError if it is damaged."""
        from elman.report.curve import read_rows

        return read_rows(self.path)

    def evaluate(self, *data: Data, format: str | None = None, scaled: bool = False) -> "Evaluation":
        """Every metric of the task with a 95 % interval, and the baselines beside it.

        Args:
            scaled: forecasts are scored in units of the training data's standard deviation, as the literature does.
        """
        from elman.evaluation.evaluate import evaluate

        self.task.score_scaled(scaled)
        return evaluate(self.task, self.model, sources(data, format))

    def predict(self, *data: Data, format: str | None = None, explain: bool = False) -> Predictions:
        """Predictions for this data; ``.frame()`` gives them as a polars data frame.

        Args:
            explain: with the words or steps that decided each answer, see `elman.models.attribution`.
        """
        predict = self.task.predict_explained if explain else self.task.predict
        return predict(self.model, sources(data, format))

    def stream(self) -> "StreamSession":
        """The model one step at a time: ``push(x, time, future) -> y``."""
        from elman.streaming import load

        return load(self.path)

    def generate(
        self,
        prompt: str = "",
        length: int = 200,
        temperature: float = 1.0,
        top_k: int = 0,
        seed: int | None = None,
        beam: int = 0,
    ) -> Iterator[str]:
        """Symbols that go on from ``prompt``, one after the other; see `elman.decoding.generate`.

        Raises UsageError if the task does not generate.
        """
        from elman.decoding import generate
        from elman.models.stepper import TorchStepper

        stepper = TorchStepper(self.model)
        codec = self.task.codec
        return generate(codec, stepper, prompt, length, temperature=temperature, top_k=top_k, seed=seed, beam=beam)

    def report(
        self,
        *data: Data,
        evaluation: "Evaluation | None" = None,
        out: str | Path | None = None,
        format: str | None = None,
    ) -> Path:
        """Write one self-contained HTML page, into the run folder or to ``out``; its path.

        Args:
            data: scored and shown, and remembered for later reports; without any, what was remembered is shown.
            evaluation: of the same data, where there is one already.
        """
        from elman.report.files import keep, kept
        from elman.report.page import Material, write_report
        from elman.report.scorecard import Scorecard

        if data:
            from elman.evaluation.evaluate import evaluate

            given, task = sources(data, format), self.task
            evaluation = evaluation or evaluate(task, self.model, given)
            names = [source.name for source in given]
            card = Scorecard.of(evaluation, task.metrics(), task.selection, names)
            keep(self.path, card, task.exhibits(self.model, task.test(given)))
        scores, exhibits = kept(self.path)
        material = Material(
            run=self.path,
            task=self.settings.task,
            facts=self._facts(),
            curve=self.curve(),
            finished=self.finished,
            card=scores,
            exhibits=exhibits,
            settings=self.settings.to_toml(),
            environment=self._environment(),
            commands=self._commands(scores.data if scores else ()),
        )
        return write_report(material, Path(out) if out is not None else None)

    def figures(self) -> dict[str, Path]:
        """Plots as PNG files in the run folder, by title: the learning curve, and what data has shown before."""
        from elman.report.files import FOLDER, kept, write_figure
        from elman.report.sections import learning_curve

        curve = self.curve()
        exhibits = [*([learning_curve(curve)] if curve else []), *kept(self.path)[1]]
        files = [(one.title, name) for one in exhibits for name in write_figure(self.path, one)]
        return {title: self.path / FOLDER / name for title, name in files if name.endswith(".png")}

    @property
    def finished(self) -> bool:
        """Whether training has come to its end."""
        return (self.path / "result.json").is_file()

    def _facts(self) -> dict[str, str]:
        """The run in a few figures."""
        from elman.report.words import duration

        encoder = self.settings.encoder
        facts = {"encoder": f"{encoder.name} {encoder.layers} × {encoder.hidden}"}
        if self.finished:
            facts["parameters"] = f"{self.fitted.parameters:,}"
            facts["trained"] = duration(self.fitted.seconds)
            facts["passes over the data"] = f"{self.fitted.epochs:,}"
        elif curve := self.curve():
            facts["updates so far"] = f"{curve[-1]['update']:,} of {self.settings.training.updates or 0:,}"
        return facts

    def _environment(self) -> dict[str, Any]:
        """What `environment.json` says; nothing where there is none."""
        path = self.path / "environment.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except ValueError as error:
            raise RunError(f"{path}: damaged: {error}") from error
        return values if isinstance(values, dict) else {}

    def _commands(self, scored: Sequence[str]) -> list[str]:
        """Command lines that train this run again, and make its report."""
        task, path, data = self.settings.task, self.path, " ".join(map(shlex.quote, scored)) or "NEWER-DATA"
        return [
            f"elman fit {task} DATA --config {shlex.quote(str(path / 'config.toml'))} --out NEW",
            f"elman report {shlex.quote(str(path))} {data}",
        ]

    def describe(self) -> dict[str, Any]:
        """What this run is: model, backends and why they were chosen, data, size."""
        from elman.models.describe import describe_model

        return {
            "run": str(self.path),
            "task": self.settings.task,
            "version": self.settings.version,
            "options": self.settings.options,
            "encoder": self.settings.encoder.model_dump(),
            "training": self.settings.training.model_dump(),
            **describe_model(self.model),
        }


def sources(data: Sequence[Data], format: str | None = None) -> list[Source]:
    """Flatten what was given into sources. Raises UsageError if there is nothing.

    An array, or a list of arrays, is taken with the labels after it, as scikit-learn does: ``(X, y)`` or ``(X,)``. So is whatever
    stands before an array or a list of as many labels.
    """
    if len(data) <= 2 and data and (_is_array(data[0]) or (len(data) == 2 and _are_labels(data[1], data[0]))):
        return [Source(Arrays(*data))]  # type: ignore[arg-type]
    flat: list[Source] = []
    for one in data:
        if isinstance(one, list | tuple):
            flat += sources(one, format)
        else:
            flat.append(one if isinstance(one, Source) else Source(one, format))  # type: ignore[arg-type]
    if not flat:
        raise UsageError("expected at least one file or data frame, got none")
    return flat


def _is_array(one: object) -> bool:
    """Whether it is an array, or a list of them: data in memory that is no data frame."""
    if isinstance(one, list | tuple):
        return bool(one) and _is_array(one[0])
    return hasattr(one, "__array__") and len(getattr(one, "shape", ())) > 0 and not hasattr(one, "columns")


def _are_labels(one: object, of: object) -> bool:
    """Whether ``one`` holds a label for each row of ``of``, which is no file then."""
    if isinstance(of, str | Path | Source | Arrays) or isinstance(one, str | Path | Source | Arrays):
        return False
    if not isinstance(one, list | tuple):
        return _is_array(one)
    files = isinstance(of, list | tuple) and any(isinstance(path, str | Path) and Path(path).exists() for path in of)
    return not files and not hasattr(one[0] if one else "", "columns") and len(one) == len(of)  # type: ignore[arg-type]


def environment() -> dict[str, Any]:
    """What the run was trained with, for whoever wants to repeat it."""
    import numpy as np
    import torch

    return {
        "elman": version(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
    }
