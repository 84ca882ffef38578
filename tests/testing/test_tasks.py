"""The suite of tasks fails on each planted fault."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from elman.data.batch import Batch
from elman.data.codec import Array, Json, Memory, Push, Steps, load_codec
from elman.data.series_codec import SeriesCodec
from elman.data.source import Source
from elman.data.text_codec import TextCodec
from elman.models.build import EncoderConfig
from elman.models.language import LanguageModel
from elman.models.load import load_model
from elman.models.model import Model
from elman.models.stepper import TorchStepper
from elman.state import NumpyState, State
from elman.stepper import Arrays
from elman.streaming import StreamSession
from elman.tasks.classify import Classify
from elman.tasks.language import Language
from elman.tasks.task import Scores, Task, TaskOptions
from elman.testing import check_task
from elman.testing.tasks import EXAMPLES, Case, check_stream, make_case, uncovered_tasks

# --- streams ----------------------------------------------------------------------------------------------------------


class ShiftedAnswers(SeriesCodec):
    def answer(self, output: Array, memory: Memory) -> Json:
        return super().answer(output + 1e-3, memory)


class ShiftedInputs(SeriesCodec):
    def push(self, row: Push, memory: Memory) -> Steps:
        steps = super().push(row, memory)
        return replace(steps, inputs={**steps.inputs, "past": steps.inputs["past"] + 0.1})


class ForgetsTheGap(SeriesCodec):
    def push(self, row: Push, memory: Memory) -> Steps:
        steps = super().push(row, memory)
        return replace(steps, inputs={name: value[-1:] for name, value in steps.inputs.items()})


class NoOpening(TextCodec):
    def opening(self) -> Mapping[str, Array]:
        return {}


class DropsTheState(TorchStepper):
    def step(self, inputs: Arrays, state: NumpyState) -> tuple[np.ndarray, NumpyState]:
        output, _ = super().step(inputs, state)
        return output, self.begin({}, len(output))


@pytest.fixture(scope="module", params=["forecast", "language", "classify"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(request.param, "gru", tmp_path_factory.mktemp(request.param))


def test_a_sound_stream_passes(case: Case) -> None:
    check_stream(case)


def test_a_stepper_that_drops_the_state_is_caught(case: Case) -> None:
    codec = load_codec(case.folder / "codec.json")
    faulty = replace(case, session=lambda: StreamSession(codec, DropsTheState(load_model(case.folder))))
    with pytest.raises(AssertionError, match="the stream differs from the whole sequence"):
        check_stream(faulty)


@pytest.mark.parametrize(
    ("case", "fault"),
    [
        ("forecast", ShiftedAnswers),
        ("forecast", ShiftedInputs),
        ("forecast", ForgetsTheGap),
        ("language", NoOpening),
    ],
    indirect=["case"],
)
def test_a_codec_with_a_fault_is_caught(case: Case, fault: type[SeriesCodec] | type[TextCodec]) -> None:
    codec = fault.from_json(load_codec(case.folder / "codec.json").to_json())
    faulty = replace(case, session=lambda: StreamSession(codec, TorchStepper(load_model(case.folder))))
    with pytest.raises(AssertionError, match="the stream differs from the whole sequence"):
        check_stream(faulty)


# --- tasks ------------------------------------------------------------------------------------------------------------


class AveragedLoss(Language):
    def loss(self, model: Model, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        total, count = super().loss(model, features, batch)
        return total / count.clamp(min=1), (count > 0).long()


class CountsPadding(Language):
    def loss(self, model: Model, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        whole = replace(batch, lengths=torch.full_like(batch.lengths, features.shape[1]))
        return super().loss(model, features, whole)


class OldMetrics(Language):
    def __init__(self, options: TaskOptions) -> None:
        super().__init__(options)
        self.old = super().metrics()

    def metrics(self) -> Scores:
        return self.old


class DrawsAnew(Language):
    def batches(self, split: str, rows: int, window: int, seed: int) -> Iterator[Batch]:
        return super().batches(split, rows, window, int(torch.randint(10**6, ())) if split == "train" else seed)


class IgnoresTheSeed(Language):
    def batches(self, split: str, rows: int, window: int, seed: int) -> Iterator[Batch]:  # noqa: ARG002
        return super().batches(split, rows, window, 7)


class NeverBegins(Language):
    def batches(self, split: str, rows: int, window: int, seed: int) -> Iterator[Batch]:
        for batch in super().batches(split, rows, window, seed):
            yield replace(batch, fresh=torch.zeros_like(batch.fresh))


class LosesALevel(Language):
    """Another vocabulary after it was restored."""

    def restore(self, folder: Path) -> None:
        super().restore(folder)
        symbols = self.codec.to_json()["vocabulary"]["symbols"]
        self.codec.vocabulary.symbols = tuple(reversed(symbols))


class ShiftedReplay(Language):
    def replay(self, model: Model, sources: Sequence[Source]) -> Iterator[tuple[Push, Json]]:
        rows = list(super().replay(model, sources))
        yield from ((push, answer) for (push, _), (_, answer) in itertools.pairwise(rows))


class _Forgetful(LanguageModel):
    def forward(
        self, inputs: Mapping[str, Tensor], state: State, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        _, after = super().forward(inputs, state, lengths)
        return super().forward(inputs, self.begin({}, len(inputs["symbols"])), lengths)[0], after


class _IdleWeight(LanguageModel):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.idle = torch.nn.Parameter(torch.ones(3))


class Forgets(Language):
    """A model whose chunks begin anew."""

    def build(self, encoder: EncoderConfig, dropout: float) -> Model:
        return _Forgetful(**_arguments(super().build(encoder, dropout)))


class Idle(Language):
    def build(self, encoder: EncoderConfig, dropout: float) -> Model:
        return _IdleWeight(**_arguments(super().build(encoder, dropout)))


class TooMany(Classify):
    def batches(self, split: str, rows: int, window: int, seed: int) -> Iterator[Batch]:
        return super().batches(split, 2 * rows, window, seed)


class ShiftedLabels(Classify):
    """The labels of the sequences in another order after it was restored."""

    def restore(self, folder: Path) -> None:
        super().restore(folder)
        self.codec.outputs = tuple(reversed(self.codec.outputs))


def _arguments(model: Model) -> dict[str, Any]:
    return {name: value for name, value in model.config().items() if name != "kind"}


FAULTS: dict[type[Task], str] = {
    AveragedLoss: "the counts of two halves|against the whole",
    CountsPadding: "targets count in small windows",
    OldMetrics: "new metrics remember what others have seen",
    DrawsAnew: "the same seed gives other batches",
    IgnoresTheSeed: "every seed gives the same batches",
    NeverBegins: "a row goes on that has not begun",
    LosesALevel: "the restored codec is another",
    ShiftedReplay: "the stream differs from the whole sequence|in chunks the answer is",
    Forgets: "the loss is .* in small windows",
    Idle: "`idle` does not learn",
    TooMany: "a batch has . rows, not 1 to 3",
    ShiftedLabels: "the restored codec is another",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_task_with_a_fault_is_caught(fault: type[Task]) -> None:
    with pytest.raises(AssertionError, match=FAULTS[fault]):
        check_task(fault, encoders=["elman"])


def test_a_sound_class_passes() -> None:
    check_task(Language, encoders=["elman"])


def test_a_task_without_an_example_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(EXAMPLES, "language")
    assert uncovered_tasks() == ["language"]
    with pytest.raises(AssertionError, match="the suite has no example for task 'language'"):
        check_task("language")
