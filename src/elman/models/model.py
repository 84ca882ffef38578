"""The interface of a model: what a task trains, a stream steps, and an export writes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from elman.registry import Registry
from elman.state import State

Tensors = Mapping[str, Tensor]


class Model(nn.Module, ABC):
    """Named inputs to outputs, with the state as a value.

    A step is a forward of length 1; forward over any chunks, state carried, equals forward over the whole, if `causal`.

    Shapes: inputs, each (batch, time, ...); context, each (batch, ...); lengths (batch,); features (batch, time, ...).
    """

    kind: ClassVar[str]
    causal: bool = True

    @abstractmethod
    def begin(self, context: Tensors, batch_size: int) -> State:
        """The state before the first step, from what is known by then."""

    @abstractmethod
    def forward(self, inputs: Tensors, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Features of every step, and the state after ``lengths`` steps of each row."""

    @abstractmethod
    def head(self, features: Tensor) -> Tensor:
        """Features to the task's outputs, (batch, time, ...)."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values: with the weights, all it takes to build the model again."""


MODELS: Registry[Model] = Registry("model", "elman.models")
register = MODELS.register


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
