"""Single times and frequencies, judged against pandas."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from elman.data.times import Frequency, duration, infer_frequency, parse_time, show_time
from elman.errors import DataError


def stamps(*values: str) -> np.ndarray:
    return np.array(values, "datetime64[us]")


@pytest.mark.parametrize("format", [None, "dayfirst", "%d/%m/%Y %Hh"])
def test_one_time_of_a_stream(format: str | None) -> None:
    for text in ("2011-01-31 18:00", "2011-01-31T18:00:00Z", "2011-01-31T17:00:00-01:00", "2011-01-31 6 pm"):
        value = parse_time(text, steps=False, format=format)
        assert value == np.datetime64("2011-01-31T18:00", "us")
        assert value.dtype == "datetime64[us]"
    if format is not None:
        told = "1/2/2011 18h" if "%" in format else "1/2/2011 18"
        assert parse_time(told, steps=False, format=format) == np.datetime64("2011-02-01T18:00")
    for text in ("2011-02-31", "yesterday", "17", "2011-01-31 25:00"):
        with pytest.raises(DataError, match="the row's time"):
            parse_time(text, steps=False, format=format)


def test_one_step_of_a_stream() -> None:
    assert parse_time(" 17 ", steps=True) == 17
    with pytest.raises(DataError, match="the row's time: expected an integer step, got '2011-01-31'"):
        parse_time("2011-01-31", steps=True)
    with pytest.raises(DataError, match="--time-format dayfirst"):
        parse_time("01/02/12", steps=False)


def test_shown_times_are_read_back() -> None:
    for time_ in stamps("2011-01-31", "2011-01-31T18:00", "2011-01-31T18:00:01", "2011-01-31T18:00:01.000250"):
        assert parse_time(show_time(time_), steps=False) == time_


PANDAS = [
    ("h", "hourly", [24, 168]),
    ("15min", "every 15 minutes", [4, 96, 672]),
    ("min", "every minute", [60, 1440]),
    ("10min", "every 10 minutes", [6, 144, 1008]),
    ("s", "every second", [3600]),
    ("3h", "every 3 hours", [8, 56]),
    ("D", "daily", [7, 365]),
    ("W", "weekly", [52]),
    ("MS", "monthly", [12]),
    ("ME", "monthly", [12]),
    ("BMS", "monthly", [12]),
    ("QS", "quarterly", [4]),
    ("QE", "quarterly", [4]),
    ("YE", "yearly", []),
    ("YS", "yearly", []),
    ("B", "daily", [7, 365]),
    ("2MS", "every 2 months", [6]),
    ("28D", "every 4 weeks", [13]),
]


@pytest.mark.parametrize(("alias", "name", "seasons"), PANDAS)
def test_frequencies(alias: str, name: str, seasons: list[int]) -> None:
    times = pd.date_range("2001-03-05", periods=30, freq=alias).to_numpy().astype("datetime64[us]")
    frequency = infer_frequency([times])
    assert frequency.name == name
    assert frequency.seasons() == seasons
    assert Frequency.from_json(json.loads(json.dumps(frequency.to_json()))) == frequency
    gaps = infer_frequency([times[[0, 1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 20, 21, 22]], times[:3]])
    assert gaps.name == name
    if not alias.startswith("B"):
        np.testing.assert_array_equal(frequency.add(times[0], np.arange(30)), times)
        np.testing.assert_array_equal(frequency.index(times, times[0]), np.arange(30))
        assert frequency.add(times[4], 3) == times[7]
        assert frequency.add(times[4], -2) == times[2]


def test_integer_steps() -> None:
    frequency = infer_frequency([np.array([0, 1, 2, 5])])
    assert (frequency.name, frequency.seasons()) == ("steps", [])
    assert frequency.add(np.int64(7), 2) == 9
    assert infer_frequency([np.array([10, 20, 30, 60])]).name == "every 10 steps"
    np.testing.assert_array_equal(frequency.index(np.array([3, 7]), np.int64(3)), [0, 4])


def test_day_31_is_clamped_to_short_months() -> None:
    times = stamps("2011-01-30", "2011-02-28", "2011-03-30", "2011-04-30")
    frequency = infer_frequency([times])
    assert (frequency.name, frequency.month_end) == ("monthly", False)
    np.testing.assert_array_equal(frequency.add(times[0], np.arange(4)), times)


def test_ends_of_months_stay_ends() -> None:
    times = stamps("2011-02-28", "2011-03-31", "2011-04-30", "2012-02-29")
    frequency = infer_frequency([times])
    assert frequency.month_end
    np.testing.assert_array_equal(frequency.add(times[0], np.array([0, 1, 2, 12])), times)


def test_irregular_times_say_what_was_seen() -> None:
    times = stamps("2011-01-01T00:00", "2011-01-01T01:00", "2011-01-01T02:00", "2011-01-01T02:37")
    with pytest.raises(
        DataError, match="most are 1 hour apart, but 2011-01-01 02:00 and 2011-01-01 02:37 are 37 minutes apart"
    ):
        infer_frequency([times])
    with pytest.raises(DataError, match="at least two rows"):
        infer_frequency([times[:1]])
    hourly = Frequency("microsecond", 3_600_000_000)
    with pytest.raises(DataError, match="02:37 is not on the grid that starts at 2011-01-01 and is hourly"):
        hourly.index(times, times[0])
    with pytest.raises(DataError, match=r"expected calendar times.*got integer steps"):
        hourly.index(np.array([1]), np.int64(0))
    assert show_time(times[0] + np.timedelta64(1_500_000, "us")) == "2011-01-01 00:00:01.500000"
    assert [duration(us) for us in (5_400_000_000, 86_400_000_000, 500_000)] == ["90 minutes", "1 day", "0.5 seconds"]


def test_streams_do_without_polars_and_torch() -> None:
    code = (
        "import sys, elman.data.series, elman.data.times, elman.data.guard, elman.data.scaling, elman.data.vocabulary, "
        "elman.data.text; sys.exit(bool({'polars', 'torch', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
