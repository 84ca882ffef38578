"""A convolution over time that sees no future."""

import torch.nn.functional as F
from torch import Tensor, nn

from elman.cells.padding import check_lengths, zero_padding
from elman.errors import ConfigError
from elman.layers.history import extend
from elman.layers.layer import SequenceLayer
from elman.state import State


class CausalConvolution(SequenceLayer):
    """A linear map of the last inputs, the same at every step.

        y_t = b + sum_i W_i x_{t - (k - 1 - i) d}           i = 0 .. k - 1; inputs before the first are zero

    Source: Waibel et al., "Phoneme Recognition Using Time-Delay Neural Networks", 1989, doi:10.1109/29.21701.
    Parameters: k I O / groups + O. Weights begin as He et al. 2015, arXiv:1502.01852, eq. 10, biases at zero.

    Args:
        input_size: features per time step, I.
        output_size: features of the output, O.
        kernel: inputs that an output reads, k.
        dilation: steps between two of them, d.
        groups: parts of input and output that do not see each other; I and O: each feature by itself.
    Shapes: x (batch, time, I); y (batch, time, O); state (batch, (k - 1) d, I), the last inputs. Causal.
    Raises: ConfigError if a number is below 1 or the groups do not divide both sizes.
    """

    def __init__(self, input_size: int, output_size: int, kernel: int, *, dilation: int = 1, groups: int = 1) -> None:
        super().__init__()
        if min(input_size, output_size, kernel, dilation, groups) < 1:
            raise ConfigError(
                f"expected numbers >= 1, got `input_size`={input_size}, `output_size`={output_size}, "
                f"`kernel`={kernel}, `dilation`={dilation}, `groups`={groups}"
            )
        if input_size % groups or output_size % groups:
            raise ConfigError(f"expected `groups` that divide {input_size} and {output_size} features, got {groups}")
        self.input_size = input_size
        self.output_size = output_size
        self.causal = True
        self.memory = (kernel - 1) * dilation
        self.convolution = nn.Conv1d(input_size, output_size, kernel, dilation=dilation, groups=groups)
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")
        nn.init.zeros_(self._bias)

    def initial_state(self, batch_size: int) -> Tensor:
        return self._bias.new_zeros(batch_size, self.memory, self.input_size)

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        lengths = check_lengths(lengths, x)
        past = self.initial_state(len(x)) if state is None else state
        assert isinstance(past, Tensor)
        joined, past = extend(zero_padding(x, lengths), past, lengths)
        if x.shape[1] == 0:  # a convolution refuses inputs shorter than its kernel
            return x.new_zeros(len(x), 0, self.output_size), past
        if x.shape[1] == 1:  # what a step reads, by itself: torch's dilated convolution is slow on a single step
            layer = self.convolution
            y = F.conv1d(joined[:, :: layer.dilation[0]].mT, layer.weight, layer.bias, groups=layer.groups).mT
        else:
            y = self.convolution(joined.mT).mT
        return zero_padding(y, lengths), past

    @property
    def _bias(self) -> Tensor:
        bias = self.convolution.bias
        assert bias is not None
        return bias
