"""One label has one name, however it was stored."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data.arrays import Arrays
from elman.data.label_cells import in_one_form
from elman.data.sequences import Cell, Layout, SequenceColumns, SequenceSet, read_sequences

PLAIN = SequenceColumns(label=("y",))
FORMS = ("csv", "tsv", "parquet", "jsonl", "polars", "pandas", "arrays", "ts")


def stored(folder: Path, form: str, labels: list[Any]) -> Any:
    """The labels beside some numbers, in one of `FORMS`."""
    numbers = [float(row) for row in range(len(labels))]
    frame = pl.DataFrame({"u": numbers, "y": labels})
    path = folder / f"a.{form}"
    if form == "parquet":
        frame.write_parquet(path)
    elif form == "jsonl":
        frame.write_ndjson(path)
    elif form in ("csv", "tsv"):
        frame.to_pandas().to_csv(path, sep="," if form == "csv" else "\t", index=False)
    elif form == "ts":
        cases = "".join(f"{u}:{label}\n" for u, label in zip(numbers, labels, strict=True))
        path.write_text(f"@classLabel true {' '.join(map(str, dict.fromkeys(labels)))}\n@data\n{cases}")
    else:
        return {"polars": frame, "pandas": frame.to_pandas(), "arrays": Arrays(np.array(numbers)[:, None], labels)}[
            form
        ]
    return path


def read(source: Any, layout: Layout | None = None) -> SequenceSet:
    bare = isinstance(source, Arrays) or getattr(source, "suffix", "") == ".ts"
    return read_sequences([source], layout or (SequenceColumns() if bare else PLAIN))


def cells(data: SequenceSet) -> list[Cell]:
    return [cell for (cell,) in data.labels or ()]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("labels", "expected", "kind"),
    [
        ([1.0, 2.0, 0.0, 1.0], ["1", "2", "0", "1"], "number"),
        ([1, 2, -3, 1], ["1", "2", "-3", "1"], "number"),
        (["1.0", "2", "1", "-0.0"], ["1", "2", "1", "0"], "number"),
        ([1.0, 2.5, -1.5], ["1", "2.5", "-1.5"], "number"),
        ([True, False, True], ["true", "false", "true"], "truth"),
        (["TRUE", "False", "true"], ["true", "false", "true"], "truth"),
        (["007", "1.0", "1"], ["007", "1.0", "1"], "text"),
        (["1.0", "a", "1"], ["1.0", "a", "1"], "text"),
        (["True", "no"], ["True", "no"], "text"),
        (["1_0", "2"], ["1_0", "2"], "text"),
    ],
)
def test_labels_are_the_same_in_every_form(
    tmp_path: Path, form: str, labels: list[Any], expected: list[str], kind: str
) -> None:
    data = read(stored(tmp_path, form, labels))
    assert cells(data) == [(label,) for label in expected]
    assert data.layout.label_kinds == (kind,)
    again = read(stored(tmp_path, form, labels), Layout.from_json(json.loads(json.dumps(data.layout.to_json()))))
    assert again.labels == data.labels


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl", "polars", "pandas", "arrays"])
def test_later_data_is_read_as_training_was_however_it_is_stored(tmp_path: Path, form: str) -> None:
    trained = read(pl.DataFrame({"u": [1.0, 2.0], "y": ["1.0", "2"]})).layout
    for labels in ([1.0, 2.0], [1, 2], ["1", "2.0"]):
        assert cells(read(stored(tmp_path, form, labels), trained)) == [("1",), ("2",)]
    assert cells(read(stored(tmp_path, form, ["1.0", "new", "007"]), trained)) == [("1",), ("new",), ("007",)]
    truths = read(pl.DataFrame({"u": [1.0, 2.0], "y": [True, False]})).layout
    assert cells(read(stored(tmp_path, form, ["True", "FALSE"]), truths)) == [("true",), ("false",)]


def test_a_single_kind_of_label_in_later_data_settles_nothing(tmp_path: Path) -> None:
    trained = read(pl.DataFrame({"u": [1.0, 2.0], "y": ["1.0", "a"]})).layout
    assert cells(read(stored(tmp_path, "csv", ["1.0"]), trained)) == [("1.0",)]


def test_the_labels_of_a_file_and_of_another_are_one_column(tmp_path: Path) -> None:
    files = [stored(tmp_path, "csv", ["1.0", "2.0"]), stored(tmp_path, "parquet", [1, 2])]
    assert cells(read_sequences(files, PLAIN)) == [("1",), ("2",), ("1",), ("2",)]


def test_runs_of_earlier_versions_read_labels_as_they_stand(tmp_path: Path) -> None:
    old = {**read(pl.DataFrame({"u": [1.0], "y": ["1.0"]})).layout.to_json()}
    del old["label_kinds"]
    assert cells(read(stored(tmp_path, "csv", ["1.0"]), Layout.from_json(old))) == [("1.0",)]


def test_several_labels_in_a_cell_are_one_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("u,y\n1,1.0|2\n2,\n3,2.0|2\n")
    columns = SequenceColumns(label=("y",), multi=True)
    data = read_sequences([tmp_path / "a.csv"], columns)
    assert cells(data) == [("1", "2"), (), ("2",)]
    assert data.layout.label_kinds == ("number",)
    frame = pl.DataFrame({"u": [1.0], "y": [[2.0, 1.0]]})
    assert cells(read_sequences([frame], data.layout)) == [("2", "1")]
    assert cells(read_sequences([Arrays([[1.0]], [[1.0, 3]])], data.layout)) == [("1", "3")]


def test_labels_that_are_names_of_columns_stay(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("u,1.0,2.0\n1,1,0\n2,1,1\n")
    data = read_sequences([tmp_path / "a.csv"], SequenceColumns(label=("1.0", "2.0"), multi=True), header=True)
    assert cells(data) == [("1.0",), ("1.0", "2.0")]


def test_each_column_is_of_its_own_kind() -> None:
    found, kinds = in_one_form([("1.0", "1.0"), ("2", "x")], None, together=False)
    assert (found, kinds) == ([("1", "1.0"), ("2", "x")], ("number", "text"))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_keep_their_value(values: list[float]) -> None:
    found, kinds = in_one_form([(repr(value),) for value in values], None, together=False)
    assert kinds == ("number",)
    assert [float(label) for (label,) in found] == values
    whole = [label for (label,), value in zip(found, values, strict=True) if value.is_integer() and abs(value) < 1e16]
    assert whole == [str(int(value)) for value in values if value.is_integer() and abs(value) < 1e16]


def test_pandas_objects_are_read_by_value() -> None:
    frame = pd.DataFrame({"u": [1.0, 2.0], "y": pd.Series(["1.0", "2"], dtype="category")})
    assert cells(read(frame)) == [("1",), ("2",)]
