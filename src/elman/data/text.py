"""Plain text as a stream of symbols, read piece by piece so that it may be larger than memory."""

import codecs
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from elman.data.source import DataInput, Source, not_utf8, nul_byte
from elman.data.vocabulary import Vocabulary
from elman.errors import ConfigError, DataError

Level: TypeAlias = Literal["char", "word"]
Ids: TypeAlias = NDArray[np.int32]

LEVELS: tuple[Level, ...] = get_args(Level)

_WORD = re.compile(r"\n|[^\s]+")
_LAST_SPACE = re.compile(r"\s(?=\S*\Z)")
_BYTES_AT_ONCE = 1 << 20
_CODE_POINTS = 0x110000


def read_text(source: DataInput, chunk_characters: int = 1 << 20) -> Iterator[str]:
    """The text in pieces of at most ``chunk_characters``, every line end as one newline.

    Raises: DataError with file, line and byte for anything that is not UTF-8, and for NUL bytes; for a table.
    """
    source = Source.of(source)
    if source.kind != "txt":
        cure = "" if source.kind == "frame" else "; if its lines are the text, add --format txt"
        raise DataError(f"{source.name}: expected a text, got {source.kind}{cure}")
    with source.open() as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="strict", newline=None)
        try:
            while chunk := text.read(chunk_characters):
                if "\0" in chunk:
                    raise DataError(_where_damaged(source))
                yield chunk
        except UnicodeDecodeError as error:
            raise DataError(_where_damaged(source)) from error


def characters(text: str) -> list[str]:
    """The symbols of a text at character level."""
    return list(text)


def split_words(text: str) -> list[str]:
    """The symbols of a text at word level: what stands between blanks; every line end is the symbol newline.

    >>> split_words("so it goes\\n  on")
    ['so', 'it', 'goes', '\\n', 'on']
    """
    return _WORD.findall(text)


def join_words(words: Iterable[str]) -> str:
    """The inverse of `split_words`, with one blank between words and none at the ends of a line.

    >>> join_words(["so", "it", "goes", "\\n", "on"])
    'so it goes\\non'
    """
    return " ".join(words).replace(" \n", "\n").replace("\n ", "\n")


def split(text: str, level: Level) -> list[str]:
    """The symbols of a text at a level."""
    _check_level(level)
    return split_words(text) if level == "word" else characters(text)


def join(symbols: Iterable[str], level: Level) -> str:
    """The text of symbols at a level."""
    _check_level(level)
    return join_words(symbols) if level == "word" else "".join(symbols)


def count_symbols(chunks: Iterable[str], level: Level) -> Counter[str]:
    """How often each symbol occurs."""
    _check_level(level)
    counts: Counter[str] = Counter()
    for text in _whole_symbols(chunks, level):
        counts.update(text if level == "char" else split_words(text))
    return counts


def encode_stream(chunks: Iterable[str], vocabulary: Vocabulary, level: Level, folder: Path | None = None) -> Ids:
    """The ids of all symbols, built piece by piece.

    Args:
        chunks: a text in pieces, cut anywhere.
        folder: where to write ``ids.bin``; the array is then a memory map of it that
            may be written to. None keeps the ids in memory.
    """
    _check_level(level)
    encode = _character_encoder(vocabulary) if level == "char" else lambda text: vocabulary.encode(split_words(text))
    parts = (encode(text) for text in _whole_symbols(chunks, level))
    if folder is None:
        return np.concatenate([np.empty(0, np.int32), *parts])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ids.bin"
    length = 0
    with path.open("wb") as file:
        for ids in parts:
            ids.tofile(file)
            length += len(ids)
    return np.memmap(path, np.int32, "r+", shape=(length,)) if length else np.empty(0, np.int32)


def _check_level(level: str) -> None:
    if level not in LEVELS:
        raise ConfigError(f"expected a level, one of {', '.join(LEVELS)}, got {level!r}")


def _whole_symbols(chunks: Iterable[str], level: Level) -> Iterator[str]:
    """The same text in pieces that no symbol straddles."""
    if level == "char":
        yield from chunks
        return
    rest: list[str] = []
    for chunk in chunks:
        if (cut := _LAST_SPACE.search(chunk)) is None:
            rest.append(chunk)
            continue
        yield "".join([*rest, chunk[: cut.end()]])
        rest = [chunk[cut.end() :]]
    yield "".join(rest)


def _character_encoder(vocabulary: Vocabulary) -> Callable[[str], Ids]:
    """Encodes text by one look-up table over code points."""
    missing = -1 if vocabulary.unknown_id is None else vocabulary.unknown_id
    table = np.full(_CODE_POINTS, missing, np.int32)
    for number, symbol in enumerate(vocabulary.symbols):
        if len(symbol) == 1:
            table[ord(symbol)] = number

    def encode(text: str) -> Ids:
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        ids = table[points]
        if missing < 0 and (absent := ids < 0).any():
            vocabulary[chr(points[absent.argmax()])]  # raises: there is no such symbol
        return ids

    return encode


def _where_damaged(source: Source) -> str:
    """The message about the first byte that is not UTF-8, or is NUL: found by reading again, by lines of bytes."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line, position = 1, 0
    with source.open() as stream:
        while data := stream.read(_BYTES_AT_ONCE):
            pending = len(decoder.getstate()[0])
            nul = data.find(0)
            try:
                decoder.decode(data if nul < 0 else data[:nul], final=nul >= 0)
            except UnicodeDecodeError as error:
                at = max(error.start - pending, 0)
                first = position + error.start - pending
                return not_utf8(source.name, line + data.count(b"\n", 0, at), error.object[error.start], first)
            if nul >= 0:
                return nul_byte(source.name, line + data.count(b"\n", 0, nul), position + nul)
            line += data.count(b"\n")
            position += len(data)
    pending_bytes = decoder.getstate()[0]
    return not_utf8(source.name, line, pending_bytes[0], position - len(pending_bytes))
