"""The labelled sequences that a run keeps of its data."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from elman.data.sequence_store import load_seen, load_sequences, save_sequences
from elman.data.sequences import Cell, Layout, SequenceColumns, SequenceSet
from elman.errors import RunError

NUMBERS = Layout(
    "long",
    SequenceColumns(label=("y",), id="id", time=("t",), time_format="%d/%m/%Y"),
    ("u", "c=a", "c=b"),
    {"c": ("a", "b")},
    aligned=True,
)
TEXTS = Layout("text", SequenceColumns(label=("y",), text="words", multi=True))
PLENTY = 10**9


def made(
    layout: Layout, contents: list[str] | list[np.ndarray], labels: list[tuple[Cell, ...]] | None = None
) -> SequenceSet:
    texts = tuple(one for one in contents if isinstance(one, str))
    return SequenceSet(
        name="data",
        layout=layout,
        texts=texts or None,
        values=None if texts else tuple(one for one in contents if isinstance(one, np.ndarray)),
        labels=tuple(labels or ((("p",),) for _ in contents)),
        ids=tuple(f"id{i}" for i in range(len(contents))),
        places=tuple(f"line {i}" for i in range(len(contents))),
    )


def clips(lengths: list[int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.where(rng.random((length, 3)) < 0.2, np.nan, rng.normal(size=(length, 3))) for length in lengths]


def test_numbers_come_back_with_their_labels_and_layout(tmp_path: Path) -> None:
    labels: list[tuple[Cell, ...]] = [(("p",), ("q",)), (("q",),), (("p",), ("p",), ("ü",))]
    data = made(NUMBERS, clips([2, 1, 3]), labels)
    save_sequences(data, tmp_path / "tail.safetensors", PLENTY)
    again = load_sequences(tmp_path / "tail.safetensors")
    assert again.layout == NUMBERS
    assert again.labels == tuple(labels)
    assert again.texts is None
    for one, other in zip(data.values or (), again.values or (), strict=True):
        np.testing.assert_array_equal(one, other)
        assert other.dtype == np.float64


@given(texts=st.lists(st.text(), min_size=1, max_size=6))
def test_texts_come_back_to_the_letter(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("store") / "tail.safetensors"
    labels: list[tuple[Cell, ...]] = [(("news", "sport")[: i % 3],) for i in range(len(texts))]
    save_sequences(made(TEXTS, texts, labels), path, PLENTY)
    again = load_sequences(path)
    assert again.texts == tuple(texts)
    assert again.labels == tuple(labels)
    assert again.values is None
    assert again.layout == TEXTS


@pytest.mark.parametrize("most", [1, 100, 999])
@pytest.mark.parametrize("layout", [NUMBERS, TEXTS])
def test_the_size_is_bounded_and_what_is_kept_is_spread_evenly(tmp_path: Path, layout: Layout, most: int) -> None:
    contents = clips([2] * 500) if layout is NUMBERS else [f"{i:06}" for i in range(500)]  # 3,000 numbers or characters
    data = made(layout, contents, [((str(i),),) for i in range(500)])
    save_sequences(data, tmp_path / "tail", most)
    again = load_sequences(tmp_path / "tail")
    kept = len(again)
    assert kept == max(1, most // 6)
    assert again.labels is not None
    rows = [int(cells[0][0]) for cells in again.labels]
    assert rows[0] == 0
    if kept > 1:
        assert rows[-1] == 499
        assert max(np.diff(rows)) - min(np.diff(rows)) <= 1
    for row, text in zip(rows, again.texts or (), strict=False):
        assert text == f"{row:06}"
    for row, values in zip(rows, again.values or (), strict=False):
        np.testing.assert_array_equal(values, contents[row])


@pytest.mark.parametrize("layout", [NUMBERS, TEXTS])
def test_all_sequences_are_known_again_though_few_are_kept(tmp_path: Path, layout: Layout) -> None:
    contents = clips([2] * 500) if layout is NUMBERS else [f"{i:06}" for i in range(500)]
    others = [one + 1 if isinstance(one, np.ndarray) else one + "!" for one in contents[:7]]
    save_sequences(made(layout, contents), tmp_path / "tail", 100)
    assert len(load_sequences(tmp_path / "tail")) == 16
    seen = load_seen(tmp_path / "tail")
    assert seen.count == 500
    assert seen.count_in(made(layout, contents)) == 500
    assert seen.count_in(made(layout, [*others, *contents[-3:]])) == 3


def test_digests_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elman.data.sequence_store.MOST_DIGESTS", 100)
    data = made(TEXTS, [f"{i:06}" for i in range(250)])
    save_sequences(data, tmp_path / "tail", PLENTY)
    seen = load_seen(tmp_path / "tail")
    assert seen.count == 250
    assert len(seen.digests) == seen.count_in(data) == 84  # every third


def test_a_file_without_digests_tells_of_what_it_keeps(tmp_path: Path) -> None:
    data = made(NUMBERS, clips([3, 2]))
    save_sequences(data, tmp_path / "new", PLENTY)
    with safe_open(tmp_path / "new", framework="numpy") as file:
        kept = {name: file.get_tensor(name) for name in ("lengths", "data")}
        about = {key: one for key, one in json.loads(file.metadata()["about"]).items() if key != "count"}
        assert list(file.metadata()) == ["about"]
    save_file(kept, tmp_path / "old", metadata={"about": json.dumps(about)})
    assert len(load_sequences(tmp_path / "old")) == 2
    seen = load_seen(tmp_path / "old")
    assert (seen.count, seen.count_in(data)) == (2, 2)


@pytest.mark.parametrize(
    ("digests", "count"),
    [
        (np.zeros(2), 2),
        (np.zeros((2, 1), np.uint64), 2),
        (np.zeros(2, np.uint64), 1),
        (np.zeros(2, np.uint64), "2"),
        (np.zeros(2, np.uint64), None),
    ],
)
def test_damaged_digests_are_refused(tmp_path: Path, digests: np.ndarray, count: object) -> None:
    about = json.dumps(ABOUT | ({} if count is None else {"count": count}))
    save_file({**WHOLE, "digests": digests}, tmp_path / "tail", metadata={"about": about})
    with pytest.raises(RunError, match="tail: damaged: expected the sequences that `elman fit` wrote"):
        load_seen(tmp_path / "tail")


def test_the_same_data_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_sequences(made(NUMBERS, clips([3, 2])), tmp_path / name, PLENTY)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "garbage"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "tail.safetensors"
    save_sequences(made(NUMBERS, clips([3, 2])), path, PLENTY)
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "truncated": whole[:-9], "garbage": b"\xff" * 99}[damage])
    with pytest.raises(RunError, match=r"tail\.safetensors: damaged: expected the sequences that `elman fit` wrote"):
        load_sequences(path)
    with pytest.raises(RunError, match=r"tail\.safetensors: damaged: expected the sequences that `elman fit` wrote"):
        load_seen(path)


ABOUT = {"layout": NUMBERS.to_json(), "labels": [[["p"]], [["q"]]], "texts": False}
WHOLE = {"lengths": np.array([2, 1]), "data": np.zeros((3, 3))}
WRONG = {
    "no labels": (WHOLE, {"layout": ABOUT["layout"], "texts": False}),
    "labels are no lists": (WHOLE, {**ABOUT, "labels": 7}),
    "labels are none": (WHOLE, {**ABOUT, "labels": None}),
    "a label too few": (WHOLE, {**ABOUT, "labels": [[["p"]]]}),
    "another layout": (WHOLE, {**ABOUT, "layout": {}}),
    "layout is a list": (WHOLE, {**ABOUT, "layout": []}),
    "no lengths": ({"data": WHOLE["data"]}, ABOUT),
    "lengths beyond the data": ({**WHOLE, "lengths": np.array([2, 7])}, ABOUT),
    "negative lengths": ({**WHOLE, "lengths": np.array([4, -1])}, ABOUT),
    "nothing": ({"lengths": np.zeros(0, np.int64), "data": np.zeros((0, 3))}, {**ABOUT, "labels": []}),
    "features": ({**WHOLE, "data": np.zeros((3, 2))}, ABOUT),
    "one axis": ({**WHOLE, "data": np.zeros(3)}, ABOUT),
    "whole numbers": ({**WHOLE, "data": np.zeros((3, 3), np.int64)}, ABOUT),
    "numbers as text": (WHOLE, {**ABOUT, "texts": True}),
    "not UTF-8": ({**WHOLE, "data": np.full(3, 0xFF, np.uint8)}, {**ABOUT, "texts": True}),
}


@pytest.mark.parametrize("metadata", [None, {"about": "[["}, {"about": "7"}])
def test_without_a_description_it_is_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file(WHOLE, tmp_path / "tail", metadata=metadata)
    with pytest.raises(RunError, match="tail: damaged"):
        load_sequences(tmp_path / "tail")


@pytest.mark.parametrize("case", WRONG)
def test_what_contradicts_itself_is_refused(tmp_path: Path, case: str) -> None:
    arrays, about = WRONG[case]
    save_file(arrays, tmp_path / "tail", metadata={"about": json.dumps(about)})
    with pytest.raises(RunError, match="tail: damaged: expected the sequences that `elman fit` wrote"):
        load_sequences(tmp_path / "tail")


def test_the_cases_above_are_wrong_for_their_one_reason(tmp_path: Path) -> None:
    save_file(WHOLE, tmp_path / "tail", metadata={"about": json.dumps(ABOUT)})
    assert len(load_sequences(tmp_path / "tail")) == 2
