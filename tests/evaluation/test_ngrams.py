"""Bags of n-grams against the formula of tf-idf."""

import numpy as np
import pytest

from elman.evaluation.ngrams import NgramBag


def test_weights_worked_by_hand() -> None:
    bag = NgramBag([["a"], ["b", "b"]], outputs=1)
    # Of two texts each n-gram is in one, except the empty one in both: idf = ln(3 / (1 + n)) + 1, tf = 1 + ln count.
    rare = np.log(3 / 2) + 1
    twice = (1 + np.log(2)) * rare
    row = np.array([1.0, twice, rare])  # no word, "b" twice, "b b"
    assert sorted(bag([["b", "b"]]).toarray()[0]) == pytest.approx(sorted([0.0, *(row / np.linalg.norm(row))]))


def test_an_empty_text_and_unknown_words_have_a_row() -> None:
    bag = NgramBag([[], []], outputs=1)
    np.testing.assert_array_equal(bag([[], ["new"]]).toarray(), [[1.0], [1.0]])


def test_many_outputs_keep_the_frequent_words() -> None:
    texts = [[f"w{i}", "often"] for i in range(2000)]
    bag = NgramBag(texts, outputs=5000)
    assert bag(texts).shape == (2000, 1000)
    assert bag([["often"]]).nnz == 2
