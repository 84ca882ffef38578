"""A layer run backward against the same layer on sequences turned around by hand."""

import pytest
import torch
from torch import nn

from elman.cells import GRU
from elman.errors import ConfigError
from elman.layers import Bidirectional, PerStep, Recurrent
from elman.layers.backward import Backward
from elman.layers.causal_convolution import CausalConvolution
from elman.state import leaves
from elman.testing import check_layer

LENGTHS = torch.tensor([6, 3, 0, 1])


def test_keeps_the_contract() -> None:
    check_layer(lambda: Backward(Recurrent(GRU(3, 4))))
    check_layer(lambda: Backward(CausalConvolution(3, 4, 3)))


def test_equal_to_a_recurrent_layer_that_runs_backward() -> None:
    cell, x = GRU(3, 4), torch.randn(4, 6, 3)
    ours = Backward(Recurrent(cell))(x, None, LENGTHS)
    theirs = Recurrent(cell, direction="backward")(x, None, LENGTHS)
    assert all(torch.equal(a, b) for a, b in zip(leaves(ours), leaves(theirs), strict=True))


def test_a_row_is_the_turned_row_turned() -> None:
    layer, x = CausalConvolution(3, 4, 3), torch.randn(4, 6, 3)
    y, _ = Backward(layer)(x, None, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        turned, _ = layer(x[row : row + 1, :length].flip(1))
        torch.testing.assert_close(y[row, :length], turned[0].flip(0), rtol=0, atol=1e-6)


def test_a_convolution_in_both_directions() -> None:
    layer = Bidirectional(CausalConvolution(3, 4, 3), Backward(CausalConvolution(3, 2, 3)))
    assert (layer.output_size, layer.causal) == (6, False)
    check_layer(lambda: Bidirectional(CausalConvolution(3, 4, 3), Backward(CausalConvolution(3, 2, 3))))


def test_what_reads_both_ways_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected a causal layer, got Backward"):
        Backward(Backward(PerStep(nn.Linear(3, 4))))
