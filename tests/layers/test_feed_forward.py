"""The feed-forward block, judged by its equations in NumPy."""

import numpy as np
import pytest
import torch
from scipy.special import erf

from elman.cells import GRU
from elman.errors import ConfigError
from elman.layers import Recurrent, Stack
from elman.layers.feed_forward import FeedForward
from elman.testing import check_layer


def gelu(x: np.ndarray) -> np.ndarray:
    result: np.ndarray = x * 0.5 * (1 + erf(x / np.sqrt(2)))
    return result


@pytest.mark.parametrize("gated", [True, False])
def test_the_equations_again(gated: bool) -> None:
    torch.manual_seed(0)
    block = FeedForward(3, factor=4, gated=gated).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    wide = x.numpy() @ block.widen.weight.detach().numpy().T + block.widen.bias.detach().numpy()
    hidden = gelu(wide[..., :12]) * wide[..., 12:] if gated else gelu(wide)
    expected = hidden @ block.narrow.weight.detach().numpy().T + block.narrow.bias.detach().numpy()
    np.testing.assert_allclose(block(x)[0].detach().numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("gated", "expected"), [(True, 3 * 5 * 10 + 2 * 10 + 5), (False, 2 * 5 * 10 + 10 + 5)])
def test_parameters(gated: bool, expected: int) -> None:
    assert sum(parameter.numel() for parameter in FeedForward(5, gated=gated).parameters()) == expected


def test_dropout_is_on_the_hidden_layer_in_training_only() -> None:
    torch.manual_seed(0)
    block, x = FeedForward(4, dropout=0.5), torch.randn(3, 6, 4)
    assert not torch.equal(block(x)[0], block(x)[0])
    with torch.no_grad():
        block.narrow.weight.zero_()
        block.narrow.bias.fill_(1.0)
    assert torch.equal(block(x)[0], torch.ones(3, 6, 4))  # nothing is dropped of what it gives
    assert torch.equal(block.eval()(x)[0], torch.ones(3, 6, 4))


def test_it_stands_between_recurrences() -> None:
    def stack() -> Stack:
        layers = [Recurrent(GRU(3, 4)), FeedForward(4), Recurrent(GRU(4, 4))]
        return Stack(layers, connections="residual", layer_norm="before")

    check_layer(stack)


@pytest.mark.parametrize(("size", "factor"), [(0, 2), (4, 0)])
def test_wrong_sizes_are_refused(size: int, factor: int) -> None:
    with pytest.raises(ConfigError, match=f"expected `size` >= 1 and `factor` >= 1, got {size} and {factor}"):
        FeedForward(size, factor=factor)
