"""The paper's equations in NumPy, over whole sequences; missing values; limits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from elman.cells.gru import GRU
from elman.cells.gru_d import GRUD
from elman.cells.scan import loop
from elman.errors import ConfigError
from elman.layers import Recurrent

B, T, F, H = 3, 7, 2, 4


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


def random_cell() -> GRUD:
    torch.manual_seed(0)
    cell = GRUD(2 * F + 1, H).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return cell


def sequences(missing: float = 0.5, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Values, masks and gaps, the first gap 0."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(B, T, F, generator=generator).double()
    mask = (torch.rand(B, T, F, generator=generator) >= missing).double()
    gap = torch.rand(B, T, 1, generator=generator).double() * 3
    gap[:, 0] = 0
    return x, mask, gap


def test_sequences_are_the_papers_equations() -> None:
    """delta from the time stamps and masks, the last value by looking back: the whole history at every step."""
    cell = random_cell()
    x, mask, gap = sequences()
    y, state = loop(cell, torch.cat([x, mask, gap], -1), cell.initial_state(B))
    W, V = np.split(cell.from_input.weight.detach().numpy(), 2, axis=1)
    b = cell.from_input.bias.detach().numpy()
    U, U_c = cell.from_hidden.weight.detach().numpy(), cell.from_hidden_candidate.weight.detach().numpy()
    w, v = cell.input_rate.detach().numpy(), cell.input_rate_bias.detach().numpy()
    W_d, b_d = cell.hidden_rate.weight.detach().numpy(), cell.hidden_rate.bias.detach().numpy()
    values, seen, stamps = x.numpy(), mask.numpy(), gap.numpy().cumsum(1)[..., 0]
    for row in range(B):
        h = np.zeros(H)
        for t in range(T):
            filled, delta = np.zeros(F), np.zeros(F)
            for d in range(F):
                before = [s for s in range(t) if seen[row, s, d]]
                delta[d] = stamps[row, t] - stamps[row, before[-1] if before else 0]
                decay = np.exp(-max(0, w[d] * delta[d] + v[d]))
                last = values[row, before[-1], d] if before else 0
                filled[d] = values[row, t, d] if seen[row, t, d] else decay * last
            h = np.exp(-np.maximum(0, W_d @ delta + b_d)) * h
            total = W @ filled + V @ seen[row, t] + b
            r, u = sigmoid(total[:H] + U[:H] @ h), sigmoid(total[H : 2 * H] + U[H:] @ h)
            h = (1 - u) * h + u * np.tanh(total[2 * H :] + U_c @ (r * h))
            np.testing.assert_allclose(y[row, t].detach(), h, rtol=0, atol=1e-13)
        for d in range(F):
            at = max((s for s in range(T) if seen[row, s, d]), default=None)
            assert state.last[row, d] == (0 if at is None else values[row, at, d])
            since = stamps[row, -1] - stamps[row, 0 if at is None else at]
            np.testing.assert_allclose(state.age[row, d], since, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(state.hidden.detach(), y[:, -1].detach())


def test_with_everything_seen_at_once_it_is_a_gru() -> None:
    torch.manual_seed(0)
    cell, gru = GRUD(2 * F + 1, H).double(), GRU(F, H, reset="before").double()
    with torch.no_grad():
        cell.from_input.weight[:, F:] = 0  # of the masks
        cell.from_input.bias.normal_()
        gru.from_input.weight.copy_(cell.from_input.weight[:, :F])
        gru.from_input.bias.copy_(cell.from_input.bias)
        gru.from_hidden.weight.copy_(torch.cat([cell.from_hidden.weight, cell.from_hidden_candidate.weight]))
        for weight in (gru.from_input.weight, gru.from_input.bias, gru.from_hidden.weight):
            weight[H : 2 * H] *= -1  # there an update gate of 1 keeps, here it writes
    x, mask, gap = sequences(missing=0)
    y, _ = Recurrent(cell)(torch.cat([x, mask, 0 * gap], -1))
    torch.testing.assert_close(y, Recurrent(gru)(x)[0], rtol=0, atol=1e-13)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 1), st.sampled_from([0.0, -3.0, 1e30, torch.inf, torch.nan]))
def test_the_number_of_a_missing_value_is_never_read(seed: int, missing: float, filler: float) -> None:
    layer = Recurrent(random_cell())
    x, mask, gap = sequences(missing, seed)
    results = []
    for values in (x, torch.where(mask > 0, x, filler)):
        layer.zero_grad()
        joined = torch.cat([values, mask, gap], -1).requires_grad_()
        y, state = layer(joined)
        (y.sum() + state.last.sum()).backward()
        results.append([y, *state, joined.grad, *(parameter.grad for parameter in layer.parameters())])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_fast_decays_forget_everything() -> None:
    cell = random_cell()
    with torch.no_grad():
        cell.input_rate_bias.fill_(1e4)
        cell.hidden_rate.bias.fill_(1e4)
    x, mask, gap = sequences()
    mask[:, -1] = 0
    joined = torch.cat([x, mask, gap], -1)
    _, reached = loop(cell, joined[:, :-1], cell.initial_state(B))
    expected, _ = cell(joined[:, -1], cell.initial_state(B))
    actual, state = cell(joined[:, -1], reached)
    assert torch.equal(actual, expected)
    assert torch.equal(state.last, reached.last)


def test_negative_rates_keep_everything() -> None:
    """The decays are 1 then; an update gate of 0 writes nothing."""
    cell = random_cell()
    with torch.no_grad():
        cell.input_rate_bias.fill_(-1e4)
        cell.hidden_rate.bias.fill_(-1e4)
        cell.from_input.bias[H : 2 * H] = -1e4
    x, mask, gap = sequences()
    joined = torch.cat([x, mask, gap], -1)
    start = cell.initial_state(B)._replace(hidden=torch.randn(B, H).double())
    _, state = loop(cell, joined, start)
    assert torch.equal(state.hidden, start.hidden)
    gates = cell.gates(cell.project(joined[:, -1]), state)
    assert gates.input_decay.eq(1).all()
    assert gates.hidden_decay.eq(1).all()


def test_all_rates_of_decay_begin_above_zero() -> None:
    """Where one is negative there is no decay, and no gradient to change that."""
    cell = GRUD(2 * F + 1, 100)
    assert (cell.hidden_rate.weight > 0).all()
    assert cell.hidden_rate.weight.max() <= 0.1 / F
    assert not cell.hidden_rate.bias.any()
    assert (cell.input_rate > 0).all()


@pytest.mark.parametrize("input_size", [1, 2, 4])
def test_an_input_that_is_not_values_masks_and_a_gap_is_refused(input_size: int) -> None:
    with pytest.raises(ConfigError, match=r"2 F \+ 1.*got " + str(input_size)):
        GRUD(input_size, 4)
