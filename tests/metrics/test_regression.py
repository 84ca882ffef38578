"""Regression metrics against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, mean_squared_error

from elman.metrics.regression import regression_metrics


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 30), targets=st.integers(1, 4), parts=st.integers(1, 3))
def test_values_agree_with_sklearn(seed: int, rows: int, targets: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    prediction, truth = rng.normal(size=(2, rows, targets))
    metrics = regression_metrics()
    for metric in metrics.values():
        for part in np.array_split(np.arange(rows), parts):
            metric.update(prediction[part], truth[part])
        assert len(metric.units()) == rows
    assert metrics["rmse"].compute() == pytest.approx(np.sqrt(mean_squared_error(truth, prediction)), rel=1e-12)
    assert metrics["mae"].compute() == pytest.approx(mean_absolute_error(truth, prediction), rel=1e-12)


def test_nothing_seen_or_not_answered_gives_nan() -> None:
    for metric in regression_metrics().values():
        assert np.isnan(metric.compute())
        metric.update(np.array([[1.0], [np.nan]]), np.zeros((2, 1)))
        assert np.isnan(metric.compute())
        assert not metric.higher_is_better
