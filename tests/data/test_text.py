"""Text in pieces: the same as in one piece, and what damaged files say."""

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data import text as module
from elman.data.text import (
    LEVELS,
    Level,
    count_symbols,
    encode_stream,
    join,
    join_words,
    read_text,
    split,
    split_words,
)
from elman.data.vocabulary import UNKNOWN, Vocabulary
from elman.errors import ConfigError, DataError


def write(folder: Path, content: bytes, name: str = "a.txt") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
def test_chunks_join_to_the_text(tmp_path: Path, size: int) -> None:
    text = "Größe\r\n\r\n日本 🎼\rend"
    path = write(tmp_path, gzip.compress(b"\xef\xbb\xbf" + text.encode()), "a.txt.gz")
    chunks = list(read_text(path, size))
    assert "".join(chunks) == "Größe\n\n日本 🎼\nend"
    assert all(0 < len(chunk) <= size for chunk in chunks)


@pytest.mark.parametrize("size", [1, 4, 8, 1 << 20])
@pytest.mark.parametrize("before", [0, 1, 2, 11])
def test_damage_names_file_line_and_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, before: int
) -> None:
    monkeypatch.setattr(module, "_BYTES_AT_ONCE", size)
    head = ("🎼\n" * before).encode()  # 5 bytes a line
    for damage, message in [
        (b"\xff\n\n", f"line {before + 1}: expected UTF-8 text, got byte 0xff at byte {5 * before}"),
        (b"ab\xffc", f"line {before + 1}: expected UTF-8 text, got byte 0xff at byte {5 * before + 2}"),
        (b"ab\xe6\x97x\xff", f"line {before + 1}: expected UTF-8 text, got byte 0xe6 at byte {5 * before + 2}"),
        (b"\xe6\x97", f"line {before + 1}: expected UTF-8 text, got byte 0xe6 at byte {5 * before}"),
        (b"ab\xff\n\n", f"line {before + 1}: expected UTF-8 text, got byte 0xff at byte {5 * before + 2}"),
        (b"ab\0c", f"line {before + 1}: expected text, got a NUL byte at byte {5 * before + 2}"),
        (b"a\n\xe6\0", f"line {before + 2}: expected UTF-8 text, got byte 0xe6 at byte {5 * before + 2}"),
    ]:
        with pytest.raises(DataError, match=r"a\.txt, " + message):
            list(read_text(write(tmp_path, head + damage)))


def test_words() -> None:
    assert split_words(" no <unk>\n\n it\twas \n") == ["no", "<unk>", "\n", "\n", "it", "was", "\n"]
    assert join_words(["a", "b", "\n", "\n", "c"]) == "a b\n\nc"
    assert split("ab", "char") == ["a", "b"]
    assert join(["a", "b"], "char") == "ab"
    assert split("ab c", "word") == ["ab", "c"]
    assert join(["a", "b"], "word") == "a b"
    with pytest.raises(ConfigError, match="one of char, word, got 'byte'"):
        split("a", "byte")  # type: ignore[arg-type]


words = st.lists(st.sampled_from(["a", "bc", "日本", "\n"]))


@given(words)
def test_split_inverts_join(symbols: list[str]) -> None:
    assert split_words(join_words(symbols)) == symbols


@given(st.lists(st.text(st.sampled_from("ab \n\té")), max_size=8), st.sampled_from(["char", "word"]))
@settings(deadline=None)
def test_any_cut_gives_the_same_symbols(chunks: list[str], level: Level) -> None:
    symbols = split("".join(chunks), level)
    assert count_symbols(chunks, level) == Counter(symbols)
    vocabulary = Vocabulary.fit(Counter(symbols[: len(symbols) // 2]), unknown=UNKNOWN)
    np.testing.assert_array_equal(encode_stream(chunks, vocabulary, level), vocabulary.encode(symbols))


@pytest.mark.parametrize("level", ["char", "word"])
def test_ids_on_disk(tmp_path: Path, level: Level) -> None:
    chunks = ["it w", "as the bes", "t\nof ", "times"]
    vocabulary = Vocabulary.fit(count_symbols(chunks, level))
    ids = encode_stream(chunks, vocabulary, level, tmp_path / "new")
    assert isinstance(ids, np.memmap)
    np.testing.assert_array_equal(ids, encode_stream(chunks, vocabulary, level))
    assert join(vocabulary.decode(ids), level) == "".join(chunks)
    ids[:2] = 0
    np.testing.assert_array_equal(np.fromfile(tmp_path / "new" / "ids.bin", np.int32), ids)
    assert len(encode_stream([], vocabulary, level, tmp_path)) == 0


def test_symbols_outside_a_closed_vocabulary_are_an_error() -> None:
    for level in LEVELS:
        with pytest.raises(DataError, match="the symbol 'z' was not seen in training"):
            encode_stream(["a z"], Vocabulary(["a", " "]), level)
