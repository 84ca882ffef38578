"""The best weights so far, and the moving average they may be taken from."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]


class Best:
    """Keeps the weights with the lowest validation loss, in memory.

    Args:
        model: the model being trained.
        averaging: decay of an exponential moving average of the weights, which is then what is validated and kept
            (Polyak and Juditsky, 1992); 0 takes the weights as they are. Early on the decay is lower, so that the
            average is never dominated by the initial weights.
        tolerance: the latest weights whose loss is at most that share above the lowest are kept; a short validation part
            cannot tell closer ones apart, and what has trained longer generalises better.
    """

    def __init__(self, model: nn.Module, averaging: float = 0.0, tolerance: float = 0.0) -> None:
        self._tolerance = tolerance
        self._model = model
        self._averaging = averaging
        self._average = self._copy() if averaging else {}
        self._updates = 0
        self._best = self._copy()
        self._loss = math.inf

    @torch.no_grad()
    def average(self) -> None:
        """Take in the weights after an update."""
        if not self._averaging:
            return
        self._updates += 1
        decay = min(self._averaging, (1 + self._updates) / (10 + self._updates))
        for name, weight in self._model.state_dict().items():
            mean = self._average[name]
            if mean.is_floating_point():
                mean.lerp_(weight, 1 - decay)
            else:
                mean.copy_(weight)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights in the model, for a while."""
        if not self._averaging:
            yield
            return
        own = self._copy()
        self._model.load_state_dict(self._average)
        try:
            yield
        finally:
            self._model.load_state_dict(own)

    def take_average(self) -> None:
        """Put the averaged weights into the model for good."""
        if self._averaging and self._updates:
            self._model.load_state_dict(self._average)

    def keep(self, loss: float) -> bool:
        """Remember what is in the model now if its loss is the lowest, or as good; whether it was. NaN never is."""
        if not loss <= self._loss * (1 + self._tolerance):
            return False
        self._loss, self._best = min(loss, self._loss), self._copy()
        return True

    def restore(self) -> None:
        """Put the best weights into the model; before any validation, those that training began with."""
        self._model.load_state_dict(self._best)

    def _copy(self) -> Weights:
        return {name: weight.detach().clone() for name, weight in self._model.state_dict().items()}
