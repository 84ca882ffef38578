"""Two layers side by side, one for each direction of time."""

import torch
from torch import Tensor

from elman.errors import ConfigError
from elman.layers.layer import SequenceLayer
from elman.state import State


class Bidirectional(SequenceLayer):
    """Reads the sequence with two layers and joins their outputs: at every step, what came before and what comes after.

    Source: Schuster, Paliwal, "Bidirectional Recurrent Neural Networks", 1997, doi:10.1109/78.650093.

    Args:
        forward_layer: as a rule ``Recurrent(cell)``.
        backward_layer: as a rule ``Recurrent(cell, direction="backward")``; it turns time around by itself.
    Shapes: x (batch, time, input_size); y (batch, time, output_size), the forward layer's features first; state: the
    pair of the layers' states. Never causal.
    Raises: ConfigError if the layers differ in `input_size`.
    """

    def __init__(self, forward_layer: SequenceLayer, backward_layer: SequenceLayer) -> None:
        super().__init__()
        if forward_layer.input_size != backward_layer.input_size:
            raise ConfigError(
                "expected two layers that read the same input, "
                f"got `input_size` {forward_layer.input_size} and {backward_layer.input_size}"
            )
        self.forward_layer = forward_layer
        self.backward_layer = backward_layer
        self.input_size = forward_layer.input_size
        self.output_size = forward_layer.output_size + backward_layer.output_size
        self.causal = False

    def initial_state(self, batch_size: int) -> State:
        return (self.forward_layer.initial_state(batch_size), self.backward_layer.initial_state(batch_size))

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        ahead, back = self.initial_state(len(x)) if state is None else state
        y_ahead, ahead = self.forward_layer(x, ahead, lengths)
        y_back, back = self.backward_layer(x, back, lengths)
        return torch.cat([y_ahead, y_back], dim=-1), (ahead, back)
