"""What linear cells share: the step and the parallel form from one description, and memories that are long at the start."""

import numpy as np
import pytest
import torch
from torch import Tensor

from elman.cells import CELLS
from elman.cells.linear import Complex, LinearCell, spread_memory_
from elman.cells.scan import loop
from elman.errors import ConfigError
from elman.layers import Recurrent
from elman.state import detach, leaves

PARALLEL = ("sru", "qrnn", "min_gru", "min_lstm", "lru", "rg_lru", "mlstm")


class Rotation(LinearCell[Complex]):
    """h_t = i h_{t-1} + x_t: a quarter turn a step, known without arithmetic. y is the real part."""

    def __init__(self) -> None:
        super().__init__(1, 1)

    def initial_state(self, batch_size: int) -> Complex:
        return Complex(torch.zeros(batch_size, 1), torch.zeros(batch_size, 1))

    def coefficients(self, z: Tensor) -> tuple[Complex, Complex]:
        return Complex(torch.zeros(1), torch.ones(1)), Complex(z, torch.zeros_like(z))

    def read(self, z: Tensor, hidden: Complex) -> Tensor:  # noqa: ARG002
        return hidden.real


@pytest.mark.parametrize("backend", ["step", "scan"])
def test_a_complex_state_turns(backend: str) -> None:
    cell = Rotation()
    x = torch.tensor([[1.0, 0.0, 0.0, 0.0, 2.0]])[..., None]
    y, state = (loop if backend == "step" else Rotation.scan)(cell, x, cell.initial_state(1))
    np.testing.assert_allclose(y[0, :, 0], [1, 0, -1, 0, 3], atol=1e-6)
    np.testing.assert_allclose(torch.cat(state), [[3], [0]], atol=1e-6)


def test_memories_are_spread_from_the_longest_down() -> None:
    bias = torch.empty(3)
    spread_memory_(bias, 200.0)
    np.testing.assert_allclose(1 / (1 - bias.double().sigmoid()), [200, 20, 2], rtol=1e-5)
    spread_memory_(bias, 2.0, shortest=20.0)
    np.testing.assert_allclose(bias.sigmoid(), [0.5, 0.5, 0.5], rtol=1e-6)
    with pytest.raises(ConfigError, match=r"`memory` of 2 steps or more, got 1\.5"):
        spread_memory_(bias, 1.5)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", PARALLEL)
def test_a_carried_state_does_not_hold_on_to_the_steps_before(name: str, batch: int) -> None:
    cell = CELLS.get(name)(3, 4)
    with torch.no_grad():
        _, state = cell.scan(torch.randn(batch, 100, 3), cell.initial_state(batch))
    for leaf in leaves(state):
        kept = leaf.untyped_storage().nbytes()
        assert kept == leaf.nbytes


@pytest.mark.parametrize("name", PARALLEL)
def test_the_first_input_still_matters_after_a_hundred_steps(name: str) -> None:
    torch.manual_seed(0)
    layer = Recurrent(CELLS.get(name)(3, 16))
    x = torch.randn(4, 100, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x)[0][:, -1].square().sum(), x)
    assert gradient[:, 0].norm() > 1e-4 * gradient[:, -1].norm()


@pytest.mark.parametrize("name", PARALLEL)
def test_scan_gives_the_loop_over_more_than_a_chunk(name: str) -> None:
    torch.manual_seed(0)
    cell = CELLS.get(name)(3, 4).double()
    x, lengths = torch.randn(4, 150, 3).double(), torch.tensor([150, 65, 64, 0])
    x = x.where((torch.arange(150) < lengths[:, None])[..., None], 0)
    start = detach(loop(cell, x[:, :2], cell.initial_state(4))[1])
    results = []
    for run in (loop, type(cell).scan):
        y, state = run(cell, x, start, lengths)
        total = y.square().sum() + torch.stack([leaf.sin().sum() for leaf in leaves(state)]).sum()
        results.append([y, *leaves(state), *torch.autograd.grad(total, list(cell.parameters()))])
    for expected, actual in zip(*results, strict=True):
        assert (actual - expected).abs().max() <= 1e-10 * expected.abs().max()


@pytest.mark.parametrize("name", PARALLEL)
def test_no_time_steps(name: str) -> None:
    cell = CELLS.get(name)(3, 4)
    start = cell.initial_state(2)
    y, state = cell.scan(torch.zeros(2, 0, 3), start)
    assert y.shape == (2, 0, 4)
    for before, after in zip(leaves(start), leaves(state), strict=True):
        assert torch.equal(before, after)
