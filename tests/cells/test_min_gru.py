"""The equations again in NumPy, the paper's scan in logarithms, and limits."""

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from elman.cells.min_gru import MinGRU
from elman.testing import check_cell


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


@pytest.mark.parametrize("positive", [False, True])
def test_steps_are_the_papers_equations(positive: bool) -> None:
    torch.manual_seed(0)
    cell = MinGRU(3, 4, positive=positive).double()
    torch.nn.init.normal_(cell.from_input.bias)
    W, b = (p.detach().numpy() for p in (cell.from_input.weight, cell.from_input.bias))
    x, state = torch.randn(2, 5, 3).double(), torch.randn(2, 4).double()
    h = state.numpy()
    for t in range(5):
        update, candidate = sigmoid(x[:, t].numpy() @ W[:4].T + b[:4]), x[:, t].numpy() @ W[4:].T + b[4:]
        if positive:
            candidate = np.where(candidate >= 0, candidate + 0.5, sigmoid(candidate))
        h = (1 - update) * h + update * candidate
        gates = cell.gates(cell.project(x[:, t]), state)
        y, state = cell(x[:, t], state)
        np.testing.assert_allclose(y.detach(), h, rtol=0, atol=1e-13)
        np.testing.assert_array_equal(state.detach(), y.detach())
        np.testing.assert_allclose(gates.update.detach(), update, rtol=0, atol=1e-13)
        np.testing.assert_allclose(gates.candidate.detach(), candidate, rtol=0, atol=1e-13)


def test_equal_to_the_papers_scan_in_logarithms() -> None:
    """h_t = exp(A_t + log sum_{s <= t} exp(log b_s - A_s)), where A is the running sum of log(1 - u); arXiv:2410.01201, B.2."""
    torch.manual_seed(0)
    cell = MinGRU(3, 4, positive=True).double()
    x, state = torch.randn(2, 50, 3).double(), torch.rand(2, 4).double()
    update, candidate = cell.project(x).chunk(2, -1)
    log_candidate = torch.where(candidate >= 0, (candidate.relu() + 0.5).log(), -softplus(-candidate))
    log_values = torch.cat([state.log()[:, None], log_candidate - softplus(-update)], 1)
    log_decay = torch.nn.functional.pad(-softplus(update), (0, 0, 1, 0)).cumsum(1)
    expected = (log_decay + (log_values - log_decay).logcumsumexp(1)).exp()[:, 1:]
    torch.testing.assert_close(cell.scan(x, state)[0], expected, rtol=0, atol=1e-12)


def test_a_closed_update_gate_keeps_the_state_exactly() -> None:
    cell = MinGRU(3, 4)
    with torch.no_grad():
        cell.from_input.bias[:4] = -1e4
    h = torch.randn(5, 4)
    assert torch.equal(cell(torch.randn(5, 3), h)[1], h)


def test_an_open_update_gate_writes_the_candidate() -> None:
    cell = MinGRU(3, 4)
    with torch.no_grad():
        cell.from_input.bias[:4] = 1e4
    x, h = torch.randn(5, 3), torch.randn(5, 4)
    assert torch.equal(cell(x, h)[1], cell.gates(cell.project(x), h).candidate)


def test_units_start_with_memories_up_to_the_option() -> None:
    update = MinGRU(3, 4, memory=1000.0).from_input.bias[:4].sigmoid()
    np.testing.assert_allclose(
        1 / update.detach(), [1000, 1000 ** (2 / 3) * 2 ** (1 / 3), 1000 ** (1 / 3) * 2 ** (2 / 3), 2], 1e-3
    )


def test_conformance_with_positive_candidates() -> None:
    check_cell("min_gru", positive=True, memory=5.0)
