"""The equations again in NumPy, limits, and gradients where the root has none."""

import numpy as np
import pytest
import torch

from elman.cells.rg_lru import RGLRU
from elman.errors import ConfigError
from elman.testing import check_cell


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


@pytest.mark.parametrize("heads", [1, 2])
def test_steps_are_the_papers_equations(heads: int) -> None:
    torch.manual_seed(0)
    cell = RGLRU(3, 4, heads=heads).double()
    torch.nn.init.normal_(cell.gate_bias)
    W, b, blocks, gate_bias, decay = (
        p.detach().numpy()
        for p in (cell.from_input.weight, cell.from_input.bias, cell.gate_weight, cell.gate_bias, cell.decay)
    )
    size = 4 // heads
    recurrence_weight, input_weight = np.zeros((4, 4)), np.zeros((4, 4))
    for head, block in enumerate(blocks):
        rows = slice(head * size, head * size + size)
        recurrence_weight[rows, rows], input_weight[rows, rows] = block[:, :size], block[:, size:]
    x, state = torch.randn(2, 5, 3).double(), torch.randn(2, 4).double()
    h = state.numpy()
    for t in range(5):
        u = x[:, t].numpy() @ W.T + b
        r, i = sigmoid(u @ recurrence_weight + gate_bias[:4]), sigmoid(u @ input_weight + gate_bias[4:])
        a = sigmoid(decay) ** (8 * r)
        h = a * h + np.sqrt(1 - a**2) * (i * u)
        gates = cell.gates(cell.project(x[:, t]), state)
        y, state = cell(x[:, t], state)
        np.testing.assert_allclose(y.detach(), h, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(state.detach(), y.detach())
        np.testing.assert_allclose(gates.recurrence.detach(), r, rtol=0, atol=1e-13)
        np.testing.assert_allclose(gates.input.detach(), i, rtol=0, atol=1e-13)


def test_decays_start_uniform_in_the_range_given() -> None:
    torch.manual_seed(0)
    cell = RGLRU(1, 20_000, heads=20_000, min_decay=0.8, max_decay=0.95)
    decay = cell.decay.detach().double().sigmoid() ** 8
    assert 0.8 - 1e-5 < decay.min() < 0.801
    assert 0.949 < decay.max() < 0.95 + 1e-5
    assert abs(float(decay.mean()) - 0.875) < 0.002


@pytest.mark.parametrize("bias", [-1e4, -100.0, -60.0])
def test_a_closed_recurrence_gate_keeps_the_state_with_finite_gradients(bias: float) -> None:
    cell = RGLRU(3, 4)
    with torch.no_grad():
        cell.gate_bias[:4] = bias
    h = torch.randn(5, 4)
    y, after = cell(torch.randn(5, 3), h)
    torch.testing.assert_close(after, h, rtol=0, atol=1e-10)
    y.sum().backward()
    for name, parameter in cell.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() < 1e3, name


def test_a_closed_input_gate_only_decays() -> None:
    cell = RGLRU(3, 4)
    with torch.no_grad():
        cell.gate_bias[4:] = -1e4
        cell.gate_bias[:4] = 1e4
    h = torch.randn(5, 4)
    torch.testing.assert_close(cell(torch.randn(5, 3), h)[1], cell.decay.sigmoid() ** 8 * h, rtol=1e-5, atol=1e-6)


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ConfigError, match="`heads` that divide the 4 units, got 3"):
        RGLRU(3, 4, heads=3)


@pytest.mark.parametrize("decays", [(0.0, 0.5), (0.9, 0.9), (0.5, 1.0)])
def test_decays_out_of_range_are_refused(decays: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="expected 0 < `min_decay` < `max_decay` < 1"):
        RGLRU(3, 4, min_decay=decays[0], max_decay=decays[1])


def test_conformance_of_heads() -> None:
    check_cell("rg_lru", heads=2, min_decay=0.1, max_decay=0.5)
