"""The equations again in NumPy, equality with an Elman network where the output is its hidden layer, and limits."""

from typing import Literal

import numpy as np
import pytest
import torch

from elman.cells import Elman
from elman.cells.jordan import Jordan
from elman.cells.scan import loop
from elman.errors import ConfigError
from elman.testing import check_cell

Nonlinearity = Literal["tanh", "sigmoid", "linear"]


@pytest.mark.parametrize("nonlinearity", ["tanh", "sigmoid", "linear"])
@pytest.mark.parametrize("decay", [0.0, 0.7])
def test_steps_are_the_papers_equations(nonlinearity: Nonlinearity, decay: float) -> None:
    torch.manual_seed(0)
    cell = Jordan(3, 4, output_size=2, decay=decay, nonlinearity=nonlinearity).double()
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter)
    x, start = torch.randn(5, 6, 3).double(), torch.randn(5, 2).double()
    y, last = loop(cell, x, start)

    W, b, U = (p.detach().numpy() for p in (cell.from_input.weight, cell.from_input.bias, cell.from_hidden.weight))
    V, c = (p.detach().numpy() for p in (cell.to_output.weight, cell.to_output.bias))
    state = start.numpy()
    for t, x_t in enumerate(x.numpy().swapaxes(0, 1)):
        output = np.tanh(x_t @ W.T + state @ U.T + b) @ V.T + c
        if nonlinearity == "tanh":
            output = np.tanh(output)
        elif nonlinearity == "sigmoid":
            output = 1 / (1 + np.exp(-output))
        state = decay * state + output
        np.testing.assert_allclose(y[:, t].detach(), output, rtol=0, atol=1e-12)
    np.testing.assert_allclose(last.detach(), state, rtol=0, atol=1e-12)


def test_an_output_that_is_the_hidden_layer_makes_an_elman_network() -> None:
    torch.manual_seed(0)
    cell, elman = Jordan(3, 4, nonlinearity="linear").double(), Elman(3, 4).double()
    with torch.no_grad():
        cell.to_output.weight.copy_(torch.eye(4))
        elman.from_input.load_state_dict(cell.from_input.state_dict())
        elman.from_hidden.load_state_dict(cell.from_hidden.state_dict())
    x = torch.randn(2, 6, 3).double()
    torch.testing.assert_close(loop(cell, x, cell.initial_state(2)), loop(elman, x, elman.initial_state(2)))


def test_without_outputs_the_state_units_decay() -> None:
    cell = Jordan(3, 4, decay=0.5)
    torch.nn.init.zeros_(cell.to_output.weight)
    state = torch.randn(5, 4)
    assert torch.equal(cell(torch.randn(5, 3), state)[1], 0.5 * state)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_a_new_networks_state_does_not_explode(decay: float) -> None:
    """Where f is linear a step from zero is a s + (1 - a) V U s, and V U is orthogonal: lengths within |2 a - 1|..1."""
    cell = Jordan(3, 8, decay=decay, nonlinearity="linear").double()
    x, zeros = torch.zeros(1, 3).double(), cell.initial_state(1)
    jacobian = torch.autograd.functional.jacobian(lambda state: cell(x, state)[1], zeros)[0, :, 0]  # type: ignore[no-untyped-call]
    lengths = torch.linalg.svdvals(jacobian)
    assert lengths.max() <= 1 + 1e-6  # orthogonal in float32
    assert lengths.min() >= abs(2 * decay - 1) - 1e-6


def test_as_many_outputs_as_hidden_units_by_default() -> None:
    assert Jordan(3, 4).output_size == 4
    assert Jordan(3, 4, output_size=7).initial_state(2).shape == (2, 7)


def test_options_pass_the_suite() -> None:
    check_cell("jordan", output_size=2, decay=0.5, nonlinearity="sigmoid")
    check_cell("jordan", output_size=5, nonlinearity="linear")


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected `output_size` >= 1, or 0 for the hidden size, got -1"):
        Jordan(2, 3, output_size=-1)
    for decay in (-0.1, 1.0, float("nan")):
        with pytest.raises(ConfigError, match=r"expected `decay` in 0\.\.1 without 1, got"):
            Jordan(2, 3, decay=decay)
    with pytest.raises(ConfigError, match="expected `nonlinearity` 'tanh', 'sigmoid' or 'linear', got 'relu'"):
        Jordan(2, 3, nonlinearity="relu")  # type: ignore[arg-type]
