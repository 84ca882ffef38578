"""The equations again in NumPy, without the stabilizer; stability; and chunks."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from elman.cells.mlstm import CHUNK, MLSTM, MLSTMState
from elman.cells.scan import loop
from elman.errors import ConfigError
from elman.testing import check_cell
from elman.testing.compare import relative_difference

Array = NDArray[np.float64]


def sigmoid(a: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-a)))


def unstabilized(cell: MLSTM, x: Array) -> tuple[Array, Array, Array]:
    """Outputs (batch, time, H), C and n at the end, with exp(i) as it stands; from a state of zeros, in float64."""
    W, b, gate_weight, gate_bias = (p.detach().double().numpy() for p in cell.parameters())
    N, H = cell.heads, cell.hidden_size
    D, batch = H // N, len(x)
    C, n, outputs = np.zeros((batch, N, D, D)), np.zeros((batch, N, D)), []
    for t in range(x.shape[1]):
        q, k, v, o = np.split(x[:, t] @ W.T + b, 4, -1)
        q, k, v = (part.reshape(batch, N, D) for part in (q, k, v))
        k = k / np.sqrt(D)
        i, f = np.split(x[:, t] @ gate_weight.T + gate_bias, 2, -1)
        i, f = np.exp(i), sigmoid(f)
        C = f[..., None, None] * C + i[..., None, None] * np.einsum("bnd,bne->bnde", v, k)
        n = f[..., None] * n + i[..., None] * k
        bottom = np.maximum(np.abs(np.einsum("bnd,bnd->bn", n, q)), 1)
        h = np.einsum("bnde,bne->bnd", C, q) / bottom[..., None]
        outputs.append(sigmoid(o) * h.reshape(batch, H))
    return np.stack(outputs, 1), C, n


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("form", ["loop", "scan"])
def test_the_papers_equations(heads: int, form: str) -> None:
    torch.manual_seed(0)
    cell = MLSTM(3, 4, heads=heads).double()
    torch.nn.init.normal_(cell.from_input.bias)
    x = torch.randn(2, CHUNK + 20, 3).double()
    expected, C, n = unstabilized(cell, x.numpy())
    y, state = (loop if form == "loop" else MLSTM.scan)(cell, x, cell.initial_state(2))
    scale = state.stabilizer.detach().numpy()
    np.testing.assert_allclose(y.detach(), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(state.memory.detach().numpy() * np.exp(scale)[..., None, None], C, rtol=0, atol=1e-12)
    np.testing.assert_allclose(state.normalizer.detach().numpy() * np.exp(scale)[..., None], n, rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", ["loop", "scan"])
def test_gates_far_out_are_stable_in_float32(form: str) -> None:
    """Pre-activations of -60, 0 and 60 in any order, for both gates: e^60 fits into the float64 of the reference."""
    torch.manual_seed(0)
    cell = MLSTM(5, 4)
    with torch.no_grad():
        cell.from_input_gates.weight.zero_()
        cell.from_input_gates.weight[0, 3] = cell.from_input_gates.weight[1, 4] = 60.0
        cell.from_input_gates.bias.zero_()
        cell.from_input.weight[:, 3:] = 0
    x = torch.cat([torch.randn(4, 200, 3), torch.randint(-1, 2, (4, 200, 2)).float()], -1).requires_grad_()
    expected, _, _ = unstabilized(cell, x.detach().double().numpy())
    y, state = (loop if form == "loop" else MLSTM.scan)(cell, x, cell.initial_state(4))
    assert relative_difference(y, torch.from_numpy(expected)) < 1e-5
    torch.autograd.backward(y.square().sum())
    for tensor in (x, *cell.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
    assert all(leaf.isfinite().all() for leaf in state)


@pytest.mark.parametrize("form", ["loop", "scan"])
def test_an_empty_memory_under_a_tiny_stabilizer_is_zero_not_nan(form: str) -> None:
    cell = MLSTM(3, 4)
    with torch.no_grad():
        cell.from_input_gates.bias.fill_(-1e4)
    x = torch.randn(2, 5, 3, requires_grad=True)
    y, _ = (loop if form == "loop" else MLSTM.scan)(cell, x, cell.initial_state(2))
    torch.autograd.backward(y.sum())
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert y.abs().max() < 1e-30


def test_a_value_is_recalled_by_its_key() -> None:
    """With kept memory and orthogonal keys, a query gives what was stored under it: here D k q = 1, so C q / 1 is the value."""
    cell = MLSTM(8, 4).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        eye = torch.eye(4, dtype=torch.float64)
        cell.from_input.weight[:4, :4] = cell.from_input.weight[4:8, :4] = 2**0.5 * eye  # query and key
        cell.from_input.weight[8:12, 4:] = eye  # value
        cell.from_input.bias[12:] = 1e4  # open output gate
        cell.from_input_gates.bias[1] = 1e4  # nothing is forgotten
        cell.from_input_gates.weight[0, :4] = 0.0
    values = torch.randn(4, 4, dtype=torch.float64)
    state = cell.initial_state(1)
    for key, value in zip(eye, values, strict=True):
        _, state = cell(torch.cat([key, value])[None], state)
    recalled = state.memory[0, 0] @ (2**0.5 * eye)
    torch.testing.assert_close(recalled.T, values, rtol=0, atol=1e-12)


def test_gates_are_those_of_the_step() -> None:
    torch.manual_seed(0)
    cell = MLSTM(3, 4, heads=2)
    state = MLSTMState(torch.zeros(2, 2, 2, 2), torch.zeros(2, 2, 2), torch.tensor([[0.0, 5.0], [-5.0, 0.0]]))
    gates = cell.gates(cell.project(torch.randn(2, 3)), state)
    assert gates.input.shape == gates.forget.shape == (2, 2)
    assert gates.output.shape == (2, 4)
    torch.testing.assert_close(torch.maximum(gates.input, gates.forget), torch.ones(2, 2))


def test_heads_start_with_memories_from_the_option_down() -> None:
    bias = MLSTM(3, 4, heads=4, memory=160.0).from_input_gates.bias[4:].detach().double()
    np.testing.assert_allclose(1 / (1 - bias.sigmoid()), [160, 80, 40, 20], rtol=1e-4)


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ConfigError, match="`heads` that divide the 4 units, got 3"):
        MLSTM(3, 4, heads=3)


def test_conformance_of_heads() -> None:
    check_cell("mlstm", heads=2, memory=5.0)
