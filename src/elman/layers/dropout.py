"""Dropout that does not depend on how many processes share a batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor, nn

from elman.errors import ConfigError

_shared: ContextVar[tuple[slice, int] | None] = ContextVar("shared rows", default=None)


@contextmanager
def share_of_rows(rows: slice, total: int) -> Iterator[None]:
    """What layers read meanwhile are those ``rows`` of a batch that has ``total`` of them."""
    before = _shared.set((rows, total))
    try:
        yield
    finally:
        _shared.reset(before)


class Dropout(nn.Module):
    """Zeroes values with a probability in training, and scales the others so that the mean stays: as `torch.nn.Dropout`.

    Inside `share_of_rows` the mask is drawn for the whole batch, and those rows of it are used: processes that share a
    batch and the state of the generator drop what one process would.

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
        if not 0 <= p < 1:
            raise ConfigError(f"expected a probability of dropout in 0..1 without 1, got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        rows, total = _shared.get() or (slice(None), len(x))
        mask = x.new_empty(total, *x.shape[1:]).bernoulli_(1 - self.p).div_(1 - self.p)
        return x * mask[rows]

    def extra_repr(self) -> str:
        return f"p={self.p}"
