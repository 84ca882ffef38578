"""The dense layer by the core against the same sums in float64."""

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from elman import core
from elman.engine import dense
from elman.engine.dense import linear
from elman.layers.dense import Dense

pytestmark = pytest.mark.skipif(not core.available(), reason="there is no core")

SIZES = st.integers(1, 40)
LAYOUTS: dict[str, Callable[[int, int], Tensor]] = {
    "contiguous": lambda rows, columns: torch.randn(rows, columns),
    "transposed": lambda rows, columns: torch.randn(columns, rows).t(),
    "columns of wider rows": lambda rows, columns: torch.randn(rows, columns + 3)[:, 2:-1],
    "every second row": lambda rows, columns: torch.randn(2 * rows, columns)[::2],
    "every second column": lambda rows, columns: torch.randn(rows, 2 * columns)[:, ::2],
    "one row for all": lambda rows, columns: torch.randn(1, columns).expand(rows, columns),
    "one column for all": lambda rows, columns: torch.randn(rows, 1).expand(rows, columns),
}


@pytest.fixture(autouse=True)
def _by_the_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """The core for every size: what is tested is its result, not when it is worth while."""
    monkeypatch.setattr(dense, "WORTHWHILE", 0)
    monkeypatch.setattr(dense, "FEWEST_ROWS", 0)


def leaf(tensor: Tensor, frozen: bool = False) -> Tensor:
    """The tensor as it lies in memory, but without a history."""
    return tensor.detach().requires_grad_(not frozen)


def exact(*tensors: Tensor | None) -> list[Tensor | None]:
    return [None if one is None else one.detach().double().requires_grad_(one.requires_grad) for one in tensors]


def close(found: Tensor | None, wanted: Tensor | None) -> None:
    assert (found is None) == (wanted is None)
    if found is not None and wanted is not None:
        torch.testing.assert_close(found.double(), wanted, rtol=2e-5, atol=2e-5)


def node_of(y: Tensor) -> Any:
    """The core's part in what y is differentiated by; None if the core has not made y."""
    nodes = [y.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is not None and node.name() == "_LinearBackward":
            return node
        nodes += [before for before, _ in node.next_functions] if node is not None else []
    return None


def by_the_core(y: Tensor) -> bool:
    return node_of(y) is not None


@settings(max_examples=60, deadline=None)
@given(
    rows=SIZES,
    inputs=SIZES,
    outputs=SIZES,
    of_x=st.sampled_from(sorted(LAYOUTS)),
    of_weight=st.sampled_from(sorted(LAYOUTS)),
    of_slope=st.sampled_from(sorted(LAYOUTS)),
    has_bias=st.booleans(),
    frozen=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    seed=st.integers(0, 2**31),
)
def test_value_and_gradients(
    rows: int,
    inputs: int,
    outputs: int,
    of_x: str,
    of_weight: str,
    of_slope: str,
    has_bias: bool,
    frozen: tuple[bool, bool, bool],
    seed: int,
) -> None:
    torch.manual_seed(seed)
    x, weight = leaf(LAYOUTS[of_x](rows, inputs), frozen[0]), leaf(LAYOUTS[of_weight](outputs, inputs), frozen[1])
    bias = leaf(torch.randn(2 * outputs)[::2], frozen[2]) if has_bias else None
    slope = LAYOUTS[of_slope](rows, outputs)
    given = [one for one in (x, weight, bias) if one is not None]
    truths = exact(x, weight, bias)
    y, truth = linear(x, weight, bias), F.linear(*truths)  # type: ignore[arg-type]
    close(y, truth)
    wanted = [one for one in given if one.requires_grad]
    if not wanted:
        assert not y.requires_grad
        return
    assert by_the_core(y)
    found = torch.autograd.grad(y, wanted, slope)
    expected = torch.autograd.grad(
        truth, [one for one in truths if one is not None and one.requires_grad], slope.double()
    )
    for one, other in zip(found, expected, strict=True):
        close(one, other)


@pytest.mark.parametrize("shape", [(5,), (0, 5), (3, 5), (2, 3, 5), (2, 0, 5), (2, 1, 4, 5)])
def test_any_leading_axes(shape: tuple[int, ...]) -> None:
    x, weight, bias = leaf(torch.randn(shape)), leaf(torch.randn(7, 5)), leaf(torch.randn(7))
    y, truth = linear(x, weight, bias), F.linear(*exact(x, weight, bias))  # type: ignore[arg-type]
    assert y.shape == (*shape[:-1], 7)
    close(y, truth)
    for one in torch.autograd.grad(y.sum(), (x, weight, bias)):
        assert one.isfinite().all()


@pytest.mark.parametrize(("inputs", "outputs"), [(0, 3), (3, 0), (0, 0)])
def test_no_columns(inputs: int, outputs: int) -> None:
    x, weight, bias = leaf(torch.randn(4, inputs)), leaf(torch.randn(outputs, inputs)), leaf(torch.randn(outputs))
    y = linear(x, weight, bias)
    torch.testing.assert_close(y, bias.expand(4, outputs))
    for one, like in zip(torch.autograd.grad(y.sum(), (x, weight, bias)), (x, weight, bias), strict=True):
        torch.testing.assert_close(one, torch.full_like(like, 4.0) if like is bias else torch.zeros_like(like))


def test_first_and_second_derivatives_in_double() -> None:
    torch.manual_seed(0)
    given = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((6, 5), (4, 5), (4,))]
    assert by_the_core(linear(*given))
    assert torch.autograd.gradcheck(linear, given)
    assert torch.autograd.gradgradcheck(linear, given)


@pytest.mark.parametrize("frozen", [(True, False), (False, True)])
def test_second_derivatives_with_a_frozen_side(frozen: tuple[bool, bool]) -> None:
    x, weight = (leaf(torch.randn(6, 6, dtype=torch.float64), one) for one in frozen)
    own = x if frozen[1] else weight

    def penalty(product: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        (slope,) = torch.autograd.grad(product(x, weight).tanh().sum(), own, create_graph=True)
        (twice,) = torch.autograd.grad(slope.square().sum(), own)
        return twice

    torch.testing.assert_close(penalty(linear), penalty(F.linear))


def kept(y: Tensor) -> int:
    """How many tensors wait for the backward pass."""
    return sum(one is not None for one in node_of(y).saved_tensors)


def test_what_is_frozen_keeps_nothing() -> None:
    x, weight = torch.randn(6, 5), torch.randn(4, 5)
    assert kept(linear(leaf(x), leaf(weight, frozen=True))) == 1
    assert kept(linear(leaf(x, frozen=True), leaf(weight))) == 1
    assert kept(linear(leaf(x), leaf(weight))) == 2


def test_a_change_of_what_is_kept_is_seen() -> None:
    x, weight = leaf(torch.randn(6, 5)), leaf(torch.randn(4, 5))
    y = linear(x, weight)
    with torch.no_grad():
        weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.backward(y.sum())


def test_nothing_is_recorded_without_gradients() -> None:
    x, weight = leaf(torch.randn(6, 5)), leaf(torch.randn(4, 5))
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            y = linear(x, weight)
            close(y, x.double() @ weight.double().t())
        assert y.grad_fn is None


def test_torch_transforms_see_through_it() -> None:
    x, weight = torch.randn(3, 6, 5), torch.randn(4, 5)
    mapped = torch.func.vmap(lambda one: linear(one, weight))(x)
    torch.testing.assert_close(mapped, F.linear(x, weight))
    slopes = torch.func.vmap(torch.func.grad(lambda one: linear(one, weight).square().sum()))(x)
    torch.testing.assert_close(slopes, 2 * F.linear(x, weight) @ weight)


def test_a_recorded_graph_is_of_torch_calls() -> None:
    layer, x = Dense(5, 4), torch.randn(6, 5)
    exported = torch.export.export(layer, (x,))
    other = torch.randn(6, 5)
    torch.testing.assert_close(exported.module()(other), F.linear(other, layer.weight, layer.bias))


@pytest.mark.parametrize(
    ("x", "weight", "bias"),
    [
        (torch.randn(3, 5), torch.randn(4, 5).double(), None),
        (torch.randn(3, 5), torch.randn(4, 6), None),
        (torch.randn(3, 5), torch.randn(4, 5), torch.randn(4).double()),
        (torch.randn(3, 5), torch.randn(4, 5), torch.randn(3)),
        (torch.ones(3, 5, dtype=torch.int64), torch.randn(4, 5), None),
    ],
)
def test_what_does_not_fit_fails_as_in_torch(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    with pytest.raises(RuntimeError):
        linear(x, weight, bias)


def test_other_types_are_left_to_torch() -> None:
    x, weight = torch.randn(3, 5).bfloat16(), leaf(torch.randn(4, 5).bfloat16())
    assert not by_the_core(linear(x, weight))
    torch.testing.assert_close(linear(x, weight), F.linear(x, weight))


def test_small_products_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert not by_the_core(linear(torch.randn(32, 8), leaf(torch.randn(8, 8))))
    assert not by_the_core(linear(torch.randn(1, 1024), leaf(torch.randn(2048, 1024))))
    assert by_the_core(linear(torch.randn(64, 256), leaf(torch.randn(256, 256))))


def test_one_result_whatever_the_run() -> None:
    torch.manual_seed(0)
    x, weight, bias = leaf(torch.randn(300, 130)), leaf(torch.randn(210, 130)), leaf(torch.randn(210))

    def once() -> list[Tensor]:
        y = linear(x, weight, bias)
        return [y, *torch.autograd.grad(y.square().sum(), (x, weight, bias))]

    for one, other in zip(once(), once(), strict=True):
        assert torch.equal(one, other)


def test_dense_is_a_linear() -> None:
    torch.manual_seed(3)
    ours = Dense(5, 4)
    torch.manual_seed(3)
    theirs = nn.Linear(5, 4)
    assert repr(ours) == repr(theirs).replace("Linear", "Dense")
    assert isinstance(ours, nn.Linear)
    file = io.BytesIO()
    torch.save(theirs.state_dict(), file)
    file.seek(0)
    kept: dict[str, Any] = torch.load(file)
    for name, weight in ours.state_dict().items():
        assert torch.equal(weight, kept[name])
    ours.load_state_dict(kept)
    x = torch.randn(2, 6, 5)
    assert by_the_core(ours(x))
    torch.testing.assert_close(ours(x), theirs(x))
