"""Gaps against the equation in plain Python, a stream against the whole, and times that cannot be used."""

import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data.gaps import LINEAR, Clock, RowTimes, show
from elman.errors import DataError

NUMBERS = Clock(stamps=False, unit=2.0)
HOURLY = Clock(stamps=True, unit=3600e6)


def stamps(*texts: str) -> RowTimes:
    return np.array(texts, "datetime64[us]")


def expected(elapsed: float) -> float:
    """Of a time in units: linear, then its logarithm, without a jump."""
    return elapsed if elapsed <= LINEAR else LINEAR + math.log(elapsed) - math.log(LINEAR)


def test_the_time_since_the_row_before_in_units() -> None:
    times = np.array([7.0, 8.0, 8.5, 18.5, 118.5])
    gaps = NUMBERS.gaps(times)
    assert (gaps.shape, gaps.dtype) == ((5, 1), np.dtype(np.float32))
    np.testing.assert_allclose(gaps[:, 0], [1, 0.5, 0.25, 5, expected(50)], rtol=1e-6)
    hours = HOURLY.gaps(stamps("2024-02-28T23:00", "2024-02-29T01:30", "2024-03-01T01:30"))
    np.testing.assert_allclose(hours[:, 0], [1, 2.5, expected(24)], rtol=1e-6)  # a leap day


def test_a_year_in_hourly_data_drowns_nothing() -> None:
    year = HOURLY.gaps(stamps("2024-01-01", "2025-01-01"))[1, 0]
    assert year == pytest.approx(5 + math.log(8784 / 5))
    assert year < 13


def test_the_unit_is_the_median_of_all_gaps_in_training() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.exponential(3, int(length)).cumsum() for length in rng.integers(1, 20, 30)]
    clock = Clock.fit(parts, "x")
    assert not clock.stamps
    gaps = sorted(b - a for one in parts for a, b in pairwise(one))
    assert clock.unit == pytest.approx((gaps[(len(gaps) - 1) // 2] + gaps[len(gaps) // 2]) / 2)
    daily = Clock.fit([stamps("2024-01-01"), stamps("2024-01-01", "2024-01-02", "2024-01-03", "2024-03-01")], "x")
    assert (daily.stamps, daily.unit, daily.unit_name) == (True, 86400e6, "1 day")
    assert NUMBERS.unit_name == "2"
    with pytest.raises(DataError, match=r"a\.csv: expected sequences of several rows, .* leave out --gaps"):
        Clock.fit([np.array([1.0]), np.array([2.0])], "a.csv")


def in_stream(clock: Clock, times: list[Any], format: str | None = None) -> list[float]:
    """The gaps of rows one after the other, the clock's memory kept as JSON."""
    memory, gaps = "null", []
    for time in times:
        last = clock.recall(json.loads(memory))
        now = clock.read(time, format=format, last=last)
        gaps.append(float(clock.gaps(now, last)[0, 0]))
        memory = json.dumps(clock.write(now)[0])
    return gaps


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=9, unique=True), st.floats(1e-3, 1e3))
def test_a_stream_of_numbers_reads_what_the_whole_is_read_as(times: list[float], unit: float) -> None:
    clock, times = Clock(stamps=False, unit=unit), sorted(times)
    assert in_stream(clock, [*times]) == clock.gaps(np.array(times))[:, 0].tolist()


@given(st.lists(st.datetimes(), min_size=1, max_size=9, unique=True))
def test_a_stream_of_time_stamps_reads_what_the_whole_is_read_as(times: list[Any]) -> None:
    times = sorted(times)
    whole = HOURLY.gaps(np.array(times, "datetime64[us]"))
    assert in_stream(HOURLY, [str(time) for time in times]) == whole[:, 0].tolist()


@given(st.floats(1e-3, 1e6), st.floats(1.01, 10))
def test_a_longer_time_is_a_larger_gap(elapsed: float, factor: float) -> None:
    short, long = (float(NUMBERS.gaps(np.array([0.0, time]))[1, 0]) for time in (elapsed, factor * elapsed))
    assert short < long


def test_times_as_people_write_them() -> None:
    assert in_stream(HOURLY, ["01/02/2024 10:00", "01/02/2024 12:00"], "dayfirst") == [1, 2]
    assert in_stream(HOURLY, ["2024-02-01T10:00+02:00", "2024-02-01 11:00"]) == [1, 3]
    assert in_stream(NUMBERS, ["1.5", 2, "4e0"]) == [1, 0.25, 1]


@pytest.mark.parametrize(
    ("clock", "time", "message"),
    [
        (
            NUMBERS,
            None,
            'expected a "time" with every row: the model was fitted with --gaps and reads the time between',
        ),
        (HOURLY, None, 'expected a "time" with every row'),
        (NUMBERS, "noon", "the row's time: expected a number, as in training, got 'noon'"),
        (NUMBERS, True, "expected a number, as in training, got True"),
        (NUMBERS, math.nan, "expected a number, as in training, got nan"),
        (NUMBERS, 1e101, "expected a number, as in training, got 1e"),
        (NUMBERS, [1], r"expected a number, as in training, got \[1\]"),
        (HOURLY, "noon", "the row's time: expected a time such as '2011-01-31 18:00' or an integer step, got 'noon'"),
        (HOURLY, 17, "the row's time: expected a time such as '2011-01-31 18:00', got the integer 17"),
    ],
)
def test_a_time_that_cannot_be_read(clock: Clock, time: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        clock.read(time, format=None, last=None)


@pytest.mark.parametrize("time", ["2024-01-02", "2024-01-01 23:59:59"])
def test_time_goes_forward(time: str) -> None:
    with pytest.raises(DataError, match=r"is not later than that of the row before, 2024-01-02: send rows in order"):
        HOURLY.read(time, format=None, last=stamps("2024-01-02"))
    with pytest.raises(DataError, match=r"time 0\.25 is not later than that of the row before, 3: send rows in order"):
        NUMBERS.read(0.25, format=None, last=np.array([3.0]))


def test_later_times_are_of_the_kind_of_training() -> None:
    NUMBERS.check(np.array([1.0]), "x")
    HOURLY.check(stamps("2024-01-01"), "x")
    with pytest.raises(DataError, match=r"a\.csv, line 2: expected times as numbers, as in training, got time stamps"):
        NUMBERS.check(stamps("2024-01-01"), "a.csv, line 2")
    with pytest.raises(DataError, match=r"a\.csv, line 2: expected times as time stamps, as in training, got numbers"):
        HOURLY.check(np.array([1.0]), "a.csv, line 2")


@pytest.mark.parametrize("clock", [NUMBERS, HOURLY])
def test_survives_json(clock: Clock) -> None:
    assert Clock.from_json(json.loads(json.dumps(clock.to_json()))) == clock


def test_times_are_shown_in_few_digits() -> None:
    assert [show(np.float64(3)), show(np.int64(3)), show(np.float64(1e-3))] == ["3", "3", "0.001"]
