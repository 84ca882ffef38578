"""Layers on top of each other."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from elman.errors import ConfigError
from elman.layers.dropout import Dropout
from elman.layers.layer import SequenceLayer
from elman.layers.padding import check_lengths, zero_padding
from elman.state import State


class Stack(SequenceLayer):
    """Each layer reads the output of the one below.

    Args:
        layers: from the input up, one or more.
        residual: add a layer's input to its output, wherever the two have the same size.
        layer_norm: "none"; "before": normalize what a layer reads, leaving the residual path alone; "after": normalize
            what it gives, residual included.
        dropout: probability, below 1, of zeroing a value that a layer reads from the one below; in training only. There
            is none before the first layer, after the last, or on the residual path.
    Shapes: x (batch, time, input_size of the first); y (batch, time, output_size of the last); state: the tuple of the
    layers' states. Causal if all layers are.
    Raises: ConfigError if there is no layer, sizes do not follow on each other, or an option is out of range.
    """

    def __init__(
        self,
        layers: Sequence[SequenceLayer],
        *,
        residual: bool = False,
        layer_norm: Literal["none", "before", "after"] = "none",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check(layers, layer_norm, dropout)
        self.layers = nn.ModuleList(layers)
        self.residual = residual
        self.layer_norm = layer_norm
        self.norms = nn.ModuleList(
            nn.LayerNorm(layer.input_size if layer_norm == "before" else layer.output_size)
            for layer in layers
            if layer_norm != "none"
        )
        self.dropout = Dropout(dropout)
        self.input_size = layers[0].input_size
        self.output_size = layers[-1].output_size
        self.causal = all(layer.causal for layer in layers)

    def initial_state(self, batch_size: int) -> State:
        return tuple(layer.initial_state(batch_size) for layer in self.layers)  # type: ignore[operator]

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        lengths = check_lengths(lengths, x)
        x = zero_padding(x, lengths)
        states = []
        for level, before in enumerate(self.initial_state(len(x)) if state is None else state):
            x, after = self._run(level, x, before, lengths)
            states.append(after)
        return x, tuple(states)

    def _run(self, level: int, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        read = self.norms[level](x) if self.layer_norm == "before" else x
        if level > 0:
            read = self.dropout(read)
        y, state = self.layers[level](read, state, lengths)
        if self.residual and x.shape[-1] == y.shape[-1]:
            y = x + y
        if self.layer_norm == "after":  # the bias of the norm must not fill the padding
            y = zero_padding(self.norms[level](y), lengths)
        return y, state


def _check(layers: Sequence[SequenceLayer], layer_norm: str, dropout: float) -> None:
    if not layers:
        raise ConfigError("expected one layer or more in `layers`, got none")
    for level, (below, above) in enumerate(pairwise(layers)):
        if below.output_size != above.input_size:
            raise ConfigError(
                f"layer {level + 1} reads {above.input_size} features, but layer {level} gives {below.output_size}"
            )
    if layer_norm not in ("none", "before", "after"):
        raise ConfigError(f"expected `layer_norm` 'none', 'before' or 'after', got {layer_norm!r}")
    if not 0 <= dropout < 1:
        raise ConfigError(f"expected `dropout` in 0..1 without 1, got {dropout}")
