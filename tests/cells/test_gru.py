"""The equations again in NumPy, equality with torch and with ONNX's operator, and limits."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from elman.cells import GRU
from elman.cells.scan import loop
from elman.errors import ConfigError
from elman.testing import check_cell


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


def test_steps_with_reset_before_the_product_are_the_papers_equations() -> None:
    torch.manual_seed(0)
    cell = GRU(3, 4, reset="before").double()
    torch.nn.init.normal_(cell.from_input.bias)
    x, h = torch.randn(2, 5, 3).double(), torch.randn(2, 4).double()
    y, last = loop(cell, x, h)
    W, U, b = (p.detach().numpy() for p in (cell.from_input.weight, cell.from_hidden.weight, cell.from_input.bias))
    state = h.numpy()
    for t, x_t in enumerate(x.numpy().swapaxes(0, 1)):
        total = x_t @ W.T + b
        r = sigmoid(total[:, :4] + state @ U[:4].T)
        u = sigmoid(total[:, 4:8] + state @ U[4:8].T)
        candidate = np.tanh(total[:, 8:] + (r * state) @ U[8:].T)
        gates = cell.gates(cell.project(x[:, t]), torch.from_numpy(state))
        for gate, value in zip(gates, (r, u, candidate), strict=True):
            np.testing.assert_allclose(gate.detach(), value, rtol=0, atol=1e-14)
        state = u * state + (1 - u) * candidate
        np.testing.assert_allclose(y[:, t].detach(), state, rtol=0, atol=1e-14)
    np.testing.assert_allclose(last.detach(), state, rtol=0, atol=1e-14)


@pytest.mark.parametrize("reset", ["after", "before"])
def test_equal_to_the_onnx_operator_over_time(
    onnx_operator: Callable[..., list[np.ndarray]], reset: Literal["after", "before"]
) -> None:
    torch.manual_seed(0)
    cell = GRU(3, 4, reset=reset)
    torch.nn.init.normal_(cell.from_input.bias)
    second = torch.zeros(4)
    if reset == "after":
        second = torch.nn.init.normal_(cell.candidate_bias)
    x, h = torch.randn(2, 5, 3), torch.randn(2, 4)

    def reordered(weight: Tensor) -> Tensor:  # the operator has update, reset, candidate
        r, u, c = weight.chunk(3)
        return torch.cat([u, r, c])

    bias = torch.cat([reordered(cell.from_input.bias), torch.zeros(8), second])
    inputs = {
        "X": x.transpose(0, 1),
        "W": reordered(cell.from_input.weight)[None],
        "R": reordered(cell.from_hidden.weight)[None],
        "B": bias[None],
        "initial_h": h[None],
    }
    (expected,) = onnx_operator("GRU", inputs, ("Y",), hidden_size=4, linear_before_reset=int(reset == "after"))
    y, _ = loop(cell, x, h)
    np.testing.assert_allclose(y.detach(), expected[:, 0].swapaxes(0, 1), rtol=0, atol=1e-6)


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


@pytest.mark.parametrize("reset", ["after", "before"])
def test_a_closed_reset_gate_hides_the_state_from_the_candidate(reset: Literal["after", "before"]) -> None:
    cell = GRU(3, 4, reset=reset)
    with torch.no_grad():
        cell.from_input.bias[:4] = -1e4
    x = torch.randn(5, 3)
    one, other = (cell.gates(cell.project(x), torch.randn(5, 4)).candidate for _ in range(2))
    assert torch.equal(one, other)


def test_reset_before_the_product_has_no_second_bias_and_no_torch_kernel() -> None:
    before, after = GRU(3, 4, reset="before"), GRU(3, 4)
    assert sum(p.numel() for p in before.parameters()) == sum(p.numel() for p in after.parameters()) - 4
    assert before.vendor() is None
    assert after.vendor() is not None


def test_reset_before_the_product_passes_the_suite() -> None:
    check_cell("gru", reset="before")


def test_a_reset_elsewhere_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected `reset` 'after' or 'before', got 'never'"):
        GRU(3, 4, reset="never")  # type: ignore[arg-type]
