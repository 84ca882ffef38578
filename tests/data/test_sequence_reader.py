"""Labelled sequences from tables: texts, plain vectors, long tables; roles, labels, categories, and what bad files say."""

import csv
import datetime as dt
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data.arrays import Arrays
from elman.data.sequences import Layout, SequenceColumns, SequenceSet, read_sequences
from elman.errors import DataError

DATA = Path(os.environ.get("ELMAN_DATA", Path(__file__).parents[3] / "shared" / "data"))
TEXT = SequenceColumns(text="text", label=("label",))
PLAIN = SequenceColumns(label=("y",))
LONG = SequenceColumns(id="who", time=("t",), label=("y",))


def write(folder: Path, content: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def read(folder: Path, content: str, columns: SequenceColumns | Layout, **options: Any) -> SequenceSet:
    return read_sequences([write(folder, content)], columns, **options)


def cells(data: SequenceSet) -> list[tuple[str, ...]]:
    """The one cell of every sequence."""
    assert data.labels is not None
    return [cell for (cell,) in data.labels]


def values(data: SequenceSet) -> list[list[list[float]]]:
    assert data.values is not None
    return [one.tolist() for one in data.values]


def shipped(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not there; ELMAN_DATA names the folder of data sets")
    return path


# --- the same data in every form ------------------------------------------------------------------------------------

FORMS = ("csv", "tsv", "jsonl", "parquet", "polars", "pandas")


def stored(folder: Path, form: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """A table in one of `FORMS`, written by other hands than ours."""
    frame = pl.DataFrame(rows, schema=list(names), orient="row")
    path = folder / f"a.{form}"
    if form == "polars":
        return frame
    if form == "pandas":
        return pd.DataFrame(rows, columns=list(names))
    if form == "parquet":
        frame.write_parquet(path)
    elif form == "jsonl":
        path.write_text("\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows))
    elif form == "csv":
        buffer = io.StringIO(newline="")
        csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([names, *rows])
        path.write_text(buffer.getvalue(), encoding="utf-8")
    else:
        path.write_text("".join("\t".join(map(str, row)) + "\n" for row in [names, *rows]), encoding="utf-8")
    return path


characters = st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\r")
plain_characters = st.characters(blacklist_categories=["Cs"], blacklist_characters='\0\r\n\t"')


@given(st.data(), st.sampled_from(FORMS))
@settings(max_examples=60, deadline=None)
def test_texts_are_read_as_they_stand(
    tmp_path_factory: pytest.TempPathFactory, draws: st.DataObject, form: str
) -> None:
    text = st.text(plain_characters if form == "tsv" else characters)
    rows = draws.draw(st.lists(st.tuples(text, st.sampled_from(["good", "bad", "none", "3"])), min_size=1, max_size=5))
    source = stored(tmp_path_factory.mktemp("text"), form, ("text", "label"), rows)
    data = read_sequences([source], TEXT, header=True)
    assert data.texts == tuple(text for text, _ in rows)
    assert cells(data) == [(label,) for _, label in rows]
    assert data.suffix == (f".{form}" if form not in ("polars", "pandas") else ".csv")
    again = read_sequences([source], Layout.from_json(json.loads(json.dumps(data.layout.to_json()))), header=True)
    assert (again.texts, again.labels) == (data.texts, data.labels)


@given(st.data(), st.sampled_from(FORMS))
@settings(max_examples=60, deadline=None)
def test_long_tables_are_put_in_order(
    tmp_path_factory: pytest.TempPathFactory, draws: st.DataObject, form: str
) -> None:
    numbers = st.floats(-1e99, 1e99)
    lengths = draws.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    expected = [draws.draw(st.lists(st.tuples(numbers, numbers), min_size=t, max_size=t)) for t in lengths]
    rows = [
        (f"s{number}", f"2020-01-{3 * step + 1:02d}", u, v, f"class{number % 2}")
        for number, sequence in enumerate(expected)
        for step, (u, v) in enumerate(sequence)
    ]
    shuffled = draws.draw(st.permutations(rows))
    data = read_sequences([stored(tmp_path_factory.mktemp("long"), form, ("who", "t", "u", "v", "y"), shuffled)], LONG)
    assert data.layout.names == ("u", "v")
    assert set(data.ids) == {f"s{number}" for number in range(len(expected))}
    for id, found, cell, times in zip(data.ids, values(data), cells(data), data.times or (), strict=True):
        number = int(id[1:])
        assert found == [list(step) for step in expected[number]]
        assert cell == (f"class{number % 2}",)
        assert list(times) == sorted(times)
    assert data.ids == tuple(dict.fromkeys(row[0] for row in shuffled))


@pytest.mark.parametrize("form", FORMS)
def test_plain_rows_are_vectors(tmp_path: Path, form: str) -> None:
    rows = [(1.5, 10, "a"), (-2.0, 20, "b")]
    data = read_sequences([stored(tmp_path, form, ("u", "v", "y"), rows)], PLAIN)
    assert (data.layout.form, data.layout.names) == ("table", ("u", "v"))
    assert values(data) == [[[1.5, 10]], [[-2, 20]]]
    assert cells(data) == [("a",), ("b",)]
    assert data.notes == ()


@pytest.mark.parametrize("form", FORMS)
def test_whole_numbers_are_one_label_in_every_form(tmp_path: Path, form: str) -> None:
    rows = [(0.5, 3), (1.5, 0)]
    assert cells(read_sequences([stored(tmp_path, form, ("u", "y"), rows)], PLAIN)) == [("3",), ("0",)]
    if form in ("polars", "pandas"):
        frame = stored(tmp_path, form, ("u", "y"), [(0.5, 3.0), (1.5, 0.0)])
        assert cells(read_sequences([frame], PLAIN)) == [("3",), ("0",)]


# --- texts ------------------------------------------------------------------------------------------------------------


def test_words_for_missing_are_texts_and_empty_ones_are_counted(tmp_path: Path) -> None:
    data = read(tmp_path, "text,label\nnone,a\n,b\n  ,a\n?,NA\n", TEXT)
    assert data.texts == ("none", "", "  ", "?")
    assert cells(data) == [("a",), ("b",), ("a",), ("NA",)]
    assert data.notes == ("column 'text': 2 of 4 texts are empty",)
    assert data.places[3].endswith("a.csv, line 5")
    assert data.ids == ("2", "3", "4", "5")


def test_numbers_can_be_read_as_text() -> None:
    assert read_sequences([pl.DataFrame({"text": [1, None], "label": ["a", "b"]})], TEXT).texts == ("1", "")


def test_texts_may_have_ids_and_groups(tmp_path: Path) -> None:
    columns = SequenceColumns(text="text", label=("label",), id="n", group="who")
    data = read(tmp_path, "n,who,text,label\nx,p,one,a\ny,q,two,b\n", columns)
    assert (data.ids, data.groups) == (("x", "y"), ("p", "q"))
    with pytest.raises(DataError, match="line 3: the id 'x' is there already; with --text every row is a sequence"):
        read(tmp_path, "n,who,text,label\nx,p,one,a\nx,q,two,b\n", columns)
    with pytest.raises(DataError, match="line 2: the group is missing in column 'who'"):
        read(tmp_path, "n,who,text,label\nx,,one,a\n", columns)


def test_a_row_that_looks_like_names_but_holds_a_label_is_data(tmp_path: Path) -> None:
    content = "fine,good\npoor,bad\nnice,good\n"
    data = read(tmp_path, content, SequenceColumns(text="1", label=("-1",)))
    assert data.texts == ("fine", "poor", "nice")
    assert data.layout.columns == SequenceColumns(text="1", label=("2",))
    later = read(tmp_path, "other,strange\nwords,good\n", data.layout)
    assert later.texts == ("other", "words")
    assert read(tmp_path, "review,mood\n" + content, SequenceColumns(text="1", label=("2",))).texts == data.texts


@pytest.mark.parametrize(("name", "count", "positive"), [("train", 6920, 3610), ("dev", 872, 444)])
def test_sst2(name: str, count: int, positive: int) -> None:
    data = read_sequences([shipped(f"sst2/{name}.tsv")], SequenceColumns(text="1", label=("2",)))
    lines = shipped(f"sst2/{name}.tsv").read_text().splitlines()
    assert data.texts == tuple(line.split("\t")[0] for line in lines)
    assert len(data) == count
    assert cells(data).count(("1",)) == positive


# --- plain tables: features --------------------------------------------------------------------------------------------


def test_categories_booleans_and_missing_cells(tmp_path: Path) -> None:
    content = "colour,on,x,y\nred,True,1,a\nblue,false,,b\n,NA,3,a\nred,true,?,b\n"
    data = read(tmp_path, content, PLAIN)
    nan = np.nan
    assert data.layout.names == ("colour=blue", "colour=red", "on", "x")
    expected = [[0, 1, 1, 1], [1, 0, 0, nan], [nan, nan, nan, 3], [0, 1, 1, nan]]
    np.testing.assert_array_equal(np.array(values(data))[:, 0], expected)
    assert data.layout.categories == {"colour": ("blue", "red")}
    assert data.notes == (
        "column 'colour': 1 value missing (25 %)",
        "column 'on': 1 value missing (25 %)",
        "column 'x': 2 values missing (50 %)",
    )
    later = read(tmp_path, "extra,x,colour,y,on\nE,5,green,a,FALSE\n", data.layout)
    assert values(later) == [[[0, 0, 0, 5]]]
    assert later.layout is data.layout
    assert later.notes == (
        "column 'colour': 1 value not seen in training (such as 'green'), taken as none of the categories",
    )


def test_typed_columns_of_frames() -> None:
    frame = pl.DataFrame({"on": [True, None], "k": pl.Series(["a", "b"], dtype=pl.Categorical), "y": [True, False]})
    data = read_sequences([frame], PLAIN)
    assert data.layout.names == ("on", "k=a", "k=b")
    np.testing.assert_array_equal(np.array(values(data))[:, 0], [[1, 1, 0], [np.nan, 0, 1]])
    assert cells(data) == [("true",), ("false",)]


def test_features_named_by_number(tmp_path: Path) -> None:
    data = read(tmp_path, "1,2,3,0\n4,5,6,1\n", SequenceColumns(label=("-1",), features=("3", "1")), header=False)
    assert data.layout.names == ("3", "1")
    assert values(data) == [[[3, 1]], [[6, 4]]]


def test_later_data_must_hold_the_same_columns(tmp_path: Path) -> None:
    layout = read(tmp_path, "u,v,y\n1,2,a\n", PLAIN).layout
    with pytest.raises(DataError, match="no column 'v'"):
        read(tmp_path, "u,w,y\n1,2,a\n", layout)
    with pytest.raises(DataError, match="no column 'y'"):
        read(tmp_path, "u,v\n1,2\n", layout)
    with pytest.raises(DataError, match="line 2: expected a number in column 'v', got 'red'"):
        read(tmp_path, "u,v,y\n1,red,a\n2,blue,b\n", layout)
    assert read(tmp_path, "v,u\n1,2\n", layout, labels="optional").labels is None
    half = read(tmp_path, "u,v,y\n1,2,a\n1,2,\n", layout, labels="optional")
    assert half.labels is None
    assert half.notes == ("column 'y': the label is missing in 1 of 2 rows; no label is used",)


# --- labels ------------------------------------------------------------------------------------------------------------


def test_several_labels_in_a_cell(tmp_path: Path) -> None:
    columns = SequenceColumns(text="text", label=("tags",), multi=True)
    assert cells(read(tmp_path, "text,tags\none,b | a|b\ntwo,\n", columns)) == [("b", "a"), ()]
    path = write(tmp_path, '{"text": "one", "tags": ["b", 3]}\n{"text": "two", "tags": null, "more": {}}\n', "a.jsonl")
    data = read_sequences([path], columns)
    assert cells(data) == [("b", "3"), ()]
    rows = [("one", ["b", "a|c"]), ("two", [])]
    for form in ("polars", "pandas", "parquet"):
        assert cells(read_sequences([stored(tmp_path, form, ("text", "tags"), rows)], columns)) == [("b", "a|c"), ()]
    later = write(tmp_path, '{"text": "three"}\n', "later.jsonl")
    assert read_sequences([later], data.layout, labels="optional").labels is None
    assert cells(read_sequences([path, path], columns)) == [("b", "3"), (), ("b", "3"), ()]


def test_several_columns_of_labels(tmp_path: Path) -> None:
    content = "u,rain,wind\n1,1,0\n2,true,TRUE\n3,0,false\n"
    columns = SequenceColumns(label=("rain", "wind"), multi=True)
    assert cells(read(tmp_path, content, columns)) == [("rain",), ("rain", "wind"), ()]
    with pytest.raises(DataError, match="line 3: expected 0 or 1 in column 'wind', got '2'"):
        read(tmp_path, "u,rain,wind\n1,1,0\n2,1,2\n", columns)
    numbers = read(tmp_path, "u,rain,wind\n1,1.5,0\n", SequenceColumns(label=("wind", "rain")))
    assert cells(numbers) == [("0", "1.5")]


def test_lists_of_labels_want_multi(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["a"], "label": [["x", "y"]]})
    with pytest.raises(DataError, match="column 'label' holds lists of labels; add --multi"):
        read_sequences([frame], TEXT)
    path = write(tmp_path, '{"text": "one", "label": ["b"]}\n', "a.jsonl")
    with pytest.raises(DataError, match="line 1: expected one value in column 'label'"):
        read_sequences([path], TEXT)
    with pytest.raises(DataError, match="expected one value in each cell of column 'u', got lists"):
        read_sequences([pl.DataFrame({"u": [[1.0]], "y": ["a"]})], PLAIN)


# --- long tables ---------------------------------------------------------------------------------------------------------


def test_unsorted_rows_are_counted_and_repeated_times_refused(tmp_path: Path) -> None:
    data = read(tmp_path, "who,t,u,y\nb,2,20,p\na,1,7,q\nb,1,10,p\nb,3,30,p\n", LONG)
    assert data.ids == ("b", "a")
    assert values(data) == [[[10], [20], [30]], [[7]]]
    assert data.times == (("1", "2", "3"), ("1",))
    assert data.notes == ("1 row out of time order; sorted",)
    assert data.places[0].endswith("line 4")
    with pytest.raises(DataError, match=r"line 4: the time 1 is there already in this sequence \(.*line 2\)"):
        read(tmp_path, "who,t,u,y\nb,1,20,p\na,1,7,q\nb,1,10,p\n", LONG)


def test_without_times_the_order_of_the_file_holds(tmp_path: Path) -> None:
    data = read(tmp_path, "who,u,y\nb,2,p\na,7,q\nb,1,p\n", SequenceColumns(id="who", label=("y",)))
    assert values(data) == [[[2], [1]], [[7]]]
    assert data.times is None


def test_labels_at_every_row(tmp_path: Path) -> None:
    data = read(tmp_path, "who,t,u,y\na,2,1,p\na,1,2,q\nb,1,3,p\n", LONG)
    assert data.layout.aligned
    assert data.labels == ((("q",), ("p",)), (("p",),))
    later = read(tmp_path, "who,t,u,y\nc,1,1,p\nc,2,2,p\n", data.layout)
    assert later.labels == ((("p",), ("p",)),)
    constant = read(tmp_path, "who,t,u,y\na,2,1,p\na,1,2,p\n", LONG).layout
    assert not constant.aligned
    with pytest.raises(DataError, match="line 3: the label varies within sequence 'c'; expected one for all of it"):
        read(tmp_path, "who,t,u,y\nc,1,1,p\nc,2,2,q\n", constant)


def test_groups_and_time_formats_are_kept(tmp_path: Path) -> None:
    columns = SequenceColumns(id="who", time=("day", "hour"), label=("y",), group="site", time_format="%d.%m.%Y %H")
    content = "who,day,hour,u,site,y\na,02.01.2020,1,1,s,p\na,01.01.2020,5,2,s,p\n"
    data = read(tmp_path, content, columns)
    assert values(data) == [[[2], [1]]]
    assert data.times == (("01.01.2020 5", "02.01.2020 1"),)
    assert data.groups == ("s",)
    assert data.layout.columns.time_format == "%d.%m.%Y %H"
    later = read(tmp_path, "who,day,hour,u\nz,02.01.2020,1,1\n", data.layout, labels="optional")
    assert (later.labels, later.groups) == (None, None)
    with pytest.raises(DataError, match="line 2: the group in column 'site' varies within sequence 'a'"):
        read(tmp_path, content[:-4] + "r,p\n", columns)


def moments(data: SequenceSet) -> list[list[Any]]:
    assert data.moments is not None
    return [one.tolist() for one in data.moments]


def test_times_are_numbers_or_moments(tmp_path: Path) -> None:
    data = read(tmp_path, "who,t,u,y\na,3,1,p\na,1,2,p\nb,5,3,q\n", LONG)
    assert moments(data) == [[1.0, 3.0], [5.0]]
    assert moments(data.take([1])) == [[5.0]]
    dated = read(tmp_path, "who,t,u,y\na,2/1/2020 7:30,1,p\na,13/1/2020,2,p\n", LONG)
    assert moments(dated) == [[dt.datetime(2020, 1, 2, 7, 30), dt.datetime(2020, 1, 13)]]
    assert read(tmp_path, "who,u,y\na,1,p\n", SequenceColumns(id="who", label=("y",))).moments is None


@pytest.mark.parametrize("form", FORMS)
def test_times_may_be_decimals(tmp_path: Path, form: str) -> None:
    rows = [("a", 10.5, 1, "p"), ("a", 2.25, 2, "p"), ("b", 1.0, 3, "q")]
    data = read_sequences([stored(tmp_path, form, ("who", "t", "u", "y"), rows)], LONG)
    assert moments(data) == [[2.25, 10.5], [1.0]]
    assert values(data) == [[[2], [1]], [[3]]]
    assert data.notes == ("1 row out of time order; sorted",)


def test_times_in_powers_of_ten(tmp_path: Path) -> None:
    data = read(tmp_path, "who,t,u,y\na,99999,1,p\na,1e+05,2,p\na,-.5,3,p\n", LONG)
    assert moments(data) == [[-0.5, 99999.0, 100000.0]]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0.5, 0.5], r"row 2: the time 0\.5 is there already in this sequence"),
        ([0.5, None], "row 2: the time is missing in column 't'"),
        ([1, None], "row 2: the time is missing in column 't'"),
        ([1.0, np.nan], "row 2: the time is missing in column 't'"),
        ([1.0, np.inf], "row 2: the time is infinite; expected a finite number"),
        ([0.5, -1e101], "row 2: the time is too large; expected a number up to"),
        (["0.5", "1.5x"], "row 2: expected a time that is a number, as most here are, got '1.5x'"),
        (["0.5", "-inf"], "row 2: expected a time that is a number, as most here are, got '-inf'"),
        (["1", "1.5x"], "row 2: expected an integer step like '1' in the first row, got '1.5x'"),
    ],
)
def test_times_that_cannot_be_read_or_tell_no_order(times: list[Any], message: str) -> None:
    frame = pl.DataFrame({"who": ["a", "a"], "t": times, "u": [1, 2], "y": ["p", "p"]})
    with pytest.raises(DataError, match=message):
        read_sequences([frame], LONG)


def test_times_that_must_be_there(tmp_path: Path) -> None:
    table = "who,t,u,y\na,1,1,p\na,2,2,p\n"
    read(tmp_path, table, LONG, timed=True)
    for columns, message in (
        (SequenceColumns(id="who", label=("y",)), "name the column of their time with --time$"),
        (PLAIN, "name the column of their time with --time and the one that tells sequences apart with --id$"),
        (SequenceColumns(time=("t",), label=("y",)), "name the column that tells sequences apart with --id$"),
        (TEXT, "--gaps reads the time between the rows of a sequence, but with --text every row is one; leave it out"),
    ):
        with pytest.raises(DataError, match=message):
            read(tmp_path, table, columns, timed=True)
    ts = write(tmp_path, "@classLabel true p\n@data\n1,2:p\n", "a.ts")
    with pytest.raises(
        DataError, match=r"a\.ts: a \.ts file has no times for --gaps to read; leave it out, or give a long"
    ):
        read_sequences([ts], SequenceColumns(), timed=True)
    arrays = Arrays(np.ones((2, 3, 1)), ["p", "p"])
    with pytest.raises(
        DataError, match=r"arrays: arrays have no times for --gaps to read|arrays have no times for --gaps"
    ):
        read_sequences([arrays], SequenceColumns(), timed=True)
    with pytest.raises(
        DataError, match=r"arrays have no times, and the model was fitted with --gaps; give a table .* 't'"
    ):
        read_sequences([arrays], read(tmp_path, table, LONG).layout, timed=True)


def test_day_or_month_first_is_settled_by_training(tmp_path: Path) -> None:
    data = read(tmp_path, "who,t,u,y\na,13/01/2020,1,p\na,02/01/2020,2,p\n", LONG)
    assert data.layout.columns.time_format == "dayfirst"
    later = read(tmp_path, "who,t,u,y\na,03/02/2020,1,p\na,02/03/2020,2,p\n", data.layout)
    assert values(later) == [[[1], [2]]]


def test_several_files_are_appended(tmp_path: Path) -> None:
    first = write(tmp_path, "who,t,u,y\na,1,1,p\n", "one.csv")
    second = write(tmp_path, "y,u,who,t\nq,2,a,1\np,3,b,1\n", "two.csv")
    data = read_sequences([first, second], LONG)
    assert (data.ids, cells(data)) == (("a", "a", "b"), [("p",), ("q",), ("p",)])
    assert data.notes == ("1 id of one file used in another again; taken as sequences of their own",)
    assert data.places[1].endswith("two.csv, line 2")
    frames = [pl.DataFrame({"u": [1], "y": [0]}), pl.DataFrame({"u": [0.5], "y": [1.0]})]
    assert cells(read_sequences(frames, PLAIN)) == [("0",), ("1",)]
    with pytest.raises(DataError, match=r"two\.csv has no column 'v'"):
        read_sequences([write(tmp_path, "v,y\n1,p\n", "one.csv"), second], PLAIN)


# --- what is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        ("text,label\none,\n", TEXT, "line 2: the label is missing in column 'label'; fill it in or leave the row out"),
        ("words,label\none,a\n", TEXT, "no column 'text'"),
        ("text,lable\none,a\n", TEXT, "no column 'label'; did you mean 'lable'"),
        (
            "text,label\none,a\n",
            SequenceColumns(text="text"),
            "expected labels; name the column that holds them with --label",
        ),
        ("text,label\none,a\n", SequenceColumns(text="text", label=("1",)), "column 'text' is named twice"),
        ("who,u,y\na,1,p\n", SequenceColumns(id="who", label=("who",)), "column 'who' is named twice"),
        ("u,y\n1,p\n", SequenceColumns(label=("y",), features=("u", "y")), "column 'y' is named twice"),
        ("u,y\n1,p\n", SequenceColumns(label=("y",), group="y"), "column 'y' is named twice"),
        ("t,u,y\n1,1,p\n", SequenceColumns(time=("t",), label=("y",)), "--time orders the rows of a sequence; .* --id"),
        (
            "text,t,label\na,1,b\n",
            SequenceColumns(text="text", label=("label",), time=("t",)),
            "--text every row is one",
        ),
        ("a,b,c\nx,1,y\n", SequenceColumns(text="a", label=("c",), features=("b",)), "leave out --text or --features"),
        ("y\np\n", PLAIN, "no column is left for features beside 'y'"),
        ("u,y\ninf,p\n", PLAIN, "line 2: column 'u' is infinite"),
        ("u,y\n1,p\n2x,p\n3,p\n", PLAIN, "line 3: expected a number in column 'u', got '2x'"),
        ("day,y\n2020-01-01,p\n", PLAIN, "column 'day' holds times, which are no feature; .*--features"),
        ("who,t,u,y\n,1,1,p\n", LONG, "line 2: the id is missing in column 'who'"),
        ("who,t,u,y\na,soon,1,p\n", LONG, "line 2: expected a time such as"),
    ],
)
def test_bad_tables_name_the_line(tmp_path: Path, content: str, columns: SequenceColumns, message: str) -> None:
    with pytest.raises(DataError, match=r"a\.csv.*" + message if "--t" not in message else message):
        read(tmp_path, content, columns)


def test_too_many_categories_are_text_or_an_identifier(tmp_path: Path) -> None:
    content = "note,y\n" + "".join(f"word{number},p\n" for number in range(51))
    with pytest.raises(DataError, match=r"holds text with 51 different values .* use --text note; .* --features"):
        read(tmp_path, content, PLAIN)


@pytest.mark.parametrize(
    ("values", "rows", "refused"), [(10, 10, False), (11, 11, True), (11, 21, True), (11, 22, False)]
)
def test_words_that_hardly_come_twice_are_no_categories(tmp_path: Path, values: int, rows: int, refused: bool) -> None:
    content = "note,y\n" + "".join(f"word{row % values},p\n" for row in range(rows))
    if refused:
        with pytest.raises(DataError, match=f"text with {values} different values in {rows} cells .* use --text note"):
            read(tmp_path, content, PLAIN)
    else:
        assert len(read(tmp_path, content, PLAIN).layout.names) == values


def test_labels_that_vary_are_left_out_where_they_are_optional(tmp_path: Path) -> None:
    layout = read(tmp_path, "who,t,u,y\na,1,1,p\na,2,1,p\n", LONG).layout
    varying = "who,t,u,y\na,1,1,p\na,2,1,q\n"
    data = read(tmp_path, varying, layout, labels="optional")
    assert data.labels is None
    assert any("line 3: the label varies within sequence 'a'; no label is used" in note for note in data.notes)
    with pytest.raises(DataError, match="line 3: the label varies within sequence 'a'; expected one for all of it"):
        read(tmp_path, varying, layout)


def test_forms_are_not_mixed(tmp_path: Path) -> None:
    table = write(tmp_path, "u,y\n1,p\n")
    ts = write(tmp_path, "@classLabel true p\n@data\n1,2:p\n", "a.ts")
    text = write(tmp_path, "words", "a.txt")
    with pytest.raises(DataError, match=r"expected data of one form, got .*a\.csv and .*a\.ts"):
        read_sequences([table, ts], PLAIN)
    with pytest.raises(DataError, match=r"a\.csv: expected a \.ts file, as the model was fitted on, got a table"):
        read_sequences([table], read_sequences([ts], SequenceColumns()).layout)
    with pytest.raises(DataError, match=r"a\.ts: expected a table, as the model was fitted on, got a \.ts file"):
        read_sequences([ts], read_sequences([table], PLAIN).layout)
    with pytest.raises(DataError, match=r"a\.txt: expected labelled sequences in a table or a \.ts file, got txt"):
        read_sequences([text], PLAIN)
    with pytest.raises(DataError, match="expected at least one file"):
        read_sequences([], PLAIN)
