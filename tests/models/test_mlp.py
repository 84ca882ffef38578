"""The equations again in NumPy on copied windows, and options."""

import math

import numpy as np
import pytest
import torch
from scipy.special import erf

from elman.errors import ConfigError
from elman.models.mlp import MLP, Activation

F = {
    "relu": lambda a: np.maximum(a, 0),
    "gelu": lambda a: a * (1 + erf(a / math.sqrt(2))) / 2,
    "none": lambda a: a,
}


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("activation", ["relu", "gelu", "none"])
def test_the_docstrings_equations(activation: Activation, layers: int) -> None:
    torch.manual_seed(0)
    encoder = MLP(3, 4, layers=layers, window=5, activation=activation).double()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 9, 3).double()
    first, b, *rest = (parameter.detach().numpy() for parameter in encoder.parameters())
    padded = np.concatenate([np.zeros((2, 4, 3)), x.numpy()], axis=1)
    expected = np.zeros((2, 9, 4))
    for t in range(9):
        # W_1 as a matrix of (H, W I): the oldest step first
        h = F[activation](padded[:, t : t + 5].reshape(2, 15) @ first.transpose(2, 1, 0).reshape(15, 4) + b)
        for W, c in zip(rest[::2], rest[1::2], strict=True):
            h = F[activation](h @ W.T + c)
        expected[:, t] = h
    np.testing.assert_allclose(encoder(x)[0].detach(), expected, rtol=0, atol=1e-12)


def test_one_layer_without_activation_is_linear() -> None:
    encoder = MLP(3, 4, layers=1, window=5, activation="none").double()
    a, b = torch.randn(2, 1, 9, 3).double()
    torch.testing.assert_close(encoder(a + b)[0] + encoder(0 * a)[0], encoder(a)[0] + encoder(b)[0])


def test_rectified_layers_keep_the_size_of_a_signal_at_the_start() -> None:
    """He's rule: the mean square of each layer is that of the one below, whatever the window."""
    torch.manual_seed(0)
    y, _ = MLP(4, 512, layers=6, window=64)(torch.randn(8, 128, 4))
    assert 0.5 < y[:, 64:].square().mean().item() < 2


@pytest.mark.parametrize("inputs", [1, 3])
def test_parameters_are_those_of_the_docstring(inputs: int) -> None:
    I, H, W, layers = inputs, 5, 32, 2  # noqa: E741
    expected = W * I * H + H + (layers - 1) * (H * H + H)
    assert sum(parameter.numel() for parameter in MLP(I, H).parameters()) == expected


def test_out_of_range() -> None:
    with pytest.raises(ConfigError, match="no activation 'rely'; did you mean 'relu'"):
        MLP(3, 4, activation="rely")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected"):
        MLP(3, 4, window=0)
