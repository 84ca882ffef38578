"""The equations again in NumPy, equality with torch's LSTM by other weights, and limits."""

import numpy as np
import torch
from torch import Tensor

from elman.cells.lstm import LSTMState
from elman.cells.lstm_1997 import LSTM1997
from elman.cells.scan import loop
from elman.testing import check_cell


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


def random_cell() -> LSTM1997:
    torch.manual_seed(0)
    cell = LSTM1997(3, 4).double()
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
        i, g, o = sigmoid(total[:, :4]), 4 * sigmoid(total[:, 4:8]) - 2, sigmoid(total[:, 8:])
        gates = cell.gates(cell.project(x[:, t]), LSTMState(torch.from_numpy(h), torch.from_numpy(c)))
        for gate, expected in zip(gates, (i, g, o), strict=True):
            np.testing.assert_allclose(gate.detach(), expected, rtol=0, atol=1e-13)
        c = c + i * g
        h = o * (2 * sigmoid(c) - 1)
        np.testing.assert_allclose(y[:, t].detach(), h, rtol=0, atol=1e-13)
    np.testing.assert_allclose(last.hidden.detach(), h, rtol=0, atol=1e-13)
    np.testing.assert_allclose(last.cell.detach(), c, rtol=0, atol=1e-13)


def test_equal_to_torchs_lstm_that_never_forgets() -> None:
    """4 sigmoid(a) - 2 = 2 tanh(a / 2), so that a memory of half the size, c / 2, is that of torch's LSTM."""
    cell = random_cell()
    reference = torch.nn.LSTM(3, 4, batch_first=True).double()

    def with_open_forget_gate(weight: Tensor, forget: float) -> Tensor:
        i, g, o = weight.chunk(3)
        return torch.cat([i, torch.full_like(i, forget), g / 2, o])

    weights = cell.state_dict()
    reference.load_state_dict(
        {
            "weight_ih_l0": with_open_forget_gate(weights["from_input.weight"], 0.0),
            "weight_hh_l0": with_open_forget_gate(weights["from_hidden.weight"], 0.0),
            "bias_ih_l0": with_open_forget_gate(weights["from_input.bias"], 1e4),
            "bias_hh_l0": torch.zeros(16),
        }
    )
    x = torch.randn(2, 6, 3).double()
    expected, (_, half) = reference(x)
    y, last = loop(cell, x, cell.initial_state(2))
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(last.cell, 2 * half[0], rtol=0, atol=1e-13)


def test_a_closed_input_gate_keeps_the_memory_exactly() -> None:
    cell = LSTM1997(3, 4, input_bias=-1e4)
    memory = torch.randn(5, 4)
    _, after = cell(torch.randn(5, 3), LSTMState(torch.randn(5, 4), memory))
    assert torch.equal(after.cell, memory)


def test_a_closed_output_gate_shows_nothing() -> None:
    cell = LSTM1997(3, 4, output_bias=-1e4)
    y, _ = cell(torch.randn(5, 3), LSTMState(torch.randn(5, 4), torch.randn(5, 4)))
    assert not y.any()


def test_an_open_input_gate_can_add_two_at_a_step_without_end() -> None:
    cell = LSTM1997(1, 1, input_bias=1e4)
    torch.nn.init.zeros_(cell.from_hidden.weight)
    torch.nn.init.constant_(cell.from_input.weight.chunk(3)[1], 1e4)
    _, last = loop(cell, torch.ones(1, 50, 1), cell.initial_state(1))
    assert last.cell.item() == 100


def test_other_biases_pass_the_suite() -> None:
    check_cell("lstm_1997", input_bias=0.0, output_bias=1.0)
