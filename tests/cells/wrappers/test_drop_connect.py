"""Weights that are dropped, against the same cell with those weights at zero."""

import copy
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load, save

from elman.cells import GRU, LSTM, Cell, Elman, VendorWeights
from elman.cells.lstm import LSTMState
from elman.cells.masks import share_of_rows
from elman.cells.wrappers import DropConnect
from elman.errors import ConfigError
from elman.layers import Recurrent, backend
from elman.testing.compare import assert_equal, run_with_gradients


@pytest.mark.parametrize("factory", [lambda: LSTM(3, 4), lambda: GRU(3, 4), lambda: Elman(3, 4)])
@pytest.mark.parametrize("choice", ["loop", "torch"])
def test_a_call_is_that_of_a_cell_with_dropped_weights(factory: Callable[[], Cell], choice: str) -> None:
    torch.manual_seed(0)
    cell = factory().double()
    layer, x = Recurrent(DropConnect(cell, 0.4)), torch.randn(2, 5, 3, dtype=torch.float64)
    reference = copy.deepcopy(cell)
    with backend(choice):
        torch.manual_seed(1)
        actual = run_with_gradients(layer, x, layer.initial_state(2))
        mask = (cell.from_hidden.weight != 0).double() / 0.6  # type: ignore[union-attr]
        weight = dict(cell.named_parameters())["from_hidden.weight"]
        assert torch.equal(cell.from_hidden.weight, weight * mask)  # type: ignore[arg-type, union-attr]
        assert 0 < (mask == 0).sum() < mask.numel()
        with torch.no_grad():
            dict(reference.named_parameters())["from_hidden.weight"].mul_(mask)
        expected = run_with_gradients(Recurrent(reference), x, layer.initial_state(2))
    expected["the gradient of cell.from_hidden.weight"] *= mask
    assert_equal({name.replace("cell.cell", "cell"): value for name, value in actual.items()}, expected, "dropped")


def test_one_mask_a_call_that_keeps_the_mean() -> None:
    torch.manual_seed(0)
    cell = Elman(1, 300)
    layer, x = Recurrent(DropConnect(cell, 0.3)), torch.randn(1, 2, 1)
    weight = dict(cell.named_parameters())["from_hidden.weight"].detach().clone()
    masks = []
    for _ in range(2):
        layer(x)
        masks.append((cell.from_hidden.weight / weight).detach().round(decimals=4))
    assert set(masks[0].flatten().tolist()) == {0.0, masks[0].max().item()}
    # 90,000 draws: the mean has a standard error of sqrt(.3 / .7 / 9e4) = 0.002
    assert masks[0].mean().item() == pytest.approx(1, abs=0.01)
    assert ((masks[0] == 0) & (masks[1] == 0)).float().mean().item() == pytest.approx(0.3**2, abs=0.01)


def test_processes_that_share_a_batch_drop_the_same_weights() -> None:
    cell = Elman(3, 4)
    layer, dropped = Recurrent(DropConnect(cell, 0.5)), []
    for rows in (slice(0, 1), slice(1, 5)):
        torch.manual_seed(0)
        with share_of_rows(rows, 5):
            layer(torch.zeros(rows.stop - rows.start, 2, 3))
        dropped.append(cell.from_hidden.weight.detach().clone())
    assert torch.equal(*dropped)


def test_what_is_saved_is_not_dropped() -> None:
    torch.manual_seed(0)
    layer, other = (Recurrent(DropConnect(LSTM(3, 4), 0.5)) for _ in range(2))
    weight = dict(layer.named_parameters())["cell.cell.from_hidden.weight"].detach().clone()
    x = torch.randn(2, 5, 3)
    for one in (layer, other):
        one(x)[0].sum().backward()
    other.load_state_dict(load(save(layer.state_dict())))
    assert set(layer.state_dict()) == {
        "cell.cell.from_input.weight", "cell.cell.from_input.bias", "cell.cell.from_hidden.weight",
    }  # fmt: skip
    assert torch.equal(layer.state_dict()["cell.cell.from_hidden.weight"], weight)
    assert torch.equal(layer.eval()(x)[0], other.eval()(x)[0])
    vendor = layer.cell.vendor()
    assert isinstance(vendor, VendorWeights)
    assert torch.equal(vendor.weight_hh, weight)


def test_a_copy_within_training_is_trained_on_its_own() -> None:
    layer, x = Recurrent(DropConnect(GRU(3, 4), 0.5)), torch.randn(2, 5, 3)
    y, _ = layer(x)
    twin = copy.deepcopy(layer)
    y.sum().backward()
    twin(x)[0].sum().backward()
    assert all(parameter.grad is not None for one in (layer, twin) for parameter in one.parameters())
    assert not {id(parameter) for parameter in twin.parameters()} & {id(parameter) for parameter in layer.parameters()}


def test_nothing_is_dropped_outside_training() -> None:
    cell, x = LSTM(3, 4), torch.randn(2, 5, 3)
    wrapped, reference = DropConnect(cell, 0.9), copy.deepcopy(cell)
    Recurrent(wrapped)(x)
    wrapped.eval()
    state = LSTMState(torch.randn(2, 4), torch.randn(2, 4))
    assert torch.equal(wrapped(x[:, 0], state)[0], reference(x[:, 0], state)[0])
    assert torch.equal(Recurrent(wrapped)(x)[0], Recurrent(reference)(x)[0])
    assert torch.equal(Recurrent(DropConnect(cell, 0.0))(x)[0], Recurrent(reference)(x)[0])


def test_a_cell_without_recurrent_matrix_is_refused() -> None:
    class Memoryless(GRU):
        def __init__(self) -> None:
            super().__init__(3, 4)
            del self.from_hidden

    with pytest.raises(ConfigError, match="expected a cell with recurrent matrices, which Memoryless has not"):
        DropConnect(Memoryless(), 0.5)


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_out_of_range(p: float) -> None:
    with pytest.raises(ConfigError, match="expected a probability of dropout"):
        DropConnect(GRU(3, 4), p)
