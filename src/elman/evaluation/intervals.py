"""How sure a figure is: bootstrap intervals over units, or over blocks of units that depend on their neighbours."""

from collections.abc import Callable

import numpy as np

from elman.errors import UsageError
from elman.metrics.metric import Floats

_MOST_BLOCKS = 20_000  # per draw; beyond, longer blocks say as much and cost less
_CELLS_AT_ONCE = 4_000_000  # float64 gathered at a time: 32 MB


def bootstrap(
    metric_rows: Floats,
    value: Callable[[Floats], Floats],
    *,
    block: int = 1,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a metric by resampling whole units, or circular blocks of `block` units in a row.

    The draws are sums of blocks, so that a million units cost no more than some ten thousand: beyond that the blocks
    are made longer, which is as valid (a block of independent units is an independent unit). A block longer than half
    of the units is cut to half: one block alone would say that the figure is certain.

    Source: Politis, Romano, "A Circular Block-Resampling Procedure for Stationary Data", 1992; Künsch, "The Jackknife
    and the Bootstrap for General Stationary Observations", 1989, doi:10.1214/aos/1176347265.

    Args:
        metric_rows: (units, k): `Metric.units()`, in the order of time where `block` is above 1.
        value: totals (..., k) -> values (...): `Metric.value`.
        block: units in a row that depend on each other; the horizon for forecasts from every origin.
        draws: resampled totals, at least 1.
        level: probability that the interval holds the true figure, inside (0, 1).
        seed: the same seed gives the same interval.

    Returns: (low, high); both are the value itself for one unit, and NaN where nothing finite was counted.
    Raises: UsageError if an option is out of range.
    """
    if block < 1 or draws < 1 or not 0 < level < 1:
        raise UsageError(
            f"expected `block` >= 1, `draws` >= 1 and `level` inside (0, 1), got {block}, {draws} and {level}"
        )
    rows = np.asarray(metric_rows, dtype=np.float64)
    if len(rows) == 0 or not np.isfinite(rows).all():
        return float("nan"), float("nan")
    if len(rows) == 1:
        single = float(value(rows[0]))
        return single, single
    values = value(_resampled_totals(rows, block, draws, np.random.default_rng(seed)))
    values = values[~np.isnan(values)]  # a draw in which nothing was counted says nothing
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_difference(
    first: tuple[Floats, Callable[[Floats], Floats]],
    second: tuple[Floats, Callable[[Floats], Floats]],
    *,
    block: int = 1,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of first minus second, two metrics of the same units: each is (metric_rows, value), resampled together.

    Raises: UsageError if the two do not have the same number of units, or an option is out of range.
    """
    (rows, value), (other_rows, other_value) = first, second
    if len(rows) != len(other_rows):
        raise UsageError(f"expected two metrics of the same units, got {len(rows)} and {len(other_rows)} units")
    width = rows.shape[1]
    return bootstrap(
        np.concatenate([rows, other_rows], axis=1),
        lambda totals: value(totals[..., :width]) - other_value(totals[..., width:]),
        block=block,
        draws=draws,
        level=level,
        seed=seed,
    )


def _resampled_totals(rows: Floats, block: int, draws: int, rng: np.random.Generator) -> Floats:
    """(draws, k): totals of as many units as there are, in whole blocks and one shorter block for the rest."""
    units, width = rows.shape
    block = max(min(block, units // 2), -(-units // _MOST_BLOCKS))
    whole, rest = divmod(units, block)
    sums, rest_sums = _circular_sums(rows, block), _circular_sums(rows, rest)
    totals = rest_sums[rng.integers(units, size=draws)]
    at_once = max(1, _CELLS_AT_ONCE // (whole * width))
    for start in range(0, draws, at_once):
        part = totals[start : start + at_once]
        part += sums[rng.integers(units, size=(len(part), whole))].sum(axis=1)
    return totals


def _circular_sums(rows: Floats, length: int) -> Floats:
    """(units, k): the sum of `length` rows from each row on, around the end."""
    if length == 0:
        return np.zeros_like(rows)
    if length == 1:
        return rows
    running = np.cumsum(np.concatenate([np.zeros_like(rows[:1]), rows, rows[: length - 1]]), axis=0)
    return np.asarray(running[length:] - running[:-length])
