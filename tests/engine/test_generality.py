"""Cells that nobody has seen run native and agree with the loop: drawn at random from the grammar of operations."""

import copy
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from elman.cells.cell import Cell
from elman.errors import UsageError
from elman.layers import Recurrent, backend
from tests.engine.agreement import Call, assert_agreement, needs_native, threads
from tests.engine.grammar import Line, Recipe, build, calls, frozen, recipes

DTYPES = (torch.float64, torch.float32)

# A gradient that is zero but for rounding (of a bias before a softmax, say) has no digits to compare.
FLOOR = {torch.float64: 1e-2, torch.float32: 0.1}


def check_random_cells(examples: int, phases: tuple[Phase, ...] = tuple(Phase)) -> Counter[str]:
    """Draw cells and calls; every cell agrees with the loop, or is refused. Returns how often each was the case."""
    outcomes: Counter[str] = Counter()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(st.data())
    def check(data: st.DataObject) -> None:
        cell = build(data.draw(recipes(), "the cell"))
        dtype = data.draw(st.sampled_from(DTYPES), "the type")
        call = data.draw(calls(dtype), "the call")
        call = Call(**{**vars(call), "frozen": data.draw(frozen(cell), "frozen")})
        direction: Any = data.draw(st.sampled_from(["forward", "backward"]), "the direction")
        if direction == "backward":
            call = Call(**{**vars(call), "cuts": ()})
        with threads(data.draw(st.sampled_from([1, 2]), "the threads")):
            outcomes[_outcome(Recurrent(cell.to(dtype), direction=direction), call)] += 1

    check()
    return outcomes


def _outcome(layer: Recurrent, call: Call) -> str:
    try:
        assert_agreement(layer, call, floor=FLOOR[call.dtype])
    except UsageError as refusal:
        return str(refusal)
    return "agrees"


@needs_native
def test_random_cells_agree_with_the_loop() -> None:
    outcomes = check_random_cells(60, (Phase.generate,))
    assert outcomes["agrees"] >= 0.95 * outcomes.total(), outcomes


@needs_native
@pytest.mark.slow
def test_many_random_cells_agree_with_the_loop() -> None:
    outcomes = check_random_cells(10_000)
    assert outcomes["agrees"] >= 0.95 * outcomes.total(), outcomes


def test_the_grammar_draws_cells_that_the_loop_can_run_and_that_do_not_explode() -> None:
    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(recipes())
    def check(recipe: Recipe) -> None:
        layer = Recurrent(build(recipe).double())
        with backend("loop"), torch.no_grad():
            y, _ = layer(torch.randn(3, 12, recipe.input_size, dtype=torch.float64))
        assert y.shape == (3, 12, layer.output_size)
        assert y.abs().max() < 1e4

    check()


class Written(Cell[Any]):
    """A cell whose step is a function. Source: none. Shapes: state (batch, H), or as `_first` gives it."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.from_input = nn.Linear(input_size, hidden_size)
        self.from_hidden = nn.Linear(hidden_size, hidden_size)

    def initial_state(self, batch_size: int) -> Any:
        return self.from_hidden.weight.new_zeros(batch_size, self.hidden_size)

    def step(self, z_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        hidden = self.next(self.from_input(z_t), self.from_hidden(state), state)
        return hidden, hidden

    def next(self, z_t: Tensor, total: Tensor, state: Tensor) -> Tensor:
        raise NotImplementedError


class Ties(Written):
    """Every operation with a kink, exactly at it: what torch gives there is what counts."""

    def next(self, z_t: Tensor, total: Tensor, state: Tensor) -> Tensor:
        zero = 0 * state
        kinks = torch.relu(zero * z_t) + torch.abs(zero * total) + torch.clamp(zero + total, 0 * 1.0, 0.5)
        highest = torch.maximum(z_t, z_t + zero) + torch.minimum(total, total + zero)
        group = torch.cat([z_t[:, :1], z_t[:, :1] + zero[:, :1]], 1).amax(1, keepdim=True)
        return (kinks + highest + group + zero.sign() + torch.clamp(zero, 0, 1)).tanh()


class Detached(Written):
    """The gradient stops at `detach`."""

    def next(self, z_t: Tensor, total: Tensor, state: Tensor) -> Tensor:
        return (z_t + total.detach() * state).tanh()


class WithoutGradient(Written):
    """The gradient stops at what was computed under `no_grad`."""

    def next(self, z_t: Tensor, total: Tensor, state: Tensor) -> Tensor:
        with torch.no_grad():
            scale = 1 / (1 + state.abs().sum(1, keepdim=True))
        return (z_t + scale * total).tanh()


class Doubled(torch.autograd.Function):
    """Values pass; gradients are doubled."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:  # noqa: ARG004
        return 2 * slopes[0]


class OwnGradient(Written):
    """A function that has a gradient of its own."""

    def next(self, z_t: Tensor, total: Tensor, state: Tensor) -> Tensor:
        passed: Tensor = Doubled.apply(total)  # type: ignore[no-untyped-call]
        return (z_t + passed * state.cos()).tanh()


class StraightThrough(Written):
    """A unit that is 0 or 1, with the gradient of what it rounds."""

    def next(self, z_t: Tensor, total: Tensor, state: Tensor) -> Tensor:
        soft = (z_t + total).sigmoid()
        return (soft > 0.52).to(soft.dtype) - soft.detach() + soft + 0 * state


class Hooked(Written):
    """A gradient that is clipped on its way, by a hook."""

    def next(self, z_t: Tensor, total: Tensor, state: Tensor) -> Tensor:
        if total.requires_grad:
            total.register_hook(lambda slope: slope.clamp(-0.01, 0.01))  # type: ignore[no-untyped-call]
        return (z_t + total).tanh() + 0 * state


class Sorted(Written):
    """An operation that hardly any program has."""

    def next(self, z_t: Tensor, total: Tensor, state: Tensor) -> Tensor:
        return (z_t + total).sort(-1).values.tanh() + 0 * state


class Branching(Written):
    """Control flow that depends on data."""

    def next(self, z_t: Tensor, total: Tensor, state: Tensor) -> Tensor:
        return (z_t + total).tanh() if float(state.detach().sum()) < 0.3 else (z_t - total).tanh()


class AcrossRows(Written):
    """Rows that are not independent of each other."""

    def next(self, z_t: Tensor, total: Tensor, state: Tensor) -> Tensor:
        return (z_t + total - total.mean(0, keepdim=True)).tanh() + 0 * state


class Captured(Written):
    """A weight that is no attribute of the cell."""

    def next(self, z_t: Tensor, total: Tensor, state: Tensor) -> Tensor:
        return (z_t + CAPTURED.to(z_t.dtype) * total).tanh() + 0 * state


CAPTURED = torch.linspace(0.5, 1.5, 4)


class Counting(Written):
    """A state of integers beside the numbers."""

    def initial_state(self, batch_size: int) -> Any:
        return super().initial_state(batch_size), torch.zeros(batch_size, dtype=torch.int64)

    def step(self, z_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        hidden, count = state
        scale = 1 / (1 + count[:, None]).to(hidden.dtype)
        hidden = (self.from_input(z_t) + scale * self.from_hidden(hidden)).tanh()
        return hidden, (hidden, count + 1)


class Convolving(Written):
    """A convolution over units."""

    def next(self, z_t: Tensor, total: Tensor, state: Tensor) -> Tensor:
        kernel = self.from_hidden.weight[:1, None, :3]
        return (z_t + torch.nn.functional.conv1d(total[:, None], kernel, padding=1)[:, 0]).tanh() + 0 * state


ODD = (
    Ties, Detached, WithoutGradient, OwnGradient, StraightThrough, Hooked, Sorted, Branching, AcrossRows, Captured, Counting,
    Convolving,
)  # fmt: skip
MUST_RUN = (Ties,)


@needs_native
@pytest.mark.parametrize("kind", ODD)
def test_an_odd_step_agrees_with_the_loop_or_is_refused_with_the_reason(kind: type[Written]) -> None:
    torch.manual_seed(0)
    layer = Recurrent(kind(3, 4).double())
    state = "none" if kind is Counting else "gradient"
    try:
        assert_agreement(layer, Call(lengths=(5, 2, 0), state=state))
    except UsageError as refusal:
        assert kind not in MUST_RUN
        message = str(refusal)
        assert message.startswith(f"{kind.__name__} cannot run on the backend 'native': ")
        assert "Possible: auto, loop" in message


@needs_native
@pytest.mark.parametrize("kind", ODD)
@pytest.mark.filterwarnings("ignore::elman.errors.SlowWarning")
def test_an_odd_step_runs_by_itself_as_in_the_loop(kind: type[Written]) -> None:
    torch.manual_seed(0)
    layer = Recurrent(kind(3, 4).double())
    state = "none" if kind is Counting else "gradient"
    assert_agreement(layer, Call(state=state), "auto")


class Changing(Written):
    """An option that a step reads, and that may change between two calls."""

    scale = 1.0
    share: dict[str, float]

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.share = {"old": 0.5}
        self.register_buffer("bias", torch.zeros(hidden_size))

    def next(self, z_t: Tensor, total: Tensor, state: Tensor) -> Tensor:
        bias: Tensor = self.bias  # type: ignore[assignment]
        total = self.scale * (-total if self.training else total) + bias
        return (z_t + total).tanh() + self.share["old"] * state


def _set_option(cell: Changing) -> None:
    cell.scale = 0.3


def _set_inside(cell: Changing) -> None:
    cell.share["old"] = 0.1


def _set_weights(cell: Changing) -> None:
    with torch.no_grad():
        cell.from_hidden.weight.mul_(-0.5)


def _set_parameter(cell: Changing) -> None:
    cell.from_hidden.weight = nn.Parameter(torch.ones_like(cell.from_hidden.weight))


def _set_buffer(cell: Changing) -> None:
    cell.register_buffer("bias", torch.full((4,), 0.7, dtype=torch.float64))


def _set_data(cell: Changing) -> None:
    cell.from_input.weight.data = torch.full_like(cell.from_input.weight, 0.2)


def _parametrize(cell: Changing) -> None:
    nn.utils.parametrizations.weight_norm(cell.from_hidden)


def _tie(cell: Changing) -> None:
    cell.from_input.bias = cell.from_hidden.bias


def _freeze(cell: Changing) -> None:
    cell.from_hidden.requires_grad_(False)


def _cut_module(cell: Changing) -> None:
    cell.from_hidden = nn.Linear(4, 4, bias=False).double()


CHANGES = (
    lambda cell: cell.eval(), lambda cell: cell.float(), _set_option, _set_inside, _set_weights, _set_parameter, _set_buffer,
    _set_data, _parametrize, _tie, _freeze, _cut_module,
)  # fmt: skip


@needs_native
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_changes_between_two_calls_is_seen(change: Any) -> None:
    torch.manual_seed(0)
    layer = Recurrent(Changing(3, 4).double())
    assert_agreement(layer, Call())
    change(layer.cell)
    held = tuple(name for name, weight in layer.named_parameters() if not weight.requires_grad)
    assert_agreement(layer, Call(dtype=next(layer.parameters()).dtype, frozen=held))
    other = copy.deepcopy(layer)
    assert_agreement(other, Call(dtype=next(layer.parameters()).dtype, frozen=held))


def test_a_recipe_prints_as_it_is_read() -> None:
    recipe = Recipe(2, 0, (3,), "tensor", (Line("linear", (1,), 3, (0,)),), (2,), 2, ((3, 3, True),), (), "", 0)
    assert eval(repr(recipe)) == recipe  # so that what hypothesis prints can be run again
