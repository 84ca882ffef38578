import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data.codec import Push, load_codec
from elman.data.gaps import Clock, RowTimes
from elman.data.guard import InputGuard
from elman.data.scaling import Scaler
from elman.data.sequence_codec import LIMIT, SequenceCodec, level_of, numbers, tokens
from elman.data.sequences import Floats, Layout, SequenceColumns, SequenceSet
from elman.data.word_parts import MOST_PARTS, WordParts, parts_of
from elman.errors import DataError


def of_values(*values: Floats, names: tuple[str, ...] = ("a", "b")) -> SequenceSet:
    layout = Layout("arrays", SequenceColumns(), names)
    ids = tuple(str(number) for number in range(len(values)))
    return SequenceSet("arrays", layout, None, values, None, ids, ids)


def of_texts(*texts: str) -> SequenceSet:
    ids = tuple(str(number) for number in range(len(texts)))
    return SequenceSet("texts", Layout("text", SequenceColumns(text="t")), texts, None, None, ids, ids)


def fitted(data: SequenceSet, **options: Any) -> SequenceCodec:
    codec = SequenceCodec(data.layout, "one", ["no", "yes"])
    chosen = {
        "level": None,
        "casing": "lower",
        "longest": None,
        "min_count": 1,
        "max_vocabulary": None,
        "parts": False,
        "policy": "clip",
    }
    codec.fit_inputs(data, **{**chosen, **options})
    return codec


def test_words_and_the_signs_between_them() -> None:
    assert tokens("It's GOOD (really), I'd say: 9/10", "word", "lower") == [
        "it", "'s", "good", "(", "really", ")", ",", "i", "'d", "say", ":", "9", "/", "10",
    ]  # fmt: skip
    assert tokens("Ça va ?", "word", "keep") == ["Ça", "va", "?"]
    assert tokens("Ab", "char", "lower") == ["a", "b"]


def test_texts_without_blanks_are_read_by_character() -> None:
    assert level_of(["это хорошо", "и это"]) == "word"
    assert (
        level_of(
            ["これはとても良い映画でした、また見たいと思います", "ストーリーが単純すぎて途中で眠くなってしまいました"]
        )
        == "char"
    )
    assert level_of([""]) == "word"


def test_texts_become_ids_and_what_is_rare_or_new_is_unknown() -> None:
    codec = fitted(of_texts("so it goes", "so it is"), min_count=2)
    assert codec.vocabulary is not None
    assert codec.vocabulary.symbols == ("<unk>", "it", "so")
    assert codec.encode_text("So, it was")["symbols"].tolist() == [2, 0, 1, 0]
    assert codec.encode_text("")["symbols"].tolist() == [0]
    assert codec.count_unknown(["so it was"]) == (1, 3)


def test_words_are_read_with_the_letters_they_are_made_of() -> None:
    codec = fitted(of_texts("dull", "fun"), parts=True)
    inputs = codec.complete(codec.encode_text("dull dullness"))
    assert inputs["parts"].shape == (2, 26)
    known, new = ({int(p) for p in row if p} for row in inputs["parts"])
    assert len(known) == 10  # <du dul ull ll> <dul dull ull> <dull dull> <dull>
    assert len(known & new) >= 6  # all but those with the end of the word
    assert "parts" not in fitted(of_texts("dull", "fun"), parts=True, level="char").encode_text("dull")
    assert parts_of("a") == parts_of("a")
    assert len(parts_of("x" * 500)) == MOST_PARTS


def test_the_parts_of_every_word_are_found_again() -> None:
    words = [f"word{number}" for number in range(3000)]
    known = WordParts()
    rows = known.rows(words)
    assert rows.min() == 1
    assert known.rows(words[::-1]).tolist() == rows[::-1].tolist()
    whole = known.look_up(rows, trim=False)
    assert whole.shape == (3000, MOST_PARTS)
    assert all([p for p in row if p] == parts_of(word) for word, row in zip(words, whole.tolist(), strict=True))
    assert not known.look_up(np.zeros((2, 3), np.int32)).any()


def test_at_most_so_many_steps_are_read() -> None:
    assert fitted(of_texts("a b c d"), longest=2).encode_text("a b c")["symbols"].tolist() == [1, 2]
    values = np.arange(8.0).reshape(4, 2)
    assert len(fitted(of_values(values), longest=3).encode(of_values(values))[0]["values"]) == 3


def test_numbers_are_scaled_over_all_sequences() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(5, 3, (int(length), 2)) for length in rng.integers(1, 9, 30)]
    codec = fitted(of_values(*parts))
    joined = np.concatenate(parts)
    expected = (parts[3] - joined.mean(0)) / joined.std(0)
    np.testing.assert_allclose(codec.encode(of_values(*parts))[3]["values"], expected, rtol=1e-5)
    assert "observed" not in codec.encode(of_values(*parts))[3]


def test_a_missing_number_is_the_mean_and_told_if_training_had_missing_ones() -> None:
    values = np.array([[1.0, 2.0], [np.nan, 4.0], [3.0, 9.0]])
    inputs = fitted(of_values(values)).encode_values(values)
    assert inputs["values"][1, 0] == 0
    assert inputs["observed"].tolist() == [[1, 1], [0, 1], [1, 1]]
    whole = fitted(of_values(np.nan_to_num(values)))
    assert set(whole.encode_values(values)) == {"values"}


def test_wild_values_are_stopped_by_the_guard_and_counted() -> None:
    values = np.array([[0.0, 0.0], [1.0, 1.0]])
    codec = fitted(of_values(values))
    assert np.abs(codec.encode_values(np.array([[1e9, np.inf]]))["values"]).max() <= LIMIT
    assert codec.guard is not None
    assert len(codec.guard.report()) == 2
    with pytest.raises(DataError, match="'a' is 1e\\+09; expected -1 to 2"):
        fitted(of_values(values), policy="error").encode_values(np.array([[1e9, 0.0]]))


def test_labels() -> None:
    layout = Layout("table", SequenceColumns())
    one = SequenceCodec(layout, "one", ["no", "yes"])
    assert one.encode_labels([("yes",), ("no",)], "x").tolist() == [1, 0]
    with pytest.raises(DataError, match=r"a\.csv, line 3: label 'maybe' was not seen in training; known: 'no', 'yes'"):
        one.encode_labels([("maybe",)], "a.csv, line 3")
    several = SequenceCodec(layout, "several", ["no", "yes"])
    assert several.encode_labels([(), ("yes", "no"), ("yes",)], "x").tolist() == [[0, 0], [1, 1], [0, 1]]
    target = Scaler(np.array([10.0]), np.array([2.0]))
    scaled = SequenceCodec(layout, "numbers", ["y"], target=target)
    assert scaled.encode_labels([("14",)], "x").tolist() == [[2.0]]
    assert scaled.decode(np.array([[2.0]])).tolist() == [[14.0]]


def test_numbers_as_labels_are_checked() -> None:
    assert numbers([("1", "-2.5")], "x").tolist() == [[1.0, -2.5]]
    with pytest.raises(DataError, match=r"x, line 2: expected a number as label, got 'ten'"):
        numbers([("1",), ("ten",)], "x, line 2")
    for text, wanted in {
        "inf": "a finite number",
        "nan": "a finite number",
        "-1e101": "a number up to 1e.100 in size",
    }.items():
        with pytest.raises(DataError, match=f"x: expected {wanted} as label, got '{text}'"):
            numbers([("1", text)], "x")


def test_answers() -> None:
    layout = Layout("table", SequenceColumns())
    one = SequenceCodec(layout, "one", ["a", "b", "c"])
    scores = np.array([0.0, 2.0, 1.0])
    expected = np.exp(scores) / np.exp(scores).sum()
    answer = one.answer(scores, {})
    assert isinstance(answer, dict)
    assert list(answer) == ["b", "c", "a"]
    assert math.isclose(answer["b"], expected[1])
    several = SequenceCodec(layout, "several", ["a", "b"]).answer(np.array([0.0, 800.0]), {})
    assert several == {"b": 1.0, "a": 0.5}


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2), min_size=2, max_size=9))
def test_a_stream_reads_what_the_whole_sequence_is_read_as(rows: list[list[float]]) -> None:
    codec = fitted(of_values(np.array(rows)))
    whole = codec.encode_values(np.array(rows))["values"]
    steps = [codec.push(Push(row), {}).inputs["values"][0] for row in rows]
    np.testing.assert_array_equal(np.stack(steps), whole)


def phases() -> SequenceCodec:
    """Of a number and a category, each missing somewhere in training."""
    values = np.array([[1.0, 1.0, 0.0], [3.0, 0.0, 1.0], [np.nan, np.nan, np.nan]])
    data = of_values(values, names=("flow", "phase=early", "phase=late"))
    layout = Layout("long", SequenceColumns(), data.layout.names, {"phase": ("early", "late")})
    return fitted(SequenceSet("x", layout, None, data.values, None, data.ids, data.places))


@pytest.mark.parametrize("missing", [None, "", "  "])
def test_a_missing_category_is_missing_in_all_its_features(missing: str | None) -> None:
    codec = phases()
    step = codec.push(Push({"phase": missing, "flow": 2.0}), {})
    expected = codec.encode_values(np.array([[2.0, np.nan, np.nan]]))
    np.testing.assert_array_equal(step.inputs["values"], expected["values"])
    assert step.inputs["observed"].tolist() == [[1, 0, 0]]
    assert step.flags == []


def test_a_category_that_training_has_not_seen_is_flagged() -> None:
    codec = phases()
    step = codec.push(Push({"phase": "over", "flow": 2.0}), {})
    expected = codec.encode_values(np.array([[2.0, 0.0, 0.0]]))
    np.testing.assert_array_equal(step.inputs["values"], expected["values"])
    assert step.inputs["observed"].tolist() == [[1, 1, 1]]
    assert step.flags == [
        "column 'phase': 1 value not seen in training (such as 'over'), taken as none of the categories"
    ]
    assert codec.push(Push({"phase": " late ", "flow": 2.0}), {}).flags == []
    with pytest.raises(DataError, match=r"expected 'phase' to be a category as text, or null, got \['late'\]"):
        codec.push(Push({"phase": ["late"], "flow": 2.0}), {})
    with pytest.raises(DataError, match="expected \"x\" to have 'phase', got 'flow'"):
        codec.push(Push({"flow": 2.0}), {})


def test_a_row_by_name_with_a_category() -> None:
    codec = phases()
    by_name = codec.push(Push({"phase": "late", "flow": 2.0}), {})
    by_order = codec.push(Push([2.0, 0.0, 1.0]), {})
    np.testing.assert_array_equal(by_name.inputs["values"], by_order.inputs["values"])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([1.0], 'expected "x" to be 2 numbers'),
        ("text", 'expected "x" to be 2 numbers'),
        ({"a": 1.0}, "expected \"x\" to have 'b'"),
        ({"a": 1.0, "b": "two"}, "expected 'b' to be a number or null, got 'two'"),
    ],
)
def test_a_row_that_cannot_be_read(x: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fitted(of_values(np.ones((3, 2)))).push(Push(x), {})


def test_a_symbol_that_cannot_be_read() -> None:
    codec = fitted(of_texts("so it goes"))
    assert codec.push(Push("IT"), {}).flags == []
    assert codec.push(Push("new"), {}).flags == ["unknown symbol 'new'"]
    with pytest.raises(DataError, match='expected "x" to be one word, got 2'):
        codec.push(Push("so it"), {})
    with pytest.raises(DataError, match='expected "x" to be one word as text, got 3'):
        codec.push(Push(3), {})


def timed(*values: Floats, times: Sequence[RowTimes]) -> tuple[SequenceCodec, SequenceSet]:
    data = replace(of_values(*values), moments=tuple(times))
    return fitted(data, gaps=True), data


def test_the_time_between_rows_is_read_where_asked_for() -> None:
    times = [np.array([0.0, 2.0, 3.0]), np.array([10.0, 12.0])]
    codec, data = timed(np.arange(6.0).reshape(3, 2), np.ones((2, 2)), times=times)
    assert [one["gap"].tolist() for one in codec.encode(data)] == [[[1], [1], [0.5]], [[1], [1]]]
    assert set(fitted(data).encode(data)[0]) == {"values"}
    codec.longest = 2
    assert [one["gap"].tolist() for one in codec.encode(data)] == [[[1], [1]], [[1], [1]]]
    dated = replace(data, moments=(*times[:1], np.array(["2024-01-01", "2024-01-02"], "datetime64[us]")))
    with pytest.raises(DataError, match="1: expected times as numbers, as in training, got time stamps"):
        codec.encode(dated)


def test_a_stream_reads_the_time_since_its_last_row() -> None:
    times = np.array(["2024-01-01", "2024-01-02", "2024-01-04", "2026-01-01"], "datetime64[us]")
    codec, data = timed(np.arange(8.0).reshape(4, 2), times=[times])
    memory, gaps = codec.start(), []
    for row, time in zip([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]], times, strict=True):
        before = dict(memory)
        step = codec.push(Push(row, str(time)), memory)
        assert memory == before
        memory = json.loads(json.dumps(step.memory))
        gaps.append(step.inputs["gap"])
    np.testing.assert_array_equal(np.concatenate(gaps), codec.encode(data)[0]["gap"])
    with pytest.raises(DataError, match="time 2025-01-01 is not later than that of the row before, 2026-01-01"):
        codec.push(Push([0.0, 1.0], "2025-01-01"), memory)
    with pytest.raises(DataError, match='expected a "time" with every row'):
        codec.push(Push([0.0, 1.0]), memory)


def test_the_clock_survives_json_and_older_files_have_none(tmp_path: Any) -> None:
    codec, data = timed(np.ones((2, 2)), times=[np.array([0.0, 0.5])])
    codec.save(tmp_path / "codec.json")
    again = load_codec(tmp_path / "codec.json")
    assert isinstance(again, SequenceCodec)
    assert again.clock == codec.clock == Clock(stamps=False, unit=0.5)
    assert "clock" not in fitted(data).to_json()  # as written before: states of streams are known by it
    assert SequenceCodec.from_json(fitted(data).to_json()).clock is None


def test_survives_json(tmp_path: Any) -> None:
    values = np.array([[1.0, np.nan], [2.0, 5.0]])
    guard = InputGuard.fit([values], ["a", "b"], "impute")
    layout = Layout("long", SequenceColumns(label=("y",), id="i"), ("a", "b"), {"c": ("x", "z")}, aligned=True)
    codec = SequenceCodec(
        layout, "numbers", ["y"], scaler=Scaler.fit([values], 2), guard=guard, masked=True, longest=7,
        target=Scaler(np.array([1.0]), np.array([2.0])),
    )  # fmt: skip
    codec.save(tmp_path / "codec.json")
    again = load_codec(tmp_path / "codec.json")
    assert isinstance(again, SequenceCodec)
    assert json.dumps(again.to_json()) == json.dumps(codec.to_json())
    assert again.layout == layout
