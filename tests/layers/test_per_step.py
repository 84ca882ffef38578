import pytest
import torch
from torch import nn

from elman.errors import ConfigError
from elman.layers import PerStep


def test_applies_the_module_to_real_steps_and_zeroes_the_rest() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
    layer = PerStep(module, 2, 3)
    x = torch.randn(2, 4, 2)
    y, state = layer(x, None, torch.tensor([4, 1]))
    assert torch.equal(y[0], module(x[0]))
    torch.testing.assert_close(y[1, :1], module(x[1, :1]))
    assert not y[1, 1:].any()
    assert state == ()
    assert layer.causal


def test_sizes_are_the_modules_own_or_must_be_given() -> None:
    layer = PerStep(nn.Linear(2, 3))
    assert (layer.input_size, layer.output_size) == (2, 3)
    with pytest.raises(ConfigError, match="expected `input_size`: ReLU does not say it by `in_features`"):
        PerStep(nn.ReLU())
