"""Cells as nobody should write them: each agrees with the loop, compiled or with the reason why it is not."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from elman.cells.cell import Cell
from elman.layers import Recurrent, backend
from tests.engine.agreement import Call, assert_agreement, compare, needs_native, results

pytestmark = [needs_native, pytest.mark.filterwarnings("ignore::elman.errors.SlowWarning")]


class Odd(Cell[Any]):
    """Three inputs, four outputs, float64."""

    def __init__(self) -> None:
        super().__init__(3, 4)
        self.linear = nn.Linear(7, 4, dtype=torch.float64)

    def initial_state(self, batch_size: int) -> Any:
        return self.zeros(batch_size, 4)

    def zeros(self, *shape: int) -> Tensor:
        return self.linear.weight.new_zeros(shape)

    def new(self, z_t: Tensor, hidden: Tensor) -> Tensor:
        after: Tensor = self.linear(torch.cat([z_t, hidden], -1)).tanh()
        return after


class Inner(NamedTuple):
    hidden: Tensor
    rest: tuple[tuple[Tensor], tuple[()]]


class Nested(Odd):
    """Tuples in tuples, one of them empty; a leaf that is one number a row; leaves of three axes."""

    def initial_state(self, batch_size: int) -> Any:
        return (Inner(self.zeros(batch_size, 4), ((self.zeros(batch_size),), ())), (self.zeros(batch_size, 2, 2),))

    def step(self, z_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        (hidden, ((total,), nothing)), (square,) = state
        hidden = self.new(z_t, hidden)
        total = 0.5 * total + z_t.sum(-1)
        square = torch.tril(square @ square.transpose(1, 2) * 0.1 + hidden.view(-1, 2, 2))
        return hidden * total[:, None] + square.flatten(1), (Inner(hidden, ((total,), nothing)), (square,))


class Masked(Odd):
    """Part of the input switches rows on and off; logical operations on what is not logical."""

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        on = torch.logical_or(z_t[:, :1] > 0, torch.logical_and(z_t[:, 1:2] * 3, z_t[:, 2:] - 0.1))
        either = (z_t[:, :1] > 0) + (z_t[:, 1:2] > 0)  # of two logical values the sum is logical
        odd = torch.logical_xor(z_t[:, :1], z_t[:, 1:2])
        new = torch.where(on, self.new(z_t, state), state)
        return new * either.to(new.dtype) + odd.to(new.dtype), new


class Tricks(Odd):
    """Rolls, flips, strides, einsum and a stack of depths."""

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        hidden = state
        for depth in range(3):
            hidden = self.new(z_t.roll(depth, -1), hidden.flip(-1))
        pairs = torch.einsum("bi,bj->bij", hidden[:, ::2], hidden[:, 1::2])
        return torch.stack([hidden[:, i // 2] * pairs.reshape(-1, 4)[:, i] for i in range(4)], 1), hidden


class InPlace(Odd):
    """Writes into what it has made."""

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        new = state.clone()
        new[:, 1:3] = self.new(z_t, state)[:, :2]
        new[:, 0].add_(z_t[:, 0])
        new.mul_(0.5).clamp_(-0.4, 0.4)
        return new + 1, new


class Branching(Odd):
    """Does what its attributes say."""

    def __init__(self) -> None:
        super().__init__()
        self.ways = {"first": "tanh", "others": ("sigmoid", "relu")}
        self.residual: bool | None = None

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        new = self.new(z_t, state)
        for name in [self.ways["first"], *self.ways["others"]]:
            new = getattr(torch, str(name))(new)
        if self.training and self.residual:
            new = new + state
        return new, new


class Prepared(Odd):
    """Weights that are computed once a call, kept in a dictionary of lists."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[str, list[Tensor]] = {}

    def prepare(self) -> None:
        weight = self.linear.weight
        self.made = {"parts": [weight[:, :3].tanh().t(), (weight[:, 3:] - weight[:, 3:].t()).matrix_exp() * 0.5]}

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        new = torch.tanh(z_t @ self.made["parts"][0] + state @ self.made["parts"][1])
        return new, new


class Running(Odd):
    """Counts its steps in a buffer."""

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.float64))

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            self.steps += 1
        new = self.new(z_t, state)
        return new / self.steps.clone(), new


class Rebinding(Running):
    """Counts its steps in a buffer that is another tensor each time."""

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        self.steps = self.steps + 1
        new = self.new(z_t, state)
        return new / self.steps, new


class Noisy(Odd):
    """Adds noise."""

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        new = self.new(z_t, state) + 0.1 * torch.randn_like(state)
        return new, new


class Deciding(Odd):
    """Looks at the numbers."""

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        new = self.new(z_t, state) if z_t.sum() > 0 else state
        return new, new


class RowByRow(Odd):
    """Goes through the batch in Python."""

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        new = torch.stack([self.linear(torch.cat(pair)).tanh() for pair in zip(z_t, state, strict=True)])
        return new, new


class Batched(Odd):
    """Does something else in large batches."""

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        new = self.new(z_t, state)
        return (new if len(z_t) > 1000 else 2 * new), new


class OutOfRange(Odd):
    """Has a mistake that shows with numbers only."""

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.new(z_t, state) + z_t[:, [7]], state


LENGTHS = (6, 0, 3, 5, 1)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "padded"])
@pytest.mark.parametrize("cell", [Nested, Masked, Tricks, InPlace, Branching, Prepared], ids=lambda cell: cell.__name__)
def test_compiled(cell: Callable[[], Odd], lengths: tuple[int, ...] | None) -> None:
    assert_agreement(Recurrent(cell()), Call(batch=5, time=6, lengths=lengths))


def test_a_branch_on_attributes_is_followed_when_they_change() -> None:
    layer = Recurrent(Branching())
    for change in ({}, {"residual": True}, {"ways": {"first": "sin", "others": ()}}):
        vars(layer.cell).update(change)
        for training in (True, False):
            assert_agreement(layer.train(training), Call(time=4))


REASONS: dict[Callable[[], Odd], str] = {
    Running: "without gradients",
    Rebinding: "changes what its cell holds",
    Noisy: "random numbers in the step",
    Deciding: "depend on data",
    RowByRow: "the size of the batch",
    Batched: "the size of the batch",
}


@pytest.mark.parametrize("cell", REASONS, ids=lambda cell: cell.__name__)
def test_by_the_loop_with_the_reason(cell: Callable[[], Odd]) -> None:
    layer, call = Recurrent(cell()), Call(batch=5, time=6, lengths=LENGTHS)
    choice = layer.choice(torch.zeros(5, 6, 3, dtype=torch.float64), layer.initial_state(5))
    assert choice.name == "loop"
    assert REASONS[cell] in choice.reason
    found = []
    for name in ("loop", "auto"):
        torch.manual_seed(0)
        other = Recurrent(cell())
        with backend(name):
            found.append(results(other, call))
    compare(found[1], found[0])


def test_a_mistake_is_not_hidden() -> None:
    with pytest.raises(IndexError, match="7"):
        Recurrent(OutOfRange())(torch.zeros(2, 4, 3, dtype=torch.float64))
