"""Weights from and to torch's own recurrent modules."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from elman.cells.cell import Cell, VendorWeights
from elman.cells.elman import Elman
from elman.cells.gru import GRU
from elman.cells.lstm import LSTM
from elman.errors import UsageError
from elman.layers.bidirectional import Bidirectional
from elman.layers.layer import SequenceLayer
from elman.layers.recurrent import Recurrent
from elman.layers.stack import Stack

TorchRNN = nn.RNN | nn.LSTM | nn.GRU


def from_torch(module: TorchRNN) -> Stack:
    """The same network made of elman's layers, with a copy of the weights, on their device and in their dtype.

    The result takes (batch, time, features), whatever the module's `batch_first`, and ``lengths`` in place of packed
    sequences. Biases that add up become one; those of a module with ``bias=False`` are zeros, and trainable.
    Raises: UsageError if the module is another, or an LSTM with a projection (`proj_size`).

    >>> from_torch(nn.GRU(3, 8, bidirectional=True)).output_size
    16
    """
    if not isinstance(module, nn.RNN | nn.LSTM | nn.GRU):
        raise UsageError(f"expected torch's nn.RNN, nn.LSTM or nn.GRU, got {type(module).__name__}")
    if module.proj_size > 0:
        raise UsageError(
            f"an LSTM with a projection (`proj_size` = {module.proj_size}) has no cell here yet; use proj_size=0"
        )
    layers: list[SequenceLayer] = []
    for level in range(module.num_layers):
        forward = Recurrent(_cell(module, f"l{level}"))
        if module.bidirectional:
            layers.append(Bidirectional(forward, Recurrent(_cell(module, f"l{level}_reverse"), direction="backward")))
        else:
            layers.append(forward)
    return Stack(layers, dropout=module.dropout).train(module.training)


def to_torch(layer: SequenceLayer) -> TorchRNN:
    """The same network as a torch module with ``batch_first=True`` and a copy of the weights: undoes `from_torch`.

    Args:
        layer: a `Recurrent`, a `Bidirectional` of two, or a `Stack` of layers of one such kind and size, without
            residuals or layer norm, whose cells are exactly torch's.
    Raises: UsageError if torch has no such module.
    """
    levels = [list(_directions(level)) for level in _levels(layer)]
    first = levels[0][0]
    module = _empty_module(layer, first.kind, first.weight_ih, first.weight_hh, len(levels), len(levels[0]))
    expected = module.state_dict()
    given: dict[str, Tensor] = {}
    for level, directions in enumerate(levels):
        for weights, suffix in zip(directions, ("", "_reverse"), strict=False):
            given |= {f"{name}_l{level}{suffix}": getattr(weights, name).detach() for name in VendorWeights._fields[1:]}
            if weights.kind != first.kind:
                raise UsageError(f"torch stacks cells of one kind only, got {first.kind} and {weights.kind}")
    shapes = {name: tuple(weight.shape) for name, weight in given.items()}
    if shapes != {name: tuple(weight.shape) for name, weight in expected.items()}:
        raise UsageError("torch stacks layers of one hidden size, all in one direction or all in both; these differ")
    module.load_state_dict(given)
    return module.train(layer.training)


def _cell(module: TorchRNN, suffix: str) -> Cell:
    weight_ih, weight_hh = (getattr(module, f"{name}_{suffix}") for name in ("weight_ih", "weight_hh"))
    cell: Elman | LSTM | GRU
    if isinstance(module, nn.LSTM):
        cell = LSTM(weight_ih.shape[1], module.hidden_size)
    elif isinstance(module, nn.GRU):
        cell = GRU(weight_ih.shape[1], module.hidden_size)
    else:
        cell = Elman(
            weight_ih.shape[1], module.hidden_size, nonlinearity="tanh" if module.mode == "RNN_TANH" else "relu"
        )
    cell.to(weight_ih)
    zeros = weight_ih.new_zeros(len(weight_ih))
    bias_ih, bias_hh = (getattr(module, f"{name}_{suffix}", zeros) for name in ("bias_ih", "bias_hh"))
    with torch.no_grad():
        cell.from_input.weight.copy_(weight_ih)
        cell.from_hidden.weight.copy_(weight_hh)
        cell.from_input.bias.copy_(bias_ih + bias_hh)
        if isinstance(cell, GRU):  # the reset gate acts on the candidate's hidden bias: this one does not add up
            kept = slice(2 * module.hidden_size, None)
            cell.from_input.bias[kept] = bias_ih[kept]
            cell.candidate_bias.copy_(bias_hh[kept])
    return cell


def _levels(layer: SequenceLayer) -> list[SequenceLayer]:
    if not isinstance(layer, Stack):
        return [layer]
    if layer.residual or layer.layer_norm != "none":
        raise UsageError("torch's modules have neither residuals nor layer norm; this Stack does")
    return [level for level in layer.layers if isinstance(level, SequenceLayer)]


def _directions(layer: SequenceLayer) -> Iterator[VendorWeights]:
    pair = (layer.forward_layer, layer.backward_layer) if isinstance(layer, Bidirectional) else (layer,)
    for one, direction in zip(pair, ("forward", "backward"), strict=False):
        if not isinstance(one, Recurrent) or one.direction != direction:
            raise UsageError(
                f"torch has no module for {type(one).__name__} here: expected Recurrent with direction {direction!r}"
            )
        weights = one.cell.vendor()
        if weights is None:
            raise UsageError(f"the cell {type(one.cell).__name__} is not exactly one of torch's")
        yield weights


def _empty_module(
    layer: SequenceLayer, kind: str, weight_ih: Tensor, weight_hh: Tensor, num_layers: int, num_directions: int
) -> TorchRNN:
    size = (weight_ih.shape[1], weight_hh.shape[1], num_layers)
    dropout = layer.dropout.p if isinstance(layer, Stack) and num_layers > 1 else 0.0
    bidirectional = num_directions == 2
    module: TorchRNN
    if kind == "lstm":
        module = nn.LSTM(*size, batch_first=True, dropout=dropout, bidirectional=bidirectional)
    elif kind == "gru":
        module = nn.GRU(*size, batch_first=True, dropout=dropout, bidirectional=bidirectional)
    else:
        nonlinearity = kind.removeprefix("rnn_")
        module = nn.RNN(
            *size, nonlinearity=nonlinearity, batch_first=True, dropout=dropout, bidirectional=bidirectional
        )
    return module.to(weight_ih)
