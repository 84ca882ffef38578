"""The paper's equations again in NumPy, one step at a time, and options."""

import math

import numpy as np
import pytest
import torch

from elman.errors import ConfigError
from elman.models.ssm import SSM, SelectiveBlock


def rms_norm(a: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return np.asarray(gain * a / np.sqrt((a**2).mean(-1, keepdims=True) + 1e-5))


def silu(a: np.ndarray) -> np.ndarray:
    return np.asarray(a / (1 + np.exp(-a)))


def reference(encoder: SSM, x: np.ndarray, state_size: int, expand: int, kernel: int) -> np.ndarray:
    """(time, I) -> (time, H)."""
    p = {name: parameter.detach().numpy() for name, parameter in encoder.named_parameters()}
    r = x @ p["read.weight"].T + p["read.bias"]
    (T, H), N = r.shape, state_size
    E, R = expand * H, math.ceil(H / 16)
    for n in range(len(encoder.blocks)):
        q = {name.removeprefix(f"blocks.{n}."): value for name, value in p.items() if name.startswith(f"blocks.{n}.")}
        A, h = -np.exp(q["log_decay"]), np.zeros((E, N))
        weight = q["convolution.convolution.weight"]
        branches = rms_norm(r, q["norm.weight"]) @ q["from_input.weight"].T
        after = np.zeros_like(r)
        for t in range(T):
            u = q["convolution.convolution.bias"].copy()
            for back in range(min(kernel, t + 1)):
                u += branches[t - back, :E] * weight[:, 0, kernel - 1 - back]
            u = silu(u)
            selected = q["select.weight"] @ u
            low, B, C = selected[:R], selected[R : R + N], selected[R + N :]
            delta = np.log1p(np.exp(q["step_size.weight"] @ low + q["step_size.bias"]))
            for e in range(E):
                h[e] = np.exp(delta[e] * A[e]) * h[e] + delta[e] * B * u[e]
            y = h @ C + q["skip"] * u
            after[t] = r[t] + q["mix.weight"] @ (y * silu(branches[t, E:]))
        r = after
    return rms_norm(r, p["norm.weight"])


def first_block(encoder: SSM) -> SelectiveBlock:
    block = encoder.blocks[0]
    assert isinstance(block, SelectiveBlock)
    return block


@pytest.mark.parametrize(("hidden", "layers", "state_size", "expand", "kernel"), [(4, 2, 16, 2, 4), (20, 1, 3, 1, 2)])
def test_equal_to_the_paper(hidden: int, layers: int, state_size: int, expand: int, kernel: int) -> None:
    torch.manual_seed(0)
    encoder = SSM(3, hidden, layers=layers, state_size=state_size, expand=expand, kernel=kernel).double()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, 30, 3).double()
    y, _ = encoder(x)
    for row in range(2):
        expected = reference(encoder, x[row].numpy(), state_size, expand, kernel)
        np.testing.assert_allclose(y[row].detach(), expected, rtol=0, atol=1e-11)


def test_a_step_size_of_zero_keeps_the_memory_and_a_large_one_forgets_it() -> None:
    torch.manual_seed(0)
    encoder = SSM(3, 4, layers=1).double()
    x = torch.randn(2, 5, 3).double()
    _, (before,) = encoder(x)
    empty = before._replace(hidden=torch.zeros_like(before.hidden))
    bias = first_block(encoder).step_size.bias
    bias.data.fill_(-1e4)
    assert torch.equal(encoder(x, (before,))[1][0].hidden, before.hidden)
    bias.data.fill_(1e4)
    assert torch.equal(encoder(x, (before,))[1][0].hidden, encoder(x, (empty,))[1][0].hidden)


def test_step_sizes_begin_between_a_thousandth_and_a_tenth() -> None:
    torch.manual_seed(0)
    block = SelectiveBlock(64, state_size=1, expand=32, kernel=1, dropout=0, layers=1)
    steps = torch.nn.functional.softplus(block.step_size.bias.detach())
    assert 1e-3 <= steps.min().item() < 1.02e-3
    assert 9.8e-2 < steps.max().item() <= 1e-1 + 1e-6
    assert steps.log().mean().item() == pytest.approx(math.log(1e-2), abs=0.1)  # uniform in the logarithm


def test_float32_is_stable_over_a_long_sequence() -> None:
    torch.manual_seed(0)
    encoder, x = SSM(2, 8, layers=1), torch.randn(1, 4096, 2)
    y, _ = encoder(x)
    exact, _ = encoder.double()(x.double())
    assert (y - exact).abs().max() < 1e-5 * exact.abs().max()


def test_parameters_are_those_of_the_docstring() -> None:
    I, H, layers, N, k = 3, 20, 2, 16, 4  # noqa: E741
    E, R = 2 * H, 2
    block = H + 2 * H * E + (k + 1) * E + E * (R + 2 * N) + (R + 1) * E + E * N + E + E * H
    expected = I * H + H + layers * block + H
    assert sum(parameter.numel() for parameter in SSM(I, H).parameters()) == expected


@pytest.mark.parametrize("option", ["state_size", "expand", "kernel"])
def test_out_of_range(option: str) -> None:
    with pytest.raises(ConfigError, match=f"`{option}`=0"):
        SSM(3, 4, **{option: 0})
