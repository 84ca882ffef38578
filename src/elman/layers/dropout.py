"""Dropout that does not depend on how many processes share a batch."""

from torch import Tensor, nn

from elman.cells.masks import check_probability, keep_mask


class Dropout(nn.Module):
    """Zeroes values with a probability in training, and scales the others so that the mean stays: as `torch.nn.Dropout`.

    Processes that share a batch drop what one process would, see `elman.cells.masks.share_of_rows`.

    Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", 2014.

    Args:
        p: probability of zeroing a value, 0 <= p < 1.
    Shapes: x (batch, ...); y as x.
    Raises: ConfigError if the probability is out of range.

    >>> import torch
    >>> Dropout(0.5).eval()(torch.ones(2))
    tensor([1., 1.])
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = check_probability(p)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        return x * keep_mask(x, self.p).div_(1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"
