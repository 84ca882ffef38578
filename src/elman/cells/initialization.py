"""How a cell's weights begin. A cell stacks the matrices of its gates in one; each block is drawn by itself, because
the fan-out of the stacked matrix is not the fan-out of a gate."""

from torch import Tensor, nn


def glorot_(weight: Tensor, blocks: int) -> None:
    """Fill an input weight (blocks*H, I) in place, each (H, I) uniform with variance 2 / (I + H).

    Source: Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, eq. 16.
    """
    for block in weight.chunk(blocks):
        nn.init.xavier_uniform_(block)


def orthogonal_(weight: Tensor, blocks: int) -> None:
    """Fill a recurrent weight (blocks*H, H) in place, each (H, H) a random orthogonal matrix: it keeps lengths.

    Source: Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks", 2014, arXiv:1312.6120.
    """
    for block in weight.chunk(blocks):
        nn.init.orthogonal_(block)
