"""The likeliest symbol, again and again."""

from collections.abc import Sequence

from elman.data.codec import Array
from elman.decoding.hypothesis import Hypothesis
from elman.decoding.sample import Sampler, sample
from elman.state import NumpyState
from elman.stepper import Stepper


def greedy(
    stepper: Stepper,
    state: NumpyState,
    first: Array,
    *,
    length: int,
    end: int | None = None,
    banned: Sequence[int] = (),
) -> list[Hypothesis]:
    """The sequence that is likeliest step by step, for every row; seldom the likeliest as a whole.

    Args and raises: as `elman.decoding.sample.sample`.
    banned: ids that are never taken.
    """
    return sample(stepper, state, first, Sampler(0.0, banned=tuple(banned)), length=length, end=end)
