"""The equations again in NumPy, equality with a GRU of tied gates, and limits."""

import numpy as np
import torch
from torch import Tensor

from elman.cells import GRU
from elman.cells.mgu import MGU
from elman.cells.scan import loop
from elman.testing import check_cell


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


def random_cell() -> MGU:
    torch.manual_seed(0)
    cell = MGU(3, 4).double()
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter)
    return cell


def test_steps_are_the_papers_equations() -> None:
    cell = random_cell()
    x, start = torch.randn(2, 6, 3).double(), torch.randn(2, 4).double()
    y, last = loop(cell, x, start)

    weights = {name: parameter.detach().numpy() for name, parameter in cell.named_parameters()}
    h = start.numpy()
    for t, x_t in enumerate(x.numpy().swapaxes(0, 1)):
        total = x_t @ weights["from_input.weight"].T + weights["from_input.bias"]
        f = sigmoid(total[:, :4] + h @ weights["from_hidden_gate.weight"].T)
        candidate = np.tanh(total[:, 4:] + (f * h) @ weights["from_hidden_candidate.weight"].T)
        gates = cell.gates(cell.project(x[:, t]), torch.from_numpy(h))
        for gate, expected in zip(gates, (f, candidate), strict=True):
            np.testing.assert_allclose(gate.detach(), expected, rtol=0, atol=1e-13)
        h = (1 - f) * h + f * candidate
        np.testing.assert_allclose(y[:, t].detach(), h, rtol=0, atol=1e-13)
    np.testing.assert_allclose(last.detach(), h, rtol=0, atol=1e-13)


def test_equal_to_a_gru_whose_two_gates_are_one() -> None:
    cell, gru = random_cell(), GRU(3, 4, reset="before").double()

    def tied(gate: Tensor, candidate: Tensor) -> Tensor:  # reset = forget, update = 1 - forget
        return torch.cat([gate, -gate, candidate])

    with torch.no_grad():
        gru.from_input.weight.copy_(tied(*cell.from_input.weight.chunk(2)))
        gru.from_input.bias.copy_(tied(*cell.from_input.bias.chunk(2)))
        gru.from_hidden.weight.copy_(tied(cell.from_hidden_gate.weight, cell.from_hidden_candidate.weight))
    x, start = torch.randn(2, 6, 3).double(), torch.randn(2, 4).double()
    torch.testing.assert_close(loop(cell, x, start), loop(gru, x, start), rtol=0, atol=1e-13)


def test_a_forget_gate_of_zero_keeps_the_state_exactly() -> None:
    cell = MGU(3, 4, forget_bias=-1e4)
    h = torch.randn(5, 4)
    assert torch.equal(cell(torch.randn(5, 3), h)[1], h)


def test_a_forget_gate_of_one_writes_the_candidate() -> None:
    cell = MGU(3, 4, forget_bias=1e4)
    x, h = torch.randn(5, 3), torch.randn(5, 4)
    assert torch.equal(cell(x, h)[1], cell.gates(cell.project(x), h).candidate)


def test_another_forget_bias_passes_the_suite() -> None:
    check_cell("mgu", forget_bias=-1.0)
