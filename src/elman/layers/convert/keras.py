"""Weights from Keras layers. Keras itself is not imported: a layer is known by its class's name and its configuration."""

from collections.abc import Iterator, Mapping
from typing import Literal, Protocol, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from elman.cells.cell import Cell
from elman.cells.elman import Elman
from elman.cells.gru import GRU
from elman.cells.lstm import LSTM
from elman.errors import UsageError
from elman.layers.bidirectional import Bidirectional
from elman.layers.convert.fill import filled
from elman.layers.recurrent import Recurrent
from elman.layers.stack import Stack

RECURRENT = ("SimpleRNN", "LSTM", "GRU")
IN_TRAINING_ONLY = (
    "Dropout",
    "SpatialDropout1D",
    "GaussianDropout",
    "AlphaDropout",
    "GaussianNoise",
    "ActivityRegularization",
)
LEFT_OUT = ("InputLayer", "Masking", *IN_TRAINING_ONLY)
"""Layers without weights: the input's shape, what `lengths` say here, and what acts in training only."""


class KerasLayer(Protocol):
    """What is read of a layer of Keras."""

    def get_config(self) -> Mapping[str, object]: ...

    def get_weights(self) -> "list[np.ndarray]": ...


class KerasBidirectional(KerasLayer, Protocol):
    merge_mode: str | None
    forward_layer: KerasLayer
    backward_layer: KerasLayer


class KerasSequential(Protocol):
    layers: "list[KerasLayer]"


KerasModel: TypeAlias = "KerasLayer | KerasSequential | list[KerasModel] | tuple[KerasModel, ...]"


def from_keras(layer: KerasModel) -> Stack:
    """The same network as a Keras 3 layer, or several on top of each other, with a copy of the weights, in their dtype.

    ``lengths`` stand in place of a mask, which must be of padding at the end; layers `Masking` and those that act in
    training only (`Dropout`, `GaussianNoise` ...) are left out, and so are such options (`dropout`, `recurrent_dropout`,
    regularizers ...). The result gives every step and the state, whatever `return_sequences` and `return_state` say: what
    Keras gives without `return_sequences` is the hidden of the state.

    Differs: outputs from ``lengths[b]`` on are zero, where Keras may repeat the last one; those of a layer with
    ``go_backwards=True`` are in the order of the input, where Keras leaves them reversed.

    Args:
        layer: keras.layers.SimpleRNN, LSTM or GRU (both kinds of reset); Bidirectional of one of them, outputs
            concatenated; a list or a keras.Sequential of these. They must have weights: built, or called once.
    Raises: UsageError if a layer is another, has no weights yet, or has an option that changes its equations and no cell
        here, such as an activation; or if a layer below another reads backwards, or gives its last step only.
    """
    levels = list(_levels(layer))
    layers = [_converted(level) for level in levels]
    if not layers:
        raise UsageError("expected one recurrent layer of Keras or more, got none")
    for level in levels[:-1]:
        _check_below(getattr(level, "forward_layer", level).get_config())
    return Stack(layers)


def _levels(layer: KerasModel) -> Iterator[KerasLayer]:
    """From the input up, without those that change nothing."""
    if isinstance(layer, list | tuple):
        for level in layer:
            yield from _levels(level)
    elif _kind(layer) == "Sequential":
        yield from _levels([*cast(KerasSequential, layer).layers])
    elif _kind(layer) not in LEFT_OUT:
        yield cast(KerasLayer, layer)


def _check_below(config: Mapping[str, object]) -> None:
    """Raises UsageError if a layer above does not read what this one gives step by step, in the order of the input."""
    if config["go_backwards"]:
        raise UsageError(
            "expected `go_backwards` in the last layer only: in Keras, a layer above it reads time in reverse; "
            "convert the layers one by one"
        )
    if not config["return_sequences"]:
        raise UsageError(
            "expected `return_sequences` in all layers but the last: what stands above another one reads its last step "
            "only; convert the layers one by one"
        )


def _kind(layer: object) -> str:
    return type(layer).__name__


def _converted(layer: KerasLayer) -> Recurrent | Bidirectional:
    if _kind(layer) == "Bidirectional":
        return _bidirectional(cast(KerasBidirectional, layer))
    return _recurrent(layer)


def _bidirectional(layer: KerasBidirectional) -> Bidirectional:
    if layer.merge_mode != "concat":
        raise UsageError(f"expected Bidirectional with merge_mode='concat', got {layer.merge_mode!r}")
    forward, backward = _recurrent(layer.forward_layer), _recurrent(layer.backward_layer)
    if forward.direction == "backward":
        raise UsageError("expected Bidirectional whose forward layer reads forward, got one with go_backwards=True")
    return Bidirectional(forward, backward)


def _recurrent(layer: KerasLayer) -> Recurrent:
    kind = _kind(layer)
    if kind not in RECURRENT or not hasattr(layer, "get_config"):  # torch has an LSTM and a GRU, too
        raise UsageError(
            f"expected Keras layers SimpleRNN, LSTM, GRU or Bidirectional of these, got {type(layer).__module__}.{kind}; "
            "pass the recurrent ones of a model as a list"
        )
    config = layer.get_config()
    kernel, recurrent_kernel, bias = _weights(layer)
    cell: Cell
    if kind == "SimpleRNN":
        cell = _simple_rnn(config, kernel, recurrent_kernel, bias)
    elif kind == "LSTM":
        cell = _lstm(config, kernel, recurrent_kernel, bias)
    else:
        cell = _gru(config, kernel, recurrent_kernel, bias)
    return Recurrent(cell, direction="backward" if config["go_backwards"] else "forward")


def _weights(layer: KerasLayer) -> tuple[Tensor, Tensor, Tensor]:
    """Input weights (gates*H, I), recurrent weights (gates*H, H), biases (1 or 2, gates*H): rows are outputs, as torch's."""
    arrays = layer.get_weights()
    if not arrays:
        raise UsageError(f"the {_kind(layer)} has no weights yet; call it once, or its build(), before it is converted")
    if arrays[0].dtype not in (np.float32, np.float64):
        raise UsageError(f"expected weights in float32 or float64, got {arrays[0].dtype} in the {_kind(layer)}")
    kernel, recurrent_kernel, *biases = (torch.tensor(array) for array in arrays)
    bias = biases[0] if biases else kernel.new_zeros(kernel.shape[1])
    return kernel.T, recurrent_kernel.T, bias.reshape(-1, kernel.shape[1])


def _simple_rnn(config: Mapping[str, object], kernel: Tensor, recurrent_kernel: Tensor, bias: Tensor) -> Elman:
    _check(config, "SimpleRNN", activation=("tanh", "relu", "sigmoid"))
    nonlinearity = cast(Literal["tanh", "relu", "sigmoid"], config["activation"])
    cell = Elman(kernel.shape[1], recurrent_kernel.shape[1], nonlinearity=nonlinearity)
    return filled(cell, kernel, recurrent_kernel, bias[0], torch.zeros_like(bias[0]))


def _lstm(config: Mapping[str, object], kernel: Tensor, recurrent_kernel: Tensor, bias: Tensor) -> LSTM:
    """Keras's order of the gates is ours: input, forget, candidate, output."""
    _check(config, "LSTM", activation=("tanh",), recurrent_activation=("sigmoid",))
    cell = LSTM(kernel.shape[1], recurrent_kernel.shape[1])
    return filled(cell, kernel, recurrent_kernel, bias[0], torch.zeros_like(bias[0]))


def _gru(config: Mapping[str, object], kernel: Tensor, recurrent_kernel: Tensor, bias: Tensor) -> GRU:
    """Keras's order is update, reset, candidate; its update gate points as ours: 1 keeps."""
    _check(config, "GRU", activation=("tanh",), recurrent_activation=("sigmoid",))
    cell = GRU(kernel.shape[1], recurrent_kernel.shape[1], reset="after" if config["reset_after"] else "before")
    bias_ih, bias_hh = (_reset_first(row) for row in (bias if len(bias) == 2 else (bias[0], torch.zeros_like(bias[0]))))
    return filled(cell, _reset_first(kernel), _reset_first(recurrent_kernel), bias_ih, bias_hh)


def _reset_first(rows: Tensor) -> Tensor:
    update, reset, candidate = rows.chunk(3)
    return torch.cat([reset, update, candidate])


def _check(config: Mapping[str, object], kind: str, **allowed: tuple[str, ...]) -> None:
    for option, values in allowed.items():
        if config[option] not in values:
            expected = " or ".join(map(repr, values))
            raise UsageError(
                f"expected {kind} with {option} {expected}, got {_name(config[option])!r}: no cell here has it"
            )


def _name(activation: object) -> object:
    """Of an activation as Keras writes it down: its name, or a nested description of a function or a layer."""
    while isinstance(activation, Mapping):
        inner = activation.get("config")
        activation = inner if isinstance(inner, str) else activation.get("class_name")
    return activation
