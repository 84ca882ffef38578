"""What `forecast` shows in a report: windows of the best, a typical and the worst forecast, and errors by steps ahead."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elman.data.series import Series
from elman.data.times import show_time
from elman.metrics.forecast import MAE
from elman.metrics.metric import ratio
from elman.tasks.exhibits import AnyExhibit, Forecasts, Lines, Window

Floats = NDArray[np.float64]

MOST_ROWS = 400  # before the origin of a window: more cannot be told apart on a page
MOST_TARGETS = 4  # that get plots of their own
OBSERVED = 0.9  # share of a window's outcomes that must be known for it to be shown


@dataclass(frozen=True)
class Place:
    """An origin among the parts of a test."""

    which: str
    part: int
    origin: int
    error: float


class ForecastSummary:
    """Sums over every origin, and which of them are worth a look.

    Args:
        targets: names of the C targets. quantiles: Q levels, ascending. seasons: steps, may be empty.
    """

    def __init__(self, targets: Sequence[str], quantiles: Sequence[float], seasons: Sequence[int]) -> None:
        self.targets = list(targets[:MOST_TARGETS])
        self.quantiles, self.season = quantiles, min(seasons, default=1)
        self._point = MAE(quantiles).point
        self._sums: list[dict[str, Floats]] = []
        self._errors: list[Floats] = []

    def see(self, values: Floats, origins: NDArray[np.int64], forecasts: Floats, target: Floats, unit: Floats) -> None:
        """Take in one series.

        Args:
            values: (T, C) raw targets. origins: (N,) rows of it. forecasts: (N, H, C, Q). target: (N, H, C), NaN = missing.
            unit: (C,) a typical deviation, by which errors of several series compare.
        """
        known = ~np.isnan(target)
        error = np.abs(self._point(forecasts) - target)
        naive = np.abs(_seasonal_naive(values, origins, target.shape[1], self.season) - target)
        inside = (forecasts[..., 0] <= target) & (target <= forecasts[..., -1])
        self._sums.append({
            "known": known.sum(axis=0), "error": np.nansum(error, axis=0), "inside": (inside & known).sum(axis=0),
            "naive": np.nansum(naive, axis=0), "naive_known": (~np.isnan(naive)).sum(axis=0),
        })  # fmt: skip
        seen = known[..., 0].mean(axis=1)
        totals = np.nansum(error[..., 0], axis=1)
        mean = ratio(totals, known[..., 0].sum(axis=1).astype(np.float64)) / unit[0]
        self._errors.append(np.where(seen >= OBSERVED, mean, np.nan))

    def places(self) -> list[Place]:
        """The origins of the smallest, the median and the largest error of the first target."""
        errors = np.concatenate(self._errors)
        order = np.argsort(errors)[: np.count_nonzero(~np.isnan(errors))]
        if not len(order):
            return []
        borders = np.cumsum([0, *map(len, self._errors)])
        chosen = {"worst": order[-1], "typical": order[len(order) // 2], "best": order[0]}
        distinct = {int(at): which for which, at in chosen.items()}  # of one origin only, it is simply the best
        places = []
        for at, which in sorted(distinct.items(), key=lambda item: errors[item[0]]):
            part = int(np.searchsorted(borders, at, side="right")) - 1
            places.append(Place(which, part, at - int(borders[part]), float(errors[at])))
        return places

    def window(self, place: Place, series: Series, origin: int, forecast: Floats) -> Window:
        """The window of one origin (a row of ``series``), with its forecast (H, C, Q), of the first target."""
        horizon = len(forecast)
        before = min(max(3 * horizon, self.season, 16), MOST_ROWS, origin + 1)
        rows = slice(origin + 1 - before, origin + 1 + horizon)
        observed, median = series.values[rows, 0], self._point(forecast[None])[0, :, 0]
        error = np.nanmean(np.abs(median - series.values[origin + 1 : origin + 1 + horizon, 0]))
        name = f" of {series.id}" if series.id else ""
        band = {"low": forecast[:, 0, 0].tolist(), "high": forecast[:, 0, -1].tolist()} if self.band else {}
        return Window(
            heading=f"{place.which.capitalize()}{name}: mean absolute error {error:.4g}",
            times=[str(show_time(time)) for time in series.times[rows]],
            observed=observed.tolist(),
            median=median.tolist(),
            **band,
        )

    @property
    def band(self) -> str:
        """What the band is; empty for a point forecast."""
        low, high = self.quantiles[0], self.quantiles[-1]
        return f"{100 * low:g} % to {100 * high:g} % quantile" if len(self.quantiles) > 1 else ""

    def exhibits(self, windows: Sequence[Window]) -> list[AnyExhibit]:
        shown: list[AnyExhibit] = []
        if windows:
            band = f" The band is the {self.band}." if self.band else ""
            caption = f"Of all origins, those with the smallest, the median and the largest error of {self.targets[0]}."
            shown.append(
                Forecasts(
                    name="forecasts", title="Forecasts, the best to the worst", caption=caption + band,
                    y_label=self.targets[0], windows=windows, band=self.band,
                )
            )  # fmt: skip
        sums = {name: np.add.reduce([part[name] for part in self._sums]).astype(np.float64) for name in self._sums[0]}
        shown += [self._error_by_step(c, sums) for c in range(len(self.targets))]
        if self.band:
            shown.append(self._coverage_by_step(sums))
        return shown

    def _error_by_step(self, c: int, sums: dict[str, Floats]) -> Lines:
        target = self.targets[c]
        naive = f"seasonal naive {self.season}" if self.season > 1 else "last value"
        return Lines(
            name=f"error-by-step-{c + 1}" if len(self.targets) > 1 else "error-by-step",
            title=f"Error by step ahead{f': {target}' if len(self.targets) > 1 else ''}",
            caption=f"Mean absolute error of {target}, in its own units, over every origin.",
            x_label="steps ahead",
            y_label="mean absolute error",
            x=list(range(1, len(sums["known"]) + 1)),
            lines={
                "model": ratio(sums["error"][:, c], sums["known"][:, c]).tolist(),
                naive: ratio(sums["naive"][:, c], sums["naive_known"][:, c]).tolist(),
            },
        )

    def _coverage_by_step(self, sums: dict[str, Floats]) -> Lines:
        nominal = self.quantiles[-1] - self.quantiles[0]
        steps = len(sums["known"])
        return Lines(
            name="coverage-by-step",
            title="Is the band right?",
            caption=f"Share of outcomes within the {self.band}: right is {nominal:.4g} at every step; less is too sure.",
            x_label="steps ahead",
            y_label="share within the band",
            x=list(range(1, steps + 1)),
            lines={
                "model": ratio(sums["inside"].sum(axis=1), sums["known"].sum(axis=1)).tolist(),
                "nominal": [nominal] * steps,
            },
        )


def _seasonal_naive(values: Floats, origins: NDArray[np.int64], horizon: int, season: int) -> Floats:
    """(N, H, C): the value of the same phase in the last season before each origin, NaN where there is none."""
    ahead = np.arange(1, horizon + 1)
    rows = origins[:, None] + ahead - -(-ahead // season) * season
    return np.where((rows >= 0)[..., None], values[np.maximum(rows, 0)], np.nan)
