"""Layers on top of each other."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from elman.cells.padding import check_lengths, zero_padding
from elman.errors import ConfigError
from elman.layers.dense import Dense
from elman.layers.dropout import Dropout
from elman.layers.layer import SequenceLayer
from elman.state import State

Connections = Literal["none", "residual", "highway", "dense"]
CONNECTIONS: tuple[Connections, ...] = ("none", "residual", "highway", "dense")

CARRY_BIAS = -1.0  # of a highway's gate: at first it carries more of the layer's input than it takes of its output


class Stack(SequenceLayer):
    """Each layer reads the output of the one below.

        none       y = f(x)
        residual   y = f(x) + x                            wherever f keeps the size; as "none" elsewhere
        highway    y = t * f(x) + (1 - t) * x              likewise; t = sigmoid(W x + b)
        dense      y = f(x), and the layer above reads x and y, side by side in this order

    So a layer of a dense stack reads the stack's input and the outputs of all layers below it.

    Source: residual: He et al., "Deep Residual Learning for Image Recognition", 2016, arXiv:1512.03385; highway: Srivastava, Greff,
    Schmidhuber, "Highway Networks", 2015, arXiv:1505.00387; dense: Huang et al., "Densely Connected Convolutional Networks",
    2017, arXiv:1608.06993.
    Differs: b = -1 at first; the output of a dense stack is that of its last layer, which has read all others, so that its size
    does not depend on the depth.

    Args:
        layers: from the input up, one or more.
        connections: what stands beside a layer, as above.
        layer_norm: "none"; "before": normalize what a layer reads, leaving the path beside it alone; "after": normalize
            what it gives, that path included.
        dropout: probability, below 1, of zeroing a value that a layer other than the first reads; in training only. There is
            none after the last, or on the path beside a layer.
    Shapes: x (batch, time, input_size of the first); y (batch, time, output_size of the last); state: the tuple of the
    layers' states. Causal if all layers are.
    Raises: ConfigError if there is no layer, sizes do not follow on each other, or an option is out of range.
    """

    def __init__(
        self,
        layers: Sequence[SequenceLayer],
        *,
        connections: Connections = "none",
        layer_norm: Literal["none", "before", "after"] = "none",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check(layers, connections, layer_norm)
        self.layers = nn.ModuleList(layers)
        self.connections = connections
        self.layer_norm = layer_norm
        self.norms = nn.ModuleList(
            nn.LayerNorm(layer.input_size if layer_norm == "before" else layer.output_size)
            for layer in layers
            if layer_norm != "none"
        )
        self.gates = nn.ModuleDict(
            {
                str(level): _gate(layer.input_size)
                for level, layer in enumerate(layers)
                if connections == "highway" and layer.input_size == layer.output_size
            }
        )
        self.dropout = Dropout(dropout)
        self.input_size = layers[0].input_size
        self.output_size = layers[-1].output_size
        self.causal = all(layer.causal for layer in layers)

    def initial_state(self, batch_size: int) -> State:
        return tuple(layer.initial_state(batch_size) for layer in self.layers)  # type: ignore[operator]

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        lengths = check_lengths(lengths, x)
        y = x = zero_padding(x, lengths)
        states = []
        befores = self.initial_state(len(x)) if state is None else state
        for level, before in zip(range(len(self.layers)), befores, strict=True):
            y, after = self._run(level, x, before, lengths)
            x = torch.cat([x, y], dim=-1) if self.connections == "dense" else y
            states.append(after)
        return y, tuple(states)

    def _run(self, level: int, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        read = self.norms[level](x) if self.layer_norm == "before" else x
        if level > 0:
            read = self.dropout(read)
        y, state = self.layers[level](read, state, lengths)
        y = self._connect(level, x, y)
        if self.layer_norm == "after":  # the bias of the norm must not fill the padding
            y = zero_padding(self.norms[level](y), lengths)
        return y, state

    def _connect(self, level: int, x: Tensor, y: Tensor) -> Tensor:
        if self.connections == "residual" and x.shape[-1] == y.shape[-1]:
            return x + y
        if str(level) in self.gates:
            transform: Tensor = self.gates[str(level)](x).sigmoid()
            return transform * y + (1 - transform) * x
        return y


def _gate(size: int) -> Dense:
    gate = Dense(size, size)
    nn.init.xavier_uniform_(gate.weight)
    nn.init.constant_(gate.bias, CARRY_BIAS)
    return gate


def _check(layers: Sequence[SequenceLayer], connections: str, layer_norm: str) -> None:
    if not layers:
        raise ConfigError("expected one layer or more in `layers`, got none")
    if connections not in CONNECTIONS:
        raise ConfigError(f"expected `connections` among {', '.join(CONNECTIONS)}; got {connections!r}")
    if layer_norm not in ("none", "before", "after"):
        raise ConfigError(f"expected `layer_norm` 'none', 'before' or 'after', got {layer_norm!r}")
    width = layers[0].input_size
    for level, layer in enumerate(layers):
        if layer.input_size != width:
            dense = ", with all that stands below it in a dense stack," if connections == "dense" else ""
            raise ConfigError(
                f"layer {level} reads {layer.input_size} features, but layer {level - 1}{dense} gives {width}"
            )
        width = layer.output_size + (width if connections == "dense" else 0)
