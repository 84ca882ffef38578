"""Sequences of unequal length in one batch: padding, and batches of similar length so that little is padded."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)
Lengths = NDArray[np.int64]

MIXED = 0.25


def pad(arrays: Sequence[NDArray[Scalar]], fill: Any = 0) -> tuple[NDArray[Scalar], Lengths]:
    """B arrays (T_i, ...) -> one (B, T, ...) with ``fill`` after each end, T the longest; and the lengths (B,).

    >>> pad([np.array([1, 2]), np.array([3])])
    (array([[1, 2],
           [3, 0]]), array([2, 1]))
    """
    lengths = np.array([len(array) for array in arrays], np.int64)
    padded = np.full((len(arrays), int(lengths.max()), *arrays[0].shape[1:]), fill, arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded, lengths


def bucketed(lengths: Sequence[int], batch_size: int, rng: np.random.Generator | None = None) -> list[Lengths]:
    """Index arrays of batches of similar length; every index is in one batch.

    Args:
        batch_size: sequences in a batch; the batch of the longest may be smaller.
        rng: mixes lengths within about a quarter of each other and orders the batches, differently in every epoch, so that
            nothing that goes with the length goes with the batch. None: cut from the order of lengths, shortest first; all
            padding together is then at most ``batch_size`` times the difference of the longest and the shortest.
    """
    keys = np.asarray(lengths, np.float64)
    if rng is not None:
        keys = keys * np.exp(rng.uniform(-MIXED, MIXED, len(keys)))
    order = np.argsort(keys, kind="stable")
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return batches if rng is None else [batches[number] for number in rng.permutation(len(batches))]
