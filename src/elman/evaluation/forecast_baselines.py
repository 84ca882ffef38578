"""What a forecaster has to beat: repeating the past, a linear model, and gradient boosting on lags."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elman.errors import ConfigError, DataError
from elman.evaluation.threads import one_thread
from elman.metrics.metric import Floats

Rows = NDArray[np.integer]

# Linear: more windows than this change little, and the normal equations stay in seconds and a few hundred megabytes.
_MOST_WINDOWS = 20_000
_MOST_CELLS = 20_000_000
_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # for each window, on features of about unit variance
# Boosting: what keeps one target to a few seconds on one core. Pairs of one series overlap, hence the large leaves.
_MOST_PAIRS = 60_000
_MOST_LAGS = 6
_SEASONS_BACK = 3
_LONG_MEANS = (4, 12)  # times the width of the frame: where the level stands, without the level itself, which may drift
_TREES = {"learning_rate": 0.1, "max_iter": 150, "max_leaf_nodes": 63, "min_samples_leaf": 40, "early_stopping": False}


@dataclass(frozen=True)
class History:
    """One series on its regular grid, in raw units.

    Attributes:
        targets: (T, C) float64, NaN = missing.
        future: (T or more, F) float64: covariates and calendar features, known ahead of each row; NaN = missing.
    """

    targets: Floats
    future: Floats


class ForecastBaseline(ABC):
    """A forecaster without recurrence.

    From an origin it reads the targets up to it, and the future rows up to the horizon's end.
    """

    name: str

    @abstractmethod
    def fit(self, histories: Sequence[History]) -> None:
        """Learn from whole series of the same C and F. Raises DataError where they are too short to learn from."""

    @abstractmethod
    def predict(self, history: History, origins: NDArray[np.integer]) -> Floats:
        """Forecasts (N, H, C) of the rows origin + 1 .. origin + H for each of N origins; NaN where it cannot say."""


class LastValue(ForecastBaseline):
    """The last observed value, all along the horizon. NaN before anything was observed.

    Args:
        horizon: steps ahead, at least 1.
    """

    name = "last_value"

    def __init__(self, horizon: int) -> None:
        self._horizon = _positive("horizon", horizon)

    def fit(self, histories: Sequence[History]) -> None:
        """Nothing to learn."""

    def predict(self, history: History, origins: NDArray[np.integer]) -> Floats:
        last = _forward_filled(history.targets)[np.asarray(origins, dtype=np.int64)]
        return np.repeat(last[:, None, :], self._horizon, axis=1)


class SeasonalNaive(ForecastBaseline):
    """The value of the same phase in the last known season; a missing one is that of the season before, and so on.

    Where no earlier season has the phase, it is the last observed value.

    Args:
        season: steps, at least 1.
        horizon: steps ahead, at least 1.
    """

    def __init__(self, season: int, horizon: int) -> None:
        self._season = _positive("season", season)
        self._horizon = _positive("horizon", horizon)
        self.name = f"seasonal_naive_{season}"

    def fit(self, histories: Sequence[History]) -> None:
        """Nothing to learn."""

    def predict(self, history: History, origins: NDArray[np.integer]) -> Floats:
        origin = np.asarray(origins, dtype=np.int64)[:, None]
        step = np.arange(1, self._horizon + 1)
        by_phase = _forward_filled(history.targets, self._season)
        seasonal = _rows(by_phase, origin + step - _whole_seasons(step, self._season))
        return np.where(np.isnan(seasonal), _forward_filled(history.targets)[origin], seasonal)


class Linear(ForecastBaseline):
    """Ridge regression of the whole horizon on the last `context` values of every target and the horizon's future rows.

    Values are taken relative to the mean of their window, so that a level never seen in training is no surprise, and
    over the standard deviation of all that the origin knows of its series, so that one model serves series of every
    size. The penalty is the best of a few on the last fifth of the training origins; the weights are then fitted on all
    of them.

    Args:
        horizon: steps ahead, at least 1.
        context: steps of the past that are read, at least 1.
    """

    name = "linear"

    def __init__(self, horizon: int, context: int) -> None:
        self._horizon = _positive("horizon", horizon)
        self._context = _positive("context", context)

    def fit(self, histories: Sequence[History]) -> None:
        self._future = _Standardised(histories)
        pasts = [_Past(history.targets) for history in histories]
        origins = [_training_origins(past, self._horizon, self._context) for past in pasts]
        _require(origins, self.name, self._horizon)
        targets, covariates = histories[0].targets.shape[1], histories[0].future.shape[1]
        width = targets * self._context + (covariates + targets) * self._horizon
        origins = _thinned(origins, min(_MOST_WINDOWS, max(1, _MOST_CELLS // width)))
        parts = list(zip(histories, pasts, origins, strict=True))
        x = np.concatenate([self._features(history, past, rows) for history, past, rows in parts])
        y = np.concatenate([self._responses(history, past, rows) for history, past, rows in parts])
        held_out = np.concatenate([np.arange(len(rows)) >= 0.8 * len(rows) for rows in origins])
        self._weights, self._intercept = _ridge(x, y, held_out)

    def predict(self, history: History, origins: NDArray[np.integer]) -> Floats:
        past, origins = _Past(history.targets), np.asarray(origins, dtype=np.int64)
        forecasts = np.empty((len(origins), self._horizon, history.targets.shape[1]))
        for part in _parts(len(origins), _MOST_CELLS // max(self._weights.shape)):
            rows = origins[part]
            mean, scale = past.mean(rows, self._context), past.deviation(rows)
            relative = self._features(history, past, rows) @ self._weights + self._intercept
            forecasts[part] = relative.reshape(forecasts[part].shape) * scale[:, None] + mean[:, None]
        return forecasts

    def _features(self, history: History, past: "_Past", origins: Rows) -> Floats:
        mean, scale = past.mean(origins, self._context), past.deviation(origins)
        window = past.values(origins[:, None] - np.arange(self._context))
        relative = (window - mean[:, None]) / scale[:, None]
        future = self._future(history, origins[:, None] + np.arange(1, self._horizon + 1))
        # What is missing counts as average: 0 for both.
        flat = [part.reshape(len(origins), -1) for part in (relative, future)]
        return np.asarray(np.nan_to_num(np.concatenate(flat, axis=1)))

    def _responses(self, history: History, past: "_Past", origins: Rows) -> Floats:
        mean, scale = past.mean(origins, self._context), past.deviation(origins)
        outcomes = _interpolated(history.targets)[origins[:, None] + np.arange(1, self._horizon + 1)]
        return np.asarray((outcomes - mean[:, None]) / scale[:, None]).reshape(len(origins), -1)


class Boosting(ForecastBaseline):
    """Gradient-boosted trees on lags: one forecaster for each target, with the step of the horizon as a feature.

    Of the row that it forecasts, a tree sees the same phase of the last seasons, the future row and the step; of the
    origin the last values, means over short and long stretches, and the other targets. Values are relative to the mean
    and the deviation of the last `context` steps or the longest season, so that growth is followed. A forecast is the
    average of two ensembles, one fitted to the mean and one to the median: which one is better depends on the data, and
    the average is about as good as the better one.

    Args:
        horizon: steps ahead, at least 1.
        seasons: steps of each season; may be empty.
        context: steps of the past that values are relative to, at least 1; the longest season if that is longer.
    """

    name = "boosting"

    def __init__(self, horizon: int, seasons: Sequence[int], context: int) -> None:
        self._horizon = _positive("horizon", horizon)
        self._seasons = [_positive("season", season) for season in seasons]
        self._lags = min(_positive("context", context), _MOST_LAGS)
        self._width = max([context, *self._seasons])

    def fit(self, histories: Sequence[History]) -> None:
        pasts = [_Past(history.targets) for history in histories]
        origins = [_training_origins(past, self._horizon, self._width) for past in pasts]
        _require(origins, self.name, self._horizon)
        self._models = [self._fit_target(histories, pasts, origins, c) for c in range(histories[0].targets.shape[1])]

    def predict(self, history: History, origins: NDArray[np.integer]) -> Floats:
        past, origins = _Past(history.targets), np.asarray(origins, dtype=np.int64)
        forecasts = np.empty((len(origins), self._horizon, len(self._models)))
        for part in _parts(len(origins), _MOST_PAIRS // self._horizon):
            rows = np.repeat(origins[part], self._horizon)
            steps = np.resize(np.arange(1, self._horizon + 1), len(rows))
            for target, model in enumerate(self._models):
                mean, scale = self._frame(past, rows, target)
                values = model(self._features(history, past, rows, steps, target)) * scale + mean
                forecasts[part, :, target] = values.reshape(-1, self._horizon)
        return forecasts

    def _fit_target(
        self, histories: Sequence[History], pasts: Sequence["_Past"], origins: Sequence[Rows], target: int
    ) -> "_Trees":
        rng, total = np.random.default_rng(target), sum(map(len, origins))
        features, outcomes = [], []
        for history, past, rows in zip(histories, pasts, origins, strict=True):
            pairs = min(len(rows) * self._horizon, -(-_MOST_PAIRS * len(rows) // total))
            row, step = np.divmod(rng.choice(len(rows) * self._horizon, pairs, replace=False), self._horizon)
            origin, step = rows[row], step + 1
            outcome = history.targets[origin + step, target]
            origin, step, outcome = (part[~np.isnan(outcome)] for part in (origin, step, outcome))
            mean, scale = self._frame(past, origin, target)
            features.append(self._features(history, past, origin, step, target))
            outcomes.append((outcome - mean) / scale)
        return _Trees(np.concatenate(features), np.concatenate(outcomes))

    def _frame(self, past: "_Past", origins: Rows, target: int) -> tuple[Floats, Floats]:
        """The mean and the deviation (N,) that the values of a target are relative to at each origin."""
        return past.mean(origins, self._width)[:, target], past.deviation(origins, self._width)[:, target]

    def _features(self, history: History, past: "_Past", origins: Rows, steps: Rows, target: int) -> Floats:
        mean, scale = self._frame(past, origins, target)
        lags = past.values(origins[:, None] - np.arange(self._lags))[..., target]
        widths = (3, *self._seasons, *(times * self._width for times in _LONG_MEANS))
        means = [past.mean(origins, width)[:, target, None] for width in widths]
        phases = [self._same_phase(past, origins, steps, season)[..., target] for season in self._seasons]
        phase_means = [phase.mean(axis=1, keepdims=True) for phase in phases]
        own = np.concatenate([lags, *means, *phases, *phase_means], axis=1)
        others = (past.values(origins) - past.mean(origins, self._width)) / past.deviation(origins, self._width)
        future = _rows(history.future, origins + steps)
        return np.concatenate([steps[:, None], (own - mean[:, None]) / scale[:, None], others, future], axis=1)

    def _same_phase(self, past: "_Past", origins: Rows, steps: Rows, season: int) -> Floats:
        """The values (N, seasons back, C) one, two ... whole seasons before the forecast row, none after the origin."""
        latest = origins + steps - _whole_seasons(steps, season)
        return past.values(latest[:, None] - season * np.arange(_SEASONS_BACK))


def forecast_baselines(seasons: Sequence[int], horizon: int, context: int) -> list[ForecastBaseline]:
    """The baselines that stand beside every forecaster; `seasons` in steps, as the frequency suggests them.

    >>> [baseline.name for baseline in forecast_baselines([24, 168], horizon=24, context=168)]
    ['last_value', 'seasonal_naive_24', 'seasonal_naive_168', 'linear', 'boosting']
    """
    seasonal = [SeasonalNaive(season, horizon) for season in seasons]
    return [LastValue(horizon), *seasonal, Linear(horizon, context), Boosting(horizon, seasons, context)]


class _Trees:
    """Boosted trees for the mean and for the median of y (N,), averaged; x is (N, features) with NaN = missing."""

    def __init__(self, x: Floats, y: Floats) -> None:
        from sklearn.ensemble import HistGradientBoostingRegressor

        self._known = ~np.isnan(x).all(axis=0)  # a column without any value cannot be binned
        losses = ("squared_error", "absolute_error")
        with one_thread():
            self._ensembles: list[HistGradientBoostingRegressor] = [
                HistGradientBoostingRegressor(loss=loss, random_state=0, **_TREES).fit(x[:, self._known], y)
                for loss in losses
            ]

    def __call__(self, x: Floats) -> Floats:
        with one_thread():
            forecasts = np.stack([ensemble.predict(x[:, self._known]) for ensemble in self._ensembles])
        return np.asarray(forecasts.mean(axis=0))


class _Past:
    """What is known of a series at each row, and never anything later: running sums, and gaps filled from before."""

    def __init__(self, targets: Floats) -> None:
        self._filled = _forward_filled(targets)
        known = ~np.isnan(targets)
        first = np.where(known.any(axis=0), targets[known.argmax(axis=0), np.arange(targets.shape[1])], 0.0)
        self._first = first  # sums are taken from it, which keeps the digits of a small change at a high level
        centred = np.where(known, targets - first, 0.0)
        self._count, self._sum, self._square = (
            np.concatenate([np.zeros((1, targets.shape[1])), np.cumsum(terms, axis=0)])
            for terms in (known.astype(np.float64), centred, np.square(centred))
        )

    def __len__(self) -> int:
        return len(self._filled)

    def values(self, rows: Rows) -> Floats:
        """(..., C): the last known value at each row; NaN before the first."""
        return _rows(self._filled, rows)

    def known(self, rows: Rows, width: int) -> Floats:
        """(N, C): how many of the last `width` values up to each row are known."""
        return self._over(self._count, rows, width)

    def mean(self, rows: Rows, width: int) -> Floats:
        """(N, C): mean of what is known of the last `width` values; the last known value where that is nothing."""
        count = self.known(rows, width)
        mean = self._first + self._over(self._sum, rows, width) / np.maximum(count, 1)
        return np.where(count > 0, mean, self.values(rows))

    def deviation(self, rows: Rows, width: int | None = None) -> Floats:
        """(N, C): standard deviation of the last `width` values, at least a tenth of that of all; 1 where it is 0."""
        everything = self._deviation(rows, len(self))
        deviation = everything if width is None else np.maximum(self._deviation(rows, width), 0.1 * everything)
        return np.where(deviation > 0, deviation, 1.0)

    def _deviation(self, rows: Rows, width: int) -> Floats:
        count = np.maximum(self.known(rows, width), 1)
        mean = self._over(self._sum, rows, width) / count
        return np.sqrt(np.maximum(self._over(self._square, rows, width) / count - np.square(mean), 0.0))

    def _over(self, running: Floats, rows: Rows, width: int) -> Floats:
        return np.asarray(running[rows + 1] - running[np.maximum(rows + 1 - width, 0)])


class _Standardised:
    """Future rows over their mean and deviation in training."""

    def __init__(self, histories: Sequence[History]) -> None:
        rows = np.concatenate([history.future for history in histories])
        known = ~np.isnan(rows)
        count = np.maximum(known.sum(axis=0), 1)
        self._mean = np.where(known, rows, 0.0).sum(axis=0) / count
        deviation = np.sqrt(np.where(known, np.square(rows - self._mean), 0.0).sum(axis=0) / count)
        self._scale = np.where(deviation > 0, deviation, 1.0)

    def __call__(self, history: History, rows: Rows) -> Floats:
        return np.asarray((_rows(history.future, rows) - self._mean) / self._scale)


def _training_origins(past: _Past, horizon: int, context: int) -> Rows:
    """Origins whose outcome is half known at least, and whose series is past its beginning and has begun to vary."""
    rows = np.arange(len(past) - horizon)
    rows = rows[min(context - 1, len(rows) // 2) :]
    if not len(rows):
        return rows
    outcome_known = (past.known(rows + horizon, horizon) >= horizon / 2).all(axis=1)
    varies = (past.deviation(rows) >= 0.01 * past.deviation(rows[-1:])).all(axis=1)
    started = ~np.isnan(past.values(rows)).any(axis=1)
    return rows[outcome_known & varies & started]


def _require(origins: Sequence[Rows], name: str, horizon: int) -> None:
    if sum(map(len, origins)) < 2:
        raise DataError(
            f"expected a series with known values over more than {horizon + 1} rows to fit the baseline {name!r} on, "
            f"got none among {len(origins)}"
        )


def _thinned(origins: Sequence[Rows], most: int) -> list[Rows]:
    """About `most` origins of all series, drawn at random: an even stride would meet only some phases of a season."""
    rng, share = np.random.default_rng(0), min(1.0, most / sum(map(len, origins)))
    return [np.sort(rng.choice(rows, math.ceil(share * len(rows)), replace=False)) for rows in origins]


def _ridge(x: Floats, y: Floats, held_out: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Weights (features, outputs) and intercept (outputs,) with the penalty that is best on the held-out rows."""
    learn = ~held_out
    x_mean, y_mean = x[learn].mean(axis=0), y[learn].mean(axis=0)
    centred = x[learn] - x_mean
    eigenvalues, vectors = np.linalg.eigh(centred.T @ centred)
    projected = vectors.T @ (centred.T @ (y[learn] - y_mean))
    features, errors = (x[held_out] - x_mean) @ vectors, []
    for penalty in _PENALTIES:
        forecast = features @ (projected / (np.maximum(eigenvalues, 0) + penalty * learn.sum())[:, None]) + y_mean
        errors.append(np.abs(forecast - y[held_out]).sum())
    penalty = _PENALTIES[int(np.argmin(errors))] * len(x)
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    centred = x - x_mean
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += penalty
    weights = np.linalg.solve(gram, centred.T @ (y - y_mean))
    return weights, y_mean - x_mean @ weights


def _parts(length: int, size: int) -> Iterator[slice]:
    """0 .. length in slices of `size`, which is taken as at least 1."""
    step = max(1, size)
    return (slice(start, start + step) for start in range(0, length, step))


def _rows(values: Floats, rows: Rows) -> Floats:
    """values[rows], NaN for rows before the first and after the last: (..., columns)."""
    inside = (rows >= 0) & (rows < len(values))
    return np.where(inside[..., None], values[np.where(inside, rows, 0)], np.nan)


def _forward_filled(values: Floats, season: int = 1) -> Floats:
    """Each missing value replaced by the last known one a whole number of seasons before; NaN where there is none."""
    row = np.where(np.isnan(values), -1, np.arange(len(values))[:, None])
    padded = np.pad(row, ((0, -len(row) % season), (0, 0)), constant_values=-1)
    latest = np.maximum.accumulate(padded.reshape(-1, season, values.shape[1]), axis=0)
    latest = latest.reshape(len(padded), -1)[: len(row)]
    return np.where(latest >= 0, np.take_along_axis(values, np.maximum(latest, 0), axis=0), np.nan)


def _interpolated(values: Floats) -> Floats:
    """Gaps filled with straight lines, for outcomes in training only: a line looks at what comes after."""
    rows, filled = np.arange(len(values)), values.copy()
    for column in filled.T:
        known = ~np.isnan(column)
        if known.any():
            column[:] = np.interp(rows, rows[known], column[known])
    return filled


def _whole_seasons(steps: Rows, season: int) -> Rows:
    """The fewest whole seasons that cover each step ahead, in steps."""
    return -(-steps // season) * season


def _positive(name: str, steps: int) -> int:
    if steps < 1:
        raise ConfigError(f"expected `{name}` of at least 1 step, got {steps}")
    return steps
