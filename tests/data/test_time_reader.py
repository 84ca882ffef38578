"""Columns of time stamps, judged against datetime.strptime."""

import datetime as dt
import time

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data.time_reader import looks_like_time
from elman.data.times import Times, parse_times
from elman.errors import ConfigError, DataError


def parse(*columns: list[str], format: str | None = None) -> Times:
    series = [pl.Series(f"c{i}", column) for i, column in enumerate(columns)]
    return parse_times(series, format=format, where=lambda row: f"a.csv, line {row + 2}")


def stamps(*values: str) -> np.ndarray:
    return np.array(values, "datetime64[us]")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2011-01-31", "2011-01-31"),
        ("2011-01-31 18:00", "2011-01-31T18:00"),
        ("2011-01-31T18:05:06.25", "2011-01-31T18:05:06.25"),
        ("2011-01-31T18:05:06.123456789Z", "2011-01-31T18:05:06.123456"),
        ("2011/1/31 6", "2011-01-31T06:00"),
        ("2011-01-31T00:30:00+02:00", "2011-01-30T22:30"),
        ("2011-01-31 22:30:00-0330", "2011-02-01T02:00"),
        ("2011-04", "2011-04-01"),
        ("1990M3", "1990-03-01"),
        ("1990Q4", "1990-10-01"),
        ("20110131", "2011-01-31"),
        ("20110131T180000", "2011-01-31T18:00"),
        ("31/01/11", "2011-01-31"),
        ("31.1.1999 7:05", "1999-01-31T07:05"),
        ("1/31/69", "1969-01-31"),
        ("31/1/68", "2068-01-31"),
        ("1-31-2011 12:00 AM", "2011-01-31T00:00"),
        ("1/31/2011 12:59:01 p.m.", "2011-01-31T12:59:01"),
        ("31-Jan-2011", "2011-01-31"),
        ("January 31, 2011 5pm", "2011-01-31T17:00"),
        ("Feb 2011", "2011-02-01"),
        ("29/02/12 24:00", "2012-03-01"),
    ],
)
def test_one_time(text: str, expected: str) -> None:
    np.testing.assert_array_equal(parse([text]).values, stamps(expected))
    assert looks_like_time(pl.Series([text] * 3))


def test_integers_are_steps() -> None:
    for cells in (["1990", "1991"], ["1990.0", "1991."], ["+1990", "1991"]):
        result = parse(cells).values
        assert result.dtype == np.int64
        np.testing.assert_array_equal(result, [1990, 1991])
    np.testing.assert_array_equal(parse(["-3", "20110131"]).values, [-3, 20110131])
    assert not looks_like_time(pl.Series(["1990", "1991"]))
    with pytest.raises(DataError, match="line 3: expected an integer step like '1' in the first row, got 'x'"):
        parse(["1", "x"])


def test_several_columns_are_joined() -> None:
    np.testing.assert_array_equal(
        parse(["31/12/12", "01/01/13"], ["23", "0"]).values, stamps("2012-12-31T23", "2013-01-01T00")
    )
    np.testing.assert_array_equal(parse(["2010"], ["2"], ["28"], ["7"]).values, stamps("2010-02-28T07"))
    np.testing.assert_array_equal(parse(["2010"], ["2"]).values, stamps("2010-02-01"))
    numbers = [pl.Series([2010, 2010]), pl.Series([1.0, 2.0]), pl.Series([3, 4])]
    np.testing.assert_array_equal(parse_times(numbers, where=str).values, stamps("2010-01-03", "2010-02-04"))


def test_quarters_in_a_column_of_their_own() -> None:
    columns = [pl.Series("year", ["1990.0", "1990.0"]), pl.Series("Quarter", ["1.0", "4.0"])]
    np.testing.assert_array_equal(parse_times(columns, where=str).values, stamps("1990-01-01", "1990-10-01"))
    years, numbers = ["1990"] * 4 + ["1991"], ["1", "2", "3", "4", "1"]
    with pytest.raises(DataError, match="line 2: '1990 1' may be a year and month, or a year and quarter"):
        parse(years, numbers)
    assert parse(years, numbers, format="%Y %m").values[3] == np.datetime64("1990-04-01")
    assert parse(years, ["10", "11", "12", "2", "3"]).values[0] == np.datetime64("1990-10-01")
    assert parse(years, ["1", "2", "3", "4", "5"]).values[3] == np.datetime64("1990-04-01")


def test_order_of_day_and_month() -> None:
    later = parse(["01/02/12", "13/02/12"])
    np.testing.assert_array_equal(later.values, stamps("2012-02-01", "2012-02-13"))
    assert later.format == "dayfirst"
    assert "day/month/year" in later.notes[0]
    american = parse(["01/02/12", "02/13/12"])
    np.testing.assert_array_equal(american.values, stamps("2012-01-02", "2012-02-13"))
    assert american.format == "monthfirst"
    with pytest.raises(
        DataError, match=r"line 2: '01/02/12' may be .*--time-format dayfirst or --time-format monthfirst"
    ):
        parse(["01/02/12", "02/02/12"])
    with pytest.raises(DataError, match=r"line 4: '01/13/12' and '13/02/12' cannot both be dates in one order"):
        parse(["01/02/12", "13/02/12", "01/13/12"])
    np.testing.assert_array_equal(parse(["01/02/12"], format="dayfirst").values, stamps("2012-02-01"))
    np.testing.assert_array_equal(parse(["01/02/12"], format="monthfirst").values, stamps("2012-01-02"))
    np.testing.assert_array_equal(parse(["01/02/12"], format="%y/%m/%d").values, stamps("2001-02-12"))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["2011-01-01", "abc"], "line 3: expected a time like '2011-01-01' in the first row, got 'abc'"),
        (["abc", "def"], "line 2: expected a time such as .*got 'abc'; tell its form with --time-format"),
        (["2011-01-01", "2011-02-29"], "line 3: '2011-02-29' is not a time: there is no day 29 there"),
        (["2011-13-01"], "no month 13"),
        (["2011-01-01 25:00"], "no hour 25"),
        (["2011-01-01 24:01"], "no minute 1"),
        (["2011-01-01 13:00 pm"], "no hour with am or pm 13"),
        (["2011-01-01", ""], "line 3: the time is missing in column 'c0'"),
        (["2011-01-01 00:00Z", "2011-01-01 01:00"], "line 3: .*UTC offset in every row or in none"),
        (["Foo 2011"], "no month 0"),
    ],
)
def test_bad_times_name_the_line(cells: list[str], message: str) -> None:
    with pytest.raises(DataError, match=r"a\.csv, " + ".*" + message):
        parse(cells)


def test_told_formats() -> None:
    np.testing.assert_array_equal(parse(["5h 31. Jan 11"], format="%Hh %d. %b %y").values, stamps("2011-01-31T05"))
    with pytest.raises(DataError, match="line 2: expected a time in the format '%Y', got 'x'"):
        parse(["x"], format="%Y")
    for wrong, message in [
        ("day", "expected a time format"),
        ("%Q", "%Q is not supported"),
        ("%d%d%Y", "twice"),
        ("%d", "year"),
    ]:
        with pytest.raises(ConfigError, match=message):
            parse(["x"], format=wrong)


@given(
    st.lists(st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2068, 12, 31)), min_size=1, max_size=8),
    st.sampled_from(["%d/%m/%y %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%B %d, %Y %I:%M %p", "%m.%d.%Y", "%Y%m%d"]),
)
@settings(max_examples=150, deadline=None)
def test_equal_to_strptime(values: list[dt.datetime], format: str) -> None:
    cells = [value.strftime(format) for value in values]
    expected = np.array([dt.datetime.strptime(cell, format) for cell in cells], "datetime64[us]")
    np.testing.assert_array_equal(parse(cells, format=format).values, expected)


def test_typed_columns() -> None:
    zoned = pl.Series("t", [dt.datetime(2011, 1, 1, 12)]).dt.replace_time_zone("America/New_York")
    result = parse_times([zoned], where=str)
    np.testing.assert_array_equal(result.values, stamps("2011-01-01T17:00"))
    assert "UTC" in result.notes[0]
    np.testing.assert_array_equal(
        parse_times([pl.Series([dt.date(2011, 1, 2)])], where=str).values, stamps("2011-01-02")
    )
    np.testing.assert_array_equal(parse_times([pl.Series([20110131])], where=str).values, stamps("2011-01-31"))
    with pytest.raises(DataError, match="1: the time is missing"):
        parse_times([pl.Series([dt.date(2011, 1, 2), None])], where=str)
    with pytest.raises(DataError, match=r"expected an integer step or a time, got 1\.5"):
        parse_times([pl.Series([1.5])], where=str)


def test_a_hundred_thousand_rows() -> None:
    cells = pd.date_range("2001-01-01", periods=100_000, freq="min").strftime("%d/%m/%Y %H:%M").tolist()
    began = time.perf_counter()
    values = parse(cells).values
    assert time.perf_counter() - began < 5  # about 0.2 seconds; generous, the machine is shared
    assert values[-1] == np.datetime64("2001-03-11T10:39")


def test_what_is_not_a_time() -> None:
    for cells in (["1013.2", "1012.11"], ["NW", "SE"], ["1.5", "2"], ["2011-01-01", "x"], ["", "NA"]):
        assert not looks_like_time(pl.Series(cells))


def test_digits_of_other_scripts_are_refused() -> None:
    for cells, line in ((["1", "٢"], 3), (["٢", "1"], 2), (["2024-01-01 10:00", "2024-01-01 ١٢:00"], 3)):
        with pytest.raises(DataError, match=f"line {line}: expected"):
            parse(cells)
