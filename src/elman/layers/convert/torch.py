"""Weights from and to torch's own recurrent modules."""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from elman.cells.cell import Cell, VendorWeights
from elman.cells.elman import Elman
from elman.cells.gru import GRU
from elman.cells.lstm import LSTM
from elman.cells.projected_lstm import ProjectedLSTM
from elman.cells.wrappers import CellWrapper
from elman.errors import UsageError
from elman.layers.bidirectional import Bidirectional
from elman.layers.convert.fill import filled
from elman.layers.layer import SequenceLayer
from elman.layers.recurrent import Recurrent
from elman.layers.stack import Stack

TorchRNN = nn.RNN | nn.LSTM | nn.GRU
FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


def from_torch(module: TorchRNN) -> Stack:
    """The same network made of elman's layers, with a copy of the weights, on their device and in their dtype.

    The result takes (batch, time, features), whatever the module's `batch_first`, and ``lengths`` in place of packed
    sequences. Biases that add up become one; those of a module with ``bias=False`` are zeros, and trainable. An LSTM
    with a projection (`proj_size`) becomes a `ProjectedLSTM`.
    Raises: UsageError if the module is another.

    >>> from_torch(nn.GRU(3, 8, bidirectional=True)).output_size
    16
    """
    if not isinstance(module, nn.RNN | nn.LSTM | nn.GRU):
        raise UsageError(f"expected torch's nn.RNN, nn.LSTM or nn.GRU, got {type(module).__name__}")
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
            connections or layer norm, whose cells are exactly torch's, without wrappers.
    Raises: UsageError if torch has no such module.
    """
    weights: dict[str, Tensor] = {}
    kinds: dict[str, None] = {}
    for level, one in enumerate(_levels(layer)):
        for suffix, part in zip(("", "_reverse"), _parts(one), strict=False):
            kinds[part.kind] = None
            weights |= {f"{name}_l{level}{suffix}": weight.detach() for name, weight in part.weights.items()}
    if len(kinds) > 1:
        raise UsageError(f"torch stacks cells of one kind only, got {' and '.join(kinds)}")
    (kind,) = kinds
    dropout = layer.dropout.p if isinstance(layer, Stack) and len(layer.layers) > 1 else 0.0
    try:
        module = module_of(weights, nonlinearity="relu" if kind == "rnn_relu" else "tanh", dropout=dropout)
    except ValueError as error:
        raise UsageError(
            f"torch has no such module: it stacks layers of one hidden size, all in one direction or all in both; {error}"
        ) from error
    return module.train(layer.training)


def module_of(
    weights: Mapping[str, Tensor], *, nonlinearity: Literal["tanh", "relu"] = "tanh", dropout: float = 0.0
) -> TorchRNN:
    """The torch module, with ``batch_first=True``, that has a copy of these weights as its `state_dict`.

    Its kind, sizes, layers, directions, projection and biases are read off the names and shapes.
    Raises: ValueError if no module has these names, shapes and types.
    """
    for name in ("weight_ih_l0", "weight_hh_l0", *(weights.keys() & {"weight_hr_l0"})):
        if name not in weights or weights[name].ndim != 2 or 0 in weights[name].shape:
            raise ValueError(f"expected a matrix {name}, got {_shape(weights, name)}")
    hidden_size = weights.get("weight_hr_l0", weights["weight_hh_l0"]).shape[-1]
    module = _kind_of_module(weights, hidden_size, nonlinearity)(
        weights["weight_ih_l0"].shape[1],
        hidden_size,
        num_layers=sum(re.fullmatch(r"weight_ih_l\d+", name) is not None for name in weights),
        bias="bias_ih_l0" in weights,
        batch_first=True,
        dropout=dropout,
        bidirectional="weight_ih_l0_reverse" in weights,
        device="meta",
    )
    _check_weights(weights, module.state_dict())
    module.to_empty(device=weights["weight_ih_l0"].device).to(weights["weight_ih_l0"])
    module.load_state_dict(weights)
    return module


def _kind_of_module(
    weights: Mapping[str, Tensor], hidden_size: int, nonlinearity: Literal["tanh", "relu"]
) -> Callable[..., TorchRNN]:
    rows = len(weights["weight_hh_l0"])
    kinds: dict[int, Callable[..., TorchRNN]] = {
        hidden_size: partial(nn.RNN, nonlinearity=nonlinearity),
        3 * hidden_size: nn.GRU,
        4 * hidden_size: partial(nn.LSTM, proj_size=len(weights.get("weight_hr_l0", ()))),
    }
    if rows not in kinds:
        raise ValueError(f"expected 1, 3 or 4 rows of weight_hh_l0 for each of {hidden_size} units, got {rows} rows")
    return kinds[rows]


def _check_weights(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    for name in sorted({*weights, *expected}):
        if _shape(weights, name) != _shape(expected, name):
            raise ValueError(f"expected {name} {_shape(expected, name)}, got {_shape(weights, name)}")
    types = {weight.dtype for weight in weights.values()}
    if len(types) > 1 or not types <= FLOATS:
        raise ValueError(f"expected weights of one floating-point type, got {', '.join(sorted(map(str, types)))}")


def _shape(weights: Mapping[str, Tensor], name: str) -> str:
    return str(tuple(weights[name].shape)) if name in weights else "none"


def _cell(module: TorchRNN, suffix: str) -> Cell:
    weight_ih, weight_hh = (getattr(module, f"{name}_{suffix}") for name in ("weight_ih", "weight_hh"))
    zeros = weight_ih.new_zeros(len(weight_ih))
    biases = [getattr(module, f"{name}_{suffix}", zeros) for name in ("bias_ih", "bias_hh")]
    size = (weight_ih.shape[1], module.hidden_size)
    if isinstance(module, nn.GRU):
        return filled(GRU(*size), weight_ih, weight_hh, *biases)
    if isinstance(module, nn.RNN):
        nonlinearity: Literal["tanh", "relu"] = "tanh" if module.mode == "RNN_TANH" else "relu"
        return filled(Elman(*size, nonlinearity=nonlinearity), weight_ih, weight_hh, *biases)
    if module.proj_size == 0:
        return filled(LSTM(*size), weight_ih, weight_hh, *biases)
    cell = filled(ProjectedLSTM(*size, projection_size=module.proj_size), weight_ih, weight_hh, *biases)
    with torch.no_grad():
        cell.projection.weight.copy_(getattr(module, f"weight_hr_{suffix}"))
    return cell


def _levels(layer: SequenceLayer) -> list[SequenceLayer]:
    if not isinstance(layer, Stack):
        return [layer]
    if layer.connections != "none" or layer.layer_norm != "none":
        raise UsageError(
            "torch's modules have nothing beside their layers and no layer norm; this Stack has "
            f"`connections`={layer.connections!r} and `layer_norm`={layer.layer_norm!r}"
        )
    return [level for level in layer.layers if isinstance(level, SequenceLayer)]


class _Part(NamedTuple):
    """One layer in one direction: what torch calls it, and its weights by torch's names, without layer and direction."""

    kind: str
    weights: dict[str, Tensor]


def _parts(layer: SequenceLayer) -> Iterator[_Part]:
    pair = (layer.forward_layer, layer.backward_layer) if isinstance(layer, Bidirectional) else (layer,)
    for one, direction in zip(pair, ("forward", "backward"), strict=False):
        if not isinstance(one, Recurrent) or one.direction != direction:
            raise UsageError(
                f"torch has no module for {type(one).__name__} here: expected Recurrent with direction {direction!r}"
            )
        yield _part(one.cell)


def _part(cell: Cell) -> _Part:
    if isinstance(cell, CellWrapper):  # its weights may be dropped ones, its first state is not zero, ...
        raise UsageError(
            f"torch has no {type(cell).__name__} around a cell; convert a Recurrent of the cell inside, its `cell`"
        )
    if isinstance(cell, ProjectedLSTM):
        bias = cell.from_input.bias
        return _Part(
            "lstm with a projection",
            {
                "weight_ih": cell.from_input.weight,
                "weight_hh": cell.from_hidden.weight,
                "bias_ih": bias,
                "bias_hh": torch.zeros_like(bias),
                "weight_hr": cell.projection.weight,
            },
        )
    weights = cell.vendor()
    if weights is None:
        raise UsageError(f"the cell {type(cell).__name__} is not exactly one of torch's")
    return _Part(weights.kind, {name: getattr(weights, name) for name in VendorWeights._fields[1:]})
