"""The equations again in NumPy, an impulse in closed form, and where the eigenvalues start."""

import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from elman.cells.linear import Complex
from elman.cells.lru import LRU
from elman.errors import ConfigError
from elman.testing import check_cell


def weights(cell: LRU) -> tuple[np.ndarray, ...]:
    """lambda, gamma, B, C (complex), D, d of the paper."""
    nu, theta, gamma, from_input, skip, bias, readout = (
        p.detach().numpy()
        for p in (
            cell.nu,
            cell.theta,
            cell.gamma,
            cell.from_input.weight,
            cell.skip.weight,
            cell.skip.bias,
            cell.readout.weight,
        )
    )
    H = len(nu)
    B, C = from_input[:H] + 1j * from_input[H:], readout[:, :H] - 1j * readout[:, H:]
    return np.exp(-np.exp(nu) + 1j * np.exp(theta)), np.exp(gamma), B, C, skip, bias


def test_steps_are_the_papers_equations() -> None:
    torch.manual_seed(0)
    cell = LRU(3, 4).double()
    torch.nn.init.normal_(cell.skip.bias)
    decay, gamma, B, C, D, d = weights(cell)
    x = torch.randn(2, 5, 3).double()
    state = Complex(torch.randn(2, 4).double(), torch.randn(2, 4).double())
    h = state.real.numpy() + 1j * state.imaginary.numpy()
    for t in range(5):
        h = decay * h + gamma * (x[:, t].numpy() @ B.T)
        y, state = cell(x[:, t], state)
        np.testing.assert_allclose(y.detach(), (h @ C.T).real + x[:, t].numpy() @ D.T + d, rtol=0, atol=1e-13)
        np.testing.assert_allclose(state.real.detach() + 1j * state.imaginary.detach(), h, rtol=0, atol=1e-13)


def test_an_impulse_rings_as_powers_of_the_eigenvalues() -> None:
    torch.manual_seed(0)
    cell = LRU(3, 4).double()
    decay, gamma, B, C, _, _ = weights(cell)
    x = torch.zeros(1, 300, 3, dtype=torch.float64)
    x[0, 0, 1] = 1.0
    expected = np.einsum("ok,tk->to", C, decay ** np.arange(300)[:, None] * gamma * B[:, 1]).real
    y, _ = cell.scan(x, cell.initial_state(1))
    np.testing.assert_allclose(y[0, 1:].detach(), expected[1:], rtol=0, atol=1e-12)


def test_eigenvalues_start_uniform_on_the_ring_and_inputs_are_normalized() -> None:
    torch.manual_seed(0)
    decay, gamma, *_ = weights(LRU(1, 1000, min_radius=0.5, max_radius=0.9, max_phase=1.0))
    radius, phase = np.abs(decay), np.angle(decay)
    assert radius.min() >= 0.5 - 1e-6
    assert radius.max() <= 0.9 + 1e-6
    assert 0 <= phase.min() <= phase.max() <= 1 + 1e-6
    assert abs(np.mean(radius**2) - (0.25 + 0.81) / 2) < 0.02  # uniform by area: its square is uniform
    assert abs(np.mean(phase) - 0.5) < 0.04
    np.testing.assert_allclose(gamma**2 + radius**2, 1, atol=1e-5)


def test_the_state_has_the_variance_of_white_noise_times_the_input_weight() -> None:
    """What gamma is for: sum over t of |gamma lambda^t|^2 = 1."""
    torch.manual_seed(0)
    cell = LRU(8, 16, min_radius=0.9, max_radius=0.99)
    _, state = cell.scan(torch.randn(1000, 300, 8), cell.initial_state(1000))
    power = (state.real**2 + state.imaginary**2).mean(0)
    expected = (cell.from_input.weight**2).sum(1)
    np.testing.assert_allclose(power.detach(), (expected[:16] + expected[16:]).detach(), rtol=0.15)


class Kinds(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The types of what every operation gives."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kinds: set[torch.dtype] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.kinds.add(result.dtype)
        return result


def test_a_step_is_free_of_complex_numbers() -> None:
    cell = LRU(3, 4)
    with Kinds() as seen:
        cell(torch.zeros(2, 3), cell.initial_state(2))
    assert seen.kinds == {torch.float32}
    with Kinds() as seen:
        cell.scan(torch.zeros(2, 4, 3), cell.initial_state(2))
    assert torch.complex64 in seen.kinds


@pytest.mark.parametrize("ring", [(0.9, 0.9), (0.5, 1.0), (-0.1, 0.5)])
def test_a_ring_out_of_range_is_refused(ring: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="expected 0 <= `min_radius` < `max_radius` < 1"):
        LRU(3, 4, min_radius=ring[0], max_radius=ring[1])


@pytest.mark.parametrize("phase", [0.0, 7.0])
def test_a_phase_out_of_range_is_refused(phase: float) -> None:
    with pytest.raises(ConfigError, match="`max_phase` above 0, at most 2 pi"):
        LRU(3, 4, max_phase=phase)


def test_conformance_of_options() -> None:
    check_cell("lru", min_radius=0.0, max_radius=0.5, max_phase=math.pi / 10)
