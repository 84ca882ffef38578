"""The equations again in NumPy, equality with torch, and limits."""

import numpy as np
import torch

from elman.cells import GRU


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


def test_a_step_is_the_docstrings_equations() -> None:
    torch.manual_seed(0)
    cell = GRU(3, 4).double()
    torch.nn.init.normal_(cell.from_input.bias)
    torch.nn.init.normal_(cell.candidate_bias)
    x, h = torch.randn(2, 3).double(), torch.randn(2, 4).double()
    W, U, b = (p.detach().numpy() for p in (cell.from_input.weight, cell.from_hidden.weight, cell.from_input.bias))
    d = cell.candidate_bias.detach().numpy()

    def products(gate: int) -> tuple[np.ndarray, np.ndarray]:
        rows = slice(4 * gate, 4 * gate + 4)
        return np.einsum("hi,bi->bh", W[rows], x) + b[rows], np.einsum("hk,bk->bh", U[rows], h)

    r, u = sigmoid(sum(products(0))), sigmoid(sum(products(1)))  # type: ignore[arg-type]
    from_input, from_hidden = products(2)
    candidate = np.tanh(from_input + r * (from_hidden + d))
    expected = u * h.numpy() + (1 - u) * candidate

    y, state = cell(x, h)
    np.testing.assert_allclose(y.detach(), expected, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(state.detach(), y.detach())
    for gate, value in zip(cell.gates(cell.project(x), h), (r, u, candidate), strict=True):
        np.testing.assert_allclose(gate.detach(), value, rtol=0, atol=1e-14)


def test_equal_to_torchs_cell() -> None:
    torch.manual_seed(0)
    reference, cell = torch.nn.GRUCell(3, 4), GRU(3, 4)
    with torch.no_grad():
        cell.from_input.weight.copy_(reference.weight_ih)
        cell.from_hidden.weight.copy_(reference.weight_hh)
        cell.from_input.bias.copy_(reference.bias_ih)
        cell.from_input.bias[:8] += reference.bias_hh[:8]
        cell.candidate_bias.copy_(reference.bias_hh[8:])
    x, h = torch.randn(5, 3), torch.randn(5, 4)
    torch.testing.assert_close(cell(x, h)[0], reference(x, h), rtol=0, atol=1e-6)


def test_an_update_gate_of_one_keeps_the_state_exactly() -> None:
    cell = GRU(3, 4)
    with torch.no_grad():
        cell.from_input.bias[4:8] = 1e4
    h = torch.randn(5, 4)
    assert torch.equal(cell(torch.randn(5, 3), h)[1], h)


def test_an_update_gate_of_zero_writes_the_candidate() -> None:
    cell = GRU(3, 4)
    with torch.no_grad():
        cell.from_input.bias[4:8] = -1e4
    x, h = torch.randn(5, 3), torch.randn(5, 4)
    assert torch.equal(cell(x, h)[1], cell.gates(cell.project(x), h).candidate)


def test_a_closed_reset_gate_hides_the_state_from_the_candidate() -> None:
    cell = GRU(3, 4)
    with torch.no_grad():
        cell.from_input.bias[:4] = -1e4
    x = torch.randn(5, 3)
    one, other = (cell.gates(cell.project(x), torch.randn(5, 4)).candidate for _ in range(2))
    assert torch.equal(one, other)
