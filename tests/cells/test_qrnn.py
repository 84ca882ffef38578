"""The equations again in NumPy, torch's convolution, and limits."""

import numpy as np
import pytest
import torch
from torch.nn.functional import conv1d, pad

from elman.cells.qrnn import QRNN, QRNNState
from elman.errors import ConfigError
from elman.testing import check_cell


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


@pytest.mark.parametrize("window", [2, 3])
def test_steps_are_the_papers_equations(window: int) -> None:
    torch.manual_seed(0)
    cell = QRNN(3, 4, window=window).double()
    torch.nn.init.normal_(cell.from_input.bias)
    b = cell.from_input.bias.detach().numpy()
    earlier = cell.from_earlier.weight.detach().numpy()
    W = [cell.from_input.weight.detach().numpy(), *np.split(earlier, window - 1)]
    x, state = torch.randn(2, 6, 3).double(), cell.initial_state(2)
    c = np.zeros((2, 4))
    for t in range(6):
        total = b + sum(x[:, t - k].numpy() @ W[k].T for k in range(min(window, t + 1)))
        candidate, forget, output = np.split(total, 3, -1)
        candidate, forget, output = np.tanh(candidate), sigmoid(forget), sigmoid(output)
        c = forget * c + (1 - forget) * candidate
        gates = cell.gates(cell.project(x[:, t]), state)
        y, state = cell(x[:, t], state)
        np.testing.assert_allclose(y.detach(), output * c, rtol=0, atol=1e-13)
        np.testing.assert_allclose(state.cell.detach(), c, rtol=0, atol=1e-13)
        for gate, value in zip(gates, (candidate, forget, output), strict=True):
            np.testing.assert_allclose(gate.detach(), value, rtol=0, atol=1e-13)


def test_the_gates_are_torchs_causal_convolution() -> None:
    torch.manual_seed(0)
    cell = QRNN(3, 4, window=3)
    x = torch.randn(2, 9, 3)
    earlier = cell.from_earlier.weight.chunk(2)
    kernel = torch.stack([earlier[1], earlier[0], cell.from_input.weight], -1)  # the oldest first
    total = conv1d(pad(x.mT, (2, 0)), kernel, cell.from_input.bias).mT
    _, _, output = total.chunk(3, -1)
    with torch.no_grad():
        cell.from_input.bias[4:8] = -1e4  # forgets all: h is the output gate times the candidate
    y, _ = cell.scan(x, cell.initial_state(2))
    torch.testing.assert_close(y, output.sigmoid() * total[..., :4].tanh(), rtol=0, atol=1e-6)


def test_an_open_forget_gate_keeps_the_cell_exactly() -> None:
    cell = QRNN(3, 4)
    with torch.no_grad():
        cell.from_input.bias[4:8] = 1e4
    c = torch.randn(5, 4)
    _, after = cell(torch.randn(5, 3), QRNNState(c, torch.randn(5, 1, 12)))
    assert torch.equal(after.cell, c)


def test_a_window_of_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="`window` of 2 inputs or more, got 1"):
        QRNN(3, 4, window=1)


def test_conformance_of_a_wider_window() -> None:
    check_cell("qrnn", window=4, memory=5.0)
