"""The conformance suite of tasks: what `Task` promises, checked with every cell on small made data."""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from elman.data.batch import Batch
from elman.data.codec import Json
from elman.data.source import DataInput, Source
from elman.errors import ElmanError, UsageError
from elman.layers import Completed
from elman.models.build import EncoderConfig, encoder_names
from elman.models.load import load_model, save_model
from elman.models.model import Model, Tensors
from elman.state import State
from elman.streaming import StreamSession, load
from elman.streaming.prove import prove
from elman.tasks.task import TASKS, Scores, Task
from elman.testing.compare import assert_equal
from elman.training.config import TrainingConfig
from elman.training.loop import fit
from elman.training.phase import carry
from elman.training.plan import Plan
from elman.training.settings import Settings, checked

ROWS, WINDOW, UPDATES = 3, 11, 4
TOLERANCE = 1e-5
"""Of scores and answers that come by two ways, as a share of the largest: float32 in another order of operations."""


@dataclass(frozen=True)
class Example:
    """Small made data for a task.

    Attributes:
        options: the task's.
        train, test: make data to fit on and later data to score, given a folder to write files into if need be.
    """

    options: Mapping[str, Any]
    train: Callable[[Path], DataInput]
    test: Callable[[Path], DataInput]


def _series(rows: slice, folder: Path) -> DataInput:  # noqa: ARG001  (a frame needs no file)
    """Two series by the hour: covariates of each role, a category, missing values, and rows left out."""
    rng, parts = np.random.default_rng(0), []
    hours = np.arange(400)
    for name, scale in (("north", 1.0), ("south", 50.0)):
        values = scale * (4 + np.sin(2 * np.pi * hours / 24) + 0.2 * rng.normal(size=400))
        columns = {
            "site": [name] * 400,
            "time": np.datetime64("2024-01-01", "us") + hours * np.timedelta64(1, "h"),
            "load": np.where(rng.random(400) < 0.1, np.nan, values),
            "flow": values + rng.normal(size=400),
            "wind": rng.normal(size=400),
            "weather": rng.choice(["dry", "wet"], 400),
            "height": [scale] * 400,
        }
        kept = np.delete(hours, slice(rows.start + 20, rows.start + 23))
        parts.append(pl.DataFrame(columns)[kept[(kept >= rows.start) & (kept < rows.stop)]])
    frame: pl.DataFrame = pl.concat(parts).with_columns(pl.col("load").fill_nan(None))
    return frame


def _sequences(seed: int, folder: Path) -> DataInput:  # noqa: ARG001  (a frame needs no file)
    """Some sequences of unequal length with a category and missing values; how a sequence rises decides its label."""
    rng, rows = np.random.default_rng(seed), []
    for number in range(36):
        rising, length = number % 3 - 1.0, int(rng.integers(3, 12))
        for step in range(length):
            flow = None if rng.random() < 0.1 else rising * step + rng.normal()
            phase = "late" if step > length / 2 else "early"
            rows.append((f"s{number}", step, flow, phase, ("down", "level", "up")[number % 3], rising + 0.1 * length))
    names = ["run", "step", "flow", "phase", "trend", "slope"]
    return pl.DataFrame(rows, schema=names, orient="row")


def _text(seed: int, folder: Path) -> DataInput:
    """Lines of made words, the later ones with some that training has not seen."""
    rng = np.random.default_rng(seed)
    words = ["so", "it", "goes", "on", "and", "went", f"new{seed}"]
    lines = [" ".join(rng.choice(words, rng.integers(1, 8))) for _ in range(80)]
    path = folder / f"text{seed}.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


EXAMPLES: dict[str, Example] = {
    "forecast": Example(
        {
            "target": ["load", "flow"],
            "time": "time",
            "horizon": 5,
            "context": 7,
            "id": "site",
            "past": "wind",
            "future": "weather",
            "static": "height",
        },
        partial(_series, slice(0, 300)),
        partial(_series, slice(300, 400)),
    ),
    "language": Example({"level": "char"}, partial(_text, 0), partial(_text, 1)),
    "classify": Example(
        {"label": "trend", "id": "run", "time": "step", "features": ["flow", "phase"]},
        partial(_sequences, 0),
        partial(_sequences, 1),
    ),
    "regress": Example(
        {"label": "slope", "id": "run", "time": "step", "features": ["flow", "phase"]},
        partial(_sequences, 0),
        partial(_sequences, 1),
    ),
}
"""The data on which the suite runs, by name of the task."""


def uncovered_tasks() -> list[str]:
    """Registered tasks on which the suite does not run: there should be none."""
    return [name for name in TASKS.names() if name not in EXAMPLES]


def check_task(task: str | type[Task], encoders: Sequence[str] | None = None, *, bidirectional: bool = False) -> None:
    """Check that a task keeps its promises with each encoder. Raises AssertionError that says what fails.

    Args:
        task: its registered name, or the class.
        encoders: names of cells or other networks; None: all.
        bidirectional: read sequences both ways.
    """
    for encoder in encoder_names() if encoders is None else encoders:
        with tempfile.TemporaryDirectory(prefix="elman-") as folder:
            case = make_case(task, encoder, Path(folder), bidirectional=bidirectional)
            for check in TASK_CHECKS:
                check(case)


@dataclass(frozen=True)
class Case:
    """A task with a little trained model, in a run folder.

    Attributes:
        prepared: the task as it was in training. restored: the same, read back from the folder.
        model: in eval mode. test: later data.
        session: opens a stream over the folder.
    """

    prepared: Task
    restored: Task
    model: Model
    folder: Path
    test: Source
    session: Callable[[], StreamSession]

    @property
    def window(self) -> int:
        """In which the task is trained here."""
        return 0 if self.prepared.reads_whole else WINDOW


def make_case(task: str | type[Task], encoder: str, folder: Path, *, bidirectional: bool = False) -> Case:
    """Fit a little model of the task's example in ``folder``."""
    kind = TASKS.get(task) if isinstance(task, str) else task
    assert kind.name in EXAMPLES, f"the suite has no example for task {kind.name!r}; add one to EXAMPLES"
    example = EXAMPLES[kind.name]
    options = checked(kind.Options, example.options, kind.name)
    prepared, restored = kind(options), kind(options)
    prepared.prepare([Source(example.train(folder))], None, 0)
    config = EncoderConfig(name=encoder, hidden=12, layers=2, bidirectional=bidirectional)
    training = TrainingConfig(batch_size=ROWS, window=0 if kind.reads_whole else WINDOW)
    torch.manual_seed(0)
    model = prepared.build(config, 0.0)
    fit(model, prepared, training, Plan(UPDATES, UPDATES, UPDATES))
    about = {"task": kind.name, "options": options.model_dump(mode="json"), "model": model.config()}
    Settings(version="0", encoder=config, training=training, **about).save(folder)
    prepared.save(folder)
    save_model(model, folder)
    restored.restore(folder)
    restored.codec.top = sys.maxsize
    return Case(prepared, restored, model.eval(), folder, Source(example.test(folder)), lambda: load(folder))


def check_batches(case: Case) -> None:
    """Batches are rows first, a row begins fresh, the same seed gives the same, and training is shuffled by it."""
    for split in ("train", "valid", "all"):
        if case.prepared.reads_whole:
            _check_whole(case, split)
            continue
        begun = torch.zeros(ROWS, dtype=torch.bool)
        for batch in case.prepared.batches(split, ROWS, WINDOW, 0):
            for name, tensor in (*batch.inputs.items(), *batch.targets.items(), *batch.context.items()):
                assert len(tensor) == ROWS, f"{split}: {name} has {len(tensor)} rows, not {ROWS}"
            assert all(tensor.shape[1] == WINDOW for tensor in batch.inputs.values()), f"{split}: inputs are no window"
            assert bool(((batch.lengths >= 0) & (batch.lengths <= WINDOW)).all()), f"{split}: lengths {batch.lengths}"
            begun |= batch.fresh
            assert bool(begun[batch.lengths > 0].all()), f"{split}: a row goes on that has not begun"
    first, again, *others = (
        list(case.prepared.batches("train", ROWS, case.window, seed)) for seed in (1, 1, *range(2, 8))
    )
    assert _same(first, again), "the same seed gives other batches"
    assert not all(_same(first, other) for other in others), "every seed gives the same batches"


def _check_whole(case: Case, split: str) -> None:
    """Every batch holds whole sequences, each fresh, at most as many as asked for."""
    for batch in case.prepared.batches(split, ROWS, 0, 0):
        rows = len(batch.lengths)
        assert 0 < rows <= ROWS, f"{split}: a batch has {rows} rows, not 1 to {ROWS}"
        assert bool(batch.fresh.all()), f"{split}: sequences are read whole, but a row is not fresh"
        for name, tensor in (*batch.inputs.items(), *batch.targets.items(), *batch.context.items()):
            assert len(tensor) == rows, f"{split}: {name} has {len(tensor)} rows, not {rows}"
        time = {tensor.shape[1] for tensor in batch.inputs.values()}
        assert time == {int(batch.lengths.max())}, (
            f"{split}: inputs have {time} steps, the longest row has {batch.lengths}"
        )


def check_loss_adds_up(case: Case) -> None:
    """The loss is a sum and a count: those of the rows of a batch add up to those of the batch."""
    for batch, features in _run(case, "valid"):
        total, count = case.prepared.loss(case.model, features, batch)
        halves = [slice(0, 1), slice(1, ROWS)][: len(batch.lengths)]
        parts = [case.prepared.loss(case.model, features[half], _rows(batch, half)) for half in halves]
        assert float(count) == sum(float(part) for _, part in parts), (
            "the counts of two halves are not that of the whole"
        )
        both = torch.stack([part for part, _ in parts]).sum()
        assert_equal({"the loss": both}, {"the loss": total}, "the sum over two halves of a batch against the whole")


def check_every_weight_learns(case: Case) -> None:
    """The loss of the training part has a finite gradient by every parameter."""
    case.model.zero_grad(set_to_none=True)
    for batch, features in _run(case, "train"):
        total, _ = case.prepared.loss(case.model, features, batch)
        torch.autograd.backward(total)
    idle = _without_masks(case.model)
    for name, parameter in case.model.named_parameters():
        if name.startswith(idle):
            continue
        gradient = torch.zeros(()) if parameter.grad is None else parameter.grad
        assert bool(gradient.any()), f"`{name}` does not learn"
        assert bool(gradient.isfinite().all()), f"the gradient of `{name}` is not finite"


def check_metrics(case: Case) -> None:
    """Metrics start anew at each call, forget when reset, and take in what validation gives them."""
    scores = case.prepared.metrics()
    assert case.prepared.selection in scores, f"there is no metric {case.prepared.selection!r}, which training shows"
    with torch.no_grad():
        for batch, features in _run(case, "valid"):
            case.prepared.measure(scores, case.model, features, batch)
    first = scores[case.prepared.selection].compute()
    assert np.isfinite(first), f"validation gives {case.prepared.selection} = {first}"
    for metric in case.prepared.metrics().values():
        assert np.isnan(metric.compute()), f"new metrics remember what others have seen: {metric.name}"
    for metric in scores.values():
        metric.reset()
        assert np.isnan(metric.compute()), f"{metric.name} remembers what was before it was reset"


def check_restored(case: Case) -> None:
    """A restored task with the loaded model scores as the model that was trained."""
    other = type(case.restored)(case.restored.options)
    other.restore(case.folder)
    expected = _values(case.restored.score(case.model, case.restored.test([case.test])))
    actual = _values(other.score(load_model(case.folder), other.test([case.test])))
    assert actual == expected, f"after saving and restoring the scores are {actual}, not {expected}"
    written, read = (json.dumps(task.codec.to_json()) for task in (case.prepared, other))
    assert written == read, "the restored codec is another"


def check_scores(case: Case) -> None:
    """There is something to score, every metric is finite, and the baselines are scored on the same units."""
    test = case.restored.test([case.test])
    scores = case.restored.score(case.model, test)
    assert test.count > 0, "nothing is scored"
    for name, value in _values(scores).items():
        assert np.isfinite(value), f"{name} is {value}"
    units = {len(metric.units()) for metric in scores.values()}
    assert len(units) == 1, f"the metrics count different units: {units}"


def check_chunks(case: Case) -> None:
    """The task's own replay gives the same answers if a causal model reads in chunks."""
    if not case.model.causal:
        return
    whole = list(case.restored.replay(case.model, [case.test]))
    chunks = list(case.restored.replay(_InChunks(case.model), [case.test]))
    assert whole, "the replay is empty"
    for number, ((push, expected), (again, actual)) in enumerate(zip(whole, chunks, strict=True)):
        assert push == again, f"row {number} of the replay differs between two calls"
        a, b = (np.array(list(_numbers(answer))) for answer in (actual, expected))
        near = a.shape == b.shape and float(np.abs(a - b).max()) <= TOLERANCE * float(np.abs(b).max())
        assert near, f"row {number}: in chunks the answer is {actual}, not {expected}"


def check_windows(case: Case) -> None:
    """The loss does not depend on the window in which a sequence is read."""
    whole = case.prepared.reads_whole  # in validation always: there, windows are for training
    split, windows = ("all", (2, 0)) if whole else ("valid", (WINDOW, 5 * WINDOW + 2))
    if whole and not case.model.causal:
        return
    small, large = (_total(case, split, window) for window in windows)
    assert small[1] == large[1], f"{small[1]} targets count in small windows, {large[1]} in large ones"
    near = abs(small[0] - large[0]) <= TOLERANCE * abs(large[0])
    assert near, f"the loss is {small[0]} in small windows, {large[0]} in large ones"


def check_stream(case: Case) -> None:
    """A stream answers as the whole sequence does; a model that cannot is refused."""
    if not case.model.causal:
        try:
            case.session()
        except UsageError:
            return
        raise AssertionError("a model that is not causal was opened as a stream")
    session = case.session()
    session.codec.top = (
        case.restored.codec.top
    )  # all: of symbols that are nearly as likely, rounding decides which is listed
    try:
        proof = prove(session, case.restored.replay(case.model, [case.test]))
    except ElmanError as error:
        raise AssertionError(f"the stream cannot follow the whole sequence: {error}") from error
    assert proof.holds, f"the stream differs from the whole sequence by {proof.largest:.2g} of {proof.scale:.2g}"


TASK_CHECKS: tuple[Callable[[Case], None], ...] = (
    check_batches,
    check_loss_adds_up,
    check_every_weight_learns,
    check_metrics,
    check_restored,
    check_scores,
    check_windows,
    check_chunks,
    check_stream,
)


class _InChunks(Model):
    """A model that reads three steps at a time."""

    kind = "chunks"

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def begin(self, context: Tensors, batch_size: int) -> State:
        return self.model.begin(context, batch_size)

    def forward(self, inputs: Tensors, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        assert lengths is None, "a replay is one sequence and needs no lengths"
        time = next(iter(inputs.values())).shape[1]
        parts = []
        for start, stop in pairwise([*range(0, time, 3), time]):
            features, state = self.model({name: x[:, start:stop] for name, x in inputs.items()}, state)
            parts.append(features)
        return torch.cat(parts, 1), state

    def head(self, features: Tensor) -> Tensor:
        return self.model.head(features)

    def config(self) -> dict[str, Any]:
        return self.model.config()


def _without_masks(model: Model) -> tuple[str, ...]:
    """Layers that want masks or time gaps: where the data has none, what they would make of them has nothing to learn from."""
    return tuple(f"{name}." for name, layer in model.named_modules() if isinstance(layer, Completed))


def _run(case: Case, split: str, window: int | None = None) -> Iterator[tuple[Batch, Tensor]]:
    """Each batch with the model's features, the state carried as in training."""
    state: State | None = None
    for batch in case.prepared.batches(split, ROWS, case.window if window is None else window, 0):
        features, state = case.model(batch.inputs, carry(case.model, batch, state), batch.lengths)
        yield batch, features


def _total(case: Case, split: str, window: int) -> tuple[float, float]:
    """Sum and count of the loss over a part of the data."""
    with torch.no_grad():
        parts = [case.prepared.loss(case.model, features, batch) for batch, features in _run(case, split, window)]
    return sum(float(total) for total, _ in parts), sum(float(count) for _, count in parts)


def _rows(batch: Batch, rows: slice) -> Batch:
    inputs, targets, context = (
        {name: tensor[rows] for name, tensor in part.items()} for part in (batch.inputs, batch.targets, batch.context)
    )
    return Batch(inputs, targets, batch.lengths[rows], batch.fresh[rows], context)


def _same(a: Sequence[Batch], b: Sequence[Batch]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(one.inputs[name], other.inputs[name])
        for one, other in zip(a, b, strict=True)
        for name in one.inputs
    )


def _values(scores: Scores) -> dict[str, float]:
    return {name: metric.compute() for name, metric in scores.items()}


def _numbers(answer: Json) -> Iterator[float]:
    """The numbers of an answer; those of a mapping by its keys in order, so that ties may be listed either way."""
    if isinstance(answer, Mapping):
        for key in sorted(answer):
            yield from _numbers(answer[key])
    elif isinstance(answer, Sequence) and not isinstance(answer, str):
        for one in answer:
            yield from _numbers(one)
    elif isinstance(answer, int | float):
        yield float(answer)
