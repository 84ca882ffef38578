"""The letters in a row that words are made of, known by numbers: what is read of a word beside the word itself."""

import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

PARTS = 10_000
"""Numbers that parts are known by, from 1; two parts may share one. 0 is no part."""
SHORTEST_PART, LONGEST_PART, MOST_PARTS = 3, 6, 60


def parts_of(word: str) -> list[int]:
    """The letters of a word in a row, 3 to 6 of them with its ends marked, each by a number from 1 to `PARTS`."""
    marked = f"<{word}>"
    sizes = range(SHORTEST_PART, min(LONGEST_PART, len(marked)) + 1)
    found = [marked[at : at + size] for size in sizes for at in range(len(marked) - size + 1)]
    return [1 + zlib.crc32(part.encode("utf-8", "surrogatepass")) % PARTS for part in found[:MOST_PARTS]]


class WordParts:
    """The parts of every word met so far, worked out once: texts hold 4 bytes a word instead of the parts of each."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._table = np.zeros((1024, MOST_PARTS), np.uint16)

    def rows(self, words: Iterable[str]) -> NDArray[np.int32]:
        """The row of each word in the table, from 1; 0 is the row of no word."""
        return np.array([self._rows.get(word) or self._add(word) for word in words], np.int32)

    def look_up(self, rows: NDArray[np.int32], *, trim: bool = True) -> NDArray[np.int32]:
        """Rows (...) -> parts (..., P), 0 after the last of each; P is what the longest needs, or `MOST_PARTS` untrimmed."""
        found = self._table[rows]
        if trim:
            found = found[..., : max(1, int((found > 0).sum(-1).max(initial=0)))]
        return found.astype(np.int32)

    def _add(self, word: str) -> int:
        row = self._rows[word] = len(self._rows) + 1
        if row == len(self._table):
            self._table = np.concatenate([self._table, np.zeros_like(self._table)])
        parts = parts_of(word)
        self._table[row, : len(parts)] = parts
        return row
