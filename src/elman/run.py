"""A run: a folder on disk and what can be done with it. The Python face of elman."""

import json
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.data.files import write_text
from elman.data.source import DataInput, Source
from elman.errors import ElmanError, RunError, UsageError
from elman.tasks.predictions import Predictions
from elman.tasks.task import Task
from elman.training.settings import Sections, Settings, check, load_settings, make_task, put, resolve

if TYPE_CHECKING:
    from rich.console import Console

    from elman.evaluation.evaluate import Evaluation
    from elman.models.model import Model
    from elman.streaming import StreamSession
    from elman.training.history import History

Data = DataInput | Sequence[DataInput]

ENCODER_SETTINGS = ("hidden", "layers", "bidirectional", "residual", "layer_norm")
TRAINING_SETTINGS = ("epochs", "budget", "seed")
MEASURED_IN_DRY_RUN = "worked out when training starts"


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
            raise RunError(f"{path}: not found; expected a run whose training has finished") from None
        except (ValueError, TypeError) as error:
            raise RunError(f"{path}: damaged: {error}") from error

    def curve(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.jsonl``: one per validation. Raises RunError if it is damaged."""
        path = self.path / "metrics.jsonl"
        try:
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
        except ValueError as error:
            raise RunError(f"{path}: damaged: {error}") from error

    def evaluate(self, *data: Data, format: str | None = None, scaled: bool = False) -> "Evaluation":
        """Every metric of the task with a 95 % interval, and the baselines beside it.

        Args:
            scaled: forecasts are scored in units of the training data's standard deviation, as the literature does.
        """
        from elman.evaluation.evaluate import evaluate

        self.task.score_scaled(scaled)
        return evaluate(self.task, self.model, sources(data, format))

    def predict(self, *data: Data, format: str | None = None) -> Predictions:
        """Predictions for this data; ``.frame()`` gives them as a polars data frame."""
        return self.task.predict(self.model, sources(data, format))

    def stream(self) -> "StreamSession":
        """The model one step at a time: ``push(x, time, future) -> y``."""
        from elman.streaming import load

        return load(self.path)

    def generate(
        self, prompt: str = "", length: int = 200, temperature: float = 1.0, top_k: int = 0, seed: int | None = None
    ) -> Iterator[str]:
        """Symbols that go on from ``prompt``, one after the other. Raises UsageError if the task does not generate."""
        from elman.decoding import generate
        from elman.models.stepper import TorchStepper

        stepper = TorchStepper(self.model)
        codec = self.task.codec
        return generate(codec, stepper, prompt, length, temperature=temperature, top_k=top_k, seed=seed)

    def report(self, evaluation: "Evaluation | None" = None) -> Path:
        """Write ``report.html`` into the run folder, with the scores of an evaluation if there is one."""
        from elman.report.page import write_report

        fitted, settings = self.fitted, self.settings
        lead = (
            f"{settings.task} with {fitted.encoder}, {fitted.parameters:,} parameters, trained {fitted.seconds:.0f} s"
        )
        scores = evaluation.to_json() if evaluation else None
        return write_report(
            self.path, f"{self.path.name}: {settings.task}", lead, scores, self.curve(), settings.to_toml()
        )

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


def fit(
    task: str,
    *data: Data,
    out: str | Path | None = None,
    encoder: str | None = None,
    dropout: float | None = None,
    budget: str | float | None = None,
    valid: Data | None = None,
    format: str | None = None,
    settings: Sections | None = None,
    console: "Console | None" = None,
    **options: Any,
) -> "Run":
    """Train a model and keep it in a run folder.

    Args:
        task: "forecast", "language", ...; `elman list tasks` has them all.
        data: files, or polars or pandas data frames.
        out: the run folder; must not exist yet, or be empty. Default: a new folder under ``runs/``.
        encoder: any cell; `elman list cells`.
        dropout: of inputs, of outputs, and between layers.
        budget: "10m", or seconds; the best weights within it are kept.
        valid: data to select on, instead of a part of ``data`` that is held out.
        settings: further settings by section, ``{"training": {"learning_rate": 1e-3}}``; the arguments go before them.
        options: hidden, layers, bidirectional, epochs, seed; everything else is an option of the task (target="load", horizon=24).

    Raises:
        UsageError, DataError, ConfigError: something is wrong with what was asked or with the data; nothing is written.
        TrainingError: training failed on the way; the run keeps the last good weights.
    """
    if out is not None:
        check_new(Path(out))
    said = gather(settings, encoder=encoder, dropout=dropout, budget=budget, options=options)
    job = prepare(task, data, valid=valid, format=format, said=said, console=console)
    return job.train(new_folder(out, task, job.settings.encoder.name))


class Job:
    """A training run that is ready: data read, settings complete, nothing written yet."""

    def __init__(self, task: Task, settings: Settings, console: "Console", started: float) -> None:
        self.task, self.settings, self.console, self.started = task, settings, console, started

    def train(self, folder: Path) -> Run:
        """Train and write the run. On a failure the last good weights are written before the error is raised."""
        import torch

        from elman.models.describe import describe_model
        from elman.models.load import save_model
        from elman.training.budget import make_plan
        from elman.training.loop import fit as train

        config = self.settings.training
        torch.manual_seed(config.seed)
        model = self.task.build(self.settings.encoder, config.dropout)
        plan = make_plan(model, self.task, config, self.started)
        updated = config.model_copy(update={"updates": plan.updates})
        settings = self.settings.model_copy(update={"model": model.config(), "training": updated})
        create(folder)
        try:
            settings.save(folder)
            self.task.save(folder)
            write_text(folder / "environment.json", json.dumps({**environment(), **describe_model(model)}, indent=1))
            try:
                history = train(model, self.task, config, plan, self._callbacks(folder))
            finally:
                save_model(model, folder)
        except BaseException:
            if not (
                folder / "model.safetensors"
            ).exists():  # a full disk: without a model it is no run, only half of one
                shutil.rmtree(folder, ignore_errors=True)
            raise
        self._summarise(folder, model, history)
        return Run(folder)

    def _callbacks(self, folder: Path) -> list[Any]:
        from elman.training.callbacks import EarlyStopping, MetricsLog, ProgressBar

        return [
            MetricsLog(folder / "metrics.jsonl"),
            ProgressBar(self.console, self.task.selection),
            EarlyStopping(self.settings.training.patience),
        ]

    def _summarise(self, folder: Path, model: "Model", history: "History") -> None:
        from elman.models.model import count_parameters

        best = {"loss": history.best.loss, **history.best.metrics} if history.best else {}
        fitted = Fitted(
            run=str(folder),
            task=self.settings.task,
            encoder=self.settings.encoder.name,
            parameters=count_parameters(model),
            epochs=history.epoch,
            seconds=round(time.perf_counter() - self.started, 3),
            best=best,
        )
        write_text(folder / "result.json", json.dumps(vars(fitted), indent=1))


def prepare(
    task: str,
    data: Sequence[Data],
    *,
    valid: Data | None,
    format: str | None,
    said: Sections,
    console: "Console | None",
) -> Job:
    """Read the data and complete the settings. Raises UsageError and its children; writes nothing."""
    from rich.console import Console

    started = time.perf_counter()
    console = console or Console(stderr=True)
    worker = make_task(task, said.get("options", {}))
    check(said)
    given = sources(data, format)
    seed = said.get("training", {}).get("seed", 1)
    worker.prepare(given, sources([valid], format) if valid is not None else None, seed)
    for note in worker.notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    return Job(worker, resolve(task, worker, said, version()), console, started)


def gather(
    settings: Sections | None,
    *,
    encoder: str | None,
    dropout: float | None,
    budget: str | float | None,
    options: Mapping[str, Any],
) -> Sections:
    """The sections of the settings from named arguments; None means not said."""
    from elman.training.config import parse_duration

    said: Sections = {section: dict(values) for section, values in (settings or {}).items()}
    arguments = {name: value for name, value in options.items() if value is not None}
    if budget is not None:
        arguments["budget"] = parse_duration(budget) if isinstance(budget, str) else float(budget)
    if encoder is not None:
        put(said, "encoder", "name", encoder)
    if dropout is not None:
        put(said, "encoder", "dropout", dropout)
        put(said, "training", "dropout", dropout)
    for name, value in arguments.items():
        section = "encoder" if name in ENCODER_SETTINGS else "training" if name in TRAINING_SETTINGS else "options"
        put(said, section, name, value)
    return said


def sources(data: Sequence[Data], format: str | None = None) -> list[Source]:
    """Flatten what was given into sources. Raises UsageError if there is nothing."""
    flat: list[Source] = []
    for one in data:
        if isinstance(one, list | tuple):
            flat += sources(one, format)
        else:
            flat.append(one if isinstance(one, Source) else Source(one, format))  # type: ignore[arg-type]
    if not flat:
        raise UsageError("expected at least one file or data frame, got none")
    return flat


def new_folder(out: str | Path | None, task: str, encoder: str) -> Path:
    """Where a run goes: ``out``, which must be new or empty, or the next free ``runs/task-encoder-N``."""
    if out is None:
        number = 1
        while Path(f"runs/{task}-{encoder}-{number}").exists():
            number += 1
        return Path(f"runs/{task}-{encoder}-{number}")
    folder = Path(out)
    check_new(folder)
    return folder


def check_new(folder: Path) -> None:
    """Raises UsageError if something is there already."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"{folder}: exists already; choose another `--out`, or remove it")


def create(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ElmanError(f"{folder}: the run folder cannot be made: {error.strerror or error}") from error


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
