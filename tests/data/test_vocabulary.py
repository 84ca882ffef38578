"""Symbols and ids."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data.vocabulary import UNKNOWN, Vocabulary
from elman.errors import ConfigError, DataError


def test_order_is_by_frequency_then_symbol() -> None:
    counts = Counter("nab nab ac")
    vocabulary = Vocabulary.fit(counts)
    assert vocabulary.symbols == ("a", " ", "b", "n", "c")
    assert vocabulary.unknown_id is None
    assert len(vocabulary) == 5
    assert Vocabulary.fit(counts, min_count=2).symbols == ("a", " ", "b", "n")
    limited = Vocabulary.fit(counts, max_size=3, unknown=UNKNOWN, pad="<pad>")
    assert limited.symbols == ("<pad>", UNKNOWN, "a")
    assert (limited.pad_id, limited.unknown_id, limited.start_id, limited.end_id) == (0, 1, None, None)


def test_symbols_that_look_special_in_the_data_are_counted_once() -> None:
    vocabulary = Vocabulary.fit({UNKNOWN: 7, "the": 9}, unknown=UNKNOWN)
    assert vocabulary.symbols == (UNKNOWN, "the")


def test_unknown_symbols() -> None:
    vocabulary = Vocabulary(["a", UNKNOWN], unknown=UNKNOWN)
    np.testing.assert_array_equal(vocabulary.encode(["a", "z"]), [0, 1])
    assert "a" in vocabulary
    assert "z" not in vocabulary
    assert vocabulary["z"] == 1
    with pytest.raises(DataError, match="the symbol 'z' was not seen in training"):
        Vocabulary(["a"]).encode(["a", "z"])


def test_refused() -> None:
    with pytest.raises(ConfigError, match="'a' twice"):
        Vocabulary(["a", "b", "a"])
    with pytest.raises(ConfigError, match="the end symbol '<end>' is not in the vocabulary"):
        Vocabulary(["a"], end="<end>")
    with pytest.raises(DataError, match="is the text empty"):
        Vocabulary.fit({})


@given(st.lists(st.text(max_size=3), min_size=1))
def test_decode_inverts_encode_and_json_keeps_all(symbols: list[str]) -> None:
    vocabulary = Vocabulary.fit(Counter(symbols), start="<start of text>")
    again = Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))
    assert again.symbols == vocabulary.symbols
    assert again.start_id == vocabulary.start_id == 0
    ids = again.encode(symbols)
    assert ids.dtype == np.int32
    assert again.decode(ids) == symbols
