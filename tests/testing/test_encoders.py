"""The suite of encoders fails on each planted fault."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from elman.layers.dropout import Dropout
from elman.layers.history import extend
from elman.models import cnn
from elman.models.encoder import Encoder
from elman.state import State
from elman.testing.encoders import check_encoder, unregistered_encoders


class Sound(Encoder):
    """The sum of this step and the one before, as a hidden layer reads it: what the faulty encoders below would be.

    Source: none, it is a test.
    Shapes: x (batch, time, I); y (batch, time, H); state (batch, 1, I).
    """

    reach: int | None = 2

    def __init__(self, input_size: int, hidden_size: int, *, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__(input_size, hidden_size, layers=layers, dropout=dropout)
        self.read = nn.Linear(input_size, hidden_size)
        self.dropout = Dropout(dropout)

    def initial_state(self, batch_size: int) -> State:
        return self.read.bias.new_zeros(batch_size, 1, self.input_size)

    def encode(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        assert isinstance(state, Tensor)
        joined, state = extend(x, state, lengths)
        return self.drop(self.read(joined[:, 1:] + joined[:, :-1]).tanh()), state

    def drop(self, y: Tensor) -> Tensor:
        dropped: Tensor = self.dropout(y)
        return dropped


class Undocumented(Sound):
    """An encoder from nowhere. Shapes: any."""


class AnOptionWithoutDefault(Sound):
    __doc__ = Sound.__doc__

    def __init__(self, input_size: int, hidden_size: int, *, width: int, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__(input_size, hidden_size, layers=layers, dropout=dropout)
        self.width = width


class NoDepth(Sound):
    __doc__ = Sound.__doc__

    def __init__(self, input_size: int, hidden_size: int, *, dropout: float = 0.0) -> None:
        super().__init__(input_size, hidden_size, layers=1, dropout=dropout)


class AnyDepth(Sound):
    __doc__ = Sound.__doc__

    def __init__(self, input_size: int, hidden_size: int, *, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__(input_size, hidden_size, layers=max(1, layers), dropout=dropout)


class ChangesLate(Sound):
    __doc__ = Sound.__doc__

    def encode(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        y, state = super().encode(x, state, lengths)
        late = torch.arange(x.shape[1])[:, None] >= 8
        return y.where(~late, 2 * y), state


class ReachesLess(Sound):
    __doc__ = Sound.__doc__
    reach = 3


class ReachesMore(Sound):
    __doc__ = Sound.__doc__
    reach = 1


class ReachesAll(Sound):
    __doc__ = Sound.__doc__
    reach = None


class NeverDrops(Sound):
    __doc__ = Sound.__doc__

    def drop(self, y: Tensor) -> Tensor:
        return y


class DropsByItself(Sound):
    __doc__ = Sound.__doc__

    def drop(self, y: Tensor) -> Tensor:
        return nn.functional.dropout(y, self.dropout.p, self.training)


class NotCausal(Sound):
    __doc__ = Sound.__doc__

    def __init__(self, input_size: int, hidden_size: int, *, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__(input_size, hidden_size, layers=layers, dropout=dropout)
        self.causal = False


class ForgetsItsState(Sound):
    __doc__ = Sound.__doc__

    def encode(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:  # noqa: ARG002
        return super().encode(x, self.initial_state(len(x)), lengths)


@pytest.mark.parametrize(
    ("fault", "options", "message"),
    [
        (Undocumented, {}, "has no line 'Source: ...'"),
        (AnOptionWithoutDefault, {"width": 1}, "the option width has no default"),
        (NoDepth, {}, "has no option `layers`"),
        (AnyDepth, {}, r"accepts the sizes \(3, 4\) with {'layers': 0}"),
        (ChangesLate, {}, "chunks of a longer sequence against the whole: the output"),
        (ReachesLess, {}, "the last of 4 outputs depends on steps from 2, not from 1"),
        (ReachesMore, {}, "the last of 2 outputs depends on steps from 0, not from 1"),
        (ReachesAll, {}, "the last of 23 outputs depends on steps from 21, not from 0"),
        (NeverDrops, {}, "dropout does nothing in training"),
        (DropsByItself, {}, "dropout on a part of a batch against the whole"),
        (NotCausal, {}, "is not causal"),
        (ForgetsItsState, {}, "against the whole"),
    ],
)
def test_a_fault_is_caught(fault: type[Encoder], options: dict[str, Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_encoder(fault, **options)


def test_a_sound_encoder_passes() -> None:
    check_encoder(Sound)


def test_an_encoder_without_a_name_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    nameless = type("Nameless", (Sound,), {"__module__": cnn.__name__})
    monkeypatch.setattr(cnn, "Nameless", nameless, raising=False)
    assert unregistered_encoders() == ["Nameless"]
