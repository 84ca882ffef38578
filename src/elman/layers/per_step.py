"""A module without memory as a layer."""

from torch import Tensor, nn

from elman.cells.padding import check_lengths, zero_padding
from elman.errors import ConfigError
from elman.layers.layer import SequenceLayer
from elman.state import State


class PerStep(SequenceLayer):
    """Applies a module to every time step by itself: a linear layer, an MLP, a nonlinearity.

    Args:
        module: maps (..., input_size) to (..., output_size) and mixes neither rows nor time steps; batch
            normalization, for one, does.
        input_size: features per time step; may be left out if the module states it (`in_features`).
        output_size: features that the module gives; may be left out if the module states it (`out_features`).
    Shapes: x (batch, time, input_size); y (batch, time, output_size); state (). Causal.
    Raises: ConfigError if a size is neither given nor stated.

    >>> PerStep(nn.Linear(3, 4)).output_size
    4
    """

    def __init__(self, module: nn.Module, input_size: int | None = None, output_size: int | None = None) -> None:
        super().__init__()
        self.module = module
        self.input_size = _size(module, "input_size", input_size, "in_features")
        self.output_size = _size(module, "output_size", output_size, "out_features")
        self.causal = True

    def initial_state(self, batch_size: int) -> State:  # noqa: ARG002  (there is none, for any batch)
        return ()

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:  # noqa: ARG002
        lengths = check_lengths(lengths, x)
        return zero_padding(self.module(zero_padding(x, lengths)), lengths), ()


def _size(module: nn.Module, argument: str, given: int | None, attribute: str) -> int:
    size = getattr(module, attribute, None) if given is None else given
    if not isinstance(size, int):
        raise ConfigError(f"expected `{argument}`: {type(module).__name__} does not say it by `{attribute}`")
    return size
