"""A cell with given weights."""

from typing import TypeVar

import torch
from torch import Tensor

from elman.cells.elman import Elman
from elman.cells.gru import GRU
from elman.cells.lstm import LSTM
from elman.cells.projected_lstm import ProjectedLSTM

C = TypeVar("C", bound=Elman | LSTM | ProjectedLSTM | GRU)


def filled(cell: C, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> C:
    """The cell, on the weights' device and in their dtype, with a copy of them. Two biases that add up become one.

    Shapes: as torch's, gates in the cell's own order: weight_ih (gates*H, I); weight_hh (gates*H, H); biases (gates*H,).
    """
    cell.to(weight_ih)
    with torch.no_grad():
        cell.from_input.weight.copy_(weight_ih)
        cell.from_hidden.weight.copy_(weight_hh)
        cell.from_input.bias.copy_(bias_ih + bias_hh)
        if isinstance(cell, GRU) and cell.reset == "after":  # the gate acts on the second bias: it does not add up
            candidate = slice(2 * cell.hidden_size, None)
            cell.from_input.bias[candidate] = bias_ih[candidate]
            cell.candidate_bias.copy_(bias_hh[candidate])
    return cell
