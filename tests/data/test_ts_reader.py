"""`.ts` files: round trips, missing values, labels that are not there, and what broken files say."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data.sequences import SequenceColumns, SequenceSet, read_sequences
from elman.errors import DataError

DATA = Path(os.environ.get("ELMAN_DATA", Path(__file__).parents[3] / "shared" / "data"))
NO_COLUMNS = SequenceColumns()


def write(folder: Path, header: str, cases: str, name: str = "a.ts") -> Path:
    path = folder / name
    path.write_text(f"# about\n@problemName some\n@timeStamps false\n{header}\n@data\n{cases}")
    return path


def read(folder: Path, header: str, cases: str) -> SequenceSet:
    return read_sequences([write(folder, header, cases)], NO_COLUMNS)


def shipped(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not there; ELMAN_DATA names the folder of data sets")
    return path


numbers = st.floats(-1e99, 1e99) | st.just(np.nan)


@st.composite
def cases(draw: st.DrawFn) -> list[tuple[np.ndarray, str]]:
    width = draw(st.integers(1, 3))
    count = draw(st.integers(1, 4))
    lengths = [draw(st.integers(1, 5)) for _ in range(count)]
    values = [np.array(draw(st.lists(numbers, min_size=t * width, max_size=t * width))) for t in lengths]
    labels = [draw(st.sampled_from(["walk", "2", "Run"])) for _ in range(count)]
    return [(value.reshape(width, -1).T, label) for value, label in zip(values, labels, strict=True)]


@given(cases(), st.sampled_from(["?", "NaN"]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, found: list[tuple[np.ndarray, str]], missing: str, packed: bool
) -> None:
    def line(values: np.ndarray, label: str) -> str:
        cells = [[missing if np.isnan(value) else repr(float(value)) for value in channel] for channel in values.T]
        return ":".join([*map(",".join, cells), label])

    path = write(tmp_path_factory.mktemp("ts"), "@classLabel true walk 2 Run", "\n".join(line(*case) for case in found))
    if packed:
        path.with_suffix(".ts.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = path.with_suffix(".ts.gz")
    data = read_sequences([path], NO_COLUMNS)
    assert data.values is not None
    assert data.labels == tuple(((label,),) for _, label in found)
    for values, (expected, _) in zip(data.values, found, strict=True):
        np.testing.assert_array_equal(values, expected)
    assert data.layout.names == tuple(str(number + 1) for number in range(found[0][0].shape[1]))
    assert read_sequences([path], data.layout).labels == data.labels


def test_uneven_channels_and_missing_values_are_told_apart(tmp_path: Path) -> None:
    data = read(tmp_path, "@dimensions 2\n@equalLength false\n@classLabel true a b", "1,2,?:4:a\n5:6:b\n:7,8:a\n")
    assert data.values is not None
    np.testing.assert_array_equal(data.values[0], [[1, 4], [2, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(data.values[2], [[np.nan, 7], [np.nan, 8]])
    assert [note.partition(": ")[2] for note in data.notes] == [
        "2 cases with channels of unequal length, filled up as missing",
        "1 value missing",
    ]
    assert data.places[1].endswith("a.ts, line 9")


def test_regression_targets_stay_as_written(tmp_path: Path) -> None:
    data = read(
        tmp_path, "@univariate true\n@classLabel false\n@targetLabel true", "1,2,3:-4.50\n# a remark\n\n5,6:1e3\n"
    )
    assert data.labels == ((("-4.50",),), (("1e3",),))


def test_labels_may_be_missing_where_they_are_optional(tmp_path: Path) -> None:
    whole = read(tmp_path, "@classLabel true a b", "1,2:a\n3,4:b\n")
    bare = write(tmp_path, "@classLabel false", "1,2\n3,4\n", "bare.ts")
    data = read_sequences([bare], whole.layout, labels="optional")
    assert data.labels is None
    assert data.values is not None
    np.testing.assert_array_equal(data.values[1], [[3], [4]])
    with pytest.raises(DataError, match=r"bare\.ts: expected labels, but the header says that there are none"):
        read_sequences([bare], whole.layout)
    some = write(tmp_path, "@classLabel true a b", "1,2:a\n3,4:?\n", "some.ts")
    data = read_sequences([some], whole.layout, labels="optional")
    assert data.labels is None
    assert "1 of 2 labels are missing; no label is used" in data.notes[0]
    with pytest.raises(DataError, match=r"some\.ts, line 7: the label is missing"):
        read_sequences([some], whole.layout)


@pytest.mark.parametrize(
    ("header", "content", "message"),
    [
        (
            "@classLabel true a",
            "1,2x:a\n",
            "line 6: expected a number in channel 1, got '2x'; missing values are written ?",
        ),
        ("@classLabel true a", "1,,2:a\n", "line 6: expected a number in channel 1, got ''"),
        ("@classLabel true a", "1,1_0:a\n", "line 6: expected a number in channel 1, got '1_0'"),
        ("@classLabel true a", "1,2:a\n1,inf:a\n", "line 7: value 2 of channel 1 is infinite"),
        ("@classLabel true a", "1,2:a\n-1e101,1:a\n", "line 7: value 1 of channel 1 is too large"),
        (
            "@classLabel true a",
            "1:2:a\n1:a\n",
            "line 7: expected 2 channels and a label, as in the first case, got 1; is it cut",
        ),
        (
            "@dimensions 3\n@classLabel true a",
            "1:2:a\n",
            "line 7: expected 3 channels and a label, as the header says, got 2",
        ),
        ("@classLabel true a b", "1,2:c\n", r"line 6: expected a class of @classLabel at the end \(a, b\), got 'c'"),
        ("@classLabel true a b", "1,2:a\n1,2:\n", "line 7: expected a class of @classLabel at the end"),
        ("@classLabel true a b", "1,2:a\n1,2", "line 7: expected 1 channel and a label, as in the first case, got 0"),
        ("@targetLabel true", "1,2:abc\n", "line 6: expected a finite number at the end, got 'abc'"),
        ("@targetLabel true", "1,2:nan\n", "line 6: expected a finite number at the end, got 'nan'"),
        ("@classLabel true a", "", "expected cases after @data, got none"),
        ("@classLabel true a", ":a\n", "line 6: expected values, got none in any channel"),
        ("@classLabel true a", "@data\n", "line 6: a header line after @data"),
        ("@classLabel maybe", "1:a\n", "line 4: expected true or false after @classlabel, got 'maybe'"),
        (
            "@dimensions six\n@classLabel true a",
            "1:a\n",
            "line 4: expected a whole number after @dimensions, got 'six'",
        ),
        ("@univariate true\n@dimensions 2\n@classLabel true a", "1:2:a\n", "@univariate true contradicts 2 dimensions"),
        ("@classLabel true a\n@targetLabel true", "1:a\n", "line 5: expected @classLabel or @targetlabel, got both"),
        ("@timeStamps true\n@classLabel true a", "(0,1),(1,2):a\n", "line 4: cases with time stamps are not supported"),
        ("", "1:a\n", r"expected a header line @classLabel \(or @targetlabel\) before @data"),
        ("1,2:a", "", "line 4: expected a header line such as '@classLabel true a b', or @data, got '1,2:a'"),
        (
            "@equalLength true\n@seriesLength 3\n@classLabel true a",
            "1,2,3:a\n1,2:a\n",
            "line 9: expected 3 values in every channel, since the header says @equalLength true, got 2",
        ),
        ("@equalLength true\n@classLabel true a", "1,2:1:a\n", "got unequal numbers"),
    ],
)
def test_broken_files_name_the_line(tmp_path: Path, header: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=r"a\.ts.*" + message):
        read(tmp_path, header, content)


def test_no_data_line_and_unknown_headers(tmp_path: Path) -> None:
    path = tmp_path / "cut.ts"
    path.write_text("@problemName x\n@classLabel true a")
    with pytest.raises(DataError, match=r"cut\.ts: expected a line @data and cases after it"):
        read_sequences([path], NO_COLUMNS)
    assert (
        "line 4: the unknown header @colour is left alone"
        in read(tmp_path, "@colour red\n@classLabel true a", "1:a").notes[0]
    )


def test_files_of_other_channels_and_options_of_tables_are_refused(tmp_path: Path) -> None:
    two = write(tmp_path, "@classLabel true a", "1:2:a\n", "two.ts")
    one = write(tmp_path, "@classLabel true a", "1:a\n", "one.ts")
    told = write(tmp_path, "@dimensions 1\n@classLabel true a", "1:a\n", "told.ts")
    layout = read_sequences([two], NO_COLUMNS).layout
    with pytest.raises(DataError, match=r"one\.ts, line 6: expected 2 channels and a label, as in .*two\.ts, got 1"):
        read_sequences([two, one], NO_COLUMNS)
    with pytest.raises(DataError, match=r"one\.ts, line 6: expected 2 channels and a label, as in training, got 1"):
        read_sequences([one], layout)
    with pytest.raises(DataError, match=r"told\.ts: expected 2 channels, as in training, but the header says 1"):
        read_sequences([told], layout)
    with pytest.raises(
        DataError, match=r"a \.ts file has no columns, its label is the last field; leave out --label, --text"
    ):
        read_sequences([two], SequenceColumns(label=("y",), text="t"))
    with pytest.raises(DataError, match="one label for each case; leave out --multi"):
        read_sequences([two], SequenceColumns(multi=True))
    assert len(read_sequences([two, two], NO_COLUMNS)) == 2


def test_japanese_vowels() -> None:
    data = read_sequences([shipped("japanesevowels/JapaneseVowels_TRAIN.ts")], NO_COLUMNS)
    assert data.values is not None
    assert data.labels is not None
    assert len(data) == 270
    assert {values.shape[1] for values in data.values} == {12}
    assert (min(map(len, data.values)), max(map(len, data.values))) == (7, 26)
    assert [data.labels.count(((str(speaker),),)) for speaker in range(1, 10)] == [30] * 9
    assert data.notes == ()


def test_basic_motions() -> None:
    data = read_sequences([shipped("basicmotions/BasicMotions_TRAIN.ts")], NO_COLUMNS)
    assert data.values is not None
    assert data.labels is not None
    assert {values.shape for values in data.values} == {(100, 6)}
    assert data.values[0][:3, 0].tolist() == [0.079106, 0.079106, -0.903497]
    assert [data.labels.count(((name,),)) for name in ("Standing", "Running", "Walking", "Badminton")] == [10] * 4
