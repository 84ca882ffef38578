"""The suite of layers fails on each planted fault."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from elman.cells import GRU, LSTM
from elman.cells.padding import check_lengths
from elman.cells.scan import loop, reverse_valid
from elman.layers import Recurrent, SequenceLayer
from elman.state import State
from elman.testing import check_layer
from elman.testing.layers import check_causal


class Faulty(Recurrent):
    """A recurrent layer with a fault. Shapes: as its parent."""


class LeaksPadding(Faulty):
    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        _, last = super().forward(x, state, lengths)
        return super().forward(x, state, None)[0] if not x.isnan().any() else x, last


class ReadsPaddingInGradientsOnly(Faulty):
    """The fault that hides: the values are right, the gradients of the weights are NaN. Shapes: as its parent."""

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        state = self.initial_state(len(x)) if state is None else state
        return loop(self.cell, x, state, check_lengths(lengths, x))


class StateOfThePadding(Faulty):
    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        y, _ = super().forward(x, state, lengths)
        zeroed = x if lengths is None else x.masked_fill(torch.arange(x.shape[1])[:, None] >= lengths[:, None, None], 0)
        return y, super().forward(zeroed, state, None)[1]


class ForgetsItsState(Faulty):
    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        return super().forward(x, None if x.shape[1] == 3 else state, lengths)


class KnowsTheFuture(Faulty):
    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        lengths = check_lengths(lengths, x)
        y, state = super().forward(reverse_valid(x, lengths), state, lengths)
        return reverse_valid(y, lengths), state


class ReversesThePaddingToo(Faulty):
    """A backward layer that starts in the padding, and passes on full lengths only. Shapes: as its parent."""

    def __init__(self, cell: GRU) -> None:
        super().__init__(cell)
        self.causal = False

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        mask = torch.ones(x.shape[:2], dtype=torch.bool)
        if lengths is not None:
            mask = torch.arange(x.shape[1]) < lengths[:, None]
        y, state = super().forward(x.where(mask[..., None], 0).flip(1), state, None)
        return y.flip(1).where(mask[..., None], 0), state


class ChangesItsInput(Faulty):
    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        y, state = super().forward(x, state, lengths)
        if not x.requires_grad and not x.isnan().any():
            x.mul_(0.5)
        return y, state


class LastLengthsWin(Faulty):
    """Lengths beyond the input are cut instead of refused. Shapes: as its parent."""

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        return super().forward(x, state, None if lengths is None else lengths.clamp(0, x.shape[1]))


class DropsInEvaluation(Faulty):
    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        y, state = super().forward(x, state, lengths)
        return nn.functional.dropout(y, 0.5, training=True), state


class WrongSize(Faulty):
    def __init__(self, cell: GRU) -> None:
        super().__init__(cell)
        self.output_size += 1


class Undocumented(Faulty):
    """Nothing about what goes in."""


for fault in Faulty.__subclasses__():
    if fault is not Undocumented:
        fault.__doc__ = Faulty.__doc__


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (LeaksPadding, "is not zero from there on"),
        (ReadsPaddingInGradientsOnly, "padding of NaN against padding of 0: the gradient of"),
        (StateOfThePadding, "a row of length 3 in a batch against the row alone: leaf 0 of the final state"),
        (ForgetsItsState, "against the row alone|chunks against the whole"),
        (KnowsTheFuture, "chunks against the whole|a change of the future"),
        (ReversesThePaddingToo, "against the row alone"),
        (ChangesItsInput, "a call changed its arguments in place"),
        (LastLengthsWin, "were accepted for 6 time steps"),
        (DropsInEvaluation, "the output differs between two equal calls"),
        (WrongSize, r"expected outputs \(5, 6, 5\), got \(5, 6, 4\)"),
        (Undocumented, "no line 'Shapes: ...'"),
    ],
)
def test_a_fault_is_caught(fault: Callable[[GRU], SequenceLayer], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_layer(lambda: fault(GRU(3, 4)))


def test_knowledge_of_the_future_is_caught_without_chunks_too() -> None:
    with pytest.raises(AssertionError, match="after a change of the future"):
        check_causal(lambda: KnowsTheFuture(GRU(3, 4)))


def test_a_sound_layer_passes() -> None:
    check_layer(lambda: Faulty(GRU(3, 4)))
    check_layer(lambda: Faulty(LSTM(3, 4)))
