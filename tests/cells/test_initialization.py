import math

import pytest
import torch

from elman.cells import CELLS, LSTM
from elman.cells.initialization import glorot_, orthogonal_


def test_glorot_draws_each_block_by_its_own_fans() -> None:
    torch.manual_seed(0)
    weight = torch.zeros(4 * 100, 60)
    glorot_(weight, blocks=4)
    limit = math.sqrt(6 / (60 + 100))
    assert weight.abs().max() <= limit
    for block in weight.chunk(4):
        assert float(block.std()) == pytest.approx(math.sqrt(2 / (60 + 100)), rel=0.03)
    assert not torch.equal(weight[:100], weight[100:200])


def test_orthogonal_blocks_keep_lengths() -> None:
    torch.manual_seed(0)
    weight = torch.zeros(3 * 8, 8, dtype=torch.float64)
    orthogonal_(weight, blocks=3)
    for block in weight.chunk(3):
        torch.testing.assert_close(block @ block.T, torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["elman", "gru", "lstm"])
def test_cells_begin_glorot_orthogonal_and_without_bias(name: str) -> None:
    torch.manual_seed(0)
    weights = CELLS.get(name)(20, 30).state_dict()
    limit = math.sqrt(6 / (20 + 30))
    assert 0.9 * limit < float(weights["from_input.weight"].abs().max()) <= limit
    for block in weights["from_hidden.weight"].reshape(-1, 30, 30):
        torch.testing.assert_close(block @ block.T, torch.eye(30), rtol=0, atol=1e-5)
    bias = weights["from_input.bias"]
    expected = torch.zeros_like(bias)
    if name == "lstm":
        expected[30:60] = 1.0
    assert torch.equal(bias, expected)


def test_forget_bias_is_an_option() -> None:
    bias = LSTM(2, 3, forget_bias=-2.5).from_input.bias
    assert bias.tolist() == [0.0] * 3 + [-2.5] * 3 + [0.0] * 6
