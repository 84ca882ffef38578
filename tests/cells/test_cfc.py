"""The equations again in NumPy, and limits in time."""

import numpy as np
import pytest
import torch

from elman.cells.cfc import CfC
from elman.cells.scan import loop
from elman.errors import ConfigError
from elman.testing import check_cell

B, T, F, H = 2, 5, 3, 4


def random_cell(*, backbone: int = 0, gate: bool = True) -> CfC:
    torch.manual_seed(0)
    cell = CfC(F + 1, H, backbone=backbone, gate=gate).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return cell


@pytest.mark.parametrize("backbone", [0, 6])
@pytest.mark.parametrize("gate", [True, False])
def test_steps_are_the_docstrings_equations(backbone: int, gate: bool) -> None:
    cell = random_cell(backbone=backbone, gate=gate)
    W, b, U, heads, biases = (
        parameter.detach().numpy()
        for parameter in (
            cell.from_input.weight,
            cell.from_input.bias,
            cell.from_hidden.weight,
            cell.heads.weight,
            cell.heads.bias,
        )
    )
    assert W.shape == (backbone or H, F)
    x, gap = torch.randn(B, T, F).double(), torch.rand(B, T, 1).double() * 3
    h = np.random.default_rng(0).normal(size=(B, H))
    y, state = loop(cell, torch.cat([x, gap], -1), torch.tensor(h))
    for t in range(T):
        a = 1.7159 * np.tanh((x[:, t].numpy() @ W.T + h @ U.T + b) * 2 / 3)
        f, g, k = np.split(a @ heads.T + biases, 3, axis=1)
        mix = 1 / (1 + np.exp(f * gap[:, t].numpy()))
        h = mix * np.tanh(g) + ((1 - mix) if gate else 1) * np.tanh(k)
        np.testing.assert_allclose(y[:, t].detach(), h, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(state.detach(), y[:, -1].detach())


def test_without_time_the_state_is_half_way_and_after_long_at_an_end() -> None:
    cell = random_cell()
    x, h = torch.randn(20, F).double(), torch.randn(20, H).double()

    def after(gap: float) -> torch.Tensor:
        y: torch.Tensor = cell(torch.cat([x, torch.full((20, 1), gap).double()], -1), h)[0]
        return y

    with torch.no_grad():
        _, early, late = cell.gates(cell.project(torch.cat([x, x[:, :1]], -1)), h)
        torch.testing.assert_close(after(0), (early + late) / 2, rtol=0, atol=1e-15)
        to_late = (after(1e9) - late).abs() < 1e-12
        to_early = (after(1e9) - early).abs() < 1e-12
    assert (to_late ^ to_early).all()
    assert to_late.any()
    assert to_early.any()


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"F \+ 1.*got 1"):
        CfC(1, 4)
    with pytest.raises(ConfigError, match=r"`backbone`.*got -1"):
        CfC(3, 4, backbone=-1)


@pytest.mark.parametrize("options", [{"backbone": 5}, {"gate": False}])
def test_options_keep_the_contract(options: dict[str, int]) -> None:
    check_cell("cfc", **options)
