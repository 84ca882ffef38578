"""Metrics of forecasts, point and quantile, over the origins of one or many series.

All read the same three arrays, in the same units, in float64:

    prediction  (N, H, C, Q)   N origins, H steps ahead, C targets, Q quantiles in the order the metric was built with
    target      (N, H, C)      NaN = missing: not counted
    scale       (N, C)         of the origin's series, read by MASE only; NaN = not counted

A unit is an origin, and an array may be a slice of the horizon: a metric of one step ahead is
``statistics(prediction[:, k : k + 1], target[:, k : k + 1], scale)``. A prediction that is NaN where the target is
known makes the value NaN: a model that does not answer must not look better for it.
"""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from elman.errors import ConfigError
from elman.metrics.metric import Floats, Metric, ratio

_TOLERANCE = 1e-9  # quantiles are decimals written by people: 0.9 is meant to mirror 0.1


def mase_scale(targets: Floats, season: int = 1) -> Floats:
    """Mean absolute error of the seasonal naive within the training part: what MASE divides by.

    Args:
        targets: (T, C), NaN = missing.
        season: steps, at least 1.

    Returns: (C,); NaN where no pair one season apart is known.
    """
    if season < 1:
        raise ConfigError(f"expected `season` of at least 1 step, got {season}")
    changes = np.abs(targets[season:] - targets[:-season])
    counted = ~np.isnan(changes)
    return ratio(np.where(counted, changes, 0.0).sum(axis=0), counted.sum(axis=0).astype(np.float64))


class ForecastMetric(Metric):
    """A figure over every known target value: sums are (loss, count) for each origin.

    Args:
        quantiles: levels of the last axis of a prediction, ascending, inside (0, 1); ``(0.5,)`` for a point forecast.

    Raises: ConfigError if the levels are not ascending inside (0, 1).
    """

    def __init__(self, quantiles: Sequence[float] = (0.5,)) -> None:
        super().__init__()
        levels = np.asarray(quantiles, dtype=np.float64)
        if not len(levels) or levels[0] <= 0 or levels[-1] >= 1 or (np.diff(levels) <= 0).any():
            raise ConfigError(f"expected `quantiles` ascending between 0 and 1, got {list(quantiles)}")
        self.quantiles = levels

    @abstractmethod
    def statistics(self, prediction: Floats, target: Floats, scale: Floats) -> Floats:
        """Sums (N, 2); shapes as in the file's head."""

    def point(self, prediction: Floats) -> Floats:
        """The median (N, H, C): the 0.5 quantile, or the value between its two neighbours, or the nearest quantile."""
        above = int(np.searchsorted(self.quantiles, 0.5 - _TOLERANCE))
        if above == len(self.quantiles):
            return prediction[..., -1]
        if above == 0 or self.quantiles[above] < 0.5 + _TOLERANCE:
            return prediction[..., above]
        low, high = self.quantiles[above - 1 : above + 1]
        share = (0.5 - low) / (high - low)
        return np.asarray((1 - share) * prediction[..., above - 1] + share * prediction[..., above])


class MeanLoss(ForecastMetric):
    """A metric that is the mean loss itself."""

    def value(self, totals: Floats) -> Floats:
        return ratio(totals[..., 0], totals[..., 1])


class MAE(MeanLoss):
    """Mean absolute error of the point forecast, in the units of the target."""

    name = "mae"

    def statistics(self, prediction: Floats, target: Floats, scale: Floats) -> Floats:  # noqa: ARG002
        return _sums(np.abs(self.point(prediction) - target), ~np.isnan(target))


class MSE(MeanLoss):
    """Mean squared error of the point forecast, in squared units of the target."""

    name = "mse"

    def statistics(self, prediction: Floats, target: Floats, scale: Floats) -> Floats:  # noqa: ARG002
        return _sums(np.square(self.point(prediction) - target), ~np.isnan(target))


class RMSE(ForecastMetric):
    """Root of the mean squared error over everything counted, in the units of the target."""

    name = "rmse"

    def statistics(self, prediction: Floats, target: Floats, scale: Floats) -> Floats:  # noqa: ARG002
        return _sums(np.square(self.point(prediction) - target), ~np.isnan(target))

    def value(self, totals: Floats) -> Floats:
        return np.sqrt(ratio(totals[..., 0], totals[..., 1]))


class SMAPE(MeanLoss):
    """Symmetric mean absolute percentage error as a fraction, 0 to 2: the mean of 2 |y - f| / (|y| + |f|).

    0 / 0 counts as 0.

    Source: Makridakis, Spiliotis, Assimakopoulos, "The M4 Competition", 2020, doi:10.1016/j.ijforecast.2019.04.014.
    Differs: not times 100.
    """

    name = "smape"

    def statistics(self, prediction: Floats, target: Floats, scale: Floats) -> Floats:  # noqa: ARG002
        point = self.point(prediction)
        size = np.abs(target) + np.abs(point)
        losses = 2 * np.abs(target - point) / np.where(size == 0, 1.0, size)
        return _sums(losses, ~np.isnan(target))


class MASE(MeanLoss):
    """Mean absolute scaled error: each error over the scale of its series (`mase_scale`).

    1 is the seasonal naive in training. A series without a scale, or with a scale of 0 (it never changed), is not
    counted.

    Source: Hyndman, Koehler, "Another look at measures of forecast accuracy", 2006,
    doi:10.1016/j.ijforecast.2006.03.001.
    """

    name = "mase"

    def statistics(self, prediction: Floats, target: Floats, scale: Floats) -> Floats:
        usable = scale > 0
        losses = np.abs(self.point(prediction) - target) / np.where(usable, scale, 1.0)[:, None, :]
        return _sums(losses, ~np.isnan(target) & usable[:, None, :])


class CRPS(MeanLoss):
    """Continuous ranked probability score, in the units of the target: twice the mean pinball loss of the quantiles.

    Source: Gneiting, Ranjan, "Comparing Density Forecasts Using Threshold- and Quantile-Weighted Scoring Rules", 2011,
    doi:10.1198/jbes.2010.08110, as the mean quantile loss of GluonTS without its weight. Exact as the quantiles fill
    (0, 1); with the one quantile 0.5 it is the MAE.
    """

    name = "crps"

    def statistics(self, prediction: Floats, target: Floats, scale: Floats) -> Floats:  # noqa: ARG002
        losses = np.zeros(target.shape)
        for i in range(len(self.quantiles)):
            error = target - prediction[..., i]
            losses += np.maximum(self.quantiles[i] * error, (self.quantiles[i] - 1) * error)
        return _sums(2 * losses / len(self.quantiles), ~np.isnan(target))


class Coverage(MeanLoss):
    """Fraction of targets inside the widest symmetric pair of quantiles, ends included.

    Right is `nominal`, not as much as possible.

    Raises: ConfigError if no two quantiles mirror each other around 0.5.
    """

    name = "coverage"

    def __init__(self, quantiles: Sequence[float]) -> None:
        super().__init__(quantiles)
        pair = _widest_pair(self.quantiles)
        if pair is None:
            raise ConfigError(f"expected `quantiles` with a symmetric pair such as 0.1 and 0.9, got {list(quantiles)}")
        self._low, self._high = pair

    @property
    def nominal(self) -> float:
        """The coverage of a calibrated forecast: 0.8 for the quantiles 0.1 and 0.9."""
        return float(self.quantiles[self._high] - self.quantiles[self._low])

    def statistics(self, prediction: Floats, target: Floats, scale: Floats) -> Floats:  # noqa: ARG002
        low, high = prediction[..., self._low], prediction[..., self._high]
        inside = ((low <= target) & (target <= high)).astype(np.float64)
        return _sums(np.where(np.isnan(low + high), np.nan, inside), ~np.isnan(target))


def forecast_metrics(quantiles: Sequence[float] = (0.5,)) -> dict[str, ForecastMetric]:
    """Every metric that these quantiles allow, by name: CRPS needs two or more, coverage a symmetric pair.

    >>> list(forecast_metrics((0.1, 0.5, 0.9)))
    ['mae', 'rmse', 'mse', 'smape', 'mase', 'crps', 'coverage']
    >>> list(forecast_metrics())
    ['mae', 'rmse', 'mse', 'smape', 'mase']
    """
    kinds: list[type[ForecastMetric]] = [MAE, RMSE, MSE, SMAPE, MASE]
    if len(quantiles) > 1:
        kinds.append(CRPS)
    if _widest_pair(np.asarray(quantiles, dtype=np.float64)) is not None:
        kinds.append(Coverage)
    return {kind.name: kind(quantiles) for kind in kinds}


def _widest_pair(levels: Floats) -> tuple[int, int] | None:
    for low in np.flatnonzero(levels < 0.5 - _TOLERANCE):
        high = np.flatnonzero(np.abs(levels - (1 - levels[low])) < _TOLERANCE)
        if len(high):
            return int(low), int(high[0])
    return None


def _sums(losses: Floats, counted: NDArray[np.bool_]) -> Floats:
    """(N, H, C) -> (N, 2): the sum of the counted losses, and how many."""
    total = np.where(counted, losses, 0.0).sum(axis=(1, 2))
    return np.stack([total, counted.sum(axis=(1, 2)).astype(np.float64)], axis=-1)
