"""The equations again in NumPy, and what becomes of the mask."""

import numpy as np
import pytest
import torch
from torch import Tensor

from elman.cells import GRU, LSTM, Elman
from elman.cells.wrappers import VariationalDropout, Zoneout
from elman.cells.wrappers.wrapper import MaskedState
from elman.errors import ConfigError
from elman.layers import Recurrent
from elman.state import where
from elman.testing.compare import assert_equal


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


def weights(cell: LSTM | GRU) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    W, b, U = (p.detach().numpy() for p in (cell.from_input.weight, cell.from_input.bias, cell.from_hidden.weight))
    return W, b, U


def test_lstm_in_numpy() -> None:
    torch.manual_seed(0)
    cell = LSTM(3, 4).double()
    W, b, U = weights(cell)
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    layer = Recurrent(VariationalDropout(cell, 0.5))
    start = layer.initial_state(2)
    assert isinstance(start, MaskedState)
    m = np.asarray(start.mask)
    y, state = layer(x, start)
    h, c = np.zeros((2, 4)), np.zeros((2, 4))
    for t in range(5):
        i, f, g, o = np.split(x[:, t].numpy() @ W.T + b + (m * h) @ U.T, 4, 1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        np.testing.assert_allclose(y[:, t].detach(), h, rtol=0, atol=1e-12)
    np.testing.assert_allclose(state.inner.cell.detach(), c, rtol=0, atol=1e-12)


def test_gru_in_numpy_carries_its_state_unmasked() -> None:
    torch.manual_seed(0)
    cell = GRU(3, 4).double()
    W, b, U = weights(cell)
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    layer = Recurrent(VariationalDropout(cell, 0.5))
    start = layer.initial_state(2)
    m, h = np.asarray(start.mask), np.zeros((2, 4))  # type: ignore[union-attr]
    y, _ = layer(x, start)
    for t in range(5):
        from_input, from_hidden = np.split(x[:, t].numpy() @ W.T + b, 3, 1), np.split((m * h) @ U.T, 3, 1)
        r, u = (sigmoid(a + k) for a, k in zip(from_input[:2], from_hidden[:2], strict=True))
        h = u * h + (1 - u) * np.tanh(from_input[2] + r * from_hidden[2])
        np.testing.assert_allclose(y[:, t].detach(), h, rtol=0, atol=1e-12)


def test_a_memory_of_many_steps_does_not_grow() -> None:
    cell = GRU(1, 4)
    torch.nn.init.constant_(cell.from_input.bias[4:8], 1e4)  # u = 1 keeps the state exactly
    h = torch.randn(2, 4)
    layer = Recurrent(VariationalDropout(cell, 0.5))
    _, last = layer(torch.randn(2, 500, 1), layer.initial_state(2)._replace(inner=h))  # type: ignore[union-attr]
    assert torch.equal(last.inner, h)


def test_the_mean_is_kept() -> None:
    torch.manual_seed(0)
    mask = VariationalDropout(Elman(1, 50), 0.3).initial_state(2000).mask
    assert isinstance(mask, Tensor)
    assert set(mask.flatten().tolist()) == {0.0, float(torch.tensor(1.0) / 0.7)}
    # 100,000 draws: the mean has a standard error of sqrt(.3 / .7 / 1e5) = 0.002
    assert mask.mean().item() == pytest.approx(1, abs=0.01)
    assert not torch.equal(mask[0], mask[1])


def test_one_mask_a_sequence_over_any_chunks() -> None:
    torch.manual_seed(0)
    layer = Recurrent(VariationalDropout(LSTM(3, 4), 0.5).double())
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    start = state = layer.initial_state(2)
    expected, last = layer(x, start)
    outputs = []
    for chunk in x.split([1, 0, 3, 2], 1):  # type: ignore[no-untyped-call]
        y, state = layer(chunk, state)
        outputs.append(y)
    assert_equal({"the output": torch.cat(outputs, 1)}, {"the output": expected}, "chunks against the whole")
    assert state.mask is last.mask is start.mask  # type: ignore[union-attr]


def test_a_fresh_row_gets_a_new_mask() -> None:
    torch.manual_seed(0)
    layer = Recurrent(VariationalDropout(GRU(3, 50), 0.5))
    _, state = layer(torch.randn(2, 3, 3))
    after = where(torch.tensor([True, False]), layer.initial_state(2), state)
    assert torch.equal(after.mask[1], state.mask[1])
    assert not torch.equal(after.mask[0], state.mask[0])


def test_outside_training_nothing_is_dropped_or_carried() -> None:
    cell = GRU(3, 4)
    wrapped = VariationalDropout(cell, 0.9)
    trained = wrapped.initial_state(2)
    wrapped.eval()
    assert wrapped.initial_state(2).mask == ()
    x, h = torch.randn(2, 3), torch.randn(2, 4)
    assert torch.equal(wrapped(x, trained._replace(inner=h))[0], cell(x, h)[0])
    assert VariationalDropout(cell, 0.0).initial_state(2).mask == ()


def test_the_mask_is_for_the_innermost_cell() -> None:
    """In whatever order: what zoneout keeps is not masked."""
    torch.manual_seed(0)
    cell = Elman(3, 4)
    outer, inner = VariationalDropout(Zoneout(cell, 0.3), 0.5), Zoneout(VariationalDropout(cell, 0.5), 0.3)
    state = outer.initial_state(2)._replace(inner=torch.randn(2, 4))
    z = outer.project(torch.randn(2, 3))
    assert torch.equal(outer.step(z, state)[0], inner.step(z, state)[0])


def test_gates_are_those_of_the_step() -> None:
    torch.manual_seed(0)
    wrapped = VariationalDropout(GRU(3, 4), 0.5)
    state = wrapped.initial_state(2)._replace(inner=torch.randn(2, 4))
    z = wrapped.project(torch.randn(2, 3))
    gates = wrapped.gates(z, state)
    expected = gates.update * state.inner + (1 - gates.update) * gates.candidate
    assert torch.equal(wrapped.step(z, state)[0], expected)


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_out_of_range(p: float) -> None:
    with pytest.raises(ConfigError, match="expected a probability of dropout"):
        VariationalDropout(GRU(3, 4), p)
