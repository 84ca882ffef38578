"""A run: a folder on disk and what can be done with it. The Python face of elman."""

import functools
import json
import platform
import re
import shlex
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.data.arrays import ArrayLike, Arrays
from elman.data.files import write_text
from elman.data.source import DataInput, Source
from elman.errors import ElmanError, RunError, TrainingError, UsageError
from elman.tasks.predictions import Predictions
from elman.tasks.task import Task
from elman.training.settings import Sections, Settings, check, load_settings, make_task, put, resolve

if TYPE_CHECKING:
    from rich.console import Console

    from elman.evaluation.evaluate import Evaluation
    from elman.models.model import Model
    from elman.streaming import StreamSession
    from elman.training.callbacks import Callback
    from elman.training.checkpoint import Checkpoints
    from elman.training.history import History
    from elman.training.processes import Processes

Data = DataInput | ArrayLike | Sequence[object]

ENCODER_SETTINGS = ("hidden", "layers", "bidirectional", "residual", "layer_norm")
TRAINING_SETTINGS = ("epochs", "budget", "seed", "processes")
FILES = {
    "config.toml", "codec.json", "tail.safetensors", "environment.json", "metrics.jsonl", "model.safetensors", "checkpoints",
    "report", "report.html", "tensorboard", "wandb",
}  # fmt: skip
"""What is in a run folder before it has finished."""
CHECKPOINTS = {"latest.safetensors", "lock"}
"""What is in its folder of checkpoints."""
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
        self, prompt: str = "", length: int = 200, temperature: float = 1.0, top_k: int = 0, seed: int | None = None
    ) -> Iterator[str]:
        """Symbols that go on from ``prompt``, one after the other. Raises UsageError if the task does not generate."""
        from elman.decoding import generate
        from elman.models.stepper import TorchStepper

        stepper = TorchStepper(self.model)
        codec = self.task.codec
        return generate(codec, stepper, prompt, length, temperature=temperature, top_k=top_k, seed=seed)

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
    resume: bool = False,
    track: str | Sequence[str] | None = None,
    console: "Console | None" = None,
    **options: Any,
) -> "Run":
    """Train a model and keep it in a run folder.

    Args:
        task: "forecast", "language", ...; `elman list tasks` has them all.
        data: files, or polars or pandas data frames; or arrays X and y, see `elman.data.arrays.Arrays`.
        out: the run folder; must not exist yet, or be empty, or be one to resume. Default: a new folder under ``runs/``.
        encoder: any cell; `elman list cells`.
        dropout: of inputs, of outputs, and between layers.
        budget: "10m", or seconds; the best weights within it are kept.
        valid: data to select on, instead of a part of ``data`` that is held out.
        settings: further settings by section, ``{"training": {"learning_rate": 1e-3}}``; the arguments go before them.
        resume: go on from the last checkpoint in ``out``, to the result an uninterrupted run has; start if there is none; change
            nothing if the run has finished.
        track: "tensorboard", "wandb", or both: where training is followed, besides ``metrics.jsonl``.
        options: hidden, layers, bidirectional, epochs, seed, processes; everything else is an option of the task (target="load",
            horizon=24). A script that asks for several processes must call this under ``if __name__ == "__main__":``, since each
            of them reads the script again.

    Raises:
        UsageError, DataError, ConfigError: something is wrong with what was asked or with the data; nothing is written.
        TrainingError: training failed on the way; the run keeps the last good weights.
    """
    if (done := finished_run(out, resume=resume)) is not None:
        return done
    from elman.training.tracking import trackers_of

    trackers = trackers_of(track)
    said = gather(settings, encoder=encoder, dropout=dropout, budget=budget, options=options)
    job = prepare(task, data, valid=valid, format=format, said=said, console=console)
    return job.train(new_folder(out, task, job.settings.encoder.name, resume=resume), resume=resume, track=trackers)


class Job:
    """A training run that is ready: data read, settings complete, nothing written yet."""

    def __init__(self, task: Task, settings: Settings, console: "Console | None", started: float) -> None:
        self.task, self.settings, self._console, self.started = task, settings, console, started

    @property
    def console(self) -> "Console":
        from rich.console import Console

        return self._console or Console(stderr=True)

    def train(self, folder: Path, *, resume: bool = False, track: Sequence[str] = ()) -> Run:
        """Train and write the run, or go on with it. On a failure the last good weights are written before the error is raised."""
        from elman.training.checkpoint import fingerprint, read
        from elman.training.processes import launch

        data = fingerprint(self.task)
        saved = read(folder) if resume else None
        if saved:
            saved.check(self._said(), data)
        # settled before the processes begin: the first one may write before another looks
        work = functools.partial(self._work, folder, data, saved is not None, track)
        launch(self.settings.training.processes, work)
        return Run(folder)

    def __getstate__(self) -> dict[str, Any]:
        """For other processes: the console stays here, the first of them opens one of its own."""
        return {**vars(self), "_console": None}

    def _said(self) -> dict[str, Any]:
        """The settings before training, by which a run is known again."""
        return self.settings.model_dump(mode="json", include={"task", "options", "encoder", "training"})

    def _work(self, folder: Path, data: str, resume: bool, track: Sequence[str], processes: "Processes") -> None:
        """What each of the processes does that train together; the first one writes the run."""
        from elman.training.lock import locked
        from elman.training.loop import fit as train

        if not processes.leads:
            model, checkpoints = self._ready(folder, data, resume, processes)
            config = self.settings.training
            train(model, self.task, config, checkpoints.plan, checkpoints=checkpoints, processes=processes)
            return
        with created(folder), locked(folder):
            if (folder / "result.json").exists():
                raise UsageError(f"{folder}: its training has finished meanwhile")
            before = set(folder.iterdir())
            model, checkpoints = self._ready(folder, data, resume, processes)
            try:
                history = self._write(folder, model, checkpoints, track, processes)
            except BaseException as error:
                if not (checkpoints.kept or has_results(folder)):
                    checkpoints.clear()
                    discard(set(folder.iterdir()) - before)
                elif not isinstance(error, KeyboardInterrupt | TrainingError):
                    with suppress(ElmanError):
                        self.tell(kept(folder))
                raise
            self._summarise(folder, model, history)
            checkpoints.clear()
            Run(folder).report()

    def _ready(self, folder: Path, data: str, resume: bool, processes: "Processes") -> "tuple[Model, Checkpoints]":
        """The model before its first update, and what it is to go on from."""
        import torch

        from elman.training.budget import make_plan
        from elman.training.checkpoint import About, Checkpoints, read

        config = self.settings.training
        torch.manual_seed(config.seed)
        model = self.task.build(self.settings.encoder, config.dropout)
        saved = read(folder) if resume else None
        plan = saved.about.plan if saved else make_plan(model, self.task, config, self.started, processes)
        about = About(self._said(), data, plan, version(), torch.get_num_threads(), processes.count)
        return model, Checkpoints(folder, about, config.checkpoint_every, saved, processes)

    def _write(
        self,
        folder: Path,
        model: "Model",
        checkpoints: "Checkpoints",
        track: Sequence[str],
        processes: "Processes",
    ) -> "History":
        """Train, and write everything but the summary; after a failure too, as far as there is something to write."""
        from elman.models.load import save_model
        from elman.training.callbacks import BestKnown
        from elman.training.loop import fit as train

        self._begin(folder, model, checkpoints)
        best = BestKnown()
        callbacks = [best, *self._callbacks(folder, model, track)]
        config = self.settings.training
        try:
            history = train(
                model, self.task, config, checkpoints.plan, callbacks, checkpoints=checkpoints, processes=processes
            )
        except BaseException:
            # an earlier attempt may have left better weights than those that no validation has seen
            if best.known or not (folder / "model.safetensors").exists():
                with suppress(ElmanError):  # the reason why training ended is the one to tell
                    save_model(model, folder)
            raise
        save_model(model, folder)
        return history

    def _begin(self, folder: Path, model: "Model", checkpoints: "Checkpoints") -> None:
        """Write what is known before the first update; the plan first, so that a run begun anew has the same."""
        from elman.models.describe import describe_model

        for part in (file for file in folder.rglob(".*.part") if is_part(file)):
            part.unlink()  # its writer was killed
        for note in checkpoints.begin():
            self.tell(note)
        training = self.settings.training.model_copy(update={"updates": checkpoints.plan.updates})
        self.settings.model_copy(update={"model": model.config(), "training": training}).save(folder)
        self.task.save(folder)
        write_text(folder / "environment.json", json.dumps({**environment(), **describe_model(model)}, indent=1))

    def tell(self, note: str) -> None:
        self.console.print(note, highlight=False, markup=False, soft_wrap=True)

    def _callbacks(self, folder: Path, model: "Model", track: Sequence[str]) -> "list[Callback]":
        from elman.training.callbacks import EarlyStopping, MetricsLog, ProgressBar
        from elman.training.tracking import Tracked, make_trackers

        return [
            MetricsLog(folder / "metrics.jsonl"),
            ProgressBar(self.console, self.task.selection),
            EarlyStopping(self.settings.training.patience),
            *make_trackers(
                track, Tracked(folder, self.settings, self.task, model, lambda: Run(folder).figures()), self.tell
            ),
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
            seconds=round(time.perf_counter() - self.started + history.seconds_before, 3),
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
    started = time.perf_counter()
    worker = make_task(task, said.get("options", {}))
    check(said)
    notes = _as_torchrun_says(said)
    given = sources(data, format)
    seed = said.get("training", {}).get("seed", 1)
    worker.prepare(
        given, sources(valid if isinstance(valid, tuple) else [valid], format) if valid is not None else None, seed
    )
    job = Job(worker, resolve(task, worker, said, version()), console, started)
    for note in (*notes, *worker.notes):
        job.tell(note)
    return job


def _as_torchrun_says(said: Sections) -> list[str]:
    """Under torchrun the number of processes is decided; what to tell whoever asked for another."""
    from elman.training.processes import started_by_torchrun

    given = started_by_torchrun()
    if not given:
        return []
    asked = said.get("training", {}).get("processes", given)
    put(said, "training", "processes", given)
    return [] if asked == given else [f"torchrun has started {given} processes: `processes` is {given}, not {asked}"]


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


def new_folder(out: str | Path | None, task: str, encoder: str, *, resume: bool = False) -> Path:
    """Where a run goes: ``out``, which `check_new` must accept, or the next free ``runs/task-encoder-N``."""
    if out is None:
        number = 1
        while Path(f"runs/{task}-{encoder}-{number}").exists():
            number += 1
        return Path(f"runs/{task}-{encoder}-{number}")
    folder = Path(out)
    check_new(folder, resume=resume)
    return folder


def finished_run(out: str | Path | None, *, resume: bool) -> Run | None:
    """The run in ``out`` if it is to be resumed and has finished; else None, if a training may go there.

    Raises: UsageError if none may. RunError if there is a checkpoint that cannot be used.
    """
    if out is None:
        if resume:
            raise UsageError("`--resume` needs `--out`: the folder of the run to go on with")
        return None
    if resume and (Path(out) / "result.json").is_file():
        run = Run(out)
        return run if run.fitted else None
    check_new(Path(out), resume=resume)
    if resume:
        from elman.training.checkpoint import read

        read(Path(out))
    return None


def check_new(folder: Path, *, resume: bool = False) -> None:
    """Raises UsageError if something is there already that is not a training to go on with, or is under way."""
    from elman.training.lock import check_free

    if not folder.is_file() and not (folder.is_dir() and any(folder.iterdir())):
        return
    check_free(folder)
    if not was_interrupted(folder):
        if (folder / "checkpoints" / "latest.safetensors").is_file() and (others := foreign(folder)):
            raise UsageError(
                f"{others[0]}: no training has written this; move it elsewhere to go on with `--resume`, "
                "or choose another `--out`"
            )
        raise UsageError(f"{folder}: exists already; choose another `--out`, or remove it")
    if not resume:
        raise UsageError(f"{folder}: its training was interrupted; go on with `--resume`, or choose another `--out`")


def was_interrupted(folder: Path) -> bool:
    """Whether this is a run that was started and has not finished, and nothing else."""
    if not folder.is_dir() or (folder / "result.json").exists():
        return False
    return (folder / "checkpoints").is_dir() and not foreign(folder)


def foreign(folder: Path) -> list[Path]:
    """What no training has written, in a run folder and its checkpoints."""
    files = (*folder.iterdir(), *(folder / "checkpoints").glob("*"))
    return [file for file in files if not is_own(file.relative_to(folder))]


def is_own(file: Path) -> bool:
    """Whether a training may have written this, by its path inside a run folder."""
    return is_part(file) or (file.name in FILES if len(file.parts) == 1 else file.name in CHECKPOINTS)


def is_part(file: Path) -> bool:
    """A file that was being written; see `elman.data.files.replacing`."""
    return re.fullmatch(r"\..+\.\d+\.part", file.name) is not None


@contextmanager
def created(folder: Path) -> Iterator[None]:
    """A run folder; it is gone afterwards if the block has left nothing in a new one. Raises ElmanError if it cannot be made."""
    try:
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ElmanError(f"{folder}: the run folder cannot be made: {error.strerror or error}") from error
    try:
        yield
    finally:
        if is_new:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def has_results(folder: Path) -> bool:
    """Whether a training has left weights or validations: without them it is no run, only half of one."""
    log = folder / "metrics.jsonl"
    return (folder / "model.safetensors").exists() or (log.exists() and log.stat().st_size > 0)


def discard(files: Iterable[Path]) -> None:
    """Remove what a training has written, of these; its checkpoints apart."""
    for file in files:
        if file.name == "checkpoints" or not is_own(Path(file.name)):
            continue
        if file.is_dir():
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)


def kept(folder: Path) -> str:
    """What there is of a training that was interrupted, and where it goes on."""
    from elman.training.checkpoint import read

    if not has_results(folder) and not (folder / "checkpoints").exists():
        return f"{folder} is not kept"
    saved = read(folder)
    if saved is None or not saved.began:
        what = "what was learned so far" if (folder / "model.safetensors").exists() else "the log of its validations"
        return f"{folder} keeps {what}; `--resume` starts anew"
    done, plan = saved.values["history"], saved.about.plan
    return (
        f"{folder} keeps what was learned so far; `--resume` goes on after update {done['updates'] + done['finished']} "
        f"of {plan.updates + plan.finish}"
    )


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
