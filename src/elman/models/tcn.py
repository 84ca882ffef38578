"""The temporal convolutional network."""

import math

from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from elman.cells.masks import keep_mask
from elman.layers.causal_convolution import CausalConvolution
from elman.layers.dense import Dense
from elman.layers.dropout import Dropout
from elman.models.encoder import Encoder, check_positive, initial_states, register, run_blocks
from elman.state import State


class ChannelDropout(nn.Module):
    """Zeroes whole features, for all steps of a call, and scales the others so that the mean stays; in training only.

    Processes that share a batch drop what one process would, see `elman.cells.masks.share_of_rows`.

    Source: Tompson et al., "Efficient Object Localization Using Convolutional Networks", 2015, arXiv:1411.4280.
    Shapes: x (batch, time, features); y as x.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        return x * keep_mask(x[:, :1], self.p).div_(1 - self.p)


class TemporalBlock(nn.Module):
    """Two dilated convolutions and the way around them; see `TCN`."""

    def __init__(
        self, input_size: int, hidden_size: int, *, kernel: int, dilation: int, dropout: nn.Module, layers: int
    ) -> None:
        super().__init__()
        self.first = CausalConvolution(input_size, hidden_size, kernel, dilation=dilation)
        self.second = CausalConvolution(hidden_size, hidden_size, kernel, dilation=dilation)
        # Else each block would more than double the signal; dividing by `layers` itself stops all growth, and learns slower.
        self.second.convolution.weight.data.div_(math.sqrt(layers))
        weight_norm(self.first.convolution)
        weight_norm(self.second.convolution)
        self.around = nn.Identity() if input_size == hidden_size else Dense(input_size, hidden_size)
        self.dropout = dropout

    def initial_state(self, batch_size: int) -> State:
        return self.first.initial_state(batch_size), self.second.initial_state(batch_size)

    def forward(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        before_first, before_second = state
        inner, after_first = self.first(x, before_first, lengths)
        inner, after_second = self.second(self.dropout(inner.relu()), before_second, lengths)
        return (self.around(x) + self.dropout(inner.relu())).relu(), (after_first, after_second)


@register("tcn")
class TCN(Encoder):
    """Temporal convolutional network: residual blocks of two causal convolutions, dilated by 1, 2, 4, ...

        a   = D(relu(K_1 *_d r_{n-1} + b_1))                d = 2^(n-1); D: dropout of whole channels
        a'  = D(relu(K_2 *_d a + b_2))                      inputs before the first are zero, in each convolution
        r_n = relu(r_{n-1} + a')                            first block, where sizes differ: relu(W x + c + a')
        K   = g v / |v|, for each output channel            weight normalisation

    Source: Bai, Kolter, Koltun, "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence
    Modeling", 2018, arXiv:1803.01271, section 3.
    Differs: weights begin as He et al. 2015, arXiv:1502.01852, those of K_2 divided by sqrt(L), so that depth makes
    the signal little larger.
    Parameters: 2 layers (k H H + 2 H), of which the first convolution has k I H in place of k H H; I H + H where sizes differ.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: channels, H >= 1.
        layers: residual blocks, L. dropout: see `Encoder`; twice in each block.
        kernel: inputs that a convolution reads, k. An output sees 1 + 2 (k - 1) (2^L - 1) steps: 253 by default.
        channel_dropout: whole channels, as the paper says; else value by value, as its own code does.
    Shapes: x (batch, time, I); y (batch, time, H); state: for each block (batch, (k - 1) d, I or H) and (batch, (k - 1) d, H).
    Raises: ConfigError if a size is below 1 or an option is out of range.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        layers: int = 6,
        dropout: float = 0.0,
        kernel: int = 3,
        channel_dropout: bool = True,
    ) -> None:
        super().__init__(input_size, hidden_size, layers=layers, dropout=dropout)
        check_positive(kernel=kernel)
        self.reach = 1 + 2 * (kernel - 1) * (2**layers - 1)
        self.blocks = nn.ModuleList(
            TemporalBlock(
                hidden_size if level else input_size,
                hidden_size,
                kernel=kernel,
                dilation=2**level,
                dropout=ChannelDropout(dropout) if channel_dropout else Dropout(dropout),
                layers=layers,
            )
            for level in range(layers)
        )

    def initial_state(self, batch_size: int) -> State:
        return initial_states(self.blocks, batch_size)

    def encode(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        return run_blocks(self.blocks, x, state, lengths)
