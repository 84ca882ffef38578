"""The networks that users compare recurrent ones with, under the interface of a layer."""

from abc import abstractmethod

from torch import Tensor, nn

from elman.cells.masks import check_probability
from elman.cells.padding import check_lengths, zero_padding
from elman.errors import ConfigError, UsageError
from elman.layers import SequenceLayer
from elman.registry import Registry
from elman.state import State


class Encoder(SequenceLayer):
    """A whole encoder that is no stack of cells: inputs at one end, features at the other, state carried.

    Constructor of every encoder: ``(input_size, hidden_size, *, layers=..., dropout=0.0, options with defaults)``; each has a
    default depth that suits it. ``dropout`` is the probability of zeroing a value between layers, in training. An encoder is
    `initial_state` and `encode`; all are causal.

    Shapes: x (batch, time, input_size); y (batch, time, output_size), as a rule of ``hidden_size``.
    Raises: ConfigError if a size is below 1 or the dropout is no probability below 1.
    """

    reach: int | None
    """Steps that an output depends on, its own included; None: all before it."""

    causal = True

    def __init__(self, input_size: int, hidden_size: int, *, layers: int, dropout: float) -> None:
        super().__init__()
        check_positive(input_size=input_size, hidden_size=hidden_size, layers=layers)
        check_probability(dropout)
        self.input_size = input_size
        self.output_size = hidden_size

    @abstractmethod
    def encode(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        """`forward` of at least one step, with zeros in the padding of x; what stands in that of y does not matter."""

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Final: encoders define `encode`."""
        if x.ndim != 3 or x.shape[-1] != self.input_size:
            raise UsageError(
                f"expected inputs (batch, time, {self.input_size}), got {tuple(x.shape)}: "
                f"the encoder was built for {self.input_size} features"
            )
        lengths = check_lengths(lengths, x)
        if state is None:
            state = self.initial_state(len(x))
        if x.shape[1] == 0:
            return x.new_zeros(len(x), 0, self.output_size), state
        y, state = self.encode(zero_padding(x, lengths), state, lengths)
        return zero_padding(y, lengths), state


ENCODERS: Registry[Encoder] = Registry("encoder", "elman.models")
register = ENCODERS.register


def check_positive(**numbers: int) -> None:
    """Raises ConfigError that names the arguments if one is below 1."""
    if min(numbers.values()) < 1:
        given = ", ".join(f"`{name}`={number}" for name, number in numbers.items())
        raise ConfigError(f"expected numbers >= 1, got {given}")


def initial_states(blocks: nn.ModuleList, batch_size: int) -> State:
    """The blocks' states before the first step."""
    return tuple(block.initial_state(batch_size) for block in blocks)  # type: ignore[operator]


def run_blocks(blocks: nn.ModuleList, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
    """Blocks on top of each other, each with its state; a block is ``(x, state, lengths) -> (y, state)``."""
    states = []
    for block, before in zip(blocks, state, strict=True):
        x, after = block(x, before, lengths)
        states.append(after)
    return x, tuple(states)
