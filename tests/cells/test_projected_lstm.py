"""The equations again in NumPy, equality with torch, and limits."""

import numpy as np
import pytest
import torch

from elman.cells import LSTM
from elman.cells.lstm import LSTMState
from elman.cells.projected_lstm import ProjectedLSTM
from elman.cells.scan import loop
from elman.errors import ConfigError
from elman.testing import check_cell


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


def random_cell() -> ProjectedLSTM:
    torch.manual_seed(0)
    cell = ProjectedLSTM(3, 5, projection_size=2).double()
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter)
    return cell


def random_state() -> LSTMState:
    return LSTMState(torch.randn(4, 2).double(), torch.randn(4, 5).double())


def test_steps_are_the_papers_equations() -> None:
    cell = random_cell()
    x, start = torch.randn(4, 6, 3).double(), random_state()
    y, last = loop(cell, x, start)

    W, U, b = (p.detach().numpy() for p in (cell.from_input.weight, cell.from_hidden.weight, cell.from_input.bias))
    R = cell.projection.weight.detach().numpy()
    h, c = (leaf.numpy() for leaf in start)
    for t, x_t in enumerate(x.numpy().swapaxes(0, 1)):
        total = x_t @ W.T + h @ U.T + b
        i, f, g, o = (total[:, 5 * gate : 5 * gate + 5] for gate in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = (sigmoid(o) * np.tanh(c)) @ R.T
        np.testing.assert_allclose(y[:, t].detach(), h, rtol=0, atol=1e-12)
    np.testing.assert_allclose(last.hidden.detach(), h, rtol=0, atol=1e-12)
    np.testing.assert_allclose(last.cell.detach(), c, rtol=0, atol=1e-12)


def test_equal_to_torchs_lstm_with_a_projection_over_time() -> None:
    cell = random_cell()
    reference = torch.nn.LSTM(3, 5, proj_size=2, batch_first=True).double()
    weights = reference.state_dict()
    cell.load_state_dict(
        {
            "from_input.weight": weights["weight_ih_l0"],
            "from_input.bias": weights["bias_ih_l0"] + weights["bias_hh_l0"],
            "from_hidden.weight": weights["weight_hh_l0"],
            "projection.weight": weights["weight_hr_l0"],
        }
    )
    x, start = torch.randn(4, 6, 3).double(), random_state()
    expected, (hidden, memory) = reference(x, (start.hidden[None], start.cell[None]))
    y, last = loop(cell, x, start)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(last, LSTMState(hidden[0], memory[0]), rtol=0, atol=1e-14)


def test_a_projection_that_changes_nothing_makes_an_lstm() -> None:
    torch.manual_seed(0)
    cell, lstm = ProjectedLSTM(3, 4, projection_size=4), LSTM(3, 4)
    cell.load_state_dict(lstm.state_dict() | {"projection.weight": torch.eye(4)})
    x = torch.randn(2, 6, 3)
    torch.testing.assert_close(loop(cell, x, cell.initial_state(2)), loop(lstm, x, lstm.initial_state(2)))


def test_the_default_projects_to_half_the_size_and_to_one_at_least() -> None:
    assert [ProjectedLSTM(3, hidden_size).output_size for hidden_size in (1, 2, 5)] == [1, 1, 2]


def test_options_pass_the_suite() -> None:
    check_cell("projected_lstm", projection_size=1, forget_bias=0.0)
    check_cell("projected_lstm", projection_size=4)


@pytest.mark.parametrize("size", [-1, 6])
def test_a_projection_that_is_none_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=rf"expected `projection_size` in 1\.\.5, .* got {size}"):
        ProjectedLSTM(3, 5, projection_size=size)
