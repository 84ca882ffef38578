"""The equations again in NumPy, equality with torch, and limits."""

import numpy as np
import torch

from elman.cells import LSTM
from elman.cells.lstm import LSTMState
from elman.testing import check_cell


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


def test_a_step_is_the_papers_equations() -> None:
    torch.manual_seed(0)
    cell = LSTM(3, 4).double()
    torch.nn.init.normal_(cell.from_input.bias)
    x, h, c = torch.randn(2, 3).double(), torch.randn(2, 4).double(), torch.randn(2, 4).double()
    W, U, b = (p.detach().numpy() for p in (cell.from_input.weight, cell.from_hidden.weight, cell.from_input.bias))

    def total(gate: int) -> np.ndarray:
        rows = slice(4 * gate, 4 * gate + 4)
        return np.asarray(np.einsum("hi,bi->bh", W[rows], x) + np.einsum("hk,bk->bh", U[rows], h) + b[rows])

    i, f, g, o = sigmoid(total(0)), sigmoid(total(1)), np.tanh(total(2)), sigmoid(total(3))
    expected_cell = f * c.numpy() + i * g
    expected_hidden = o * np.tanh(expected_cell)

    state = LSTMState(h, c)
    y, after = cell(x, state)
    np.testing.assert_allclose(y.detach(), expected_hidden, rtol=0, atol=1e-14)
    np.testing.assert_allclose(after.cell.detach(), expected_cell, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(after.hidden.detach(), y.detach())
    for gate, expected in zip(cell.gates(cell.project(x), state), (i, f, g, o), strict=True):
        np.testing.assert_allclose(gate.detach(), expected, rtol=0, atol=1e-14)


def test_equal_to_torchs_cell() -> None:
    torch.manual_seed(0)
    reference, cell = torch.nn.LSTMCell(3, 4), LSTM(3, 4)
    with torch.no_grad():
        cell.from_input.weight.copy_(reference.weight_ih)
        cell.from_hidden.weight.copy_(reference.weight_hh)
        cell.from_input.bias.copy_(reference.bias_ih + reference.bias_hh)
    x, h, c = torch.randn(5, 3), torch.randn(5, 4), torch.randn(5, 4)
    _, (hidden, memory) = cell(x, LSTMState(h, c))
    expected_hidden, expected_memory = reference(x, (h, c))
    torch.testing.assert_close(hidden, expected_hidden, rtol=0, atol=1e-6)
    torch.testing.assert_close(memory, expected_memory, rtol=0, atol=1e-6)


def test_open_forget_and_closed_input_gates_keep_the_memory_exactly() -> None:
    cell = LSTM(3, 4)
    with torch.no_grad():
        cell.from_input.bias[:4] = -1e4
        cell.from_input.bias[4:8] = 1e4
    memory = torch.randn(5, 4)
    _, after = cell(torch.randn(5, 3), LSTMState(torch.randn(5, 4), memory))
    assert torch.equal(after.cell, memory)


def test_a_closed_output_gate_shows_nothing() -> None:
    cell = LSTM(3, 4)
    with torch.no_grad():
        cell.from_input.bias[12:] = -1e4
    y, _ = cell(torch.randn(5, 3), LSTMState(torch.randn(5, 4), torch.randn(5, 4)))
    assert not y.any()


def test_the_forget_bias_is_that_of_the_forget_gate_alone() -> None:
    bias = LSTM(3, 4, forget_bias=2.5).from_input.bias
    assert bias.tolist() == [0.0] * 4 + [2.5] * 4 + [0.0] * 8


def test_another_forget_bias_passes_the_suite() -> None:
    check_cell("lstm", forget_bias=-1.0)
