"""Tables: what is read, how columns are found, and what each kind of bad file says."""

import csv
import gzip
import io
import json
import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data.source import Source
from elman.data.tables import MISSING, Table, read_table
from elman.errors import DataError


def write(folder: Path, content: str | bytes, name: str = "hour.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_names_numbers_lines(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "time,cnt,who\n1,2.5,a\n\n2,NA, b \n3,-,\n"))
    assert table.names == ("time", "cnt", "who")
    assert len(table) == 3
    np.testing.assert_array_equal(table.numbers("cnt"), [2.5, np.nan, np.nan])
    assert table.strings("who") == ["a", "b", ""]
    assert [table.line(row) for row in range(3)] == [2, 4, 5]
    assert [table.resolve(key) for key in ("cnt", "1", "-1")] == ["cnt", "time", "who"]


def test_only_named_columns_are_kept_in_the_order_asked(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a,b,c\n1,2,3\n"), columns=["-1", "a", "c"])
    assert table.frame.columns == ["c", "a"]
    assert table.names == ("a", "b", "c")
    np.testing.assert_array_equal(table.numbers("c"), [3.0])


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("a,b\n1,2\n", ("a", "b")),
        ("1,2\n3,4\n", ("1", "2")),
        ("2011-01-01,x\n2011-01-02,y\n", ("1", "2")),
        ("01/01/11,3\n02/01/11,4\n", ("1", "2")),
        (",temp\n0,1\n1,2\n", ("1", "temp")),
        ("time,2011,2012\n2001-01-01,1,2\n", ("time", "2011", "2012")),
        ("red,NW\nblue,SE\n", ("red", "NW")),
        ("NA,1.5\n2,3\n", ("1", "2")),
        (" a , b \n1,2\n", ("a", "b")),
    ],
)
def test_header_is_recognised(tmp_path: Path, content: str, names: tuple[str, ...]) -> None:
    assert read_table(write(tmp_path, content)).names == names


def test_header_told(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b\n1,2\n")
    table = read_table(path, header=False)
    assert table.names == ("1", "2")
    assert table.strings("2") == ["b", "2"]
    assert table.strings("-2") == ["a", "1"]
    assert table.line(0) == 1
    assert read_table(write(tmp_path, "1,2\n3,4\n"), header=True).names == ("1", "2")


def test_quotes_embedded_newlines_bom_and_line_ends(tmp_path: Path) -> None:
    content = '\ufeffname,x\r\n"a ""b"", c\r\nd",1\r\n"",2\r\ne,3\r\n'
    table = read_table(write(tmp_path, content))
    assert table.names == ("name", "x")
    assert table.strings("name") == ['a "b", c\nd', "", "e"]
    assert [table.line(row) for row in range(3)] == [2, 4, 5]
    assert read_table(write(tmp_path, "a,b\r1,2\r3,4")).strings("b") == ["2", "4"]


def test_blank_lines_of_a_single_column_are_missing_values(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "\nload\n1\n\n3\n\n\n"))
    np.testing.assert_array_equal(table.numbers("load"), [1, np.nan, 3])
    assert table.line(2) == 5


def test_blank_lines_before_the_first_are_passed_over(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "\n\na,b\n1,2\n\n3,4\n"))
    assert table.names == ("a", "b")
    assert table.strings("b") == ["2", "4"]
    assert [table.line(row) for row in range(2)] == [4, 6]


def test_tsv_and_compressed(tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress(b"a\tb\n1,5\t2\n"), "x.tsv.gz")
    assert read_table(path).strings("a") == ["1,5"]


@pytest.mark.parametrize(
    ("content", "cells"),
    [
        ('"a ""b"""\t1\nc\t0\n', ['a "b"', "c"]),
        ('"a\tb"\t1\nc\t0\n', ["a\tb", "c"]),
        ('"a\nb"\t1\nc\t0\n', ["a\nb", "c"]),
        ('5" pipe\t1\nc\t0\n', ['5" pipe', "c"]),
        ('he said "no" twice\t1\n"c"\t0\n', ['he said "no" twice', '"c"']),
        ('"open\t0\nshut"\t1\n', ['"open', 'shut"']),
        ('"open\t0\nc\t1\n', ['"open', "c"]),
    ],
)
def test_quotes_in_tsv_enclose_cells_or_are_text(tmp_path: Path, content: str, cells: list[str]) -> None:
    assert read_table(write(tmp_path, content, "x.tsv"), header=False).strings("1") == cells


def test_ragged_tsv_with_quotes_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 2: expected 2 cells, as in the first line, got 1"):
        read_table(write(tmp_path, '5" pipe\t1\nc\n', "x.tsv"))


def test_long_cells(tmp_path: Path) -> None:
    assert read_table(write(tmp_path, f"text,label\n{'a' * 200_000},1\n")).strings("text") == ["a" * 200_000]


def test_optional_columns_and_lists(tmp_path: Path) -> None:
    path = write(tmp_path, '{"a": 1, "tags": ["x", 2]}\n{"a": 2, "tags": "y"}\n{"a": 3}\n', "x.jsonl")
    table = read_table(path, columns=["a"], optional=["tags", "b"], lists=["tags", "c"])
    assert table.frame["tags"].to_list() == [["x", "2"], ["y"], None]
    assert read_table(path, columns=["tags"], lists=["-1"]).frame.columns == ["tags"]
    assert read_table(path, columns=["a"]).frame.columns == ["a"]
    with pytest.raises(DataError, match="line 1: expected one value in column 'tags'"):
        read_table(path, optional=["tags"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n3\n", "line 3: expected 2 cells, as in the first line, got 1"),
        ("a,b\n1,2\n3,4,5\n", "line 3: expected 2 cells, as in the first line, got 3"),
        ('a,b\n"x\ny",2\n3\n', "line 4: expected 2 cells"),
        ("a,a\n1,2\n", "two columns are called 'a'"),
        ("a,b\n", "a header but no rows"),
        ("\n\n", "only blank lines"),
        ('a,b\n1,5" pipe\n', "line 2: a quote in the middle of a cell"),
        ('a,b\n"1"x,5\n', "line 2: a quote in the middle"),
        ('a,b\n1,"5\n2,3\n', "line 2: a quote is opened and never closed"),
        (
            "a;b\n1;2,5\n",
            "line 2: expected 1 cell, as in the first line, got 2; cells must be separated by ',', not by ';'",
        ),
        ("a;b\n1;2\n", "cells seem to be separated by ';', not by ','; save it with ',' between the cells"),
        ("a\tb\n1\t2\n", "cells seem to be separated by a tab, not by ','; add --format tsv"),
        (b"a,b\n1,\xff\n", "line 2: expected UTF-8 text, got byte 0xff at byte 6"),
        (b"a,b\n1,\x00\n", "line 2: expected text, got a NUL byte"),
    ],
)
def test_malformed_files_name_the_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=r"hour\.csv.*" + message):
        read_table(write(tmp_path, content))


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("abc", "line 3: expected a number in column 'cnt', got 'abc'; mark missing values with an empty cell"),
        ('"1,5"', "line 3: expected a number in column 'cnt', got '1,5'; write decimals with a point"),
        ('"1.234,5"', "got '1.234,5'; write decimals with a point"),
        ("inf", r"line 3: column 'cnt' is infinite \(inf\)"),
        ("-Infinity", "is infinite"),
        ("1e999", "is infinite"),
        ("1e101", r"line 3: column 'cnt' is too large \(1e101\); expected a number up to 1e\+100 in size"),
    ],
)
def test_bad_numbers_name_line_and_column(tmp_path: Path, cell: str, message: str) -> None:
    table = read_table(write(tmp_path, f"time,cnt\n1,5\n2,{cell}\n"))
    with pytest.raises(DataError, match="hour.csv, .*" + message):
        table.numbers("cnt")


def test_missing_markers_in_any_case(tmp_path: Path) -> None:
    cells = ["", " ", "NA", "n/a", "NaN", "nan", "NULL", "None", "?", "-"]
    table = read_table(write(tmp_path, "t,x\n" + "".join(f"1,{cell}\n" for cell in cells)))
    assert np.isnan(table.numbers("x")).all()
    assert table.strings("x") == [""] * len(cells)


def test_unknown_columns_suggest(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "time,cnt\n1,5\n"))
    with pytest.raises(DataError, match="no column 'cntt'; did you mean 'cnt'"):
        table.resolve("cntt")
    for key in ("0", "3", "-3"):
        with pytest.raises(DataError, match="has 2 columns, numbered 1 to 2"):
            table.resolve(key)
    with pytest.raises(DataError, match=r"expected a table, got txt.*--format"):
        read_table(write(tmp_path, "x", "a.txt"))


def test_jsonl(tmp_path: Path) -> None:
    rows = '{"a": 1, "b": "x"}\n\n{"b": "2.5", "c": NaN, "a": null}\n{"a": 3.5, "c": true}\n'
    table = read_table(write(tmp_path, rows, "a.jsonl"))
    assert table.names == ("a", "b", "c")
    np.testing.assert_array_equal(table.numbers("a"), [1, np.nan, 3.5])
    assert table.strings("b") == ["x", "2.5", ""]
    assert table.line(1) == 3
    with pytest.raises(DataError, match="line 1: expected a number in column 'b', got 'x'"):
        table.numbers("b")
    for bad, message in [
        ("[1]", "got list"),
        ('{"a": 1', "one JSON object per line"),
        ('{"a": [1]}', "one value in column"),
    ]:
        with pytest.raises(DataError, match="a.jsonl, line 2: .*" + message):
            read_table(write(tmp_path, '{"a": 1}\n' + bad, "a.jsonl"))


def check_frame(table: Table) -> None:
    assert table.names == ("time", "n", "x", "s")
    np.testing.assert_array_equal(table.numbers("n"), [1, 2])
    np.testing.assert_array_equal(table.numbers("x"), [0.5, np.nan])
    assert table.strings("s") == ["a", ""]
    assert table.column("time").dtype.is_temporal()
    assert table.place(1).endswith("row 2")


def test_parquet_and_frames(tmp_path: Path) -> None:
    times = np.array(["2011-01-01", "2011-01-02"], "datetime64[us]")
    frame = pl.DataFrame({"time": times, "n": [1, 2], "x": [0.5, None], "s": ["a", None]})
    check_frame(read_table(frame))
    frame.write_parquet(tmp_path / "a.parquet")
    check_frame(read_table(tmp_path / "a.parquet"))
    pandas = pd.DataFrame({"n": [1, 2], "x": [0.5, None], "s": ["a", None]}, index=pd.Index(times, name="time"))
    check_frame(read_table(pandas))
    zoned = pd.DataFrame({"time": pd.date_range("2011-01-01", periods=2, freq="h", tz="Europe/Berlin"), "x": [1, 2]})
    assert read_table(zoned).column("time")[0].isoformat() == "2010-12-31T23:00:00"
    (tmp_path / "bad.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-30])
    with pytest.raises(DataError, match=r"bad\.parquet is not a readable Parquet file"):
        read_table(tmp_path / "bad.parquet")
    with pytest.raises(DataError, match="data frame has no rows"):
        read_table(frame.head(0))
    with pytest.raises(DataError, match="row 2: column 'x' is infinite"):
        read_table(pl.DataFrame({"x": [1.0, math.inf]})).numbers("x")


cell_text = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=6)


@given(
    st.integers(2, 4).flatmap(lambda n: st.lists(st.lists(cell_text, min_size=n, max_size=n), min_size=1, max_size=8))
)
@settings(max_examples=100, deadline=None)
def test_equal_to_the_csv_module(rows: list[list[str]]) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    source = Source(pl.DataFrame())
    source.frame, source.kind = None, "csv"
    source.read = buffer.getvalue().encode  # type: ignore[method-assign]
    table = read_table(source, header=False)
    expected = [["" if c.strip().lower() in MISSING else c.strip() for c in row] for row in rows]
    read = [table.strings(str(column + 1)) for column in range(len(rows[0]))]
    assert [list(row) for row in zip(*read, strict=True)] == expected


def test_a_million_rows_in_seconds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1_000_000, 3))
    frame = pl.DataFrame(values, schema=["a", "b", "c"]).with_row_index("t")
    frame.write_csv(tmp_path / "big.csv")
    began = time.perf_counter()
    table = read_table(tmp_path / "big.csv", columns=["b"])
    np.testing.assert_array_equal(table.numbers("b"), values[:, 1])
    assert time.perf_counter() - began < 20  # about one second; generous, the machine is shared


def test_floats_read_exactly(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=500) * 10.0 ** np.random.default_rng(2).integers(-300, 99, 500)
    path = write(tmp_path, "\n".join(json.dumps({"x": v}) for v in values.tolist()), "x.jsonl")
    np.testing.assert_array_equal(read_table(path).numbers("x"), values)
    path = write(tmp_path, "x\n" + "\n".join(map(repr, values.tolist())))
    np.testing.assert_array_equal(read_table(path).numbers("x"), values)
