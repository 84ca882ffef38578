"""The equations again in NumPy, equality with Keras and with the plain LSTM, and limits."""

import importlib
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from elman.cells.conv_lstm import ConvLSTM, ConvLSTMState
from elman.cells.lstm import LSTM, LSTMState
from elman.cells.scan import loop
from elman.errors import ConfigError
from elman.testing import check_cell

H, HEIGHT, WIDTH, CHANNELS = 3, 4, 5, 2


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


def convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """image (batch, in, height, width), kernel (out, in, k, k): one place of the output after the other."""
    reach = kernel.shape[-1] // 2
    padded = np.pad(image, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    result = np.zeros((len(image), len(kernel), *image.shape[2:]))
    for row in range(image.shape[2]):
        for column in range(image.shape[3]):
            patch = padded[:, :, row : row + kernel.shape[2], column : column + kernel.shape[3]]
            result[:, :, row, column] = np.einsum("ncij,ocij->no", patch, kernel)
    return result


def bias(cell: ConvLSTM) -> Tensor:
    assert cell.from_input.bias is not None
    return cell.from_input.bias


def random_cell(**options: int | bool) -> ConvLSTM:
    torch.manual_seed(0)
    cell = ConvLSTM(CHANNELS * HEIGHT * WIDTH, H, height=HEIGHT, width=WIDTH, **options).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_(0, 0.5)
    return cell


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_steps_are_the_docstrings_equations(kernel: int) -> None:
    cell = random_cell(kernel=kernel, peephole=True)
    assert cell.from_cell is not None
    parameters = (cell.from_input.weight, bias(cell), cell.from_hidden.weight, cell.from_cell)
    W, b, U, p = (parameter.detach().numpy() for parameter in parameters)
    x = torch.randn(2, 3, CHANNELS * HEIGHT * WIDTH).double()
    h, c = np.random.default_rng(0).normal(size=(2, 2, H, HEIGHT, WIDTH))
    y, state = loop(cell, x, ConvLSTMState(torch.tensor(h), torch.tensor(c)))
    for t in range(3):
        image = x[:, t].numpy().reshape(2, CHANNELS, HEIGHT, WIDTH)
        total = [
            convolve(image, W[rows]) + convolve(h, U[rows]) + b[rows, None, None]
            for rows in (slice(gate * H, gate * H + H) for gate in range(4))
        ]
        i, f = sigmoid(total[0] + p[0] * c), sigmoid(total[1] + p[1] * c)
        c = f * c + i * np.tanh(total[2])
        h = sigmoid(total[3] + p[2] * c) * np.tanh(c)
        np.testing.assert_allclose(y[:, t].detach(), h.reshape(2, -1), rtol=0, atol=1e-13)
    np.testing.assert_allclose(state.hidden.detach(), h, rtol=0, atol=1e-13)
    np.testing.assert_allclose(state.cell.detach(), c, rtol=0, atol=1e-13)


@pytest.fixture(scope="module")
def keras_layers(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        keras = importlib.import_module("keras")
    assert keras.backend.backend() == "torch"
    return keras.layers  # type: ignore[no-any-return]


# Keras gives its variables an __array__ of NumPy 1, which NumPy 2 complains of.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
@pytest.mark.parametrize(("name", "height"), [("ConvLSTM1D", 1), ("ConvLSTM2D", HEIGHT)])
def test_equal_to_keras(keras_layers: ModuleType, name: str, height: int) -> None:
    """There the channels are last, in images and kernels, an image of one dimension has no height; gates are i, f, g, o."""
    torch.manual_seed(0)
    cell = ConvLSTM(CHANNELS * height * WIDTH, H, height=height, width=WIDTH)
    torch.nn.init.normal_(bias(cell))
    images = torch.randn(2, 6, CHANNELS, height, WIDTH)
    y, state = loop(cell, images.flatten(2), cell.initial_state(2))

    def without_height(array: Tensor, axis: int) -> Tensor:
        return array.squeeze(axis) if height == 1 else array

    reference = getattr(keras_layers, name)(H, 3, padding="same", return_sequences=True, return_state=True)
    x = without_height(images.movedim(2, -1), 2)
    reference.build(tuple(x.shape))
    kernels = [weight.detach().permute(2, 3, 1, 0) for weight in (cell.from_input.weight, cell.from_hidden.weight)]
    reference.set_weights([without_height(array, 0).numpy() for array in kernels] + [bias(cell).detach().numpy()])
    expected, *last = reference(x)
    torch.testing.assert_close(y, expected.movedim(-1, 2).flatten(2), rtol=0, atol=1e-6)
    for leaf, value in zip(state, last, strict=True):
        torch.testing.assert_close(leaf.flatten(1), value.movedim(-1, 1).flatten(1), rtol=0, atol=1e-6)


def test_an_image_of_one_pixel_is_the_plain_lstm() -> None:
    torch.manual_seed(0)
    cell, lstm = ConvLSTM(3, 4), LSTM(3, 4)
    assert sum(p.numel() for p in cell.parameters()) == sum(p.numel() for p in lstm.parameters())
    weights = {name: weight.reshape(len(weight), -1).squeeze(-1) for name, weight in cell.state_dict().items()}
    lstm.load_state_dict(weights)
    x, h, c = torch.randn(5, 3), torch.randn(5, 4), torch.randn(5, 4)
    y, state = cell(x, ConvLSTMState(h[..., None, None], c[..., None, None]))
    expected, expected_state = lstm(x, LSTMState(h, c))
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(state.cell[..., 0, 0], expected_state.cell, rtol=0, atol=1e-6)


@pytest.mark.parametrize("peephole", [False, True])
def test_an_open_forget_gate_and_a_closed_input_gate_keep_the_cell_exactly(peephole: bool) -> None:
    cell = random_cell(peephole=peephole)
    with torch.no_grad():
        bias(cell)[:H] = -1e4
        bias(cell)[H : 2 * H] = 1e4
    h, c = torch.randn(2, 2, H, HEIGHT, WIDTH).double()
    _, state = cell(torch.randn(2, CHANNELS * HEIGHT * WIDTH).double(), ConvLSTMState(h, c))
    assert torch.equal(state.cell, c)


def test_a_pixel_reaches_its_neighbours_only() -> None:
    cell = random_cell()
    x = torch.zeros(2, 1, CHANNELS, HEIGHT, WIDTH).double()
    x[1, :, :, 0, 0] = 1
    y, _ = loop(cell, x.flatten(2), cell.initial_state(2))
    changed = (y[0] != y[1]).reshape(H, HEIGHT, WIDTH)
    assert changed[:, :2, :2].all()
    assert changed.sum() == 4 * H


def test_the_forget_bias_is_an_option() -> None:
    cell = ConvLSTM(6, 4, width=2, forget_bias=3.0)
    assert bias(cell).tolist() == [0.0] * 4 + [3.0] * 4 + [0.0] * 8


@pytest.mark.parametrize(
    ("options", "message"),
    [({"height": 2}, "multiple of 2"), ({"kernel": 2}, "odd"), ({"kernel": -1}, "odd"), ({"width": 0}, "`width` >= 1")],
)
def test_wrong_sizes_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ConvLSTM(3, 4, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options", [{"width": 3}, {"height": 3, "kernel": 5}, {"peephole": True}, {"width": 3, "peephole": True}]
)
def test_options_keep_the_contract(options: dict[str, int]) -> None:
    check_cell("conv_lstm", **options)
