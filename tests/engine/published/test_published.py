"""Eight cells of the literature: their equations again in NumPy, the conformance suite, and the native engine against the loop."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import pytest
import scipy.linalg
import torch
from numpy.typing import NDArray

from elman.cells.cell import CELLS, Cell
from elman.cells.scan import loop
from elman.errors import ConfigError
from elman.layers import Recurrent, backend
from elman.state import leaves
from elman.testing import check_cell
from tests.engine.agreement import Call, assert_agreement, needs_native
from tests.engine.published import GORU, LEM, SCRN, UGRNN, AntisymmetricRNN, CoRNN, FastGRNN, MogrifierLSTM

Array = NDArray[np.float64]
Weights = Mapping[str, Array]
Step = Callable[[Weights, Array, list[Array]], tuple[Array, list[Array]]]


def sigmoid(a: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-a)))


def affine(weights: Weights, name: str, x: Array) -> Array:
    return np.asarray(x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0))


def ugrnn(weights: Weights, x: Array, state: list[Array]) -> tuple[Array, list[Array]]:
    (h,) = state
    total = affine(weights, "from_input", x) + affine(weights, "from_hidden", h)
    u, c = sigmoid(total[:, :4]), np.tanh(total[:, 4:])
    h = u * h + (1 - u) * c
    return h, [h]


def fast_grnn(weights: Weights, x: Array, state: list[Array]) -> tuple[Array, list[Array]]:
    (h,) = state
    inner = affine(weights, "to_rank", h) if "to_rank.weight" in weights else h
    total = affine(weights, "from_input", x) + affine(weights, "from_hidden", inner)
    z, c = sigmoid(total + weights["gate_bias"]), np.tanh(total + weights["candidate_bias"])
    h = (sigmoid(weights["zeta"]) * (1 - z) + sigmoid(weights["nu"])) * c + z * h
    return h, [h]


def scrn(weights: Weights, x: Array, state: list[Array]) -> tuple[Array, list[Array]]:
    h, s = state
    fast, slow = np.split(weights["from_input.weight"], [4])
    s = 0.05 * x @ slow.T + 0.95 * s
    h = sigmoid(affine(weights, "from_context", s) + x @ fast.T + affine(weights, "from_hidden", h))
    return np.concatenate([h, s], 1), [h, s]


def mogrifier_lstm(weights: Weights, x: Array, state: list[Array]) -> tuple[Array, list[Array]]:
    h, c = state
    for turn in range(5):
        if turn % 2 == 0:
            x = 2 * sigmoid(affine(weights, f"scales.{turn}", h)) * x
        else:
            h = 2 * sigmoid(affine(weights, f"scales.{turn}", x)) * h
    i, f, g, o = np.split(affine(weights, "from_input", x) + affine(weights, "from_hidden", h), 4, 1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return h, [h, c]


def lem(weights: Weights, x: Array, state: list[Array]) -> tuple[Array, list[Array]]:
    y, z = state
    first, second, to_memory, to_hidden = np.split(affine(weights, "from_input", x), 4, 1)
    w_first, w_second, w_memory = np.split(weights["from_hidden.weight"], 3)
    d = 0.5 * sigmoid(y @ w_first.T + first)
    e = 0.5 * sigmoid(y @ w_second.T + second)
    z = (1 - d) * z + d * np.tanh(y @ w_memory.T + to_memory)
    y = (1 - e) * y + e * np.tanh(affine(weights, "from_memory", z) + to_hidden)
    return y, [y, z]


def co_rnn(weights: Weights, x: Array, state: list[Array]) -> tuple[Array, list[Array]]:
    y, z = state
    total = affine(weights, "from_hidden", y) + affine(weights, "from_velocity", z) + affine(weights, "from_input", x)
    z = z + 0.1 * (np.tanh(total) - 2.7 * y - 4.7 * z)
    y = y + 0.1 * z
    return y, [y, z]


def antisymmetric_rnn(weights: Weights, x: Array, state: list[Array]) -> tuple[Array, list[Array]]:
    (h,) = state
    above = np.triu(weights["from_hidden"], 1)
    flow = h @ (above - above.T - 0.01 * np.eye(4)).T
    gate, candidate = np.split(affine(weights, "from_input", x), 2, 1)
    h = h + 0.1 * sigmoid(gate + flow) * np.tanh(candidate + flow)
    return h, [h]


def goru(weights: Weights, x: Array, state: list[Array]) -> tuple[Array, list[Array]]:
    (h,) = state
    z_keep, z_reset, candidate = np.split(affine(weights, "from_input", x), 3, 1)
    keep, reset = np.split(affine(weights, "from_hidden", h), 2, 1)
    rotation = scipy.linalg.expm(weights["generator"] - weights["generator"].T)
    total = candidate + sigmoid(z_reset + reset) * (h @ rotation.T)
    written = np.sign(total) * np.maximum(np.abs(total) + weights["threshold"], 0)
    z = sigmoid(z_keep + keep)
    h = z * h + (1 - z) * written
    return h, [h]


CASES: dict[str, tuple[type[Cell], dict[str, Any], Step]] = {
    "FastGRNN": (FastGRNN, {}, fast_grnn),
    "FastGRNN of rank 2": (FastGRNN, {"rank": 2}, fast_grnn),
    "SCRN": (SCRN, {"context_size": 3}, scrn),
    "UGRNN": (UGRNN, {}, ugrnn),
    "MogrifierLSTM": (MogrifierLSTM, {}, mogrifier_lstm),
    "LEM": (LEM, {"longest_step": 0.5}, lem),
    "coRNN": (CoRNN, {}, co_rnn),
    "AntisymmetricRNN": (AntisymmetricRNN, {}, antisymmetric_rnn),
    "GORU": (GORU, {}, goru),
}


def random_cell(name: str, input_size: int = 3, hidden_size: int = 4) -> Cell:
    kind, options, _ = CASES[name]
    torch.manual_seed(0)
    cell = kind(input_size, hidden_size, **options).double()
    for parameter in cell.parameters():
        parameter.data = torch.randn_like(parameter) * parameter.shape[-1] ** -0.5
    return cell


@pytest.mark.parametrize("name", CASES)
def test_steps_are_the_papers_equations(name: str) -> None:
    cell = random_cell(name)
    x = torch.randn(2, 6, 3).double()
    start = [torch.randn_like(leaf) for leaf in leaves(cell.initial_state(2))]
    y, last = loop(cell, x, start[0] if len(start) == 1 else type(cell.initial_state(2))(*start))

    weights = {name: parameter.detach().numpy() for name, parameter in cell.named_parameters()}
    state = [leaf.numpy() for leaf in start]
    for t, x_t in enumerate(x.numpy().swapaxes(0, 1)):
        expected, state = CASES[name][2](weights, x_t, state)
        np.testing.assert_allclose(y[:, t].detach(), expected, rtol=0, atol=1e-12)
    for leaf, value in zip(leaves(last), state, strict=True):
        np.testing.assert_allclose(leaf.detach(), value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_the_suite_of_cells_passes_on_every_backend(name: str) -> None:
    kind, options, _ = CASES[name]
    check_cell(kind, **options)


@needs_native
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("name", CASES)
def test_native_agrees_with_the_loop(name: str, direction: Literal["forward", "backward"], dtype: torch.dtype) -> None:
    layer = Recurrent(random_cell(name, 5, 20).to(dtype), direction=direction)
    for lengths in (None, (30, 0, 1, 17)):
        assert_agreement(layer, Call(batch=4, time=30, lengths=lengths, dtype=dtype))


@needs_native
@pytest.mark.parametrize("name", CASES)
def test_many_units(name: str) -> None:
    assert_agreement(Recurrent(random_cell(name, 5, 260)), Call(batch=2, time=3))


@needs_native
@pytest.mark.parametrize("name", CASES)
def test_an_update_of_the_weights_is_seen(name: str) -> None:
    layer = Recurrent(random_cell(name))
    assert_agreement(layer, Call())
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    assert_agreement(copy.deepcopy(layer), Call())
    assert_agreement(layer, Call())


def test_none_of_them_is_in_the_package() -> None:
    packaged = {CELLS.get(name).__name__.lower() for name in CELLS.names()}
    assert not packaged & {kind.__name__.lower() for kind, _, _ in CASES.values()}


def test_a_rotation_keeps_lengths() -> None:
    cell = random_cell("GORU")
    assert isinstance(cell, GORU)
    cell.prepare()
    identity = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(cell.rotation @ cell.rotation.T, identity, rtol=0, atol=1e-12)  # type: ignore[operator]


def test_no_round_of_scaling_is_an_lstm() -> None:
    torch.manual_seed(0)
    cell, reference = MogrifierLSTM(3, 4, rounds=0).double(), CELLS.get("lstm")(3, 4).double()
    reference.load_state_dict(cell.state_dict())
    x = torch.randn(2, 6, 3).double()
    with backend("loop"):
        torch.testing.assert_close(Recurrent(cell)(x), Recurrent(reference)(x), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (FastGRNN, {"rank": -1}),
        (SCRN, {"context_size": 0}),
        (SCRN, {"alpha": 1.5}),
        (MogrifierLSTM, {"rounds": -1}),
        (LEM, {"longest_step": 0.0}),
        (CoRNN, {"gamma": 0.0}),
        (AntisymmetricRNN, {"step_size": 0.0}),
        (AntisymmetricRNN, {"diffusion": -1.0}),
    ],
)
def test_options_out_of_range_are_refused(kind: type[Cell], options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        kind(3, 4, **options)
