"""Arrays in memory: shapes, texts, labels of every kind, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from elman.data.arrays import Arrays
from elman.data.sequences import Layout, SequenceColumns, SequenceSet, read_sequences
from elman.data.source import Source
from elman.errors import DataError

ZEROS = np.zeros((2, 3, 1))


def read(x: Any, y: Any = None, multi: bool = False, layout: Layout | None = None) -> SequenceSet:
    columns = layout or SequenceColumns(multi=multi)
    return read_sequences([Arrays(x, y)], columns, labels="optional" if y is None else "required")


def labels(y: Any, multi: bool = False) -> list[tuple[str, ...]]:
    found = read(np.zeros((len(y), 1)), y, multi).labels
    assert found is not None
    return [cell for (cell,) in found]


@given(
    hnp.arrays(np.float64, hnp.array_shapes(min_dims=3, max_dims=3), elements=st.floats(-1e99, 1e99) | st.just(np.nan))
)
def test_all_forms_of_the_same_numbers(x: np.ndarray) -> None:
    forms = [x, list(x), torch.from_numpy(x), [torch.from_numpy(one) for one in x], x.tolist(), x.astype(object)]
    for form in forms:
        data = read(form)
        assert data.values is not None
        assert data.layout.names == tuple(str(number + 1) for number in range(x.shape[2]))
        for values, expected in zip(data.values, x, strict=True):
            np.testing.assert_array_equal(values, expected)


def test_lengths_may_differ_and_one_feature_needs_no_axis() -> None:
    data = read([np.array([1.0, 2]), [3]])
    assert data.values is not None
    assert [values.tolist() for values in data.values] == [[[1], [2]], [[3]]]
    assert data.ids == ("0", "1")
    assert data.places == ("x[0]", "x[1]")


@pytest.mark.parametrize(
    "frame", [np.array([[1, 2], [3, 4]]), pd.DataFrame([[1, 2], [3, 4]]), torch.tensor([[1, 2], [3, 4]])]
)
def test_a_matrix_holds_plain_vectors(frame: Any) -> None:
    data = read(frame)
    assert data.values is not None
    assert [values.tolist() for values in data.values] == [[[1, 2]], [[3, 4]]]


@pytest.mark.parametrize(
    "x", [["a b", ""], ("a b", ""), np.array(["a b", ""]), pd.Series(["a b", ""]), pl.Series(["a b", ""])]
)
def test_texts(x: Any) -> None:
    data = read(x, [1, 0])
    assert data.texts == ("a b", "")
    assert data.values is None
    assert data.labels == ((("1",),), (("0",),))


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        ([3, 0], ["3", "0"]),
        (np.array([3, 0], np.uint8), ["3", "0"]),
        (np.array([3.0, 0.25]), ["3", "0.25"]),
        (torch.tensor([3, 0]), ["3", "0"]),
        (pd.Series(["b", " a"], index=[7, 9]), ["b", "a"]),
        (pl.Series(["b", "a"]), ["b", "a"]),
        (pd.Series(["b", "a"], dtype="category"), ["b", "a"]),
        ([True, np.False_], ["true", "false"]),
    ],
)
def test_labels_are_text_however_they_are_held(y: Any, expected: list[str]) -> None:
    assert labels(y) == [(label,) for label in expected]


def test_several_labels_and_several_numbers() -> None:
    assert labels([["b", "a", "b"], []], multi=True) == [("b", "a"), ()]
    assert labels([{"b", "a"}, frozenset()], multi=True) == [("a", "b"), ()]
    assert labels(np.array([[1, 0, 1], [0, 0, 0]]), multi=True) == [("0", "2"), ()]
    assert labels(torch.tensor([[True, False], [False, True]]), multi=True) == [("0",), ("1",)]
    assert labels(np.array([[0.5, 2], [-1, 0]])) == [("0.5", "2"), ("-1", "0")]


@pytest.mark.parametrize(
    ("x", "y", "multi", "message"),
    [
        ([[1.0, np.inf], [2.0, 3.0]], None, False, r"x\[0\], step 1, feature 0: infinite"),
        (
            [[1.0, 2.0], [1e101, 3.0]],
            None,
            False,
            r"x\[1\], step 0, feature 0: too large; expected a number up to 1e\+100",
        ),
        (np.array([[[1.0]], [[-np.inf]]]), None, False, r"x\[1\], step 0, feature 0: infinite"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], None, False, r"x\[1\] has 4 features, x\[0\] has 3"),
        ([[1.0], []], None, False, r"x\[1\] is empty"),
        ([], None, False, "x holds no sequences"),
        (np.zeros(3), None, False, "got an array with 1 axes; one sequence alone goes in a list"),
        (np.zeros((1, 2, 3, 4)), None, False, "got an array with 4 axes"),
        ([np.zeros((2, 2, 2))], None, False, r"x\[0\]: expected \(steps, features\) or \(steps,\), got the shape"),
        ([[1, "a"]], None, False, r"x\[0\]: expected numbers, got <U"),
        (np.array([[1, {}]], object), None, False, r"x\[0\]: expected numbers, got object \(such as 1\)"),
        (np.array([["1", 2]], object), None, False, r"x\[0\]: expected numbers, got object"),
        ([[[1, 2], [3]]], None, False, r"x\[0\] cannot be made an array"),
        (np.zeros((1, 2), complex), None, False, "expected numbers, got complex128"),
        (["a", 3], None, False, r"x\[1\]: expected a text, as x\[0\] is, got int"),
        ("abc", None, False, "got one text; put it in a list"),
        (3, None, False, "expected an array or a list as x, got int"),
        (ZEROS, [1], False, "expected 2 labels, as many as there are sequences, got 1"),
        (ZEROS, [1, None], False, r"y\[1\] is missing"),
        (ZEROS, [1, float("nan")], False, r"y\[1\] is missing"),
        (ZEROS, "ab", False, "expected a list or array of labels as y, got str"),
        (ZEROS, [(1, 2), (1,)], False, r"y\[1\] has 1 values, y\[0\] has 2"),
        (ZEROS, ["a", "b"], True, r"y\[0\]: expected a list or set of labels, got 'a'"),
        (ZEROS, [["a"], ["b", None]], True, r"y\[1\]: a label is missing"),
        (ZEROS, np.array([[0, 1], [0, 2]]), True, r"y\[1\]: expected a row of 0 and 1, got \[0, 2\]"),
        (ZEROS, np.zeros((2, 1, 1)), False, r"expected y \(sequences,\) or \(sequences, labels\), got 3 axes"),
        (torch.zeros(1, 1, 1, requires_grad=True), None, False, "x cannot be made an array"),
    ],
)
def test_what_is_refused(x: Any, y: Any, multi: bool, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(x, y, multi)


def test_labels_are_required_unless_told() -> None:
    with pytest.raises(DataError, match="expected the labels y as well"):
        read_sequences([Arrays(ZEROS)], SequenceColumns())
    data = read_sequences([Arrays(ZEROS, [1, None])], SequenceColumns(), labels="optional")
    assert data.labels is None
    assert data.notes == ("arrays: 1 of 2 labels are missing; no label is used",)


def test_missing_values_are_counted() -> None:
    assert read([[1.0, np.nan], [np.nan]]).notes == ("arrays: 2 values missing",)


def test_arrays_stand_for_other_forms_of_the_same_content(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("u,v,y\n1,2,a\n3,4,b\n")
    numbers = read_sequences([tmp_path / "a.csv"], SequenceColumns(label=("y",))).layout
    assert read([[[5, 6]]], ["b"], layout=numbers).layout is numbers
    with pytest.raises(
        DataError, match=r"expected x \(sequences, steps, 2\), got 1 features: the model was fitted on u, v"
    ):
        read([[5, 6]], layout=numbers)
    with pytest.raises(DataError, match="the model was fitted on numbers, got texts"):
        read(["a"], layout=numbers)
    with pytest.raises(DataError, match="the model was fitted on texts, got numbers"):
        read(ZEROS, layout=read(["a"]).layout)
    with pytest.raises(DataError, match=r"a\.csv: expected arrays, as the model was fitted on, got a table"):
        read_sequences([tmp_path / "a.csv"], read(ZEROS).layout)


def test_sources() -> None:
    arrays = Arrays(ZEROS, [0, 1])
    source = Source(arrays)
    assert (source.kind, source.name, source.arrays, source.size()) == ("arrays", "arrays", arrays, None)
    assert repr(arrays) == "Arrays(x: ndarray, y: list)"
    with pytest.raises(TypeError, match="have no bytes"):
        source.open()
    with pytest.raises(DataError, match="arrays have no columns; leave out --label"):
        read_sequences([source], SequenceColumns(label=("y",)))
    with pytest.raises(DataError, match="expected one pair of arrays, got several"):
        read_sequences([source, source], SequenceColumns())
