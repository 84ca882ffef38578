"""The equations again in NumPy, and limits."""

import numpy as np
import pytest
import torch

from elman.cells.min_lstm import MinLSTM
from elman.testing import check_cell


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


@pytest.mark.parametrize("positive", [False, True])
def test_steps_are_the_papers_equations(positive: bool) -> None:
    torch.manual_seed(0)
    cell = MinLSTM(3, 4, positive=positive).double()
    torch.nn.init.normal_(cell.from_input.bias)
    W, b = (p.detach().numpy() for p in (cell.from_input.weight, cell.from_input.bias))
    x, state = torch.randn(2, 5, 3).double(), torch.randn(2, 4).double()
    h = state.numpy()
    for t in range(5):
        forget, input, candidate = np.split(x[:, t].numpy() @ W.T + b, 3, -1)
        forget, input = sigmoid(forget), sigmoid(input)
        if positive:
            candidate = np.where(candidate >= 0, candidate + 0.5, sigmoid(candidate))
        h = forget / (forget + input) * h + input / (forget + input) * candidate
        gates = cell.gates(cell.project(x[:, t]), state)
        y, state = cell(x[:, t], state)
        np.testing.assert_allclose(y.detach(), h, rtol=0, atol=1e-13)
        np.testing.assert_array_equal(state.detach(), y.detach())
        expected = (forget / (forget + input), input / (forget + input), candidate)
        for gate, value in zip(gates, expected, strict=True):
            np.testing.assert_allclose(gate.detach(), value, rtol=0, atol=1e-13)


def test_two_closed_gates_share_instead_of_dividing_zero_by_zero() -> None:
    cell = MinLSTM(3, 4)
    torch.nn.init.zeros_(cell.from_input.weight)
    with torch.no_grad():
        cell.from_input.bias[:8] = -1e4
        cell.from_input.bias[8:] = 1.0
    x, h = torch.randn(5, 3), torch.full((5, 4), 3.0)
    y, _ = cell(x, h)
    assert torch.equal(y, torch.full((5, 4), 2.0))
    y.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in cell.parameters())


def test_a_closed_input_gate_keeps_the_state_exactly() -> None:
    cell = MinLSTM(3, 4)
    with torch.no_grad():
        cell.from_input.bias[4:8] = -1e4
    h = torch.randn(5, 4)
    assert torch.equal(cell(torch.randn(5, 3), h)[1], h)


def test_units_start_with_memories_up_to_the_option() -> None:
    cell = MinLSTM(3, 3, memory=200.0)
    forget, input, _ = cell.from_input.bias.detach().sigmoid().chunk(3)
    np.testing.assert_allclose((forget + input) / input, [200, 20, 2], rtol=1e-3)


def test_conformance_with_positive_candidates() -> None:
    check_cell("min_lstm", positive=True, memory=5.0)
