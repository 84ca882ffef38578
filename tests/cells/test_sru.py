"""The equations again in NumPy, and limits."""

import math

import numpy as np
import pytest
import torch

from elman.cells.sru import SRU
from elman.errors import ConfigError
from elman.testing import check_cell


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


@pytest.mark.parametrize(("input_size", "activation"), [(3, "tanh"), (4, "tanh"), (3, "identity")])
def test_steps_are_the_papers_equations(input_size: int, activation: str) -> None:
    torch.manual_seed(0)
    cell = SRU(input_size, 4, activation=activation, highway_bias=-1.0).double()  # type: ignore[arg-type]
    torch.nn.init.normal_(cell.from_input.bias)
    W, b = (p.detach().numpy() for p in (cell.from_input.weight, cell.from_input.bias))
    S = cell.skip.weight.detach().numpy() if isinstance(cell.skip, torch.nn.Linear) else np.eye(4)
    alpha = np.sqrt(1 + 2 * np.exp(-1.0))
    x, state = torch.randn(2, 5, input_size).double(), torch.randn(2, 4).double()
    c = state.numpy()
    for t in range(5):
        x_t = x[:, t].numpy()
        candidate, forget, reset = np.split(x_t @ W.T + b, 3, -1)
        forget, reset = sigmoid(forget), sigmoid(reset)
        c = forget * c + (1 - forget) * candidate
        h = reset * (np.tanh(c) if activation == "tanh" else c) + (1 - reset) * alpha * (x_t @ S.T)
        gates = cell.gates(cell.project(x[:, t]), state)
        y, state = cell(x[:, t], state)
        np.testing.assert_allclose(y.detach(), h, rtol=0, atol=1e-13)
        np.testing.assert_allclose(state.detach(), c, rtol=0, atol=1e-13)
        for gate, value in zip(gates, (candidate, forget, reset), strict=True):
            np.testing.assert_allclose(gate.detach(), value, rtol=0, atol=1e-13)


def test_an_open_forget_gate_keeps_the_state_exactly() -> None:
    cell = SRU(3, 4)
    with torch.no_grad():
        cell.from_input.bias[4:8] = 1e4
    c = torch.randn(5, 4)
    assert torch.equal(cell(torch.randn(5, 3), c)[1], c)


def test_a_closed_reset_gate_shows_the_input() -> None:
    cell = SRU(4, 4, rescale=False)
    with torch.no_grad():
        cell.from_input.bias[8:] = -1e4
    x = torch.randn(5, 4)
    assert torch.equal(cell(x, torch.randn(5, 4))[0], x)


def test_rescaling_gives_deep_stacks_the_variance_of_their_input() -> None:
    """The aim of alpha, in the paper's case: long memories, whose part of the output is small, and the gate half open."""
    torch.manual_seed(0)
    cell = SRU(512, 512)
    cell.from_input.weight.data[512:].zero_()
    cell.from_input.bias.data.zero_()
    y, _ = cell(torch.randn(64, 512), cell.initial_state(64))
    assert cell.scale == math.sqrt(3)
    assert 0.7 < y.var() < 1.1


def test_the_projection_of_the_highway_is_there_where_sizes_differ() -> None:
    assert sum(p.numel() for p in SRU(4, 4).parameters()) == 3 * (16 + 4)
    assert sum(p.numel() for p in SRU(3, 4).parameters()) == 3 * (12 + 4) + 12


def test_another_activation_is_refused() -> None:
    with pytest.raises(ConfigError, match="'tanh' or 'identity', got 'relu'"):
        SRU(3, 4, activation="relu")  # type: ignore[arg-type]


def test_conformance_of_options() -> None:
    check_cell("sru", activation="identity", rescale=False, highway_bias=-1.0, memory=5.0)


def test_a_bias_beyond_all_measure_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected `highway_bias` within 100 of 0, got 1000"):
        SRU(3, 4, highway_bias=1000)
