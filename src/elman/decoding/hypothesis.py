"""A sequence that decoding found, and how likely it is."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman.data.codec import Array


class Hypothesis(NamedTuple):
    """Symbols after the first, the end symbol included if it was reached.

    log_probability: nats of all of them given what came before. score: what hypotheses are ranked by, higher is better.
    """

    symbols: tuple[int, ...]
    log_probability: float
    score: float


def log_softmax(logits: Array) -> NDArray[np.float64]:
    """Logarithms of the probabilities along the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result
