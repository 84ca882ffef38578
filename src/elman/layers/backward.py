"""A causal layer, run from the end of each sequence to its beginning."""

from torch import Tensor

from elman.cells.padding import check_lengths, zero_padding
from elman.cells.scan import reverse_valid
from elman.errors import ConfigError
from elman.layers.layer import SequenceLayer
from elman.state import State


class Backward(SequenceLayer):
    """Runs a layer from each row's last real step to its first, so that any causal layer can be the second of `Bidirectional`.

    The output at t uses the inputs from t on; the final state is the one after the first time step. `Recurrent` does the same
    for a cell by ``direction="backward"``.

    Args:
        layer: a causal one.
    Shapes: as the layer's. Never causal. Padding is never read.
    Raises: ConfigError if the layer is not causal.

    >>> from torch import nn
    >>> from elman.layers import PerStep
    >>> Backward(PerStep(nn.Linear(3, 4))).causal
    False
    """

    def __init__(self, layer: SequenceLayer) -> None:
        super().__init__()
        if not layer.causal:
            raise ConfigError(f"expected a causal layer, got {type(layer).__name__}, which reads both ways already")
        self.layer = layer
        self.input_size = layer.input_size
        self.output_size = layer.output_size
        self.causal = False

    def initial_state(self, batch_size: int) -> State:
        return self.layer.initial_state(batch_size)

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        lengths = check_lengths(lengths, x)
        x = zero_padding(x, lengths)
        y, state = self.layer(reverse_valid(x, lengths), state, lengths)
        return reverse_valid(y, lengths), state
