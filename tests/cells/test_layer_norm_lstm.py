"""The equations again in NumPy, and what normalization promises."""

import numpy as np
import pytest
import torch

from elman.cells.layer_norm_lstm import LayerNormLSTM
from elman.cells.lstm import LSTMState
from elman.cells.scan import loop
from elman.errors import ConfigError
from elman.testing import check_cell


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


def normalized(a: np.ndarray) -> np.ndarray:
    centered = a - a.mean(-1, keepdims=True)
    return np.asarray(centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-5))


def random_cell() -> LayerNormLSTM:
    torch.manual_seed(0)
    cell = LayerNormLSTM(3, 4).double()
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter)
    return cell


def test_steps_are_the_papers_equations() -> None:
    cell = random_cell()
    x, start = torch.randn(2, 6, 3).double(), LSTMState(torch.randn(2, 4).double(), torch.randn(2, 4).double())
    y, last = loop(cell, x, start)

    weights = {name: parameter.detach().numpy() for name, parameter in cell.named_parameters()}
    h, c = (leaf.numpy() for leaf in start)
    for t, x_t in enumerate(x.numpy().swapaxes(0, 1)):
        total = weights["norm_input.weight"] * normalized(x_t @ weights["from_input.weight"].T)
        total = total + weights["norm_hidden.weight"] * normalized(h @ weights["from_hidden.weight"].T)
        total = total + weights["norm_input.bias"]
        i, f, o = (sigmoid(total[:, 4 * gate : 4 * gate + 4]) for gate in (0, 1, 3))
        g = np.tanh(total[:, 8:12])
        gates = cell.gates(cell.project(x[:, t]), LSTMState(torch.from_numpy(h), torch.from_numpy(c)))
        for gate, expected in zip(gates, (i, f, g, o), strict=True):
            np.testing.assert_allclose(gate.detach(), expected, rtol=0, atol=1e-12)
        c = f * c + i * g
        h = o * np.tanh(weights["norm_cell.weight"] * normalized(c) + weights["norm_cell.bias"])
        np.testing.assert_allclose(y[:, t].detach(), h, rtol=0, atol=1e-12)
    np.testing.assert_allclose(last.hidden.detach(), h, rtol=0, atol=1e-12)
    np.testing.assert_allclose(last.cell.detach(), c, rtol=0, atol=1e-12)


def test_the_scale_of_the_weights_does_not_matter() -> None:
    cell = random_cell()
    x = torch.randn(2, 6, 3).double()
    expected, _ = loop(cell, x, cell.initial_state(2))
    with torch.no_grad():
        cell.from_input.weight.mul_(1000)
        cell.from_hidden.weight.mul_(1000)
    y, _ = loop(cell, x, cell.initial_state(2))
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-3)  # but for the small number beside the variance


def test_open_forget_and_closed_input_gates_keep_the_memory_exactly() -> None:
    cell = LayerNormLSTM(3, 4, forget_bias=1e4)
    with torch.no_grad():
        cell.norm_input.bias[:4] = -1e4
    memory = torch.randn(5, 4)
    _, after = cell(torch.randn(5, 3), LSTMState(torch.randn(5, 4), memory))
    assert torch.equal(after.cell, memory)


def test_another_forget_bias_passes_the_suite() -> None:
    check_cell("layer_norm_lstm", forget_bias=-1.0)


@pytest.mark.parametrize("hidden_size", [4, 64])
@pytest.mark.parametrize("zeros", [5, 50])
def test_gradients_of_a_new_cell_pass_through_inputs_of_zeros(hidden_size: int, zeros: int) -> None:
    """Silence before the first sound. LN of a state of zeros would multiply gradients at every step, until they overflow."""
    torch.manual_seed(0)
    cell = LayerNormLSTM(3, hidden_size)
    x = torch.cat([torch.zeros(2, zeros, 3), torch.randn(2, 5, 3)], 1)
    y, _ = loop(cell, x, cell.initial_state(2))
    y[:, -1].mean().backward()  # type: ignore[no-untyped-call]
    for name, parameter in cell.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.norm() < 100, name


def test_a_single_unit_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected `hidden_size` >= 2, got 1"):
        LayerNormLSTM(3, 1)
