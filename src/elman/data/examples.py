"""What the baselines of classification and regression learn from and answer for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elman.errors import DataError, UsageError

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

_LARGEST = 1e100  # so that squares stay finite


@dataclass(frozen=True, eq=False)
class Examples:
    """N sequences, either texts or numbers.

    Attributes:
        texts: N lists of words or other symbols; None where the data are numbers.
        values: N arrays (T_i, C) in raw units, T_i at least 1, NaN = missing; None where the data are texts.

    Raises: UsageError if not exactly one of the two is given.
    """

    texts: Sequence[Sequence[str]] | None = None
    values: Sequence[Floats] | None = None

    def __post_init__(self) -> None:
        if (self.texts is None) == (self.values is None):
            raise UsageError("expected examples with either `texts` or `values`, got both or neither")

    def __len__(self) -> int:
        return sum(len(part) for part in (self.texts, self.values) if part is not None)

    def take(self, rows: Sequence[int] | Rows) -> "Examples":
        """Some of the examples, in the order given."""
        return Examples(
            None if self.texts is None else [self.texts[row] for row in rows],
            None if self.values is None else [self.values[row] for row in rows],
        )

    def require_texts(self) -> Sequence[Sequence[str]]:
        """The texts. Raises UsageError if the data are numbers."""
        if self.texts is None:
            raise UsageError("expected examples of text, got numbers")
        return self.texts

    def require_values(self) -> list[Floats]:
        """The numbers, those beyond 1e100 cut to it. Raises UsageError if the data are texts."""
        if self.values is None:
            raise UsageError("expected examples of numbers, got text")
        return [np.clip(sequence, -_LARGEST, _LARGEST) for sequence in self.values]


def check_targets(examples: Examples, targets: NDArray[np.generic]) -> None:
    """Raises DataError where there is nothing to learn from, or not one row of targets for each example."""
    if not len(examples) or len(examples) != len(targets):
        raise DataError(
            f"expected at least one example, each with a row of targets, to fit a baseline on, "
            f"got {len(examples)} examples and {len(targets)} rows"
        )


def spread_sample(keys: NDArray[np.generic], most: int) -> Rows:
    """Ascending rows, at most `most` of them, in which the keys (N,) have about the shares that they have in all.

    >>> spread_sample(np.array([0, 0, 0, 0, 1, 1]), most=6)
    array([0, 1, 2, 3, 4, 5])
    """
    if len(keys) <= most:
        return np.arange(len(keys))
    order = np.random.default_rng(0).permutation(len(keys))
    order = order[np.argsort(keys[order], kind="stable")]
    return np.sort(order[((np.arange(most) + 0.5) * len(keys) / most).astype(np.int64)])
