"""Text to symbols and back: the codec of the language tasks."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from elman.data.codec import CODECS, Array, Codec, Json, Memory, Push, Steps, softmax
from elman.data.text import Level, join, split
from elman.data.vocabulary import Vocabulary
from elman.errors import DataError, RunError

LINE_END = "\n"


@CODECS.register("text")
class TextCodec(Codec):
    """Characters, or words with every line end a symbol of its own.

    Args:
        level: "char" or "word".
        vocabulary: the symbols, with an unknown one for everything else.
    """

    kind: ClassVar[str] = "text"

    def __init__(self, level: Level, vocabulary: Vocabulary) -> None:
        self.level = level
        self.vocabulary = vocabulary

    @property
    def unknown_id(self) -> int:
        """What a symbol that was not seen in training is read as."""
        if self.vocabulary.unknown_id is None:
            raise RunError("the vocabulary of the run has no unknown symbol: its codec.json is damaged")
        return self.vocabulary.unknown_id

    @property
    def start_id(self) -> int:
        """What a new text is read after: as if a line had just ended."""
        return int(self.encode(LINE_END)[0])

    def split(self, text: str) -> list[str]:
        return split(text, self.level)

    def encode(self, text: str) -> NDArray[np.int32]:
        """Text to ids (symbols,); symbols not in the vocabulary become the unknown one."""
        return self.vocabulary.encode(self.split(text))

    def decode(self, ids: Array) -> str:
        return join(self.vocabulary.decode(ids), self.level)

    def joined(self, before: int, symbol: int) -> str:
        """A symbol as it is written after another: words bring the blank between them."""
        pair = self.vocabulary.decode(np.array([before, symbol]))
        blank = self.level == "word" and LINE_END not in pair
        return " " + pair[1] if blank else pair[1]

    def widths(self, symbols: list[str]) -> NDArray[np.float64]:
        """Characters each symbol stands for, the blank after a word that another word follows included."""
        if self.level == "char":
            return np.ones(len(symbols))
        ends = [symbol == LINE_END for symbol in symbols]
        followed = [*(not end for end in ends[1:]), False]
        widths = [1 if end else len(s) + word for s, end, word in zip(symbols, ends, followed, strict=False)]
        return np.array(widths, dtype=np.float64)

    def count_unknown(self, symbols: list[str]) -> int:
        return sum(1 for symbol in symbols if symbol not in self.vocabulary)

    def opening(self) -> Mapping[str, Array]:
        return {"symbols": np.array([self.start_id])}

    def push(self, row: Push, memory: Memory) -> Steps:
        symbol = row.x
        if not isinstance(symbol, str) or not symbol:
            raise DataError(f'expected "x" to be one {self.level} as text, got {symbol!r}')
        symbols = self.split(symbol)
        if len(symbols) != 1:
            raise DataError(f'expected "x" to be one {self.level}, got {len(symbols)} in {symbol!r}; send one a line')
        flags = [] if symbol in self.vocabulary else [f"unknown symbol {symbol!r}"]
        return Steps({"symbols": self.vocabulary.encode(symbols)}, memory, flags)

    def answer(self, output: Array, memory: Memory) -> Json:  # noqa: ARG002  (text has no memory)
        probabilities = softmax(output)
        order = np.argsort(-probabilities, kind="stable")[: self.top]
        return {s: float(probabilities[i]) for i, s in zip(order, self.vocabulary.decode(order), strict=True)}

    def to_json(self) -> dict[str, Any]:
        return {"level": self.level, "vocabulary": self.vocabulary.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TextCodec":
        return cls(values["level"], Vocabulary.from_json(values["vocabulary"]))
