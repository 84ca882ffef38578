"""The paper's equations again in NumPy, and masks that are fresh at every step."""

import numpy as np
import pytest
import torch
from torch import Tensor

from elman.cells import GRU, LSTM, Elman
from elman.cells.wrappers import DropConnect, RecurrentDropout, Zoneout
from elman.errors import ConfigError
from elman.layers import Recurrent


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


def weights(cell: LSTM | GRU) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    W, b, U = (p.detach().numpy() for p in (cell.from_input.weight, cell.from_input.bias, cell.from_hidden.weight))
    return W, b, U


def run_and_masks(cell: LSTM | GRU, x: Tensor) -> tuple[Tensor, np.ndarray]:
    """The output of a layer in training, and the masks (batch, time, 4) it drew."""
    wrapped = RecurrentDropout(cell, 0.5)
    torch.manual_seed(1)
    y, _ = Recurrent(wrapped)(x)
    torch.manual_seed(1)
    return y.detach(), wrapped.project(x)[..., -4:].detach().numpy()


def test_lstm_in_numpy() -> None:
    torch.manual_seed(0)
    cell, x = LSTM(3, 4).double(), torch.randn(2, 5, 3, dtype=torch.float64)
    W, b, U = weights(cell)
    y, m = run_and_masks(cell, x)
    h, c = np.zeros((2, 4)), np.zeros((2, 4))
    for t in range(5):
        i, f, g, o = np.split(x[:, t].numpy() @ W.T + b + h @ U.T, 4, 1)
        c = sigmoid(f) * c + sigmoid(i) * m[:, t] * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        np.testing.assert_allclose(y[:, t], h, rtol=0, atol=1e-12)


def test_gru_in_numpy() -> None:
    torch.manual_seed(0)
    cell, x = GRU(3, 4).double(), torch.randn(2, 5, 3, dtype=torch.float64)
    W, b, U = weights(cell)
    y, m = run_and_masks(cell, x)
    h = np.zeros((2, 4))
    for t in range(5):
        from_input, from_hidden = np.split(x[:, t].numpy() @ W.T + b, 3, 1), np.split(h @ U.T, 3, 1)
        r, u = (sigmoid(a + k) for a, k in zip(from_input[:2], from_hidden[:2], strict=True))
        h = u * h + (1 - u) * m[:, t] * np.tanh(from_input[2] + r * from_hidden[2])
        np.testing.assert_allclose(y[:, t], h, rtol=0, atol=1e-12)


def test_a_memory_is_not_lost() -> None:
    cell = GRU(1, 4)
    torch.nn.init.constant_(cell.from_input.bias[4:8], 1e4)  # u = 1 keeps the state exactly
    h = torch.randn(2, 4)
    assert torch.equal(Recurrent(RecurrentDropout(cell, 0.5))(torch.randn(2, 500, 1), h)[1], h)


def test_masks_are_fresh_at_every_step_and_keep_the_mean() -> None:
    torch.manual_seed(0)
    wrapped = RecurrentDropout(GRU(1, 50), 0.3)
    masks = wrapped.project(torch.zeros(40, 50, 1))[..., -50:]
    assert set(masks.flatten().tolist()) == {0.0, float(torch.tensor(1.0) / 0.7)}
    # 100,000 draws: the mean has a standard error of sqrt(.3 / .7 / 1e5) = 0.002
    assert masks.mean().item() == pytest.approx(1, abs=0.01)
    dropped = (masks == 0).double().flatten(2)
    # were they the same from step to step, this would be 0.3
    assert (dropped[:, 1:] * dropped[:, :-1]).mean().item() == pytest.approx(0.3**2, abs=0.01)


def test_outside_training_nothing_is_drawn() -> None:
    cell, x = LSTM(3, 4), torch.randn(2, 5, 3)
    for wrapped in (RecurrentDropout(cell, 0.9).eval(), RecurrentDropout(cell, 0.0)):
        assert torch.equal(wrapped.project(x), cell.project(x))
        assert torch.equal(Recurrent(wrapped)(x)[0], Recurrent(cell)(x)[0])


def test_the_mask_is_for_the_innermost_cell() -> None:
    torch.manual_seed(0)
    cell = GRU(3, 4)
    one, other = RecurrentDropout(Zoneout(cell, 0.4), 0.5), Zoneout(RecurrentDropout(cell, 0.5), 0.4)
    z, h = cell.project(torch.randn(2, 3)), torch.randn(2, 4)
    keep, take = torch.tensor([[0.0, 2, 0, 2]] * 2), torch.tensor([[0.0, 1, 1, 0]] * 2)
    y, state = one.step(torch.cat([z, take, keep], -1), h)
    assert torch.equal(y, other.step(torch.cat([z, keep, take], -1), h)[0])
    torch.testing.assert_close(state, y, rtol=0, atol=0)
    assert torch.equal(y[:, [0, 3]], h[:, [0, 3]])


def test_gates_are_those_of_the_step() -> None:
    torch.manual_seed(0)
    wrapped, h = RecurrentDropout(GRU(3, 4), 0.5), torch.randn(2, 4)
    z = wrapped.project(torch.randn(2, 3))
    gates = wrapped.gates(z, h)
    assert torch.equal(wrapped.step(z, h)[0], gates.update * h + (1 - gates.update) * gates.candidate)
    assert torch.equal(gates.candidate == 0, z[:, -4:] == 0)


def test_a_cell_without_candidate_is_refused() -> None:
    for cell in (Elman(3, 4), DropConnect(Elman(3, 4), 0.5)):
        with pytest.raises(ConfigError, match="uses a `candidate` of its `gates`, which Elman does not"):
            RecurrentDropout(cell, 0.5)


def test_gates_that_the_step_does_not_use_are_refused() -> None:
    class ForShow(GRU):
        def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            hidden = (z_t[..., :4] + state).tanh()
            return hidden, hidden

    with pytest.raises(ConfigError, match="which ForShow does not"):
        RecurrentDropout(ForShow(3, 4), 0.5)


def test_a_step_that_calls_its_parents_is_reached() -> None:
    class Slower(GRU):
        def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            return super().step(0.5 * z_t, state)

    RecurrentDropout(Slower(3, 4), 0.5)


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_out_of_range(p: float) -> None:
    with pytest.raises(ConfigError, match="expected a probability of dropout"):
        RecurrentDropout(GRU(3, 4), p)
