"""From data and settings to a run: `fit`, and the training job behind it."""

import functools
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.data.files import write_text
from elman.errors import ElmanError, TrainingError, UsageError
from elman.models.build import EncoderConfig
from elman.run import Data, Fitted, Run, environment, sources, version
from elman.tasks.task import Task
from elman.training.folder import check_new, created, discard, has_results, is_part, kept, new_folder, tidy
from elman.training.settings import Sections, Settings, check, make_task, put, resolve

if TYPE_CHECKING:
    from rich.console import Console

    from elman.models.model import Model
    from elman.training.callbacks import Callback
    from elman.training.checkpoint import Checkpoints
    from elman.training.history import History
    from elman.training.processes import Processes

ENCODER_SETTINGS = tuple(name for name in EncoderConfig.model_fields if name not in ("name", "dropout", "cell"))
TRAINING_SETTINGS = ("epochs", "budget", "seed", "processes")


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
        encoder: any cell, or a network to compare with; `elman list encoders`.
        dropout: of inputs, of outputs, and between layers.
        budget: "10m", or seconds; the best weights within it are kept.
        valid: data to select on, instead of a part of ``data`` that is held out.
        settings: further settings by section, ``{"training": {"learning_rate": 1e-3}}``; the arguments go before them.
        resume: go on from the last checkpoint in ``out``, to the result an uninterrupted run has; start if there is none; change
            nothing if the run has finished.
        track: "tensorboard", "wandb", or both: where training is followed, besides ``metrics.jsonl``.
        options: settings of the encoder by name (hidden=64, layers=2, zoneout=0.1), epochs, seed, processes; everything else is an
            option of the task (target="load", horizon=24). A script that asks for several processes must call this under
            ``if __name__ == "__main__":``, since each of them reads the script again.

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
        from elman.layers import timings

        with timings.held():
            (self._lead if processes.leads else self._follow)(folder, data, resume, track, processes)

    def _follow(self, folder: Path, data: str, resume: bool, track: Sequence[str], processes: "Processes") -> None:  # noqa: ARG002
        """Train beside the first process."""
        from elman.training.loop import fit as train

        model, checkpoints = self._ready(folder, data, resume, processes)
        train(model, self.task, self.settings.training, checkpoints.plan, checkpoints=checkpoints, processes=processes)

    def _lead(self, folder: Path, data: str, resume: bool, track: Sequence[str], processes: "Processes") -> None:
        """Train, and write the run; nothing is left of a training that failed before its first result."""
        from elman.training.lock import locked

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

        from elman import core
        from elman.layers import timings
        from elman.training.budget import make_plan
        from elman.training.checkpoint import About, Checkpoints, read

        config = self.settings.training
        torch.manual_seed(config.seed)
        model = self.task.build(self.settings.encoder, config.dropout)
        saved = read(folder) if resume else None
        table = timings.hold(saved.about.timings if saved else None)
        plan = saved.about.plan if saved else make_plan(model, self.task, config, self.started, processes)
        kernels = "none" if core.why_absent() else core.kernels()
        about = About(self._said(), data, plan, version(), torch.get_num_threads(), processes.count, table, kernels)
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
        about = describe_model(model.eval())  # as it will be in use: without the masks of training in its state
        write_text(folder / "environment.json", json.dumps({**environment(), **about}, indent=1))

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
        # it was killed after its summary, and before it had tidied up
        if run.fitted and (run.path / "checkpoints").is_dir():
            with suppress(OSError, ElmanError):
                tidy(run.path)
                run.report()
        return run
    check_new(Path(out), resume=resume)
    if resume:
        from elman.training.checkpoint import read

        read(Path(out))
    return None
