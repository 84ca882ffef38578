"""The best weights so far, and the moving average they may be taken from."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]


def copy_weights(model: nn.Module) -> Weights:
    """A copy of every weight and buffer; tied weights come under each of their names."""
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}


class Average:
    """An exponential moving average of a model's weights, taken in after every update.

    Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992. Differs: early on the decay
    is lower, so that the average is never dominated by the initial weights.

    Args:
        model: the model being trained.
        decay: of what was taken in before; 0 takes the weights as they are.
    """

    def __init__(self, model: nn.Module, decay: float = 0.0) -> None:
        self._model = model
        self._decay = decay
        self.weights = copy_weights(model) if decay else {}
        self._updates = 0

    @torch.no_grad()
    def take_in(self) -> None:
        """The weights after an update."""
        if not self._decay:
            return
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        for name, weight in self._model.state_dict().items():
            mean = self.weights[name]
            if mean.is_floating_point():
                mean.lerp_(weight, 1 - decay)
            else:
                mean.copy_(weight)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The averaged weights in the model, for a while."""
        if not self._decay:
            yield
            return
        own = copy_weights(self._model)
        self._model.load_state_dict(self.weights)
        try:
            yield
        finally:
            self._model.load_state_dict(own)

    def apply(self) -> None:
        """The averaged weights in the model for good."""
        if self._updates:
            self._model.load_state_dict(self.weights)

    def resume(self, weights: Mapping[str, Tensor], updates: int) -> None:
        """Go on from the ``weights`` there were after a number of updates."""
        if self._decay:
            self.weights = {name: weights[name].clone() for name in self.weights}
            self._updates = updates


class Best:
    """Keeps the weights with the lowest validation loss, in memory.

    Args:
        model: the model being trained.
        tolerance: the latest weights whose loss is at most that share above the lowest are kept; a short validation part
            cannot tell closer ones apart, and what has trained longer generalises better.
    """

    def __init__(self, model: nn.Module, tolerance: float = 0.0) -> None:
        self._tolerance = tolerance
        self._model = model
        self.weights = copy_weights(model)
        self.loss = math.inf

    def keep(self, loss: float) -> bool:
        """Remember what is in the model now if its loss is the lowest, or as good; whether it was. NaN never is."""
        if not loss <= self.loss * (1 + self._tolerance):
            return False
        self.loss, self.weights = min(loss, self.loss), copy_weights(self._model)
        return True

    def restore(self) -> None:
        """Put the best weights into the model; before any validation, those that training began with."""
        self._model.load_state_dict(self.weights)

    def resume(self, weights: Mapping[str, Tensor], loss: float) -> None:
        """Go on from the best ``weights`` there were, and their loss."""
        self.weights, self.loss = {name: weights[name].clone() for name in self.weights}, loss
