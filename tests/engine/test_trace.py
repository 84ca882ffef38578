"""A traced step is the cell's step: values, states, and gradients through what is computed of weights."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from elman.cells import GRU, LSTM, Elman
from elman.cells.cell import CELLS, Cell
from elman.cells.wrappers import (
    DropConnect,
    RecurrentDropout,
    VariationalDropout,
    Zoneout,
)
from elman.engine.check import check as check_program
from elman.engine.interpret import interpret
from elman.engine.trace import RandomProjection, Traced, Untraceable, trace
from elman.state import State, leaves, unflatten
from elman.testing.wrappers import WRAPPERS
from tests.engine.handmade import Handmade, Step, drawn

TOLERANCE = 1e-12  # of the largest value: float64, and sums of few numbers
OPTIONS = [
    ("slstm", {"heads": 2}),
    ("slstm", {"heads": 4, "forget": "exponential"}),
    ("mlstm", {"heads": 2}),
    ("rg_lru", {"heads": 4}),
    ("qrnn", {"window": 4}),
    ("ltc", {"unfolds": 2}),
    ("highway", {"depth": 3}),
]


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def close(actual: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    assert actual.shape == expected.shape
    actual, expected = actual.detach(), expected.detach()
    scale = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


def check(
    cell: Cell, *, project: bool = True, given: tuple[Tensor, Any] | None = None, tolerance: float = TOLERANCE
) -> Traced:
    """The program against the step: by NumPy its values, by torch its gradients too."""
    cell.prepare()
    x, state = given or drawn(cell)
    with torch.no_grad():
        x = x if project else cell.project(x)
    traced = trace(cell, state, project=project)
    program = traced.program
    check_program(program)
    inputs = [one.clone().requires_grad_() for one in (x, *leaves(state))]
    tracked = iter(inputs[1:])
    expected = _step(cell, inputs[0], state, tracked, project)
    weights = traced.weights(cell)
    assert [tuple(weight.shape) for weight in weights] == list(program.weights.values())
    outputs, following, _ = interpret(
        program,
        dict.fromkeys(program.inputs, x.numpy()),
        {name: leaf.flatten(1).numpy() for name, leaf in zip(program.states, leaves(state), strict=True)},
        {name: weight.detach().numpy() for name, weight in zip(program.weights, weights, strict=True)},
    )
    close(torch.tensor(outputs["y"]), expected[0])
    for name, leaf in zip(program.states, expected[1:], strict=True):
        close(torch.tensor(following[name]), leaf.flatten(1))
    y, after = traced.step(inputs[0], inputs[1:], weights)
    _same_gradients(cell, inputs, [y, *after], expected, tolerance)
    return traced


def _step(cell: Cell, x: Tensor, state: State, tracked: Iterator[Tensor], project: bool) -> list[Tensor]:
    y, after = cell.step(cell.project(x) if project else x, unflatten(state, tracked))
    return [y, *leaves(after)]


def _same_gradients(
    cell: Cell, inputs: list[Tensor], actual: list[Tensor], expected: list[Tensor], tolerance: float
) -> None:
    wanted = [*inputs, *cell.parameters()]
    slopes = [torch.randn_like(one) for one in expected]

    def gradients(results: list[Tensor]) -> tuple[Tensor, ...]:
        pairs = [(one, slope) for one, slope in zip(results, slopes, strict=True) if one.requires_grad]
        return torch.autograd.grad(
            [one for one, _ in pairs], wanted, [slope for _, slope in pairs],
            retain_graph=True, allow_unused=True, materialize_grads=True,
        )  # fmt: skip

    for found, other in zip(gradients(actual), gradients(expected), strict=True):
        close(found, other, tolerance)


def randomized(cell: Cell) -> Cell:
    cell = cell.double()
    for parameter in cell.parameters():
        nn.init.normal_(parameter, std=0.5)
    return cell


@pytest.mark.parametrize("name", [name for name in CELLS.names() if name != "conv_lstm"])
def test_registered_cell(name: str) -> None:
    check(randomized(CELLS.get(name)(5, 8)))


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_options(name: str, options: dict[str, Any]) -> None:
    check(randomized(CELLS.get(name)(5, 8, **options)))


@pytest.mark.parametrize("name", [*WRAPPERS])
def test_wrapper_in_training(name: str) -> None:
    cell = randomized(WRAPPERS[name]()).train()
    draws = any(isinstance(module, RecurrentDropout | Zoneout) for module in cell.modules())
    if draws:
        with pytest.raises(RandomProjection, match="random numbers in `project`"):
            trace(cell, drawn(cell)[1])
    check(cell, project=not draws)


@pytest.mark.parametrize("name", ["zoneout, lstm", "all, one way round"])
def test_wrapper_in_use(name: str) -> None:
    check(randomized(WRAPPERS[name]()).eval())


# Odd steps.


class Pair(NamedTuple):
    first: Any
    second: Any


def reduces_inner_axis(_: Any, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    return x + state.sum(1).mean(-1, keepdim=True) + state.amax((1, 2))[:, None], state - state.mean(2, keepdim=True)


def transposes(_: Any, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    turned = state.transpose(1, 2)
    return turned.reshape(-1, 6)[:, :4] * x, (turned * 2).flatten(1).reshape_as(state)


def multiplies_matrices_of_rows(_: Any, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    outer = x[:, :, None] * x[:, None]
    return (outer @ state @ x[..., None])[..., 0], (state @ outer).tanh()


def permutes_by_weights(cell: Any, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    left = torch.einsum("ij,bjk->bik", cell.a, state)
    return x @ cell.a[:, 1:].T @ cell.b, torch.einsum("bjk,kl->bjl", left, cell.c.T)


def shares_a_layer_among_heads(cell: Any, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    heads = F.linear(x.view(-1, 2, 3), cell.a, cell.b)
    return heads.flatten(1), state + (heads.transpose(1, 2).flatten(1) @ cell.c)


def joins(_: Any, x: Tensor, state: Pair) -> tuple[Tensor, Pair]:
    first, second = x.chunk(2, -1)
    stacked = torch.stack([first, second, state.first], 1)
    y = torch.cat([stacked[:, 2], x[:, 1:2], stacked[:, 0]], -1)
    return y, Pair(stacked.sum(1), (state.second[1], state.second[0] + torch.cat([first, second], 1)))


def changes_in_place(_: Any, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    y = state.clone()
    y.mul_(2).add_(x)
    y[:, 1:3] *= x[:, :2]
    y[:, 0] = x[:, 3]
    y[:, -1] += 1
    z = x + 0
    z[:, ::1].relu_()
    return y, z.sigmoid()


def chooses(cell: Any, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    high = (x > 0) & ~(state > 1) | (x.abs() >= 2)
    kept = torch.where(high, x, state.masked_fill(x < state, -1.0))
    return kept.clamp(-1, 0.5) + high.to(x.dtype) * torch.where(state[:, :1] > 0, 2.0, -cell.a), torch.tril(
        x[:, :, None] * state[:, None]
    ).sum(1)


def makes_constants(_: Any, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    eye, steps = torch.eye(3, dtype=x.dtype), torch.arange(3) * 0.5
    scale = torch.tensor([1.0, 2.0, 3.0], dtype=x.dtype)
    ones = torch.cat([x.new_ones(len(x), 1), torch.zeros_like(state[:, 1:])], -1)
    return x @ eye + x * steps * scale + F.pad(x, (1, 1), value=2.0)[:, :3], ones + x.new_tensor(0.5)


def reads_weights_in_pieces(cell: Any, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    heads = torch.einsum("bhk,hkj->bhj", x.view(-1, 2, 2), cell.b[:, :, 1:])
    y = x * cell.a[1] + cell.a[:, 2].sum() * cell.a.flatten()[2:6] + (cell.c.exp() @ cell.c)[0, 0]
    return y * cell.c[:2, None, :1].expand(-1, 2, -1).reshape(-1), state + heads.mul(cell.b[:, 0, :1]).flatten(1)


def repeats(_: Any, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    tiled = x.repeat(1, 2) + x.repeat_interleave(2, 1)
    spread = state[:, :, None].expand(-1, -1, 2).flatten(1)
    return tiled[:, ::2] * x + torch.diagonal(x[:, :, None] * state[:, None], dim1=1, dim2=2), (tiled * spread)[:, 3:6]


def normalizes(cell: Any, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    y = F.layer_norm(x, (6,), cell.a, cell.b) + F.group_norm(x, 3, cell.a, cell.b) + F.rms_norm(x, (6,), cell.a)
    parts = state.view(-1, 2, 3)
    spread = parts.std(-1, keepdim=True) + parts.var(-1, correction=0, keepdim=True)
    return y + F.normalize(x, dim=-1), ((parts - parts.mean(-1, keepdim=True)) / spread).flatten(1)


def attends(_: Any, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    scores = torch.einsum("bd,bnd->bn", x, state) + torch.logsumexp(state, -1)
    weights = F.softmax(scores, -1) + F.log_softmax(scores, -1).exp()
    return (weights[:, None] @ state)[:, 0], torch.cat([state[:, 1:], x[:, None]], 1)


def loops_over_units(_: Any, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    columns: list[Tensor] = []
    for index, column in enumerate(x.unbind(1)):
        columns.append(column * state[:, index].sin() + (columns[-1] if columns else 0))
    return torch.stack(columns, 1), state


def rearranges(_: Any, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    y = x.flip(-1) + x.roll(1, -1) + x[:, [2, 0, 1, 3]] + x.cumsum(-1) * state
    return y, torch.stack([x, state, x * state]).amax(0) + state.view(-1, 2, 2).flip(1, 2).cumsum(1).flatten(1)


def turns_pairs(cell: Any, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    even, odd, angle = x[:, ::2], x[:, 1::2], cell.a
    turned = [even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos()]
    product = torch.baddbmm(state[:, :, None], x[:, :, None], x[:, None, :1], beta=0.5, alpha=2.0)
    return torch.stack(turned, -1).flatten(1), product[..., 0] + torch.addmm(state, x, cell.b, beta=2, alpha=0.5)


ODD: dict[Step, tuple[int, Any, dict[str, tuple[int, ...]]]] = {
    reduces_inner_axis: (4, (4, 3), {}),
    transposes: (4, (2, 3), {}),
    multiplies_matrices_of_rows: (3, (3, 3), {}),
    permutes_by_weights: (3, (4, 2), {"a": (4, 4), "b": (4, 5), "c": (2, 2)}),
    shares_a_layer_among_heads: (6, (4,), {"a": (5, 3), "b": (5,), "c": (10, 4)}),
    joins: (4, Pair((2,), ((4,), (4,))), {}),
    changes_in_place: (4, (4,), {}),
    chooses: (3, (3,), {"a": (1,)}),
    makes_constants: (3, (3,), {}),
    reads_weights_in_pieces: (4, (4,), {"a": (3, 4), "b": (2, 2, 3), "c": (4, 4)}),
    repeats: (3, (3,), {}),
    normalizes: (6, (6,), {"a": (6,), "b": (6,)}),
    attends: (3, (5, 3), {}),
    loops_over_units: (4, (4,), {}),
    rearranges: (4, (4,), {}),
    turns_pairs: (4, (4,), {"a": (2,), "b": (4, 4)}),
}


@pytest.mark.parametrize("step", ODD, ids=lambda step: step.__name__)
def test_odd_step(step: Step) -> None:
    cell = Handmade(step, *ODD[step])
    x, state = drawn(cell)
    _, after = cell.step(x, state)
    assert [leaf.shape for leaf in leaves(after)] == [leaf.shape for leaf in leaves(state)], "a mistake in the test"
    check(cell)


# Operations of torch, at ties and far out, where formulas and gradients differ most.

POINTS = (-100.0, -6.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 6.0, 19.0, 21.0, 100.0)
POSITIVE = (1e-3, 0.5, 1.0, 2.0, 100.0)
COMPARISONS = (torch.gt, torch.ge, torch.lt, torch.le, torch.eq, torch.ne)
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    **{
        name: getattr(torch, name)
        for name in ("neg", "abs", "sign", "exp", "expm1", "sin", "cos", "tan", "erf", "erfc")
    },
    **{
        name: getattr(torch, name)
        for name in ("tanh", "sigmoid", "relu", "floor", "ceil", "sinh", "cosh", "square", "exp2")
    },
    **{
        name: getattr(F, name)
        for name in ("silu", "mish", "gelu", "softplus", "logsigmoid", "softsign", "elu", "selu", "celu", "relu6")
    },
    **{name: getattr(F, name) for name in ("hardtanh", "hardsigmoid", "hardswish", "leaky_relu", "tanhshrink")},
    "gelu by tanh": partial(F.gelu, approximate="tanh"),
    "elu, alpha": partial(F.elu, alpha=0.3),
    "celu, alpha": partial(F.celu, alpha=0.3),
    "softplus, beta": partial(F.softplus, beta=2.0, threshold=3.0),
    "clamp": lambda x: x.clamp(-1, 2) + x.clamp(min=0.5) + x.clamp(max=torch.tensor(3.0, dtype=torch.float64)),
    "maximum": lambda x: torch.maximum(x, -x) + torch.minimum(x, x * 0 + 1),
    "powers": lambda x: x**2 + x**3 + 2 * x**1 + (x.abs() + 1) ** 0.5 + (x.abs() + 1) ** -0.5 + (x.abs() + 1) ** -1.3,
    "base": lambda x: 2 ** (x / 10) + (x.abs() + 1) ** (x / 50),
    "comparisons": lambda x: torch.stack([compare(x, 0.5).double() for compare in COMPARISONS]).sum(0),
    "logic": lambda x: torch.where(torch.logical_xor(x > 0, x.isnan() | x.isinf()), x, 1 - x),
    "division": lambda x: (x / 3 - 1 / (2 + x * x)) + torch.div(x, 0.7, rounding_mode="floor") + (3 - x),
    "remainders": lambda x: torch.remainder(x, 0.7) + torch.fmod(x, 0.7) + x.trunc() + torch.hypot(x, 1 - x),
    "lerp": lambda x: torch.lerp(x, 2 * x, 0.3) + torch.addcmul(x, x, x, value=0.5),
    "standard deviation": lambda x: (x[:, :1] * 0 + x[:, 1:2]).expand(-1, 3).std(-1, keepdim=True) + x,
    "norm of nothing": lambda x: (x[:, :2] * 0).norm(dim=-1, keepdim=True) + x.norm(1, dim=-1, keepdim=True) * x,
    "any and all": lambda x: x * (x > 0).any(-1, keepdim=True) + x * (x > 0).all(-1, keepdim=True),
    "least": lambda x: x - x.amin(-1, keepdim=True),
}
OF_POSITIVE = {name: getattr(torch, name) for name in ("log", "log1p", "log2", "log10", "sqrt", "rsqrt", "reciprocal")}


ROUNDED = {"celu, alpha": 1e-6, "hardsigmoid": 1e-7}
"""Where torch's own gradients in float64 have constants rounded to float32."""


@pytest.mark.parametrize("name", [*FUNCTIONS, *OF_POSITIVE])
def test_function(name: str) -> None:
    function = {**FUNCTIONS, **OF_POSITIVE}[name]
    points = POSITIVE if name in OF_POSITIVE else POINTS
    cell = Handmade(lambda _, x, state: (function(x), state), len(points), (1,), {})
    given = (torch.tensor([points], dtype=torch.float64), cell.initial_state(1))
    check(cell, given=given, tolerance=ROUNDED.get(name, TOLERANCE))


# What a Traced promises beside values.


def test_parameters_are_passed_on_as_they_are() -> None:
    cell = LSTM(5, 8)
    weights = trace(cell, cell.initial_state(1)).weights(cell)
    assert [id(weight) for weight in weights] == [id(parameter) for parameter in cell.parameters()]


def test_two_tracings_are_equal_and_readable() -> None:
    first, second = (GRU(5, 8) for _ in range(2))
    programs = [trace(cell, cell.initial_state(batch)).program for cell, batch in ((first, 1), (second, 4))]
    assert programs[0] == programs[1]
    assert list(programs[0].inputs) == ["x"]
    assert list(programs[0].states) == ["state"]
    assert set(programs[0].weights) == set(dict(first.named_parameters()))


def test_names_of_states_are_distinct() -> None:
    cell = randomized(VariationalDropout(LSTM(3, 4), 0.4)).train()
    program = trace(cell, cell.initial_state(1)).program
    assert list(program.states) == ["inner.hidden", "inner.cell", "mask"]
    assert program.next_states["mask"] is None

    class Confusing(NamedTuple):
        x: Any
        v1: Any

    odd = Handmade(lambda _, x, state: (x + 1, Confusing(state.v1, state.x * x)), 2, Confusing((2,), (2,)), {})
    traced = check(odd)
    assert list(traced.program.states) == ["x.2", "v1"]


def test_tied_tensors_are_one_weight() -> None:
    cell = randomized(Elman(4, 4))
    cell.from_hidden.weight = cell.from_input.weight  # type: ignore[union-attr]
    traced = check(cell)
    assert list(traced.program.weights) == ["from_input.weight", "from_input.bias"]


def test_weights_are_read_anew() -> None:
    cell = randomized(DropConnect(LSTM(3, 4), 0.5)).train()
    x, state = drawn(cell)
    cell.prepare()
    traced = trace(cell, state)
    cell.prepare()
    y, _ = traced.step(x, list(leaves(state)), traced.weights(cell))
    close(y, cell(x, state)[0])


def test_parametrized_weights() -> None:
    cell = randomized(Elman(3, 4))
    parametrizations.orthogonal(cell.get_submodule("from_hidden"))
    parametrizations.weight_norm(cell.get_submodule("from_input"))
    check(cell)


def test_tracing_leaves_no_trace() -> None:
    cell = randomized(RecurrentDropout(LSTM(3, 4), 0.5)).train()
    before = {path: dict(module.__dict__) for path, module in cell.named_modules()}
    state, generator = cell.initial_state(2), torch.get_rng_state()
    with pytest.raises(RandomProjection):
        trace(cell, state)
    assert torch.equal(torch.get_rng_state(), generator)
    for path, module in cell.named_modules():
        assert module.__dict__ == before[path]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_the_mode_around_does_not_matter(mode: Callable[[], Any]) -> None:
    cell = GRU(3, 4)
    expected = trace(cell, cell.initial_state(1)).program
    with mode():
        assert trace(cell, cell.initial_state(1)).program == expected


# What has no form as a Program, and why.


class Doubled(torch.autograd.Function):
    """The identity, whose gradient is twice as large."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return x

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:  # noqa: ARG004
        return 2 * slope


def without_gradient(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x * 2


def in_place(_: Any, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    return x, state.mul_(2)


ELSEWHERE = torch.ones(3, dtype=torch.float64)
REFUSED: dict[str, Callable[[Tensor], Tensor]] = {
    "control flow or shapes that depend on data": lambda x: x if x.sum() > 0 else -x,
    "control flow or shapes that depend on data ": lambda x: x * x[0, 0].item(),
    "a tensor that is no attribute of the cell's modules": lambda x: x * ELSEWHERE,
    "random numbers in the step": lambda x: F.dropout(x, 0.5),
    "mixes rows of the batch": lambda x: x - x.mean(0),
    "mixes rows of the batch ": lambda x: x @ (x.T @ x),
    "mixes rows of the batch  ": lambda x: x.sum() + x,
    "a choice of rows of the batch": lambda x: x + x[0],
    "size of the batch": lambda x: x * (1 / len(x)),
    "'atan', which has no native form": torch.atan,
    "'cumprod', which has no native form": lambda x: x.cumprod(-1),
    "float32 numbers among float64": lambda x: x.float().exp().double(),
    "'sort'": lambda x: x.sort(-1)[0],
    "a gradient that is cut": lambda x: x * x.detach(),
    "a gradient that is cut ": lambda x: x + x.data,
    "a computation without gradients": without_gradient,
    "or an autograd function of its own": Doubled.apply,
}


@pytest.mark.parametrize("reason", REFUSED)
def test_untraceable(reason: str) -> None:
    cell = Handmade(lambda _, x, state: (REFUSED[reason](x), state), 3, (3,), {})
    with pytest.raises(Untraceable, match=reason.strip()) as raised:
        trace(cell, cell.initial_state(2))
    assert not isinstance(raised.value, RandomProjection)


def test_untraceable_cells() -> None:
    convolution = CELLS.get("conv_lstm")(5, 8)
    with pytest.raises(Untraceable, match="'convolution', which has no native form"):
        trace(convolution, convolution.initial_state(1))
    changing = Handmade(in_place, 3, (3,), {})
    with pytest.raises(Untraceable, match="a change in place of a weight, an input or a state"):
        trace(changing, changing.initial_state(1))
    hooked = GRU(3, 4)
    hooked.from_hidden.register_forward_hook(lambda *_: None)
    with pytest.raises(Untraceable, match="a hook on 'from_hidden'"):
        trace(hooked, hooked.initial_state(1))
    half = GRU(3, 4).bfloat16()
    with pytest.raises(Untraceable, match="weights other than"):
        trace(half, half.initial_state(1))
    counting = Handmade(lambda _, x, state: (x, state + 1), 3, (3,), {})
    with pytest.raises(Untraceable, match="a state of int64 numbers"):
        trace(counting, torch.zeros(1, 3, dtype=torch.int64))
    ordered = Handmade(lambda cell, x, state: (x[:, cell.order], state), 3, (3,), {})
    ordered.order = torch.tensor([2, 0, 1])  # another cell of this kind may have another
    with pytest.raises(Untraceable, match="an index that is computed"):
        trace(ordered, ordered.initial_state(1))
    growing = Handmade(lambda _, x, state: (x, torch.cat([state, x], -1)), 3, (3,), {})
    with pytest.raises(Untraceable, match="a state whose shape changes"):
        trace(growing, growing.initial_state(1))


def test_a_planted_fault_is_noticed() -> None:
    """Two gates swapped in the program: the comparison above must not pass."""
    cell = randomized(LSTM(3, 4))
    x, state = drawn(cell)
    traced = trace(cell, state)
    order = ["from_hidden.weight", "from_input.bias", "from_input.weight"]
    weights = dict(zip(traced.program.weights, traced.weights(cell), strict=True))
    assert sorted(weights) == order
    weights["from_hidden.weight"] = weights["from_hidden.weight"].roll(4, 0)
    y, _ = traced.step(x, list(leaves(state)), list(weights.values()))
    with pytest.raises(AssertionError):
        close(y, cell(x, state)[0])
