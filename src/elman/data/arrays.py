"""Arrays in memory as a source of labelled sequences, as scikit-learn's users have them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray


class ArrayLike(Protocol):
    """What NumPy can make an array of: its own arrays, PyTorch's tensors, columns of polars and pandas."""

    def __array__(self) -> NDArray[np.generic]: ...


Label: TypeAlias = str | bool | int | float | np.generic | None


@dataclass(frozen=True, eq=False)
class Arrays:
    """N sequences and their labels.

    Args:
        x: (N, T, C) sequences of one length; (N, C) vectors, sequences of one step; a list of N arrays (T_i, C) or
            (T_i,), sequences of any lengths; or a list of N texts. NaN is a missing value.
        y: N labels, texts or numbers; for several labels at once N lists or sets of them, or an array (N, K) of 0
            and 1, whose labels are "0" to "K-1"; for several numbers to predict an array (N, K). None: not known.
    """

    x: ArrayLike | Iterable[object]
    y: ArrayLike | Iterable[Label | Iterable[Label]] | None = None

    def __repr__(self) -> str:
        return f"Arrays(x: {type(self.x).__name__}, y: {type(self.y).__name__})"
