"""The equations again in NumPy, and limits."""

import numpy as np
import pytest
import torch

from elman.cells.layer_norm_gru import LayerNormGRU
from elman.cells.scan import loop
from elman.errors import ConfigError


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


def normalized(a: np.ndarray) -> np.ndarray:
    centered = a - a.mean(-1, keepdims=True)
    return np.asarray(centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-5))


def random_cell() -> LayerNormGRU:
    torch.manual_seed(0)
    cell = LayerNormGRU(3, 4).double()
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter)
    return cell


def test_steps_are_the_docstrings_equations() -> None:
    cell = random_cell()
    x, start = torch.randn(2, 6, 3).double(), torch.randn(2, 4).double()
    y, last = loop(cell, x, start)

    weights = {name: parameter.detach().numpy() for name, parameter in cell.named_parameters()}
    W, U = weights["from_input.weight"], weights["from_hidden.weight"]
    h = start.numpy()
    for t, x_t in enumerate(x.numpy().swapaxes(0, 1)):
        total = weights["norm_input_gates.weight"] * normalized(x_t @ W[:8].T) + weights["norm_input_gates.bias"]
        total = total + weights["norm_hidden_gates.weight"] * normalized(h @ U[:8].T)
        r, u = sigmoid(total[:, :4]), sigmoid(total[:, 4:])
        seen = weights["norm_hidden_candidate.weight"] * normalized(h @ U[8:].T)
        total = weights["norm_input_candidate.weight"] * normalized(x_t @ W[8:].T)
        total = total + weights["norm_input_candidate.bias"] + r * (seen + weights["norm_hidden_candidate.bias"])
        candidate = np.tanh(total)
        gates = cell.gates(cell.project(x[:, t]), torch.from_numpy(h))
        for gate, expected in zip(gates, (r, u, candidate), strict=True):
            np.testing.assert_allclose(gate.detach(), expected, rtol=0, atol=1e-12)
        h = u * h + (1 - u) * candidate
        np.testing.assert_allclose(y[:, t].detach(), h, rtol=0, atol=1e-12)
    np.testing.assert_allclose(last.detach(), h, rtol=0, atol=1e-12)


def test_the_scale_of_the_weights_does_not_matter() -> None:
    cell = random_cell()
    x = torch.randn(2, 6, 3).double()
    expected, _ = loop(cell, x, cell.initial_state(2))
    with torch.no_grad():
        cell.from_input.weight.mul_(1000)
        cell.from_hidden.weight.mul_(1000)
    y, _ = loop(cell, x, cell.initial_state(2))
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-3)  # but for the small number beside the variance


def test_an_update_gate_of_one_keeps_the_state_exactly() -> None:
    cell = LayerNormGRU(3, 4)
    with torch.no_grad():
        cell.norm_input_gates.bias[4:] = 1e4
    h = torch.randn(5, 4)
    assert torch.equal(cell(torch.randn(5, 3), h)[1], h)


def test_a_closed_reset_gate_hides_the_state_from_the_candidate() -> None:
    cell = random_cell()
    with torch.no_grad():
        cell.norm_input_gates.bias[:4] = -1e4
    z = cell.project(torch.randn(5, 3).double())
    one, other = (cell.gates(z, torch.randn(5, 4).double()).candidate for _ in range(2))
    assert torch.equal(one, other)


@pytest.mark.parametrize("hidden_size", [4, 64])
@pytest.mark.parametrize("zeros", [5, 50])
def test_gradients_of_a_new_cell_pass_through_inputs_of_zeros(hidden_size: int, zeros: int) -> None:
    """Silence before the first sound. LN of a state of zeros would multiply gradients at every step, until they overflow."""
    torch.manual_seed(0)
    cell = LayerNormGRU(3, hidden_size)
    x = torch.cat([torch.zeros(2, zeros, 3), torch.randn(2, 5, 3)], 1)
    y, _ = loop(cell, x, cell.initial_state(2))
    y[:, -1].mean().backward()  # type: ignore[no-untyped-call]
    for name, parameter in cell.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.norm() < 100, name


def test_a_single_unit_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected `hidden_size` >= 2, got 1"):
        LayerNormGRU(3, 1)
