"""The equations again in NumPy, one step at a time, and options."""

import math

import numpy as np
import pytest
import torch
from scipy.special import erf

from elman.errors import ConfigError
from elman.models.cnn import CNN


def layer_norm(a: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> np.ndarray:
    centred = a - a.mean(-1, keepdims=True)
    return np.asarray(gain * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) + bias)


@pytest.mark.parametrize(("layers", "kernel"), [(1, 4), (3, 2)])
def test_the_docstrings_equations(layers: int, kernel: int) -> None:
    torch.manual_seed(0)
    encoder = CNN(3, 4, layers=layers, kernel=kernel).double()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 7, 3).double()
    p = {name: parameter.detach().numpy() for name, parameter in encoder.named_parameters()}
    r = x.numpy() @ p["read.weight"].T + p["read.bias"]
    for n in range(layers):
        q = {name.removeprefix(f"blocks.{n}."): value for name, value in p.items() if name.startswith(f"blocks.{n}.")}
        normed = layer_norm(r, q["norm.weight"], q["norm.bias"])
        a = np.zeros_like(r) + q["convolution.convolution.bias"]
        for t in range(7):
            for back in range(min(kernel, t + 1)):
                a[:, t] += normed[:, t - back] @ q["convolution.convolution.weight"][:, :, kernel - 1 - back].T
        r = r + (a * (1 + erf(a / math.sqrt(2))) / 2) @ q["mix.weight"].T + q["mix.bias"]
    expected = layer_norm(r, p["norm.weight"], p["norm.bias"])
    np.testing.assert_allclose(encoder(x)[0].detach(), expected, rtol=0, atol=1e-12)


def test_depth_hardly_changes_the_size_of_the_residual_at_the_start() -> None:
    torch.manual_seed(0)
    sizes = []
    for layers in (1, 16):
        encoder = CNN(8, 64, layers=layers)
        seen: list[torch.Tensor] = []
        encoder.norm.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        encoder(torch.randn(4, 100, 8))
        sizes.append(seen[0].square().mean().item())
    assert 0.5 < sizes[1] / sizes[0] < 2


@pytest.mark.parametrize("inputs", [1, 3])
def test_parameters_are_those_of_the_docstring(inputs: int) -> None:
    I, H, k, layers = inputs, 5, 7, 4  # noqa: E741
    expected = I * H + H + layers * (k * H * H + H * H + 4 * H) + 2 * H
    assert sum(parameter.numel() for parameter in CNN(I, H).parameters()) == expected


def test_the_reach_is_a_day_of_hours_and_one() -> None:
    assert CNN(3, 4).reach == 25


def test_out_of_range() -> None:
    with pytest.raises(ConfigError, match="`kernel`=0"):
        CNN(3, 4, kernel=0)
