"""The equations again in NumPy, equality with torch's GRU at depth 1, and limits."""

import numpy as np
import pytest
import torch
from torch import Tensor

from elman.cells.highway import Highway
from elman.cells.scan import loop
from elman.errors import ConfigError
from elman.testing import check_cell


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


def random_cell(depth: int) -> Highway:
    torch.manual_seed(0)
    cell = Highway(3, 4, depth=depth).double()
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter)
    return cell


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_steps_are_the_papers_equations(depth: int) -> None:
    cell = random_cell(depth)
    x, start = torch.randn(2, 6, 3).double(), torch.randn(2, 4).double()
    y, last = loop(cell, x, start)

    weights = {name: parameter.detach().numpy() for name, parameter in cell.named_parameters()}
    s = start.numpy()
    for t, x_t in enumerate(x.numpy().swapaxes(0, 1)):
        gates = cell.gates(cell.project(x[:, t]), torch.from_numpy(s))
        assert gates.candidate.shape == (2, depth, 4)
        for level in range(depth):
            total = s @ weights[f"from_hidden.{level}.weight"].T
            if level == 0:
                total = total + x_t @ weights["from_input.weight"].T + weights["from_input.bias"]
            else:
                total = total + weights[f"deeper_biases.{level - 1}"]
            candidate, transform = np.tanh(total[:, :4]), sigmoid(total[:, 4:])
            s = candidate * transform + s * (1 - transform)
            np.testing.assert_allclose(gates.candidate[:, level].detach(), candidate, rtol=0, atol=1e-13)
            np.testing.assert_allclose(gates.transform[:, level].detach(), transform, rtol=0, atol=1e-13)
        np.testing.assert_allclose(y[:, t].detach(), s, rtol=0, atol=1e-13)
    np.testing.assert_allclose(last.detach(), s, rtol=0, atol=1e-13)


def test_one_micro_step_is_torchs_gru_with_an_open_reset_gate() -> None:
    cell = random_cell(depth=1)
    reference = torch.nn.GRU(3, 4, batch_first=True).double()

    def as_gru(weight: Tensor, reset: float) -> Tensor:  # reset, update = 1 - transform, candidate
        candidate, transform = weight.chunk(2)
        return torch.cat([torch.full_like(candidate, reset), -transform, candidate])

    weights = cell.state_dict()
    reference.load_state_dict(
        {
            "weight_ih_l0": as_gru(weights["from_input.weight"], 0.0),
            "weight_hh_l0": as_gru(weights["from_hidden.0.weight"], 0.0),
            "bias_ih_l0": as_gru(weights["from_input.bias"], 1e4),
            "bias_hh_l0": torch.zeros(12),
        }
    )
    x, start = torch.randn(2, 6, 3).double(), torch.randn(2, 4).double()
    torch.testing.assert_close(loop(cell, x, start)[0], reference(x, start[None])[0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("depth", [1, 3])
def test_closed_transform_gates_carry_the_state_exactly_through_all_micro_steps(depth: int) -> None:
    cell = Highway(3, 4, depth=depth, transform_bias=-1e4)
    h = torch.randn(5, 4)
    assert torch.equal(cell(torch.randn(5, 3), h)[1], h)


def test_open_transform_gates_write_the_last_candidate() -> None:
    cell = Highway(3, 4, depth=3, transform_bias=1e4)
    x, h = torch.randn(5, 3), torch.randn(5, 4)
    assert torch.equal(cell(x, h)[1], cell.gates(cell.project(x), h).candidate[:, -1])


def test_options_pass_the_suite() -> None:
    check_cell("highway", depth=1, transform_bias=0.0)
    check_cell("highway", depth=3)


def test_a_depth_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected `depth` >= 1, got 0"):
        Highway(2, 3, depth=0)
