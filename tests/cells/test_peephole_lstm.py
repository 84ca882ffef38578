"""The equations again in NumPy, equality with torch and with ONNX's operator, and limits."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from elman.cells import LSTM
from elman.cells.lstm import LSTMState
from elman.cells.peephole_lstm import PeepholeLSTM
from elman.cells.scan import loop
from elman.testing import check_cell


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


def random_cell() -> PeepholeLSTM:
    torch.manual_seed(0)
    cell = PeepholeLSTM(3, 4).double()
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter)
    return cell


def test_steps_are_the_papers_equations() -> None:
    cell = random_cell()
    x, start = torch.randn(2, 6, 3).double(), LSTMState(torch.randn(2, 4).double(), torch.randn(2, 4).double())
    y, last = loop(cell, x, start)

    W, U, b = (p.detach().numpy() for p in (cell.from_input.weight, cell.from_hidden.weight, cell.from_input.bias))
    p_i, p_f, p_o = cell.from_cell.detach().numpy().reshape(3, 4)
    h, c = (leaf.numpy() for leaf in start)
    for t, x_t in enumerate(x.numpy().swapaxes(0, 1)):
        gates = cell.gates(cell.project(x[:, t]), LSTMState(torch.from_numpy(h), torch.from_numpy(c)))
        total = x_t @ W.T + h @ U.T + b
        i, f = sigmoid(total[:, :4] + p_i * c), sigmoid(total[:, 4:8] + p_f * c)
        g = np.tanh(total[:, 8:12])
        c = f * c + i * g
        o = sigmoid(total[:, 12:] + p_o * c)
        h = o * np.tanh(c)
        for gate, expected in zip(gates, (i, f, g, o), strict=True):
            np.testing.assert_allclose(gate.detach(), expected, rtol=0, atol=1e-13)
        np.testing.assert_allclose(y[:, t].detach(), h, rtol=0, atol=1e-13)
    np.testing.assert_allclose(last.hidden.detach(), h, rtol=0, atol=1e-13)
    np.testing.assert_allclose(last.cell.detach(), c, rtol=0, atol=1e-13)


def test_equal_to_the_onnx_operator_with_peepholes_over_time(onnx_operator: Callable[..., list[np.ndarray]]) -> None:
    cell = random_cell().float()
    x, start = torch.randn(2, 6, 3), LSTMState(torch.randn(2, 4), torch.randn(2, 4))

    def reordered(weight: Tensor) -> Tensor:  # the operator has input, output, forget, candidate
        i, f, g, o = weight.chunk(4)
        return torch.cat([i, o, f, g])

    p_i, p_f, p_o = cell.from_cell.chunk(3)
    inputs = {
        "X": x.transpose(0, 1),
        "W": reordered(cell.from_input.weight)[None],
        "R": reordered(cell.from_hidden.weight)[None],
        "B": torch.cat([reordered(cell.from_input.bias), torch.zeros(16)])[None],
        "initial_h": start.hidden[None],
        "initial_c": start.cell[None],
        "P": torch.cat([p_i, p_o, p_f])[None],
    }
    hidden, memory = onnx_operator("LSTM", inputs, ("Y", "", "Y_c"), hidden_size=4)
    y, last = loop(cell, x, start)
    np.testing.assert_allclose(y.detach(), hidden[:, 0].swapaxes(0, 1), rtol=0, atol=2e-6)
    np.testing.assert_allclose(last.cell.detach(), memory[0], rtol=0, atol=2e-6)


def test_it_begins_as_an_lstm() -> None:
    torch.manual_seed(0)
    cell = PeepholeLSTM(3, 4, forget_bias=2.0)
    torch.manual_seed(0)
    lstm = LSTM(3, 4, forget_bias=2.0)
    x = torch.randn(2, 6, 3)
    torch.testing.assert_close(loop(cell, x, cell.initial_state(2)), loop(lstm, x, lstm.initial_state(2)))


def test_a_full_memory_can_close_its_own_input_gate() -> None:
    cell = PeepholeLSTM(3, 4)
    with torch.no_grad():
        cell.from_cell.copy_(torch.tensor([-1e4] * 4 + [1e4] * 4 + [0.0] * 4))
    memory = 1 + torch.rand(5, 4)
    _, after = cell(torch.randn(5, 3), LSTMState(torch.randn(5, 4), memory))
    assert torch.equal(after.cell, memory)


def test_another_forget_bias_passes_the_suite() -> None:
    check_cell("peephole_lstm", forget_bias=-1.0)
