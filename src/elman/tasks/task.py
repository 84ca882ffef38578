"""The interface of a task: data, loss, metrics and decoding of one shape of problem. One file per task."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol

from pydantic import BaseModel, ConfigDict
from torch import Tensor
from typing_extensions import TypeVar

from elman.data.batch import Batch
from elman.data.codec import Codec, Json, Push
from elman.data.source import Source
from elman.errors import UsageError
from elman.metrics.metric import Metric
from elman.models.build import EncoderConfig
from elman.models.model import Model
from elman.registry import Registry
from elman.tasks.exhibits import AnyExhibit
from elman.tasks.predictions import Predictions

Scores = Mapping[str, Metric]
D = TypeVar("D", bound="TestData", default=Any)


class TaskOptions(BaseModel):
    """The task's own options: what the command line and the run's config may set."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Facts:
    """What defaults may depend on: counts and measured statistics, never a name.

    Attributes:
        steps: scored time steps in the training part.
        sequences: independent series or texts in it.
        symbols: size of the vocabulary; 0 where there is none.
        horizon: steps ahead; 0 where there is none.
        features: numbers read at each step; 0 for symbols.
        season: the longest season in steps, or what stands for it; 0 where there is none.
        level: "char" or "word" for text; "" elsewhere.
        longest: steps of the longest sequence, where sequences are read whole; 0 elsewhere.
        outputs: labels or numbers in an answer; 0 where there is none.
    """

    steps: int
    sequences: int = 1
    symbols: int = 0
    horizon: int = 0
    features: int = 0
    season: int = 0
    level: str = ""
    longest: int = 0
    outputs: int = 0


@dataclass(frozen=True)
class Baselines:
    """Which baselines fit: a family of `elman.evaluation.baselines`, and what its members are made with."""

    family: str
    settings: Mapping[str, Any] = field(default_factory=dict)


class TestData(Protocol):
    """Data to score a trained model on, as a task prepared it."""

    @property
    def count(self) -> int:
        """Units to score: origins, symbols, sequences."""
        ...

    @property
    def notes(self) -> list[str]: ...


class Task(ABC, Generic[D]):
    """Everything about one shape of problem that is not the model and not the loop.

    Life: made from options; `prepare` reads and splits the data and fits the codec on the training part; `batches`, `loss` and
    `measure` serve training; `save` keeps the codec and the tail of the data; `restore` brings both back for `test`, `score`
    and `predict`.
    """

    name: ClassVar[str]
    Options: ClassVar[type[TaskOptions]]
    unit: ClassVar[str]
    """What `TestData.count` counts, in words."""
    selection: ClassVar[str]
    """The metric shown during training."""
    reads_whole: ClassVar[bool] = False
    """With a window of 0, which only such tasks take, sequences are read whole: every row of a batch is fresh and as long as its
    sequence. Validation reads them so in any case."""
    codec: Codec

    def __init__(self, options: TaskOptions) -> None:
        self.options = options
        self.notes: list[str] = []
        self.holds_out = False
        """The validation part was held out of the data by `prepare`, not given: a last phase may learn from it."""

    @abstractmethod
    def prepare(self, data: Sequence[Source], valid: Sequence[Source] | None, seed: int) -> None:
        """Read and split the data, and fit the codec on the training part only."""

    @abstractmethod
    def facts(self) -> Facts:
        """What the defaults may depend on. After `prepare`."""

    @abstractmethod
    def windows(self, rows: int, window: int) -> int:
        """About how many batches one pass over the training part has."""

    @abstractmethod
    def batches(self, split: str, rows: int, window: int, seed: int) -> Iterator[Batch]:
        """One pass over the "train" or "valid" part, or over "all" data to learn from.

        A row goes on with its state from batch to batch unless it is fresh.
        """

    @abstractmethod
    def build(self, encoder: EncoderConfig, dropout: float) -> Model:
        """An untrained model: adds the embedding and head this data needs."""

    @abstractmethod
    def loss(self, model: Model, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """(sum, count) of the loss over real targets. Calls `Model.head`."""

    @abstractmethod
    def measure(self, scores: Scores, model: Model, features: Tensor, batch: Batch) -> None:
        """Update the metrics shown during training with one validation batch."""

    @abstractmethod
    def metrics(self) -> Scores:
        """Fresh metrics of this task, by their JSON keys."""

    def calibrate(self, model: Model) -> None:
        """Fit what makes a trained model's answers honest, on the validation part, once the weights are chosen."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the codec and the tail of the data into a run folder."""

    @abstractmethod
    def restore(self, folder: Path) -> None:
        """Read back what `save` wrote. Raises RunError if it is damaged."""

    @abstractmethod
    def test(self, sources: Sequence[Source]) -> D:
        """Read data to score; what was seen in fitting only warms up. Raises DataError if nothing is left to score."""

    @abstractmethod
    def score(self, model: Model, test: D) -> Scores:
        """The metrics of a trained model on test data, one unit after the other."""

    def score_scaled(self, wanted: bool) -> None:
        """Whether to score in standard deviations of the training data from now on. Raises UsageError if there are no such."""
        if wanted:
            raise UsageError(f"a run of {self.name} has no scaled figures; --scaled is for forecast")

    def notes_on(self, prompt: str) -> list[str]:  # noqa: ARG002
        """What is read otherwise than it stands in a prompt, in sentences."""
        return []

    @abstractmethod
    def block(self, test: D) -> int:
        """Units in a row that a bootstrap draws together because they overlap or depend on each other."""

    @abstractmethod
    def baselines(self) -> Baselines:
        """The baselines that fit this task; `elman.evaluation.baselines` makes them."""

    @abstractmethod
    def score_baselines(self, baselines: Iterable[Any], test: D) -> Iterator[tuple[str, Scores]]:
        """Fit each baseline on the run's tail of the data and score it exactly as the model."""

    def exhibits(self, model: Model, test: D) -> list[AnyExhibit]:  # noqa: ARG002
        """What a report shows of a trained model on test data, beside its scores: plots, examples, texts."""
        return []

    @abstractmethod
    def replay(self, model: Model, sources: Sequence[Source]) -> Iterator[tuple[Push, Json]]:
        """The rows of one sequence as pushes into a new stream, each with the answer the whole sequence gives there."""

    @abstractmethod
    def predict(self, model: Model, sources: Sequence[Source]) -> Predictions:
        """Predictions in the form the data came in."""

    def predict_explained(self, model: Model, sources: Sequence[Source]) -> Predictions:  # noqa: ARG002
        """Predictions with what decided each. Raises UsageError if the task cannot tell."""
        raise UsageError(
            f"--explain is not for {self.name}: it tells which words or steps decided one answer for a sequence"
        )


TASKS: Registry[Task] = Registry("task", "elman.tasks")
register = TASKS.register
