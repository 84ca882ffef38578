"""Random masks that do not depend on how many processes share a batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

from elman.errors import ConfigError

_shared: ContextVar[tuple[slice, int] | None] = ContextVar("shared rows", default=None)


@contextmanager
def share_of_rows(rows: slice, total: int) -> Iterator[None]:
    """What is read meanwhile are those ``rows`` of a batch that has ``total`` of them."""
    before = _shared.set((rows, total))
    try:
        yield
    finally:
        _shared.reset(before)


def keep_mask(like: Tensor, p: float) -> Tensor:
    """1 with probability 1 - p, else 0, in the shape (batch, ...), type and device of ``like``.

    Inside `share_of_rows` the mask is drawn for the whole batch, and those rows of it are given: processes that share a
    batch and the state of the generator drop what one process would.
    """
    rows, total = _shared.get() or (slice(None), len(like))
    return like.new_empty(total, *like.shape[1:]).bernoulli_(1 - p)[rows]


def check_probability(p: float) -> float:
    """Raises ConfigError if it is not a probability of dropping something."""
    if not 0 <= p < 1:
        raise ConfigError(f"expected a probability of dropout in 0..1 without 1, got {p}")
    return p
