"""The LSTM whose inputs and states are images."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from elman.cells.cell import Cell, register
from elman.cells.initialization import glorot_, orthogonal_
from elman.errors import ConfigError


class ConvLSTMState(NamedTuple):
    """hidden: what the cell shows; cell: what it remembers. Each (batch, H, height, width)."""

    hidden: Tensor
    cell: Tensor


class ConvLSTMGates(NamedTuple):
    """input, forget and output in 0..1, candidate in -1..1. Each (batch, H, height, width)."""

    input: Tensor
    forget: Tensor
    candidate: Tensor
    output: Tensor


@register("conv_lstm")
class ConvLSTM(Cell[ConvLSTMState]):
    """Convolutional LSTM: an LSTM at every place of an image, each reading its neighbours' inputs and states.

        i_t = sigmoid(W_i (*) x_t + U_i (*) h_{t-1} + p_i * c_{t-1} + b_i)      input gate: i = 0 writes nothing
        f_t = sigmoid(W_f (*) x_t + U_f (*) h_{t-1} + p_f * c_{t-1} + b_f)      forget gate: f = 1 keeps
        g_t = tanh(W_g (*) x_t + U_g (*) h_{t-1} + b_g)                         candidate
        c_t = f_t * c_{t-1} + i_t * g_t
        o_t = sigmoid(W_o (*) x_t + U_o (*) h_{t-1} + p_o * c_t + b_o)          output gate, sees the new cell
        h_t = o_t * tanh(c_t)
        (*) is a convolution over the image, padded with zeros to keep its size; * is by element

    Source: Shi et al., "Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting", 2015,
    arXiv:1506.04214, eq. 3.
    Differs: the peepholes p are an option, off by default, as in most uses since. Along an axis of size 1 the kernel
    has size 1: there are no neighbours, so height 1 is a convolution over a row, and the defaults are the plain LSTM.
    Parameters: 4 (K C H + K H H + H), with C channels and K = kernel^2 (kernel if one axis is 1, 1 if both are);
    peepholes: 3 H height width more.

    Args:
        input_size: C * height * width: the image, flattened with channels first.
        hidden_size: hidden channels, H >= 1.
        height: rows of the image.
        width: columns of the image.
        kernel: size of both kernels along an axis, odd.
        peephole: whether the gates see the cell, each place its own.
        forget_bias: b_f at initialization; 1 lets gradients pass from the start.
    Shapes: x_t (batch, C*height*width); state `ConvLSTMState`, both (batch, H, height, width); output
    (batch, H*height*width), equal to the new hidden, flattened.
    Raises: ConfigError if a size is below 1, the kernel is even, or the input is not made of whole images.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        height: int = 1,
        width: int = 1,
        kernel: int = 3,
        peephole: bool = False,
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__(input_size, hidden_size)
        _check(input_size, height, width, kernel)
        self.output_size = hidden_size * height * width
        self.image = (input_size // (height * width), height, width)
        sizes = (kernel if height > 1 else 1, kernel if width > 1 else 1)
        padding = (sizes[0] // 2, sizes[1] // 2)
        self.from_input = nn.Conv2d(self.image[0], 4 * hidden_size, sizes, padding=padding)
        self.from_hidden = nn.Conv2d(hidden_size, 4 * hidden_size, sizes, padding=padding, bias=False)
        self.from_cell = nn.Parameter(torch.zeros(3, hidden_size, height, width)) if peephole else None
        glorot_(self.from_input.weight, blocks=4)
        orthogonal_(self.from_hidden.weight, blocks=4)
        bias = self.from_input.bias
        assert bias is not None
        nn.init.zeros_(bias)
        nn.init.constant_(bias.chunk(4)[1], forget_bias)

    def initial_state(self, batch_size: int) -> ConvLSTMState:
        _, height, width = self.image
        zeros = self.from_hidden.weight.new_zeros(batch_size, self.hidden_size, height, width)
        return ConvLSTMState(hidden=zeros, cell=zeros)

    def project(self, x: Tensor) -> Tensor:
        """(..., C*height*width) -> (..., 4*H*height*width): input, forget, candidate, output."""
        z: Tensor = self.from_input(x.reshape(-1, *self.image))
        return z.reshape(*x.shape[:-1], 4 * self.output_size)

    def gates(self, z_t: Tensor, state: ConvLSTMState) -> ConvLSTMGates:
        _, height, width = self.image
        total = z_t.reshape(-1, 4 * self.hidden_size, height, width) + self.from_hidden(state.hidden)
        i, f, g, o = total.chunk(4, 1)
        if self.from_cell is None:
            return ConvLSTMGates(i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid())
        i = (i + self.from_cell[0] * state.cell).sigmoid()
        f = (f + self.from_cell[1] * state.cell).sigmoid()
        g = g.tanh()
        o = (o + self.from_cell[2] * (f * state.cell + i * g)).sigmoid()
        return ConvLSTMGates(i, f, g, o)

    def step(self, z_t: Tensor, state: ConvLSTMState) -> tuple[Tensor, ConvLSTMState]:
        gates = self.gates(z_t, state)
        cell = gates.forget * state.cell + gates.input * gates.candidate
        hidden = gates.output * cell.tanh()
        return hidden.flatten(1), ConvLSTMState(hidden, cell)


def _check(input_size: int, height: int, width: int, kernel: int) -> None:
    if height < 1 or width < 1:
        raise ConfigError(f"expected an image of `height` and `width` >= 1, got {height} x {width}")
    if kernel < 1 or kernel % 2 == 0:
        raise ConfigError(f"expected an odd `kernel` >= 1, which has a middle, got {kernel}")
    if input_size % (height * width):
        raise ConfigError(
            f"expected `input_size` = channels * height * width, a multiple of {height} * {width}, got {input_size}; "
            "set `height` and `width` to the size of the image"
        )
