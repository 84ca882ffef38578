"""Language metrics against values worked by hand."""

import numpy as np
import pytest

from elman.metrics.language import language_metrics


def test_values_worked_by_hand() -> None:
    # Three words of 2, 4 and 2 characters with probabilities 1/2, 1/4, 1/4: 5 bits over 8 characters.
    nll, characters = -np.log([0.5, 0.25, 0.25]), np.array([2, 4, 2])
    metrics = language_metrics()
    for metric in metrics.values():
        metric.update(nll, characters, np.array([0, 0, 0]))
    assert metrics["nll"].compute() == pytest.approx(5 * np.log(2) / 3, rel=1e-12)
    assert metrics["perplexity"].compute() == pytest.approx(2 ** (5 / 3), rel=1e-12)
    assert metrics["bits_per_char"].compute() == pytest.approx(5 / 8, rel=1e-12)


def test_rows_are_summed_by_unit_in_the_order_of_the_ids() -> None:
    rows = language_metrics()["nll"].statistics(np.array([1.0, 2.0, 4.0]), np.array([1, 2, 3]), np.array([9, 3, 9]))
    np.testing.assert_array_equal(rows, [[2, 1, 2], [5, 2, 4]])


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary() -> None:
    metric = language_metrics()["perplexity"]
    for part in range(3):
        metric.update(np.full(10, np.log(50)), np.ones(10), np.full(10, part))
    assert metric.units().shape == (3, 3)
    assert metric.compute() == pytest.approx(50, rel=1e-12)


def test_nothing_counted_gives_nan_and_an_impossible_symbol_infinity() -> None:
    empty = np.zeros(0)
    for metric in language_metrics().values():
        assert np.isnan(metric.compute())
        metric.update(empty, empty, empty.astype(int))
        assert np.isnan(metric.compute())
        metric.update(np.array([np.inf]), np.ones(1), np.zeros(1, dtype=int))
        assert metric.compute() == np.inf
    assert language_metrics()["perplexity"].value(np.array([1e6, 1.0, 1.0])) == np.inf
