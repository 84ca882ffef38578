"""A layer under autocast: float32 products multiply numbers rounded to bfloat16; all else stays float32, and what it was."""

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from elman import core
from elman.cells.cell import CELLS
from elman.engine.dense import linear
from elman.layers import Recurrent, backend
from elman.state import leaves

HAS_CORE = not core.why_absent()
pytestmark = pytest.mark.skipif(not HAS_CORE, reason=core.why_absent())
rounds = pytest.mark.skipif(not (HAS_CORE and core.has_bfloat16()), reason="no instructions for bfloat16")

BATCH, STEPS, INPUTS, HIDDEN = 9, 31, 21, 37
CELLS_UNDER_TEST = ("lstm", "gru", "elman", "layer_norm_gru", "peephole_lstm", "highway")


@pytest.fixture(autouse=True)
def one_seed() -> None:
    torch.manual_seed(0)


def layer_of(name: str, dtype: torch.dtype = torch.float32) -> Recurrent:
    return Recurrent(CELLS.get(name)(INPUTS, HIDDEN)).to(dtype)


def sequences(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Inputs and how long each sequence is."""
    return torch.randn(BATCH, STEPS, INPUTS, dtype=dtype), torch.randint(1, STEPS + 1, (BATCH,))


def results(
    layer: Recurrent, x: Tensor, lengths: Tensor, *, on: str = "native", mixed: torch.dtype | None = None
) -> dict[str, Tensor]:
    """Output, final state and the gradients by the input and all weights; `mixed`: under autocast to that type."""
    x = x.clone().requires_grad_()
    with backend(on), torch.autocast("cpu", mixed or torch.bfloat16, enabled=mixed is not None):
        y, state = layer(x, lengths=lengths)
    final = {f"state {index}": leaf for index, leaf in enumerate(leaves(state))}
    slope = torch.randn(y.shape, generator=torch.Generator().manual_seed(0)).to(y.dtype)
    loss = (y * slope).sum() + sum(leaf.square().sum() for leaf in final.values())
    named = {"x": x, **dict(layer.named_parameters())}
    gradients = torch.autograd.grad(loss, list(named.values()))
    return {"y": y, **final, **{f"d{name}": one for name, one in zip(named, gradients, strict=True)}}


def identical(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@rounds
@pytest.mark.parametrize("name", CELLS_UNDER_TEST)
def test_results_are_near_those_of_the_loop_in_float32(name: str) -> None:
    layer, (x, lengths) = layer_of(name), sequences()
    actual, expected = results(layer, x, lengths, mixed=torch.bfloat16), results(layer, x, lengths, on="loop")
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        assert actual[key].dtype == torch.float32
        if key.startswith("d"):
            assert F.cosine_similarity(actual[key].flatten(), value.flatten(), dim=0) > 0.999, key
        else:
            assert (actual[key] - value).norm() < 2e-2 * value.norm(), key


@rounds
@pytest.mark.parametrize("name", CELLS_UNDER_TEST)
def test_all_products_round(name: str) -> None:
    layer, (x, lengths) = layer_of(name), sequences()
    mixed, exact = results(layer, x, lengths, mixed=torch.bfloat16), results(layer, x, lengths)
    for key, value in exact.items():
        assert not torch.allclose(mixed[key], value, rtol=1e-5, atol=1e-6), key


def elman_by_numpy(layer: Recurrent, x: Tensor) -> NDArray[np.float64]:
    """h_t = tanh(W x_t + U h_{t-1} + b), every factor of a product rounded to bfloat16, sums in float64."""

    def rounded(numbers: Tensor | NDArray[np.float64]) -> NDArray[np.float64]:
        result: NDArray[np.float64] = torch.as_tensor(numbers).detach().float().bfloat16().double().numpy()
        return result

    weights = dict(layer.cell.named_parameters())
    w, u = rounded(weights["from_input.weight"]), rounded(weights["from_hidden.weight"])
    bias = weights["from_input.bias"].detach().double().numpy()
    hidden, steps = np.zeros((len(x), len(u))), []
    for step in range(x.shape[1]):
        hidden = np.tanh(rounded(x[:, step]) @ w.T + rounded(hidden) @ u.T + bias)
        steps.append(hidden)
    return np.stack(steps, 1)


@rounds
def test_the_products_of_a_step_are_those_of_rounded_numbers() -> None:
    layer, (x, _) = layer_of("elman"), sequences()
    expected = elman_by_numpy(layer, x)
    with torch.no_grad(), backend("native"):
        exact, _ = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            y, _ = layer(x)
    off = np.abs(y.numpy() - expected)
    # Here and there a last digit of float32 decides which way a state is rounded, to one part in 256.
    assert np.median(off) < 1e-6
    assert off.max() < 1e-2
    assert np.median(np.abs(exact.numpy() - expected)) > 1e-4


@rounds
def test_the_gradient_of_a_weight_is_the_product_of_rounded_numbers() -> None:
    layer, (x, _) = layer_of("elman"), sequences()
    weight, bias = (dict(layer.cell.named_parameters())[f"from_input.{kind}"] for kind in ("weight", "bias"))
    x, slope = x[:, :1], torch.randn(BATCH, 1, HIDDEN)
    with backend("native"), torch.autocast("cpu", torch.bfloat16):
        y, _ = layer(x)
    of_weight, of_bias = torch.autograd.grad(y, (weight, bias), slope)
    inside = (slope * (1 - y.detach() ** 2))[:, 0]
    torch.testing.assert_close(of_bias, inside.sum(0))
    expected = inside.bfloat16().double().t() @ x[:, 0].bfloat16().double()
    assert (of_weight - expected).abs().median() < 1e-6
    assert (of_weight - inside.double().t() @ x[:, 0].double()).abs().median() > 1e-3


@pytest.mark.parametrize("name", CELLS_UNDER_TEST)
def test_without_autocast_nothing_changes(name: str) -> None:
    layer, (x, lengths) = layer_of(name), sequences()
    before = results(layer, x, lengths)
    results(layer, x, lengths, mixed=torch.bfloat16)
    assert identical(results(copy.deepcopy(layer), x, lengths), before)


def test_float64_and_autocast_to_float16_change_nothing() -> None:
    for dtype, mixed in ((torch.float64, torch.bfloat16), (torch.float32, torch.float16)):
        layer, (x, lengths) = layer_of("lstm", dtype), sequences(dtype)
        assert identical(results(layer, x, lengths, mixed=mixed), results(layer, x, lengths))


@pytest.fixture
def kernels_that_do_not_round() -> Iterator[None]:
    with core.use_kernels("portable"):
        yield


@pytest.mark.usefixtures("kernels_that_do_not_round")
def test_without_instructions_products_stay_float32() -> None:
    layer, (x, lengths) = layer_of("gru"), sequences()
    assert not core.has_bfloat16()
    assert identical(results(layer, x, lengths, mixed=torch.bfloat16), results(layer, x, lengths))


@rounds
def test_sizes_of_several_chunks_and_threads() -> None:
    layer, x = Recurrent(CELLS.get("lstm")(130, 257)), torch.randn(23, 60, 130)
    lengths = torch.randint(0, 61, (23,))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        actual, expected = results(layer, x, lengths, mixed=torch.bfloat16), results(layer, x, lengths)
    finally:
        torch.set_num_threads(threads)
    for key, value in expected.items():
        assert F.cosine_similarity(actual[key].flatten(), value.flatten(), dim=0) > 0.999, key


@rounds
def test_a_gradient_can_be_differentiated() -> None:
    layer, (x, _) = layer_of("elman"), sequences()
    x.requires_grad_()
    with backend("native"), torch.autocast("cpu", torch.bfloat16):
        y, _ = layer(x)
    (slope,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.square().sum(), x)
    assert curvature.isfinite().all()
    assert curvature.abs().max() > 0


@pytest.mark.parametrize("enabled", [False, True])
def test_a_dense_layer_has_the_type_and_the_numbers_of_torchs(enabled: bool) -> None:
    x, weight, bias = torch.randn(70, 5, 128), torch.randn(96, 128) / 10, torch.randn(96)
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        actual, expected = linear(x, weight, bias), F.linear(x, weight, bias)
    assert actual.dtype == expected.dtype == (torch.bfloat16 if enabled else torch.float32)
    torch.testing.assert_close(actual, expected)
