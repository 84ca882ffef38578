"""A causal convolutional network with residuals."""

import math

from torch import Tensor, nn

from elman.layers.causal_convolution import CausalConvolution
from elman.layers.dense import Dense
from elman.layers.dropout import Dropout
from elman.models.encoder import Encoder, check_positive, initial_states, register, run_blocks
from elman.state import State


class ConvolutionBlock(nn.Module):
    """x + W GELU(convolution(LayerNorm(x))), with dropout on what is added."""

    def __init__(self, size: int, kernel: int, dropout: float, layers: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.convolution = CausalConvolution(size, size, kernel)
        self.mix = Dense(size, size)
        self.dropout = Dropout(dropout)
        # What `layers` of them add together then has the size of what one would.
        nn.init.xavier_normal_(self.mix.weight, gain=1 / math.sqrt(layers))
        nn.init.zeros_(self.mix.bias)

    def initial_state(self, batch_size: int) -> State:
        return self.convolution.initial_state(batch_size)

    def forward(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        y, state = self.convolution(self.norm(x), state, lengths)
        return x + self.dropout(self.mix(nn.functional.gelu(y))), state


@register("cnn")
class CNN(Encoder):
    """Causal convolutions over time, in residual blocks, without dilation.

        r_0 = W x + b                                       at every step by itself
        r_n = r_{n-1} + V_n GELU(K_n * LayerNorm(r_{n-1}) + c_n) + d_n
        y_t = LayerNorm(r_layers)                           * reads the last k steps; those before the first are zero

    Source: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998, doi:10.1109/5.726791, over time;
    residuals with the norm before: He et al., "Identity Mappings in Deep Residual Networks", 2016, arXiv:1603.05027.
    Differs: layer norm over the features of a step, which is causal, in place of batch norm.
    Parameters: I H + H + layers (k H H + H H + 4 H) + 2 H.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: channels, H >= 1.
        layers: residual blocks. dropout: see `Encoder`.
        kernel: steps that a convolution reads, k. With four layers of 7, an output sees 25 steps: an hour, and the same hour
            of the day before.
    Shapes: x (batch, time, I); y (batch, time, H); state: a (batch, k - 1, H) for each block.
    Raises: ConfigError if a size is below 1 or an option is out of range.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, layers: int = 4, dropout: float = 0.0, kernel: int = 7
    ) -> None:
        super().__init__(input_size, hidden_size, layers=layers, dropout=dropout)
        check_positive(kernel=kernel)
        self.reach = 1 + layers * (kernel - 1)
        self.read = Dense(input_size, hidden_size)
        self.blocks = nn.ModuleList(ConvolutionBlock(hidden_size, kernel, dropout, layers) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden_size)
        nn.init.xavier_normal_(self.read.weight)
        nn.init.zeros_(self.read.bias)

    def initial_state(self, batch_size: int) -> State:
        return initial_states(self.blocks, batch_size)

    def encode(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        x, state = run_blocks(self.blocks, self.read(x), state, lengths)
        return self.norm(x), state
