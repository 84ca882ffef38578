"""The symbols a model knows, and their numbers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import ConfigError, DataError

UNKNOWN = "<unk>"


class Vocabulary:
    """Symbols with ids 0, 1, ... in the order given.

    Args:
        symbols: all symbols, the special ones included.
        unknown: the symbol that stands for every other one; None: a symbol that is not here is a DataError.
        pad, start, end: special symbols, where the task has them.

    Raises: ConfigError for a symbol that is there twice, or a special one that is not there.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        *,
        unknown: str | None = None,
        pad: str | None = None,
        start: str | None = None,
        end: str | None = None,
    ) -> None:
        self.symbols = tuple(symbols)
        self._ids = {symbol: number for number, symbol in enumerate(self.symbols)}
        if len(self._ids) < len(self.symbols):
            twice = next(symbol for number, symbol in enumerate(self.symbols) if self._ids[symbol] != number)
            raise ConfigError(f"expected different symbols, got {twice!r} twice")
        self._specials = {"unknown": unknown, "pad": pad, "start": start, "end": end}
        for role, symbol in self._specials.items():
            if symbol is not None and symbol not in self._ids:
                raise ConfigError(f"the {role} symbol {symbol!r} is not in the vocabulary")

    @classmethod
    def fit(
        cls,
        counts: Mapping[str, int],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        unknown: str | None = None,
        pad: str | None = None,
        start: str | None = None,
        end: str | None = None,
    ) -> "Vocabulary":
        """Special symbols (pad, unknown, start, end), then those counted: the most frequent first, ties by symbol.

        Args:
            counts: symbol -> count in the training data.
            min_count: a symbol that is rarer is left out.
            max_size: of the whole vocabulary, the special symbols included.
        """
        specials = [symbol for symbol in (pad, unknown, start, end) if symbol is not None]
        known = (symbol for symbol, count in counts.items() if count >= min_count and symbol not in specials)
        ordered = specials + sorted(known, key=lambda symbol: (-counts[symbol], symbol))
        if not ordered:
            raise DataError("expected at least one symbol to learn, got none; is the text empty?")
        return cls(ordered[:max_size], unknown=unknown, pad=pad, start=start, end=end)

    @property
    def unknown_id(self) -> int | None:
        """The id of the unknown symbol, None if there is none. The same for `pad_id`, `start_id` and `end_id`."""
        return self._special("unknown")

    @property
    def pad_id(self) -> int | None:
        return self._special("pad")

    @property
    def start_id(self) -> int | None:
        return self._special("start")

    @property
    def end_id(self) -> int | None:
        return self._special("end")

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._ids

    def __getitem__(self, symbol: str) -> int:
        """The id of a symbol. Raises DataError if it is not there and there is no unknown symbol."""
        number = self._ids.get(symbol, self.unknown_id)
        if number is None:
            raise DataError(f"the symbol {symbol!r} was not seen in training, and there is no unknown symbol")
        return number

    def encode(self, symbols: Iterable[str]) -> NDArray[np.int32]:
        """Symbols -> ids. One that is not there becomes the unknown symbol; without one it is a DataError."""
        ids, unknown = self._ids, self.unknown_id
        if unknown is None:
            return np.fromiter((self[symbol] for symbol in symbols), np.int32)
        return np.fromiter((ids.get(symbol, unknown) for symbol in symbols), np.int32)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Ids -> symbols."""
        return [self.symbols[number] for number in ids]

    def to_json(self) -> dict[str, Any]:
        specials = {role: symbol for role, symbol in self._specials.items() if symbol is not None}
        return {"symbols": list(self.symbols), **specials}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Vocabulary":
        return cls(**value)

    def _special(self, role: str) -> int | None:
        symbol = self._specials[role]
        return None if symbol is None else self._ids[symbol]
