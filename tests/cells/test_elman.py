"""The equations again in NumPy, equality with torch, and limits."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import torch

from elman.cells import Elman
from elman.errors import ConfigError
from elman.testing import check_cell

Nonlinearity = Literal["tanh", "relu", "sigmoid"]
IN_NUMPY: dict[Nonlinearity, Callable[[np.ndarray], np.ndarray]] = {
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "sigmoid": lambda a: np.asarray(1 / (1 + np.exp(-a))),
}


@pytest.mark.parametrize("nonlinearity", IN_NUMPY)
def test_a_step_is_the_papers_equation(nonlinearity: Nonlinearity) -> None:
    torch.manual_seed(0)
    cell = Elman(3, 4, nonlinearity=nonlinearity).double()
    torch.nn.init.normal_(cell.from_input.bias)
    x, h = torch.randn(2, 3).double(), torch.randn(2, 4).double()
    W, U, b = (p.detach().numpy() for p in (cell.from_input.weight, cell.from_hidden.weight, cell.from_input.bias))

    total = np.einsum("hi,bi->bh", W, x) + np.einsum("hk,bk->bh", U, h) + b
    expected = IN_NUMPY[nonlinearity](total)

    y, state = cell(x, h)
    np.testing.assert_allclose(y.detach(), expected, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(state.detach(), y.detach())


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_equal_to_torchs_cell(nonlinearity: Literal["tanh", "relu"]) -> None:
    torch.manual_seed(0)
    reference = torch.nn.RNNCell(3, 4, nonlinearity=nonlinearity)
    cell = Elman(3, 4, nonlinearity=nonlinearity)
    with torch.no_grad():
        cell.from_input.weight.copy_(reference.weight_ih)
        cell.from_hidden.weight.copy_(reference.weight_hh)
        cell.from_input.bias.copy_(reference.bias_ih + reference.bias_hh)
    x, h = torch.randn(5, 3), torch.randn(5, 4)
    torch.testing.assert_close(cell(x, h)[0], reference(x, h), rtol=0, atol=1e-6)


def test_identity_recurrence_of_relu_keeps_a_positive_state_exactly() -> None:
    cell = Elman(2, 3, nonlinearity="relu")
    torch.nn.init.eye_(cell.from_hidden.weight)
    h = torch.rand(4, 3)
    assert torch.equal(cell(torch.zeros(4, 2), h)[1], h)


def test_torchs_kernels_have_no_sigmoid() -> None:
    assert Elman(2, 3, nonlinearity="sigmoid").vendor() is None
    assert Elman(2, 3, nonlinearity="relu").vendor() is not None


def test_sigmoid_passes_the_suite() -> None:
    check_cell("elman", nonlinearity="sigmoid")


def test_another_nonlinearity_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected `nonlinearity` 'tanh', 'relu' or 'sigmoid', got 'gelu'"):
        Elman(2, 3, nonlinearity="gelu")  # type: ignore[arg-type]
