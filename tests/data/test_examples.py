"""Examples, and samples that keep the shares of what they are drawn from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data.examples import Examples, check_targets, spread_sample
from elman.errors import DataError, UsageError


def test_some_of_the_examples_in_the_order_given() -> None:
    texts = Examples(texts=[["a"], ["b"], ["c"]])
    assert texts.take([2, 0]).require_texts() == [["c"], ["a"]]
    values = Examples(values=[np.full((i + 1, 2), float(i)) for i in range(3)])
    assert [part.shape for part in values.take(np.array([1, 1])).require_values()] == [(2, 2), (2, 2)]
    assert (len(texts), len(values)) == (3, 3)


def test_enormous_values_are_cut_and_missing_ones_stay() -> None:
    cut = Examples(values=[np.array([[1e300, -1e300, np.nan, 2.0]])]).require_values()[0]
    np.testing.assert_array_equal(cut, [[1e100, -1e100, np.nan, 2.0]])


def test_wrong_use_is_told() -> None:
    with pytest.raises(UsageError, match="either `texts` or `values`"):
        Examples()
    with pytest.raises(UsageError, match="either `texts` or `values`"):
        Examples(texts=[], values=[])
    with pytest.raises(UsageError, match="expected examples of text"):
        Examples(values=[]).require_texts()
    with pytest.raises(UsageError, match="expected examples of numbers"):
        Examples(texts=[]).require_values()
    for count in (0, 2):
        with pytest.raises(DataError, match=f"got {count} examples and {count - 1 if count else 0} rows"):
            check_targets(Examples(texts=[["a"]] * count), np.zeros((max(count - 1, 0), 2)))


@given(counts=st.lists(st.integers(0, 60), min_size=1, max_size=5), most=st.integers(1, 80))
def test_a_sample_keeps_the_shares_of_the_keys(counts: list[int], most: int) -> None:
    keys = np.repeat(np.arange(len(counts)), counts)
    rows = spread_sample(keys, most)
    assert len(rows) == min(len(keys), most)
    assert (np.diff(rows) > 0).all()
    if len(rows):
        drawn = np.bincount(keys[rows], minlength=len(counts))
        assert (np.abs(drawn - np.array(counts) * len(rows) / len(keys)) <= 1).all()


def test_a_sample_within_a_key_is_drawn_from_all_of_it() -> None:
    rows = spread_sample(np.zeros(10_000), 1000)
    assert 400 < (rows < 5000).sum() < 600
    assert len(set(np.diff(rows))) > 5  # no even stride, which might meet only some phases of a period
