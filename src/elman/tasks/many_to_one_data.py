"""Options and data of the many-to-one tasks: what a user says, sequences as arrays, and what is scored."""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from elman.data.codec import Array
from elman.data.examples import Examples
from elman.data.guard import Policy
from elman.data.sequence_codec import Casing, Level
from elman.data.sequences import SequenceSet
from elman.layers.pooling import Mode
from elman.tasks.task import TaskOptions

Floats = NDArray[np.float64]


class ManyToOneOptions(TaskOptions):
    """Options of `classify` and `regress`: which column plays which part, and how sequences become one vector."""

    label: tuple[str, ...] = ()
    """What is learned. Files that say it themselves (.ts) need none."""
    text: str | None = None
    """The column of text; without it the data are numbers."""
    id: str | None = None
    """The column that tells the sequences of a long table apart."""
    time: tuple[str, ...] = ()
    """Columns that order the rows of a sequence."""
    time_format: str | None = None
    gaps: bool = False
    """The time between the rows of a sequence is read too, in units of the median one."""
    features: tuple[str, ...] = ()
    """Columns to read. Default: all that play no other part."""
    group: str | None = None
    """Sequences of a group are never divided between training and validation."""
    score: Literal["last", "all"] = "last"
    """Where labels vary within a sequence: whether the last row counts, or every row. All are learned from."""
    pooling: Mode | None = None
    """How the steps become one vector. Default: by what the data is."""
    level: Level | None = None
    """What a symbol of a text is. Default: words, unless blanks do not part them."""
    casing: Casing = "lower"
    """Whether "Good" and "good" are one word."""
    min_count: int | None = Field(None, ge=1)
    """Symbols seen less often become `<unk>`. Default: 2 for words, 1 for characters."""
    max_vocabulary: int | None = Field(None, ge=2)
    parts: bool = True
    """Words are read with the letters in a row that they are made of, so that rare ones are known by those they resemble."""
    members: int | None = Field(None, ge=1, le=64)
    """Networks side by side whose scores are averaged. Default: by what the data is."""
    longest: int | None = Field(None, ge=1)
    """Steps of a sequence that are read at most. Default: 1000 symbols of a text, all rows."""
    guard: Policy = "clip"
    """What happens to later values far outside the range of the training data: "error", "clip", or "impute" as missing."""
    header: bool | None = None
    """Whether tables have a header; recognised by default."""

    @field_validator("label", "time", "features", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return (str(value),) if isinstance(value, str | int) else tuple(str(one) for one in value)

    @field_validator("text", "id", "group", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value


@dataclass(frozen=True)
class Encoded:
    """Sequences as arrays: the model's inputs of each, and its labels, one or one per row."""

    inputs: list[dict[str, Array]]
    labels: list[Array]

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def lengths(self) -> list[int]:
        return [len(next(iter(one.values()))) for one in self.inputs]


@dataclass(frozen=True)
class SequenceTest:
    """Sequences to score: as read, as arrays, and what is right, (places, K)."""

    given: SequenceSet
    encoded: Encoded
    truth: NDArray[Any]
    notes: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.truth)


class ManyToOneBaseline(Protocol):
    """A simpler model of the same answers; see `elman.evaluation.baselines`."""

    name: str

    def fit(self, examples: Examples, targets: NDArray[Any]) -> None: ...

    def predict(self, examples: Examples) -> Floats: ...
