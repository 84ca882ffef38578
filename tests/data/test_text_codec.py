"""Text to symbols and back."""

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from elman.data.codec import Push, load_codec
from elman.data.text import Level, join, split
from elman.data.text_codec import TextCodec
from elman.data.vocabulary import UNKNOWN, Vocabulary
from elman.errors import DataError, RunError

TEXT = "so it goes\nand so on\n"
levels = st.sampled_from(["char", "word"])


def codec(text: str = TEXT, level: Level = "char") -> TextCodec:
    return TextCodec(level, Vocabulary.fit(Counter(split(text + "\n", level)), unknown=UNKNOWN))


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])), levels)
def test_decode_is_the_inverse_of_encode(text: str, level: Level) -> None:
    ours = codec(text, level)
    assert ours.decode(ours.encode(text)) == join(split(text, level), level)
    if level == "char":
        assert ours.decode(ours.encode(text)) == text


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), levels)
def test_pieces_joined_one_by_one_give_the_text(text: str, level: Level) -> None:
    ours = codec(text, level)
    ids = [ours.start_id, *ours.encode(text).tolist()]
    written = "".join(ours.joined(a, b) for a, b in itertools.pairwise(ids))
    assert written == ours.decode(np.array(ids[1:], dtype=np.int64))


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])), levels)
def test_json_is_exact(text: str, level: Level) -> None:
    ours = codec(text, level)
    again = TextCodec.from_json(json.loads(json.dumps(ours.to_json())))
    assert again.to_json() == ours.to_json()
    np.testing.assert_array_equal(again.encode(text + "?"), ours.encode(text + "?"))


def test_saved_and_loaded(tmp_path: Path) -> None:
    ours = codec("ä 語\u2028\t" + TEXT)
    ours.save(tmp_path / "codec.json")
    again = load_codec(tmp_path / "codec.json")
    assert isinstance(again, TextCodec)
    assert again.to_json() == ours.to_json()


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"kind": "no such"}', '{"kind": "text", "level": "char"}'])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "codec.json"
    with pytest.raises(RunError, match=r"codec\.json: not found"):
        load_codec(path)
    path.write_text(damage, encoding="utf-8")
    with pytest.raises(RunError, match=r"codec\.json: .*expected the JSON that `elman fit` wrote"):
        load_codec(path)


def test_symbols_that_were_not_seen_are_unknown_and_counted() -> None:
    ours = codec()
    assert ours.encode("sXo").tolist() == [ours.encode("s")[0], ours.unknown_id, ours.encode("o")[0]]
    assert ours.count_unknown(list("sXoY")) == 2


def test_a_new_text_is_read_after_a_line_end() -> None:
    ours = codec(level="word")
    assert ours.vocabulary.symbols[ours.start_id] == "\n"
    assert ours.opening()["symbols"].tolist() == [ours.start_id]


def test_a_push_is_one_step() -> None:
    ours = codec(level="word")
    steps = ours.push(Push("goes"), {})
    assert steps.inputs["symbols"].tolist() == ours.encode("goes").tolist()
    assert steps.flags == []
    assert ours.push(Push("gone"), {}).flags == ["unknown symbol 'gone'"]


@pytest.mark.parametrize("wrong", ["", " ", "so it", 3, None, ["so"], {"a": 1}])
def test_what_is_not_one_word(wrong: Any) -> None:
    with pytest.raises(DataError, match='expected "x" to be one word'):
        codec(level="word").push(Push(wrong), {})


def test_answers_are_the_likeliest_symbols_with_their_probabilities() -> None:
    ours = codec()
    logits = np.random.default_rng(0).normal(size=len(ours.vocabulary)).astype(np.float32)
    expected = softmax(logits.astype(np.float64))
    answer = ours.answer(logits, {})
    assert isinstance(answer, dict)
    order = np.argsort(-expected)[: ours.top]
    assert list(answer) == [ours.vocabulary.symbols[i] for i in order]
    assert list(answer.values()) == pytest.approx(expected[order].tolist(), rel=1e-12)
