"""Calls of the native engine with tensors as they come: other devices, types, classes, batches and times."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from elman.cells import CELLS, Cell
from elman.errors import UsageError
from elman.layers import Recurrent, backend
from tests.engine.agreement import needs_native

pytestmark = [needs_native, pytest.mark.filterwarnings("ignore::elman.errors.SlowWarning")]


def layer_of(name: str = "mgu", dtype: torch.dtype = torch.float64) -> Recurrent:
    torch.manual_seed(0)
    return Recurrent(CELLS.get(name)(3, 4)).to(dtype)


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def gradient_of(layer: Recurrent, y: Tensor) -> Tensor:
    """By all weights, one after the other."""
    return torch.cat([one.flatten() for one in torch.autograd.grad(y.sum(), list(layer.parameters()))])


def by(name: str, run: Callable[[], Any]) -> Any:
    with backend(name):
        return run()


@pytest.mark.parametrize("rows", [1, 2, 9])
def test_a_state_of_another_batch(rows: int) -> None:
    layer = layer_of()
    with backend("native"), pytest.raises(UsageError, match="a state of 5 rows"):
        layer(numbers(5, 4, 3), numbers(rows, 4))


def test_wider_types_than_the_cell_has() -> None:
    layer, x = layer_of(dtype=torch.float32), numbers(2, 4, 3)
    with backend("native"):
        with pytest.raises(UsageError, match=r"inputs of the cell's torch\.float32, got torch\.float64"):
            layer(x)
        with pytest.raises(UsageError, match=r"a state of the cell's torch\.float32, got torch\.float64"):
            layer(x.float(), numbers(2, 4))


@pytest.mark.parametrize("what", ["weights", "state"])
def test_tensors_on_another_device(what: str) -> None:
    layer, x = layer_of(), numbers(2, 4, 3)
    state = torch.zeros(2, 4, dtype=torch.float64, device="meta" if what == "state" else "cpu")
    if what == "weights":
        layer = layer.to("meta")
    with backend("native"), pytest.raises(UsageError, match="a tensor on 'meta'"):
        layer(x, state)


def test_another_default_device() -> None:
    layer, x = layer_of("lstm"), numbers(2, 4, 3)
    expected = by("loop", lambda: gradient_of(layer, layer(x)[0]))
    state = layer.initial_state(2)
    with backend("native"), torch.device("meta"):
        gradient = gradient_of(layer, layer(x, state)[0])
    torch.testing.assert_close(gradient, expected)


def test_lengths_that_change_between_the_passes() -> None:
    layer, x = layer_of(), numbers(3, 5, 3)

    def gradient() -> Tensor:
        lengths = torch.tensor([1, 3, 5])
        y = layer(x, lengths=lengths)[0]
        lengths.fill_(5)
        return gradient_of(layer, y.square())

    torch.testing.assert_close(by("native", gradient), by("loop", gradient))


def test_negative_views() -> None:
    layer, x, state = layer_of(), torch._neg_view(numbers(2, 4, 3)), torch._neg_view(numbers(2, 4))
    expected = by("loop", lambda: layer(x, state)[0])
    torch.testing.assert_close(by("native", lambda: layer(x, state)[0]), expected)


def test_nothing_to_compute_is_still_in_the_graph() -> None:
    layer = layer_of()
    y, state = by("native", lambda: layer(numbers(0, 4, 3)))
    (y.sum() + state.sum()).backward()
    assert all(torch.equal(weight.grad, torch.zeros_like(weight)) for weight in layer.parameters())  # type: ignore[arg-type]


class Tagged(Tensor):
    pass


def test_tensors_that_watch_torch_go_by_the_loop() -> None:
    layer, x = layer_of(), numbers(2, 4, 3)
    assert type(layer(x.as_subclass(Tagged))[0]) is Tagged
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert layer(mode.from_tensor(x))[0].shape == (2, 4, 4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_exports_hold_the_loop() -> None:
    layer, x = layer_of(), numbers(2, 4, 3)
    y = by("loop", lambda: layer(2 * x)[0])
    exported = torch.export.export(layer, (x,)).module()
    torch.testing.assert_close(exported(2 * x)[0], y)
    with torch.no_grad():
        traced = torch.jit.trace(layer, x)  # type: ignore[no-untyped-call]
        torch.testing.assert_close(traced(2 * x)[0], y.detach())


def test_the_first_call_may_be_without_gradients() -> None:
    class Own(type(layer_of().cell)):  # type: ignore[misc]
        """Of a kind that nobody has compiled."""

    cell: Cell = Own(3, 4).double()
    layer, x = Recurrent(cell), numbers(2, 4, 3)
    with torch.inference_mode():
        layer(x)
    assert layer.choice(x, layer.initial_state(2)).name == "native"
    layer(x)[0].sum().backward()


def test_weights_that_share_their_memory() -> None:
    layer, x = layer_of("elman"), numbers(2, 4, 3)
    with torch.no_grad():
        for name, weight in list(layer.cell.named_parameters()):
            module, _, own = name.rpartition(".")
            tied = torch.nn.Parameter(weight[:1].expand(weight.shape))
            setattr(layer.cell.get_submodule(module), own, tied)
    state = numbers(1, 4).expand(2, 4)
    gradients = [by(name, lambda: gradient_of(layer, layer(x, state)[0])) for name in ("loop", "native")]
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("reentrant", [True, False])
def test_torch_computes_again_what_was_saved(reentrant: bool) -> None:
    layer = layer_of("lstm")
    x = numbers(2, 4, 3).requires_grad_()

    def gradient(again: bool) -> Tensor:
        y = checkpoint(lambda x: layer(x)[0], x, use_reentrant=reentrant) if again else layer(x)[0]
        layer.zero_grad()
        y.square().sum().backward()
        return torch.cat([weight.grad.flatten() for weight in layer.parameters() if weight.grad is not None])

    torch.testing.assert_close(by("native", lambda: gradient(True)), by("loop", lambda: gradient(False)))


def test_what_was_saved_comes_back_elsewhere() -> None:
    layer, x = layer_of("lstm"), numbers(2, 4, 3)
    expected = by("loop", lambda: gradient_of(layer, layer(x)[0]))

    def moved(saved: Tensor) -> Tensor:
        """To an odd address."""
        copied = torch.empty(saved.numel() + 1, dtype=saved.dtype)[1:].view(saved.shape)
        return copied.copy_(saved)

    with backend("native"), torch.autograd.graph.saved_tensors_hooks(lambda saved: saved, moved):
        y = layer(x)[0]
    torch.testing.assert_close(gradient_of(layer, y), expected)
