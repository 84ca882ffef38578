"""Calendar features of time stamps: what the clock on the wall says, as numbers a network can use."""

import numpy as np
from numpy.typing import NDArray

from elman.data.times import Frequency, TimeArray

Floats = NDArray[np.float32]

DAY = np.timedelta64(1, "D")
YEAR_DAYS = 365.25
DAY_US, WEEK_US = 86_400_000_000, 7 * 86_400_000_000


def calendar_features(times: TimeArray, frequency: Frequency, *, annual: bool) -> Floats:
    """(T, K) features in -1..1; K is 0 where rows are numbered steps.

    The time of day by four harmonics, for data finer than a day; the day of the week one-hot, up to daily data; the season of the
    year by two harmonics up to weekly data, by three for months and quarters. Harmonics join at midnight and at new year,
    days of the week have nothing to join.

    Args:
        annual: whether the data covers enough years to learn the season of the year from.
    """
    if times.dtype.kind != "M":
        return np.zeros((len(times), 0), np.float32)
    step = frequency.count if frequency.unit == "microsecond" else None  # None: months, longer than a week
    stamps = times.astype("datetime64[us]")
    midnight = stamps.astype("datetime64[D]")
    parts: list[NDArray[np.float64]] = [np.zeros((len(times), 0))]
    if step is not None and step < DAY_US:
        parts.append(_harmonics((stamps - midnight) / DAY, 4))
    if step is not None and step < WEEK_US:
        parts.append(np.eye(7)[(midnight.astype(np.int64) + 3) % 7])  # 1970-01-01 was a Thursday; Monday is 0
    if annual:
        new_year = stamps.astype("datetime64[Y]").astype("datetime64[D]")
        share = (stamps - new_year) / DAY / YEAR_DAYS
        parts.append(_harmonics(share, 2 if step is not None else 3))
    return np.concatenate(parts, axis=1).astype(np.float32)


def _harmonics(share: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(T, 2 count): sine and cosine of a share of a period, and of its multiples."""
    angles = 2 * np.pi * share[:, None] * np.arange(1, count + 1)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
