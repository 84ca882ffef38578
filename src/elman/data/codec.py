"""The interface of a codec: raw values to arrays and back, the same in training, evaluation and streams.

A codec holds what was fitted on the training data (vocabulary, scales, guard) and is a JSON file in the run. In a stream
it also has a *memory*, the JSON-able part of the state that is not the model's: the clock, counts.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from elman.data.files import write_text
from elman.errors import ElmanError, RunError
from elman.registry import Registry

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
Array: TypeAlias = NDArray[Any]
Memory: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Push:
    """One raw row on its way into a stream.

    Attributes:
        x: a symbol, a list of values in column order, or {column: value}.
        time: the row's time stamp as text or number; None means the last plus one step.
        future: the next rows of the columns known ahead, nearest first.
    """

    x: Json
    time: str | float | None = None
    future: Sequence[Json] | None = None


@dataclass(frozen=True)
class Steps:
    """What one push means to the model: one step, or several where rows were left out before it.

    Attributes:
        inputs: name -> (steps, ...), the model's inputs of each step.
        memory: the codec's memory after the push.
        flags: what was repaired or is suspicious, for the answer.
    """

    inputs: Mapping[str, Array]
    memory: Memory
    flags: list[str] = field(default_factory=list)


class Codec(ABC):
    """Raw data to arrays, outputs to words and physical units; one class per kind of data."""

    kind: ClassVar[str]
    top: int = 5
    """How many of the likeliest symbols an answer lists, where answers are symbols."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Everything fitted, JSON-able; `from_json` is its inverse."""

    @classmethod
    @abstractmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Codec": ...

    def start(self) -> Memory:
        """The memory of a new stream."""
        return {}

    def opening(self) -> Mapping[str, Array]:
        """What the model reads before the first row of every stream, name -> (steps, ...); nothing by default."""
        return {}

    @abstractmethod
    def push(self, row: Push, memory: Memory) -> Steps:
        """Check a raw row and turn it into the model's inputs. Raises DataError; ``memory`` is left as it was."""

    @abstractmethod
    def answer(self, output: Array, memory: Memory) -> Json:
        """The model's output after a push, in words or physical units."""

    def save(self, path: Path) -> None:
        write_text(path, json.dumps({"kind": self.kind, **self.to_json()}, ensure_ascii=False, indent=1))


CODECS: Registry[Codec] = Registry("codec", "elman.data", ending="_codec")
"""Those in files named ``*_codec.py``: a stream must not load the readers, and with them polars."""


def load_codec(path: Path) -> Codec:
    """The codec a run was fitted with. Raises RunError if the file is missing or damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        codec = CODECS.get(values.pop("kind"))
        return codec.from_json(values)
    except FileNotFoundError:
        raise RunError(f"{path}: not found; is this a run folder that `elman fit` finished?") from None
    except (ValueError, KeyError, TypeError, AttributeError, ElmanError) as error:
        raise RunError(
            f"{path}: damaged: expected the JSON that `elman fit` wrote: {type(error).__name__}: {error}"
        ) from error


def softmax(logits: Array) -> NDArray[np.float64]:
    """Probabilities along the last axis, in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities
