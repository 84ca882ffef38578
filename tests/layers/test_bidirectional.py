import pytest
import torch

from elman.cells import GRU, LSTM
from elman.errors import ConfigError
from elman.layers import Bidirectional, Recurrent


def test_joins_the_outputs_of_both_layers_on_unequal_lengths() -> None:
    torch.manual_seed(0)
    ahead, back = Recurrent(GRU(2, 3)), Recurrent(LSTM(2, 4), direction="backward")
    layer = Bidirectional(ahead, back)
    x, lengths = torch.randn(3, 5, 2), torch.tensor([5, 2, 0])
    y, state = layer(x, None, lengths)
    assert y.shape == (3, 5, layer.output_size) == (3, 5, 7)
    assert torch.equal(y[..., :3], ahead(x, None, lengths)[0])
    assert torch.equal(y[..., 3:], back(x, None, lengths)[0])
    assert torch.equal(state[1].cell, back(x, None, lengths)[1].cell)
    assert not layer.causal


def test_layers_that_read_different_inputs_are_refused() -> None:
    with pytest.raises(ConfigError, match="got `input_size` 2 and 3"):
        Bidirectional(Recurrent(GRU(2, 3)), Recurrent(GRU(3, 3)))
