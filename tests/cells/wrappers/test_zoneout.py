"""The paper's equations again in NumPy, in both modes."""

import numpy as np
import pytest
import torch
from torch import Tensor

from elman.cells import GRU, LSTM
from elman.cells.cell import CELLS
from elman.cells.wrappers import Residual, Zoneout
from elman.errors import ConfigError
from elman.layers import Recurrent


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


def zoned_lstm(cell: LSTM, x: Tensor, take_hidden: np.ndarray, take_cell: np.ndarray) -> np.ndarray:
    """Outputs (batch, time, H); of the new state at each step t that much is taken."""
    W, b, U = (p.detach().numpy() for p in (cell.from_input.weight, cell.from_input.bias, cell.from_hidden.weight))
    h, c = np.zeros((2, 4)), np.zeros((2, 4))
    outputs = []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t].numpy() @ W.T + b + h @ U.T, 4, 1)
        new = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = take_hidden[t] * sigmoid(o) * np.tanh(new) + (1 - take_hidden[t]) * h
        c = take_cell[t] * new + (1 - take_cell[t]) * c
        outputs.append(h)
    return np.stack(outputs, 1)


def test_lstm_in_numpy_in_training() -> None:
    torch.manual_seed(0)
    cell, x = LSTM(3, 4).double(), torch.randn(2, 5, 3, dtype=torch.float64)
    wrapped = Zoneout(cell, 0.3, 0.6)
    torch.manual_seed(1)
    y, _ = Recurrent(wrapped)(x)
    torch.manual_seed(1)
    masks = wrapped.project(x)[..., -8:].detach().numpy().transpose(1, 0, 2)
    expected = zoned_lstm(cell, x, masks[..., :4], masks[..., 4:])
    np.testing.assert_allclose(y.detach(), expected, rtol=0, atol=1e-12)
    kept = (masks[1:, :, :4] == 0).transpose(1, 0, 2)
    assert kept.any()
    assert np.array_equal(y[:, 1:].detach().numpy()[kept], y[:, :-1].detach().numpy()[kept])  # to the bit


def test_lstm_in_numpy_outside_training() -> None:
    torch.manual_seed(0)
    cell, x = LSTM(3, 4).double(), torch.randn(2, 5, 3, dtype=torch.float64)
    y, _ = Recurrent(Zoneout(cell, 0.3, 0.6).eval())(x)
    expected = zoned_lstm(cell, x, np.full(5, 0.7), np.full(5, 0.4))
    np.testing.assert_allclose(y.detach(), expected, rtol=0, atol=1e-12)


def test_the_expectation_of_a_step_is_that_outside_training() -> None:
    torch.manual_seed(0)
    wrapped, x, h = Zoneout(GRU(3, 4), 0.3), torch.randn(1, 3), torch.randn(1, 4)
    y, _ = wrapped(x.expand(20_000, 3), h.expand(20_000, 4))
    # of values in -1..1: a standard error below 0.01
    torch.testing.assert_close(y.mean(0), wrapped.eval()(x, h)[0][0], rtol=0, atol=0.03)


def test_masks_are_fresh_at_every_step() -> None:
    torch.manual_seed(0)
    masks = Zoneout(GRU(1, 50), 0.3).project(torch.zeros(40, 50, 1))[..., -50:]
    assert (1 - masks).mean().item() == pytest.approx(0.3, abs=0.01)
    assert ((1 - masks[:, 1:]) * (1 - masks[:, :-1])).mean().item() == pytest.approx(0.3**2, abs=0.01)


@pytest.mark.parametrize("name", ["lstm", "gru", "elman", "conv_lstm"])
def test_an_output_that_is_the_hidden_state_stays_so(name: str) -> None:
    wrapped = Zoneout(CELLS.get(name)(3, 4), 0.3)
    y, state = wrapped(torch.randn(2, 3), wrapped.initial_state(2))
    assert torch.equal(y, (state if isinstance(state, Tensor) else state.hidden).flatten(1))


def test_another_output_stays_what_it_is() -> None:
    cell = GRU(4, 4)
    x, h = torch.randn(2, 4), torch.randn(2, 4)
    y, _ = Zoneout(Residual(cell), 0.3).eval()(x, h)
    assert torch.equal(y, cell(x, h)[0] + x)


def test_a_probability_of_zero_changes_nothing() -> None:
    assert Zoneout(LSTM(3, 4), 0.0).vendor() is not None
    assert Zoneout(LSTM(3, 4), 0.0, 0.1).vendor() is None


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_out_of_range(p: float) -> None:
    for wrong in ((p, 0.0), (0.0, p)):
        with pytest.raises(ConfigError, match="expected a probability of dropout"):
            Zoneout(LSTM(3, 4), *wrong)


def test_the_probability_of_a_memory_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"expected `p_cell`=0 for a state other than \(hidden, cell\), got 0.5 for Ten"
    ):
        Zoneout(GRU(3, 4), 0.1, 0.5)
