"""Padding and buckets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data.bucketing import bucketed, pad


@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool])
def test_pad(dtype: type) -> None:
    arrays: list[np.ndarray] = [np.ones((length, 2), dtype) for length in (3, 0, 5)]
    padded, lengths = pad(arrays)
    assert padded.shape == (3, 5, 2)
    assert padded.dtype == dtype
    np.testing.assert_array_equal(lengths, [3, 0, 5])
    expected = np.arange(5) < lengths[:, None]
    np.testing.assert_array_equal(padded, np.stack([expected, expected], axis=-1).astype(dtype))
    np.testing.assert_array_equal(pad([np.zeros(1), np.zeros(2)], fill=7)[0], [[0, 7], [0, 0]])


@given(st.lists(st.integers(0, 100), min_size=1), st.integers(1, 10), st.none() | st.integers(0, 9))
def test_every_index_once_and_padding_bounded(lengths: list[int], batch_size: int, seed: int | None) -> None:
    batches = bucketed(lengths, batch_size, None if seed is None else np.random.default_rng(seed))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    array = np.array(lengths)
    waste = sum(int((array[batch].max() - array[batch]).sum()) for batch in batches)
    assert waste <= batch_size * (max(lengths) - min(lengths))


def test_batches_and_ties_move_with_the_generator() -> None:
    lengths = [5] * 50 + [9] * 50
    first, second = (bucketed(lengths, 10, np.random.default_rng(seed)) for seed in (0, 1))
    assert [batch.tolist() for batch in first] != [batch.tolist() for batch in second]
    assert {tuple(sorted(batch)) for batch in first} != {tuple(sorted(batch)) for batch in second}
    lengths_in_order = [lengths[batch[0]] for batch in first]
    assert lengths_in_order != sorted(lengths_in_order)
