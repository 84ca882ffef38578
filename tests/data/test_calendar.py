"""Calendar features, judged against pandas."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data.calendar import calendar_features
from elman.data.times import Frequency

MINUTE = 60_000_000
HOUR, DAY = 60 * MINUTE, 24 * 60 * MINUTE
HOURLY, DAILY, WEEKLY = (Frequency("microsecond", count) for count in (HOUR, DAY, 7 * DAY))
MONTHLY, QUARTERLY = Frequency("month", 1), Frequency("month", 3)

moments = st.lists(
    st.datetimes(pd.Timestamp("1900-01-01").to_pydatetime(), pd.Timestamp("2100-01-01").to_pydatetime()),
    min_size=1,
    max_size=20,
)


def harmonics(share: np.ndarray, count: int) -> list[np.ndarray]:
    orders = range(1, count + 1)
    return [np.sin(2 * np.pi * k * share) for k in orders] + [np.cos(2 * np.pi * k * share) for k in orders]


def expected(times: pd.DatetimeIndex, *, day: bool, week: bool, year: int) -> np.ndarray:
    seconds = (times - times.normalize()).total_seconds().to_numpy()
    columns: list[np.ndarray] = []
    if day:
        columns += harmonics(seconds / 86400, 4)
    if week:
        columns += [(times.day_of_week == weekday).astype(float) for weekday in range(7)]
    if year:
        columns += harmonics((times.day_of_year.to_numpy() - 1 + seconds / 86400) / 365.25, year)
    return np.stack(columns, 1) if columns else np.zeros((len(times), 0))


@settings(deadline=None)
@given(
    moments,
    st.sampled_from(
        [
            (Frequency("microsecond", 15 * MINUTE), True, True, 2),
            (HOURLY, True, True, 2),
            (DAILY, False, True, 2),
            (WEEKLY, False, False, 2),
            (MONTHLY, False, False, 3),
            (QUARTERLY, False, False, 3),
        ]
    ),
    st.booleans(),
)
def test_equal_to_pandas(times: list[pd.Timestamp], kind: tuple[Frequency, bool, bool, int], annual: bool) -> None:
    frequency, day, week, year = kind
    index = pd.DatetimeIndex(times)
    features = calendar_features(index.to_numpy().astype("datetime64[us]"), frequency, annual=annual)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected(index, day=day, week=week, year=year if annual else 0), atol=1e-6)


def test_numbered_rows_have_none() -> None:
    assert calendar_features(np.arange(5), Frequency("step"), annual=True).shape == (5, 0)


def test_midnight_joins_and_new_year_nearly_does() -> None:
    times = np.array(["2023-12-31T23:59:59.999999", "2024-01-01"], "datetime64[us]")
    features = calendar_features(times, HOURLY, annual=True)
    np.testing.assert_allclose(features[0, :8], features[1, :8], atol=1e-5)
    np.testing.assert_allclose(features[0, 15:], features[1, 15:], atol=0.02)  # a quarter of a day a year is left over


@pytest.mark.parametrize("frequency", [HOURLY, DAILY, WEEKLY, MONTHLY])
def test_features_are_between_minus_one_and_one(frequency: Frequency) -> None:
    times = frequency.add(np.datetime64("2020-02-29", "us"), np.arange(500))
    features = calendar_features(times, frequency, annual=True)
    assert np.abs(features).max() <= 1
    assert len(features) == 500
