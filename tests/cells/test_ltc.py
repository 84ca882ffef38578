"""The solver's steps again in NumPy, the differential equation by another solver, and bounds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from elman.cells.ltc import LTC
from elman.cells.scan import loop
from elman.errors import ConfigError
from elman.testing import check_cell

B, T, F, H = 2, 5, 3, 4


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


def random_cell(unfolds: int = 6) -> LTC:
    torch.manual_seed(0)
    cell = LTC(F + 1, H, unfolds=unfolds).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return cell


def arrays(cell: LTC) -> list[np.ndarray]:
    parameters = (cell.from_input.weight, cell.from_input.bias, cell.from_hidden.weight, cell.target, cell.log_tau)
    return [parameter.detach().numpy() for parameter in parameters]


@pytest.mark.parametrize("unfolds", [1, 6])
def test_steps_are_the_docstrings_equations(unfolds: int) -> None:
    cell = random_cell(unfolds)
    W, b, U, A, log_tau = arrays(cell)
    x, gap = torch.randn(B, T, F).double(), torch.rand(B, T, 1).double() * 3
    h = np.random.default_rng(0).normal(size=(B, H))
    y, state = loop(cell, torch.cat([x, gap], -1), torch.tensor(h))
    for t in range(T):
        d = gap[:, t].numpy() / unfolds
        for _ in range(unfolds):
            f = sigmoid(x[:, t].numpy() @ W.T + h @ U.T + b)
            h = (h + d * f * A) / (1 + d * (1 / np.exp(log_tau) + f))
        np.testing.assert_allclose(y[:, t].detach(), h, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(state.detach(), y[:, -1].detach())


def test_many_unfolds_solve_the_differential_equation() -> None:
    """Against Runge-Kutta. The error of a solver of first order halves with the step."""
    x, gap, h = torch.randn(1, F).double(), 2.5, np.random.default_rng(0).normal(size=H)
    W, b, U, A, log_tau = arrays(random_cell())

    def slope(_: float, h: np.ndarray) -> np.ndarray:
        f = sigmoid(W @ x[0].numpy() + U @ h + b)
        return np.asarray(-(1 / np.exp(log_tau) + f) * h + f * A)

    exact = solve_ivp(slope, (0, gap), h, rtol=1e-10, atol=1e-12).y[:, -1]
    errors = []
    for unfolds in (100, 200):
        y, _ = random_cell(unfolds)(torch.cat([x, torch.full((1, 1), gap).double()], -1), torch.tensor(h)[None])
        errors.append(np.abs(y[0].detach().numpy() - exact).max())
    assert errors[0] < 0.01
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("gap", [0.0, -1.0])
def test_without_time_the_state_stays_exactly(gap: float) -> None:
    h = torch.randn(5, H).double()
    y, _ = random_cell()(torch.cat([torch.randn(5, F), torch.full((5, 1), gap)], -1).double(), h)
    assert torch.equal(y, h)


@settings(max_examples=30, deadline=None)
@given(st.floats(-1e3, 1e3), st.floats(0, 1e6), st.floats(-20, 20), st.integers(0, 100))
def test_the_state_stays_between_zero_and_its_target(scale: float, gap: float, log_tau: float, seed: int) -> None:
    """Whatever inputs, gaps and time constants are: the paper's theorem 2."""
    cell = random_cell()
    with torch.no_grad():
        cell.log_tau.fill_(log_tau)
    x = torch.randn(3, 10, F, generator=torch.Generator().manual_seed(seed)).double() * scale
    y, _ = loop(cell, torch.cat([x, torch.full((3, 10, 1), gap).double()], -1), cell.initial_state(3))
    share = y / cell.target
    assert (share >= 0).all()
    assert (share <= 1 + 1e-12).all()


def test_a_new_unit_is_pulled_to_its_target_as_fast_as_it_leaks() -> None:
    """f = 1 / tau, but for the sigmoid, where input and state are zero; tau from 1 to 10."""
    cell = LTC(F + 1, 5)
    torch.testing.assert_close(cell.from_input.bias.exp(), 1 / cell.log_tau.exp())
    torch.testing.assert_close(cell.log_tau.exp()[[0, -1]], torch.tensor([1.0, 10.0]))
    assert cell.target.abs().eq(1).all()


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"F \+ 1.*got 1"):
        LTC(1, 4)
    with pytest.raises(ConfigError, match=r"`unfolds`.*got 0"):
        LTC(3, 4, unfolds=0)


def test_options_keep_the_contract() -> None:
    check_cell("ltc", unfolds=1)
