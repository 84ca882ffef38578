"""The equations again in NumPy, equality with ONNX's operator, and limits."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from elman.cells.coupled_lstm import CoupledLSTM
from elman.cells.lstm import LSTMState
from elman.cells.scan import loop
from elman.testing import check_cell


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


def random_cell() -> CoupledLSTM:
    torch.manual_seed(0)
    cell = CoupledLSTM(3, 4).double()
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter)
    return cell


def test_steps_are_the_papers_equations() -> None:
    cell = random_cell()
    x, start = torch.randn(2, 6, 3).double(), LSTMState(torch.randn(2, 4).double(), torch.randn(2, 4).double())
    y, last = loop(cell, x, start)

    W, U, b = (p.detach().numpy() for p in (cell.from_input.weight, cell.from_hidden.weight, cell.from_input.bias))
    h, c = (leaf.numpy() for leaf in start)
    for t, x_t in enumerate(x.numpy().swapaxes(0, 1)):
        total = x_t @ W.T + h @ U.T + b
        f, g, o = sigmoid(total[:, :4]), np.tanh(total[:, 4:8]), sigmoid(total[:, 8:])
        gates = cell.gates(cell.project(x[:, t]), LSTMState(torch.from_numpy(h), torch.from_numpy(c)))
        for gate, expected in zip(gates, (f, g, o), strict=True):
            np.testing.assert_allclose(gate.detach(), expected, rtol=0, atol=1e-13)
        i = 1 - f
        c = f * c + i * g
        h = o * np.tanh(c)
        np.testing.assert_allclose(y[:, t].detach(), h, rtol=0, atol=1e-13)
    np.testing.assert_allclose(last.hidden.detach(), h, rtol=0, atol=1e-13)
    np.testing.assert_allclose(last.cell.detach(), c, rtol=0, atol=1e-13)


def test_equal_to_the_onnx_operator_whose_input_and_forget_gates_are_coupled(
    onnx_operator: Callable[..., list[np.ndarray]],
) -> None:
    cell = random_cell().float()
    x, start = torch.randn(2, 6, 3), LSTMState(torch.randn(2, 4), torch.randn(2, 4))

    def reordered(weight: Tensor) -> Tensor:  # input, output, forget (not read), candidate; input = 1 - forget
        f, g, o = weight.chunk(3)
        return torch.cat([-f, o, torch.zeros_like(f), g])

    inputs = {
        "X": x.transpose(0, 1),
        "W": reordered(cell.from_input.weight)[None],
        "R": reordered(cell.from_hidden.weight)[None],
        "B": torch.cat([reordered(cell.from_input.bias), torch.zeros(16)])[None],
        "initial_h": start.hidden[None],
        "initial_c": start.cell[None],
    }
    hidden, memory = onnx_operator("LSTM", inputs, ("Y", "", "Y_c"), hidden_size=4, input_forget=1)
    y, last = loop(cell, x, start)
    np.testing.assert_allclose(y.detach(), hidden[:, 0].swapaxes(0, 1), rtol=0, atol=2e-6)
    np.testing.assert_allclose(last.cell.detach(), memory[0], rtol=0, atol=2e-6)


def test_an_open_forget_gate_keeps_the_memory_exactly() -> None:
    cell = CoupledLSTM(3, 4, forget_bias=1e4)
    memory = torch.randn(5, 4)
    _, after = cell(torch.randn(5, 3), LSTMState(torch.randn(5, 4), memory))
    assert torch.equal(after.cell, memory)


def test_a_closed_forget_gate_writes_the_candidate() -> None:
    cell = CoupledLSTM(3, 4, forget_bias=-1e4)
    x, state = torch.randn(5, 3), LSTMState(torch.randn(5, 4), torch.randn(5, 4))
    assert torch.equal(cell(x, state)[1].cell, cell.gates(cell.project(x), state).candidate)


def test_another_forget_bias_passes_the_suite() -> None:
    check_cell("coupled_lstm", forget_bias=-1.0)
