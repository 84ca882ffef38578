"""Series from tables: order, gaps, roles, categories, and what bad files say."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data.series import SeriesColumns, SeriesSet, read_series
from elman.data.times import Frequency
from elman.errors import DataError

DATA = Path(os.environ.get("ELMAN_DATA", Path(__file__).parents[3] / "shared" / "data"))
HOURLY = Frequency("microsecond", 3_600_000_000)


def write(folder: Path, content: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_text(content)
    return path


def columns(target: str = "y", **roles: Any) -> SeriesColumns:
    return SeriesColumns((target,), **roles)


def noted(found: SeriesSet, *words: str) -> bool:
    return any(all(word in note for word in words) for note in found.notes)


def test_rows_are_sorted_gaps_filled_and_told(tmp_path: Path) -> None:
    path = write(tmp_path, "t,y\n2011-01-01,1\n2011-01-03,\n2011-01-02,2\n2011-01-07,7\n2011-01-06,6\n")
    found = read_series([path], columns(time=("t",)))
    (series,) = found.series
    np.testing.assert_array_equal(series.times, np.arange("2011-01-01", "2011-01-08", dtype="datetime64[D]"))
    np.testing.assert_array_equal(series.values[:, 0], [1, 2, np.nan, np.nan, np.nan, 6, 7])
    assert found.frequency.name == "daily"
    assert noted(found, "2 rows out of time order; sorted")
    assert noted(found, "2 rows missing in 1 gap", "daily", "2 rows after 2011-01-03")
    assert noted(found, "column 'y': 1 value missing (20 %)")


def test_every_row_behind_an_earlier_one_is_counted(tmp_path: Path) -> None:
    found = read_series([write(tmp_path, "t,y\n1,1\n5,5\n2,2\n3,3\n4,4\n")], columns(time=("t",)))
    assert found.notes == ("3 rows out of time order; sorted",)


def test_clean_data_has_no_notes(tmp_path: Path) -> None:
    assert read_series([write(tmp_path, "t,y\n1,1\n2,2\n")], columns(time=("t",))).notes == ()


def test_several_series_keep_their_order_and_own_grids(tmp_path: Path) -> None:
    path = write(tmp_path, "who,t,y,size\nb,1,1,5\na,7,2,6\nb,3,3,5\na,8,4,\nb,2,5,5\n")
    found = read_series([path], columns(time=("t",), id="who", static=("size",)))
    assert [series.id for series in found.series] == ["b", "a"]
    np.testing.assert_array_equal(found.series[0].times, [1, 2, 3])
    np.testing.assert_array_equal(found.series[0].values[:, 0], [1, 5, 3])
    np.testing.assert_array_equal(found.series[1].values[:, 0], [2, 4])
    assert [series.static.tolist() for series in found.series] == [[5.0], [6.0]]
    assert found.static == ("size",)
    assert found.lengths == [3, 2]


def test_roles_are_columns_of_the_values_in_order(tmp_path: Path) -> None:
    path = write(tmp_path, "f,t,p,y,z\n1,1,2,3,4\n5,2,6,7,8\n")
    found = read_series([path], SeriesColumns(("z", "4"), ("t",), past=("p",), future=("1",)))
    assert found.columns == ("z", "y", "p", "f")
    np.testing.assert_array_equal(found.series[0].values, [[4, 3, 2, 1], [8, 7, 6, 5]])
    assert found.source.named() == ["z", "y", "t", "p", "f"]


def test_categories(tmp_path: Path) -> None:
    path = write(tmp_path, "t,y,wind\n1,1,SE\n2,2,NW\n3,3,\n4,4,SE\n")
    found = read_series([path], columns(time=("t",), past=("wind",)))
    assert found.categories == {"wind": ("NW", "SE")}
    assert found.past == ("wind=NW", "wind=SE")
    np.testing.assert_array_equal(found.series[0].values[:, 1:], [[0, 1], [1, 0], [np.nan, np.nan], [0, 1]])
    later = write(tmp_path, "t,y,wind\n1,1,cv\n2,2,NW\n", "b.csv")
    again = read_series([later], columns(time=("t",), past=("wind",)), categories=found.categories)
    assert again.past == found.past
    np.testing.assert_array_equal(again.series[0].values[:, 1:], [[np.nan, np.nan], [1, 0]])
    assert noted(again, "'wind'", "1 value not seen in training", "'cv'")
    with pytest.raises(DataError, match=r"b\.csv, line 2: expected a number in column 'wind', got 'cv'"):
        read_series([later], columns(time=("t",), past=("wind",)), categories={})


def test_a_mistyped_number_or_free_text_is_no_category(tmp_path: Path) -> None:
    path = write(tmp_path, "t,y,x\n1,1,1\n2,2,oops\n3,3,3\n")
    with pytest.raises(DataError, match=r"line 3: expected a number in column 'x', got 'oops'"):
        read_series([path], columns(time=("t",), past=("x",)))
    path = write(tmp_path, "t,y,x\n" + "".join(f"{i},1,word{i}\n" for i in range(51)))
    with pytest.raises(DataError, match="line 2: expected a number in column 'x', got 'word0'"):
        read_series([path], columns(time=("t",), past=("x",)))


def test_time_is_found_or_rows_are_steps(tmp_path: Path) -> None:
    found = read_series([write(tmp_path, "when,y\n2011-01,1\n2011-02,2\n")], columns())
    assert found.source.time == ("when",)
    assert found.timed
    assert noted(found, "column 'when' holds the times")
    found = read_series([write(tmp_path, "who,y\nb,1\na,2\nb,3\n")], columns(id="who"))
    assert not found.timed
    assert noted(found, "no column holds times; row numbers are the steps")
    np.testing.assert_array_equal(found.series[0].times, [0, 1])
    found = read_series([write(tmp_path, "a,b,y\n2011-01-01,2011-01-02,1\n2011-01-02,2011-01-03,2\n")], columns())
    assert noted(found, "columns 'a', 'b' could be times")
    found = read_series([write(tmp_path, "0.5,1.5\n1,2.5\n")], columns("-1"))
    np.testing.assert_array_equal(found.series[0].values[:, 0], [1.5, 2.5])
    assert found.source.targets == ("2",)


def test_several_files_append(tmp_path: Path) -> None:
    first = write(tmp_path, "t,y\n13/02/11,1\n14/02/11,2\n", "a.csv")
    second = write(tmp_path, "y;t\n".replace(";", ",") + "4,02/03/11\n3,01/03/11\n", "b.csv")
    found = read_series([first, second], columns(time=("t",)))
    assert found.source.time_format == "dayfirst"
    assert found.lengths == [18]
    np.testing.assert_array_equal(found.series[0].values[[0, 1, -2, -1], 0], [1, 2, 3, 4])
    bad = write(tmp_path, "t,y\n14/02/11,3\n", "c.csv")
    with pytest.raises(DataError, match=r"c\.csv, line 2: the time 2011-02-14 is there already \(.*a\.csv, line 3\)"):
        read_series([first, bad], columns(time=("t",)))


@pytest.mark.parametrize(
    ("content", "roles", "message"),
    [
        ("t,y\n1,1\n2,2\n1,3\n", {}, r"line 4: the time 1 is there already \(.*a\.csv, line 2\); .*--id"),
        ("t,y\n1,1\n2,2\n", {"past": ("y",)}, "column 'y' is named twice"),
        ("t,y,s\n1,1,1\n2,2,2\n", {"static": ("s",)}, "line 3: static column 's' varies within series"),
        ("t,y,s\n1,1,a\n2,2,b\n", {"static": ("s",)}, "line 3: static column 's' varies within series"),
        ("t,y,i\n1,1,a\n2,2,\n", {"id": "i"}, "line 3: the id is missing in column 'i'"),
        ("t,y\n2011-01-01,1\n", {}, "at least two rows with different times"),
        (
            "t,y\n2011-01-01,1\n2011-01-02,1\n2211-01-02,1\n",
            {},
            r"line 4: is the time 2211-01-02 right, \d+ steps after the one before \(daily\)",
        ),
        ("t,y\n2011-01-01,x\n2011-01-02,1\n", {}, "line 2: expected a number in column 'y'"),
    ],
)
def test_bad_series_say_what_and_where(tmp_path: Path, content: str, roles: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_series([write(tmp_path, content)], columns(time=("t",), **roles))


def test_a_given_frequency_is_checked(tmp_path: Path) -> None:
    path = write(tmp_path, "t,y\n2011-01-01 00:00,1\n2011-01-01 00:30,2\n")
    with pytest.raises(DataError, match=r"a\.csv, line 3: time 2011-01-01 00:30 is not on the grid.*hourly"):
        read_series([path], columns(time=("t",)), frequency=HOURLY)
    path = write(tmp_path, "t,y\n2011-01-01 00:00,1\n")
    assert read_series([path], columns(time=("t",)), frequency=HOURLY).lengths == [1]
    path = write(tmp_path, "t,y\n2011-01-01,1\n2011-01-05,1\n")
    with pytest.raises(DataError, match=r"line 3: .*fall into one step of data that is monthly"):
        read_series([path], columns(time=("t",)), frequency=Frequency("month"))


def test_frames() -> None:
    index = pd.date_range("2011-01-01", periods=5, freq="h")
    found = read_series([pd.DataFrame({"y": np.arange(5.0)}, index=index)], columns())
    assert found.source.time == ("index",)
    np.testing.assert_array_equal(found.series[0].times, index.to_numpy())
    found = read_series([pl.DataFrame({"i": list("aabb"), "y": [1.0, 2, 3, 4]})], columns(id="i"))
    assert [series.values[:, 0].tolist() for series in found.series] == [[1, 2], [3, 4]]


@given(st.permutations(range(12)), st.sets(st.integers(1, 10)), st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_any_order_and_any_gaps_give_the_same_grid(order: list[int], gone: set[int], step: int) -> None:
    kept = [i for i in order if i not in gone]
    whole = np.diff(sorted(kept)).tolist().count(1) > len(kept) // 2
    frame = pl.DataFrame({"t": [i * step for i in kept], "y": [float(i) for i in kept]})
    found = read_series([frame], columns(time=("t",)), frequency=None if whole else Frequency("step", step))
    expected = [np.nan if i in gone else i for i in range(12)]
    np.testing.assert_array_equal(found.series[0].values[:, 0], expected)
    np.testing.assert_array_equal(found.series[0].times, np.arange(12) * step)


@pytest.mark.skipif(not (DATA / "bike-sharing").exists(), reason="needs ELMAN_DATA with bike-sharing")
def test_bike_sharing() -> None:
    path = DATA / "bike-sharing" / "hour.csv.gz"
    found = read_series([path], SeriesColumns(("cnt",), ("dteday", "hr"), future=("weekday", "temp")))
    (series,) = found.series
    truth = pd.read_csv(path)
    truth.index = pd.to_datetime(truth["dteday"], format="%d/%m/%y") + pd.to_timedelta(truth["hr"], unit="h")
    gaps = int((truth.index.to_series().diff() > pd.Timedelta("1h")).sum())
    truth = truth.asfreq("h")
    np.testing.assert_array_equal(series.values, truth[["cnt", "weekday", "temp"]].to_numpy())
    np.testing.assert_array_equal(series.times, truth.index.to_numpy())
    assert found.frequency == HOURLY
    assert noted(found, f"165 rows missing in {gaps} gaps", "36 rows after 2012-10-29)")
    with pytest.raises(DataError, match=r"line 3: the time 2011-01-01.* --time date,hour"):
        read_series([path], SeriesColumns(("cnt",)))


@pytest.mark.skipif(not (DATA / "weather").exists(), reason="needs ELMAN_DATA with weather")
def test_beijing() -> None:
    roles = SeriesColumns(("pm2.5",), ("year", "month", "day", "hour"), past=("TEMP", "cbwd"))
    found = read_series([DATA / "weather" / "beijing_pm25.csv.gz"], roles)
    assert found.lengths == [43824]
    assert found.categories == {"cbwd": ("NE", "NW", "SE", "cv")}
    assert noted(found, "column 'pm2.5': 2067 values missing (4.7 %)")
