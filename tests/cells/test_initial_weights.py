"""How the cells begin: recurrent matrices orthogonal, input matrices as Glorot has them, gate by gate, biases as told.

`test_initialization.py` has elman, gru and lstm.
"""

from math import sqrt

import pytest
import torch
from torch import Tensor

from elman.cells import CELLS, Cell

I, H = 31, 40  # noqa: E741  (the sizes, as in the docstrings; odd: GRU-D reads values, masks and one gap)
ORTHOGONAL = [
    "cfc",
    "conv_lstm",
    "coupled_lstm",
    "gru_d",
    "highway",
    "jordan",
    "layer_norm_gru",
    "layer_norm_lstm",
    "lstm_1997",
    "ltc",
    "mgu",
    "peephole_lstm",
    "projected_lstm",
    "slstm",
]
BIASES = {
    "cfc": [0],
    "conv_lstm": [0, 1, 0, 0],
    "coupled_lstm": [1, 0, 0],
    "gru_d": [0, 0, 0],
    "highway": [0, -2],
    "indrnn": [0],
    "jordan": [0],
    "lstm_1997": [-1, 0, -1],
    "mgu": [0, 0],
    "peephole_lstm": [0, 1, 0, 0],
    "projected_lstm": [0, 1, 0, 0],
}


def gates(cell: Cell, prefix: str) -> list[Tensor]:
    """The matrices (H, inputs) of all weights whose names begin so, one a gate; slstm has its in a stack of heads."""
    weights = [
        weight.detach() for name, weight in cell.named_parameters() if name.startswith(prefix) and weight.ndim > 1
    ]
    return [block for weight in weights for block in torch.split(weight.squeeze().flatten(0, -2), H)]


@pytest.mark.parametrize("name", ORTHOGONAL)
def test_recurrent_matrices_keep_lengths(name: str) -> None:
    blocks = gates(CELLS.get(name)(I, H), "from_hidden")
    assert blocks
    for block in blocks:
        torch.testing.assert_close(block.T @ block, torch.eye(block.shape[1]), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "weight"), [*((name, "from_input.weight") for name in [*ORTHOGONAL, "indrnn"]), ("cfc", "heads.weight")]
)
def test_input_matrices_are_glorots_gate_by_gate(name: str, weight: str) -> None:
    """Uniform within sqrt(6 / (inputs + H)), where H are the units of one gate, not of all."""
    torch.manual_seed(0)
    blocks = gates(CELLS.get(name)(I, H), weight)
    assert blocks
    for block in blocks:
        bound = sqrt(6 / (block.shape[1] + H))
        assert 0.95 * bound < block.abs().max() <= bound


@pytest.mark.parametrize("name", BIASES)
def test_biases_open_or_shut_their_gates_alone(name: str) -> None:
    biases = [
        bias for key, bias in CELLS.get(name)(I, H).named_parameters() if key == "from_input.bias" or "deeper" in key
    ]
    for bias in biases:
        assert torch.equal(bias.detach(), torch.tensor(BIASES[name], dtype=torch.float32).repeat_interleave(H))
