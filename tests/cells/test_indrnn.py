"""The equation again in NumPy, equality with torch, the bounds of the recurrent weights, and limits."""

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elman.cells.indrnn import IndRNN
from elman.cells.scan import loop
from elman.errors import ConfigError
from elman.testing import check_cell

Nonlinearity = Literal["relu", "tanh"]


@pytest.mark.parametrize("nonlinearity", ["relu", "tanh"])
def test_steps_are_the_papers_equation(nonlinearity: Nonlinearity) -> None:
    torch.manual_seed(0)
    cell = IndRNN(3, 4, nonlinearity=nonlinearity).double()
    torch.nn.init.normal_(cell.from_input.bias)
    x, start = torch.randn(2, 6, 3).double(), torch.randn(2, 4).double()
    y, last = loop(cell, x, start)

    W, u, b = (p.detach().numpy() for p in (cell.from_input.weight, cell.from_hidden, cell.from_input.bias))
    h = start.numpy()
    for t, x_t in enumerate(x.numpy().swapaxes(0, 1)):
        total = x_t @ W.T + u * h + b
        h = np.tanh(total) if nonlinearity == "tanh" else np.maximum(total, 0)
        np.testing.assert_allclose(y[:, t].detach(), h, rtol=0, atol=1e-14)
    np.testing.assert_allclose(last.detach(), h, rtol=0, atol=1e-14)


@pytest.mark.parametrize("nonlinearity", ["relu", "tanh"])
def test_equal_to_torchs_network_with_a_diagonal_recurrence(nonlinearity: Nonlinearity) -> None:
    torch.manual_seed(0)
    cell = IndRNN(3, 4, nonlinearity=nonlinearity).double()
    reference = torch.nn.RNN(3, 4, nonlinearity=nonlinearity, batch_first=True).double()
    torch.nn.init.normal_(cell.from_input.bias)
    weights = cell.state_dict()
    reference.load_state_dict(
        {
            "weight_ih_l0": weights["from_input.weight"],
            "weight_hh_l0": torch.diag(weights["from_hidden"]),
            "bias_ih_l0": weights["from_input.bias"],
            "bias_hh_l0": torch.zeros(4),
        }
    )
    x, start = torch.randn(2, 6, 3).double(), torch.randn(2, 4).double()
    torch.testing.assert_close(loop(cell, x, start)[0], reference(x, start[None])[0], rtol=0, atol=1e-13)


@given(steps=st.integers(1, 10_000))
def test_over_so_many_steps_the_gradient_of_a_unit_at_most_doubles(steps: int) -> None:
    weights = IndRNN(1, 100, steps=steps).from_hidden.detach().double()
    assert weights.min() >= 0
    assert (weights**steps).max() <= 2 * (1 + 1e-6 * steps)  # float32


def test_one_step_uses_the_whole_range_and_any_number_stays_below_one() -> None:
    torch.manual_seed(0)
    one, any_number = IndRNN(1, 1000, steps=1).from_hidden, IndRNN(1, 1000).from_hidden
    assert 1.9 < one.max() <= 2
    assert 0.9 < any_number.max() <= 1
    assert any_number.min() < 0.1


def test_a_weight_of_one_keeps_a_positive_state_exactly() -> None:
    cell = IndRNN(2, 3)
    torch.nn.init.ones_(cell.from_hidden)
    h = torch.rand(4, 3)
    assert torch.equal(cell(torch.zeros(4, 2), h)[1], h)


def test_units_do_not_see_each_other() -> None:
    cell = IndRNN(2, 3, nonlinearity="tanh")
    x, h = torch.randn(4, 2), torch.randn(4, 3)
    other = torch.cat([h[:, :1], torch.randn(4, 2)], dim=1)
    assert torch.equal(cell(x, h)[1][:, 0], cell(x, other)[1][:, 0])


def test_options_pass_the_suite() -> None:
    check_cell("indrnn", nonlinearity="tanh", steps=50)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected `nonlinearity` 'relu' or 'tanh', got 'sigmoid'"):
        IndRNN(2, 3, nonlinearity="sigmoid")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected `steps` >= 1, or 0 for any number, got -1"):
        IndRNN(2, 3, steps=-1)
