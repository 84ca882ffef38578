"""Against the equations without a stabilizer: in NumPy, and in decimal arithmetic where gates are extreme."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.cells.scan import loop
from elman.cells.slstm import SLSTM, SLSTMState
from elman.errors import ConfigError
from elman.layers import Recurrent
from elman.testing import check_cell

B, T, I, H = 2, 9, 3, 4  # noqa: E741  (the input size, as in the docstring)
FORGETS = ["sigmoid", "exponential"]


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


def random_cell(forget: str, heads: int = 1) -> SLSTM:
    torch.manual_seed(0)
    cell = SLSTM(I, H, heads=heads, forget=forget).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return cell


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("forget", FORGETS)
def test_steps_are_the_equations_without_a_stabilizer(forget: str, heads: int) -> None:
    cell = random_cell(forget, heads)
    W, b = cell.from_input.weight.detach().numpy(), cell.from_input.bias.detach().numpy()
    size = H // heads
    U = np.zeros((4, H, H))
    for gate in range(4):
        for head in range(heads):
            block = slice(head * size, head * size + size)
            U[gate, block, block] = cell.from_hidden[gate, head].detach().numpy()
    x = torch.randn(B, T, I).double()
    y, state = loop(cell, x, cell.initial_state(B))
    h, c, n = np.zeros((3, B, H))
    for t in range(T):
        i, f, g, o = (
            x[:, t].numpy() @ W[gate * H : gate * H + H].T + h @ U[gate].T + b[gate * H : gate * H + H]
            for gate in range(4)
        )
        kept = np.exp(f) if forget == "exponential" else sigmoid(f)
        c, n = kept * c + np.exp(i) * np.tanh(g), kept * n + np.exp(i)
        h = sigmoid(o) * c / n
        np.testing.assert_allclose(y[:, t].detach(), h, rtol=0, atol=1e-13)
    scale = state.stabilizer.detach().exp()
    np.testing.assert_allclose((state.cell * scale).detach(), c, rtol=1e-12, atol=0)
    np.testing.assert_allclose((state.normalizer * scale).detach(), n, rtol=1e-12, atol=0)
    np.testing.assert_array_equal(state.hidden.detach(), y[:, -1].detach())


def exact(z: np.ndarray, forget: str) -> list[float]:
    """One unit without recurrent weights, in decimals whose exponents do not end."""
    c, n, outputs = Decimal(0), Decimal(0), []
    with localcontext() as context:
        context.prec = 50
        for i, f, g, o in z:
            weight, kept = Decimal(i).exp(), Decimal(f).exp()
            if forget == "sigmoid":
                kept = kept / (1 + kept)
            c, n = kept * c + weight * Decimal(float(np.tanh(g))), kept * n + weight
            outputs.append(float(sigmoid(o)) * float(c / n))
    return outputs


extreme = st.one_of(st.sampled_from([-120.0, 120.0]), st.floats(-120, 120, width=32))


@pytest.mark.parametrize("forget", FORGETS)
@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.tuples(extreme, extreme, st.floats(-3, 3, width=32), extreme), min_size=1, max_size=12))
def test_extreme_gates_in_float32(forget: str, steps: list[tuple[float, float, float, float]]) -> None:
    cell = SLSTM(4, 1, forget=forget)  # type: ignore[arg-type]
    with torch.no_grad():
        cell.from_input.weight.copy_(torch.eye(4))
        cell.from_input.bias.zero_()
        cell.from_hidden.zero_()
    x = torch.tensor(steps)[None].requires_grad_()
    y, state = Recurrent(cell)(x)
    # A stabilizer of 12 * 120 is rounded to 6e-5 in float32, and its exponential with it.
    np.testing.assert_allclose(y[0, :, 0].detach(), exact(np.array(steps), forget), rtol=0, atol=4e-4)
    assert (state.normalizer >= 1).all()
    assert (y.abs() <= 1).all()
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("scale", [1e3, 1e6, 1e12])
@pytest.mark.parametrize("forget", FORGETS)
def test_a_first_gate_however_far_shut_writes_all_there_is(forget: str, scale: float) -> None:
    """One weight, whatever it is: the mean of one candidate."""
    torch.manual_seed(0)
    cell = SLSTM(I, H, forget=forget)  # type: ignore[arg-type]
    x = (scale * torch.randn(B, 1, I)).requires_grad_()
    start = cell.initial_state(B)
    gates = cell.gates(cell.project(x[:, 0]), start)
    assert gates.log_input.min() < -scale / 10
    y, state = Recurrent(cell)(x, start)
    torch.testing.assert_close(y[:, 0], gates.output * gates.candidate, rtol=0, atol=1e-6)
    assert torch.equal(state.stabilizer, gates.log_input)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_an_input_gate_that_is_wide_open_forgets_what_was_before() -> None:
    cell = random_cell("sigmoid")
    x = torch.randn(B, I).double()
    hidden, cell_before = torch.randn(2, B, H).double()
    state = SLSTMState(hidden, cell_before, torch.ones_like(hidden), torch.zeros_like(hidden))
    with torch.no_grad():
        cell.from_input.bias[:H] = 1e3
        gates = cell.gates(cell.project(x), state)
        y, _ = cell(x, state)
    torch.testing.assert_close(y, gates.output * gates.candidate, rtol=0, atol=1e-15)


def test_an_input_gate_that_is_shut_keeps_the_mean() -> None:
    cell = random_cell("sigmoid")
    x = torch.randn(B, I).double()
    _, state = cell(x, cell.initial_state(B))
    with torch.no_grad():
        cell.from_input.bias[:H] = -1e3
        _, after = cell(x, state)
    torch.testing.assert_close(after.cell / after.normalizer, state.cell / state.normalizer, rtol=0, atol=1e-15)


def test_forget_gates_begin_the_same_whichever_they_are() -> None:
    sigmoids, exponentials = (SLSTM(I, H, forget=forget).from_input.bias[H : 2 * H] for forget in FORGETS)  # type: ignore[arg-type]
    torch.testing.assert_close(sigmoids.sigmoid(), exponentials.exp())
    assert sigmoids[0].sigmoid() == 0.5


def test_the_other_gates_begin_half_open() -> None:
    biases = SLSTM(I, H).from_input.bias
    assert not biases[:H].any()
    assert not biases[2 * H :].any()


def test_heads_do_not_mix_in_a_step() -> None:
    cell = random_cell("sigmoid", heads=2)
    x = torch.randn(1, I).double()
    _, state = cell(x, cell.initial_state(1))
    hidden = state.hidden.clone()
    hidden[:, :2] += 1
    changed = cell(x, state)[0] != cell(x, state._replace(hidden=hidden))[0]
    assert changed.tolist() == [[True, True, False, False]]


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"`heads`.*`hidden_size`=4, got 3"):
        SLSTM(3, 4, heads=3)
    with pytest.raises(ConfigError, match=r"`forget`.*'relu'"):
        SLSTM(3, 4, forget="relu")  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"heads": 2}, {"forget": "exponential"}, {"heads": 4, "forget": "exponential"}])
def test_options_keep_the_contract(options: dict[str, int | str]) -> None:
    check_cell("slstm", **options)
