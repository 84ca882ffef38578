"""The paper's network again, on the zero-padded whole, and its dropout of channels."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from elman.errors import ConfigError
from elman.models.tcn import TCN, ChannelDropout


def paper(encoder: TCN, x: Tensor, kernel: int) -> Tensor:
    """Section 3 of Bai et al., from the weights by name; (batch, time, I) -> (batch, time, H)."""
    p = dict(encoder.named_parameters())
    o = x.mT
    for level in range(len(encoder.blocks)):
        dilation, inner = 2**level, o
        for name in ("first", "second"):
            prefix = f"blocks.{level}.{name}.convolution"
            g, v = (p[f"{prefix}.parametrizations.weight.original{part}"] for part in (0, 1))
            weight = g * v / v.flatten(1).norm(dim=1)[:, None, None]
            padded = F.pad(inner, ((kernel - 1) * dilation, 0))
            inner = F.conv1d(padded, weight, p[f"{prefix}.bias"], dilation=dilation).relu()
        if o.shape[1] != inner.shape[1]:
            o = (
                torch.einsum("oi,bit->bot", p[f"blocks.{level}.around.weight"], o)
                + p[f"blocks.{level}.around.bias"][:, None]
            )
        o = (o + inner).relu()
    return o.mT


@pytest.mark.parametrize("input_size", [3, 4])
@pytest.mark.parametrize(("layers", "kernel"), [(1, 3), (3, 2), (4, 3)])
def test_equal_to_the_paper(input_size: int, layers: int, kernel: int) -> None:
    torch.manual_seed(0)
    encoder = TCN(input_size, 4, layers=layers, kernel=kernel).double()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 40, input_size).double()
    torch.testing.assert_close(encoder(x)[0], paper(encoder, x, kernel), rtol=1e-12, atol=0)


def test_sizes_that_agree_need_no_convolution_around() -> None:
    assert not any("around" in name for name, _ in TCN(4, 4).named_parameters())
    assert [name for name, _ in TCN(3, 4).named_parameters() if "around" in name] == [
        "blocks.0.around.weight",
        "blocks.0.around.bias",
    ]


def test_the_reach_by_default_is_some_hundred_steps() -> None:
    assert TCN(3, 4).reach == 253
    assert TCN(3, 4, layers=8, kernel=7).reach == 1 + 2 * 6 * 255  # the paper's formula: twice its (k - 1)(2^n - 1)


def test_depth_changes_the_size_of_a_signal_little_at_the_start() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 300, 64)
    shallow, deep = (TCN(64, 64, layers=layers)(x)[0][:, 260:].square().mean().item() for layers in (1, 8))
    assert 1 < deep / shallow < 10  # a thousand, if each block began as one by itself


def test_dropout_zeroes_whole_channels_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    x = torch.ones(200, 7, 50)
    y = ChannelDropout(0.25)(x)
    assert torch.equal(y, y[:, :1].expand_as(y))  # the same for all steps
    assert set(y.unique().tolist()) == {0.0, float(torch.tensor(1 / 0.75))}
    assert abs(float((y == 0).float().mean()) - 0.25) < 0.02
    assert float(y.mean()) == pytest.approx(1, abs=0.02)
    assert ChannelDropout(0.25).eval()(x) is x


@pytest.mark.parametrize("whole", [True, False])
def test_dropout_by_channel_or_by_value(whole: bool) -> None:
    """Nothing leads around the block, and its last convolution gives ones: zeros are what was dropped."""
    torch.manual_seed(0)
    encoder = TCN(4, 64, layers=1, dropout=0.5, channel_dropout=whole)
    p = dict(encoder.blocks[0].named_parameters())
    for name in ("around.weight", "around.bias", "second.convolution.parametrizations.weight.original0"):
        torch.nn.init.zeros_(p[name])
    torch.nn.init.ones_(p["second.convolution.bias"])
    dropped = encoder(torch.randn(8, 20, 4))[0] == 0
    assert 0.3 < dropped.float().mean() < 0.7
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped)) == whole


@pytest.mark.parametrize(("inputs", "around"), [(1, 1), (5, 0)])
def test_parameters_are_those_of_the_docstring(inputs: int, around: int) -> None:
    I, H, k, layers = inputs, 5, 3, 6  # noqa: E741
    expected = 2 * layers * (k * H * H + 2 * H) + k * I * H - k * H * H + around * (I * H + H)
    assert sum(parameter.numel() for parameter in TCN(I, H).parameters()) == expected


def test_out_of_range() -> None:
    with pytest.raises(ConfigError, match="`kernel`=0"):
        TCN(3, 4, kernel=0)
