"""The interface of a layer: sequences in, sequences out, state carried."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from elman.state import State


class SequenceLayer(nn.Module, ABC):
    """Anything that maps a batch of sequences to a batch of sequences and carries a state.

    The contract, checked by `elman.testing.check_layer` on every layer:

    - ``y[b, t] = 0`` for ``t >= lengths[b]``, whatever the padding holds, NaN included;
    - ``state[b]`` is the state after ``lengths[b]`` steps of this call (unchanged for a length of 0);
    - if `causal`, forward over any chunks, state carried, equals forward over the whole.

    Shapes: x (batch, time, input_size); y (batch, time, output_size); lengths (batch,) integers in 0..time.
    """

    input_size: int
    output_size: int
    causal: bool
    """The output at t uses inputs up to t only: the layer may be streamed."""

    @abstractmethod
    def initial_state(self, batch_size: int) -> State: ...

    @abstractmethod
    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]: ...
