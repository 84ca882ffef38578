"""Metrics of regression: how far predicted numbers are from the true ones.

All read the same two arrays, in the same units, in float64, a row for each scored place:

    prediction  (N, C)   C targets
    truth       (N, C)

A unit is a place. The mean is over places and targets; a prediction that is NaN makes the value NaN.
"""

from abc import abstractmethod

import numpy as np

from elman.metrics.metric import Floats, Metric, ratio


class RegressionMetric(Metric):
    """A figure of the errors: sums are (loss, targets) for each place."""

    def statistics(self, prediction: Floats, truth: Floats) -> Floats:
        """Sums (N, 2); shapes as in the file's head."""
        losses = self.losses(prediction - truth)
        return np.stack([losses.sum(axis=1), np.full(len(losses), float(losses.shape[1]))], axis=-1)

    @abstractmethod
    def losses(self, errors: Floats) -> Floats:
        """Loss of each error, (N, C)."""


class RMSE(RegressionMetric):
    """Root of the mean squared error, in the units of the target."""

    name = "rmse"

    def losses(self, errors: Floats) -> Floats:
        return np.square(errors)

    def value(self, totals: Floats) -> Floats:
        return np.sqrt(ratio(totals[..., 0], totals[..., 1]))


class MAE(RegressionMetric):
    """Mean absolute error, in the units of the target."""

    name = "mae"

    def losses(self, errors: Floats) -> Floats:
        return np.abs(errors)

    def value(self, totals: Floats) -> Floats:
        return ratio(totals[..., 0], totals[..., 1])


def regression_metrics() -> dict[str, Metric]:
    """Every metric of a regression, by name.

    >>> list(regression_metrics())
    ['rmse', 'mae']
    """
    return {metric.name: metric for metric in (RMSE(), MAE())}
