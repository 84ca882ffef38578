"""Labelled sequences to arrays, and answers back to labels and units: the codec of the many-to-one tasks."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from elman.data.codec import CODECS, Array, Codec, Json, Memory, Push, Steps, softmax
from elman.data.gaps import Clock
from elman.data.guard import InputGuard, Policy
from elman.data.scaling import Scaler
from elman.data.sequences import Cell, Layout, SequenceSet
from elman.data.source import size_fault, too_large
from elman.data.text import characters
from elman.data.vocabulary import UNKNOWN, Vocabulary
from elman.data.word_parts import WordParts
from elman.errors import DataError

Floats: TypeAlias = NDArray[np.float64]
Level: TypeAlias = Literal["char", "word"]
Casing: TypeAlias = Literal["lower", "keep"]
Answers: TypeAlias = Literal["one", "several", "numbers"]
"""What an answer is: one of the labels, any of them at once, or numbers."""

LIMIT = 8.0  # standard deviations at which numbers are cut: one wild value must not decide the answer
_TOKEN = re.compile(r"'\w+|\w+|[^\w\s]")
_LONGEST_WORD = 20
"""Letters of a word, in the mean, beyond which blanks do not part words: Chinese, Japanese and Thai are then read by character."""


def tokens(text: str, level: Level, casing: Casing) -> list[str]:
    """The symbols of a text: characters, or words and the signs between them.

    >>> tokens("It's fine, isn't it?", "word", "lower")
    ['it', "'s", 'fine', ',', 'isn', "'t", 'it', '?']
    """
    text = text.lower() if casing == "lower" else text
    return characters(text) if level == "char" else _TOKEN.findall(text)


def level_of(texts: Sequence[str]) -> Level:
    """How texts are best read: by word where blanks part words, else by character."""
    words = [word for text in texts[:1000] for word in text.split()]
    return "char" if words and sum(map(len, words)) / len(words) > _LONGEST_WORD else "word"


@CODECS.register("sequence")
class SequenceCodec(Codec):
    """What is read and what is answered, as fitted on the training part.

    Numbers are scaled over all sequences; a missing one becomes 0, the mean, and where training had missing ones, a column of
    0 and 1 beside each says whether it was there. With a clock the time since the row before is read too.

    Args:
        layout: how files are read.
        answers: what an answer is. outputs: the labels, or the names of the numbers.
        vocabulary, level, casing, longest: of texts; ``longest`` symbols are read at most.
        parts: words are read with the letters they are made of.
        scaler, guard, masked: of numbers.
        target: scales of the numbers that are answered.
        clock: makes gaps of times; None: times only order the rows.
    """

    kind: ClassVar[str] = "sequence"

    def __init__(
        self,
        layout: Layout,
        answers: Answers,
        outputs: Sequence[str],
        *,
        vocabulary: Vocabulary | None = None,
        level: Level = "word",
        casing: Casing = "lower",
        longest: int | None = None,
        parts: bool = False,
        scaler: Scaler | None = None,
        guard: InputGuard | None = None,
        masked: bool = False,
        target: Scaler | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.layout, self.answers, self.outputs = layout, answers, tuple(outputs)
        self.vocabulary, self.level, self.casing, self.longest = vocabulary, level, casing, longest
        self.parts, self._words = parts, WordParts()
        self.scaler, self.guard, self.masked = scaler, guard, masked
        self.target, self.clock = target, clock
        self._places = {label: place for place, label in enumerate(self.outputs)}

    @property
    def reads_text(self) -> bool:
        return self.vocabulary is not None

    @property
    def features(self) -> int:
        """Numbers at each step; 0 for text."""
        return 0 if self.reads_text else len(self.layout.names)

    # --- what is read

    def fit_inputs(
        self,
        train: SequenceSet,
        *,
        level: Level | None,
        casing: Casing,
        longest: int | None,
        min_count: int | None,
        max_vocabulary: int | None,
        parts: bool,
        policy: Policy,
        gaps: bool = False,
    ) -> None:
        """Vocabulary, or scales, guard and, where the time between rows is read, the clock, from the training part."""
        self.longest = longest
        if train.texts is not None:
            self.level, self.casing = level or level_of(train.texts), casing
            self.parts = parts and self.level == "word"
            counts = Counter(token for text in train.texts for token in self.split(text))
            least = min_count or (2 if self.level == "word" else 1)
            self.vocabulary = Vocabulary.fit(counts, unknown=UNKNOWN, min_count=least, max_size=max_vocabulary)
            return
        assert train.values is not None
        names = self.layout.names
        self.scaler = Scaler.fit(train.values, len(names))
        self.guard = InputGuard.fit(train.values, names, policy)
        self.masked = any(bool(np.isnan(one).any()) for one in train.values)
        if gaps:
            assert train.moments is not None
            self.clock = Clock.fit(train.moments, train.name)

    def split(self, text: str) -> list[str]:
        """The symbols that are read of a text, at least one."""
        return tokens(text, self.level, self.casing)[: self.longest] or [UNKNOWN]

    def encode(self, data: SequenceSet) -> list[dict[str, Array]]:
        """The model's inputs of each sequence, name -> (T_i, ...), but for what `complete` adds to a batch of them."""
        if data.texts is not None:
            return [self.encode_text(text) for text in data.texts]
        assert data.values is not None
        encoded = [self.encode_values(one[: self.longest]) for one in data.values]
        if self.clock is not None:
            assert data.moments is not None
            for inputs, times, place in zip(encoded, data.moments, data.places, strict=True):
                self.clock.check(times, place)
                inputs["gap"] = self.clock.gaps(times[: self.longest])
        return encoded

    def encode_text(self, text: str) -> dict[str, Array]:
        return self._encode_symbols(self.split(text))

    def _encode_symbols(self, symbols: list[str]) -> dict[str, Array]:
        assert self.vocabulary is not None
        inputs: dict[str, Array] = {"symbols": self.vocabulary.encode(symbols)}
        if self.parts:
            inputs["words"] = self._words.rows(symbols)
        return inputs

    def complete(self, inputs: Mapping[str, Array], *, trim: bool = True) -> dict[str, Array]:
        """Inputs (..., T) with "parts" (..., T, P) in the place of "words": P is large, and a batch is not held for long."""
        known = dict(inputs)
        if "words" in known:
            known["parts"] = self._words.look_up(known.pop("words"), trim=trim)
        return known

    def encode_values(self, values: Floats) -> dict[str, Array]:
        """(T, C) in raw units -> "values" (T, C), and "observed" where training had missing ones."""
        assert self.scaler is not None
        assert self.guard is not None
        scaled = self.scaler.transform(self.guard.apply(values)).clip(-LIMIT, LIMIT)
        inputs: dict[str, Array] = {"values": np.nan_to_num(scaled).astype(np.float32)}
        if self.masked:
            inputs["observed"] = (~np.isnan(scaled)).astype(np.float32)
        return inputs

    def count_unknown(self, texts: Sequence[str]) -> tuple[int, int]:
        """Symbols of the texts that were not seen in training, and all symbols."""
        assert self.vocabulary is not None
        symbols = [symbol for text in texts for symbol in self.split(text)]
        return sum(symbol not in self.vocabulary for symbol in symbols), len(symbols)

    # --- what is answered

    def encode_labels(self, cells: Sequence[Cell], place: str) -> Array:
        """The cells of one sequence: (cells,) numbers of labels, (cells, K) zeros and ones, or (cells, K) scaled numbers.

        Raises: DataError for a label that training has not seen, or what is not a number.
        """
        if self.answers == "numbers":
            assert self.target is not None
            return self.target.transform(numbers(cells, place)).astype(np.float32)
        for label in (label for cell in cells for label in cell):
            if label not in self._places:
                known = ", ".join(map(repr, self.outputs[:20])) + (", ..." if len(self.outputs) > 20 else "")
                raise DataError(f"{place}: label {label!r} was not seen in training; known: {known}")
        if self.answers == "one":
            return np.array([self._places[cell[0]] for cell in cells])
        several = np.zeros((len(cells), len(self.outputs)), np.float32)
        for row, cell in enumerate(cells):
            several[row, [self._places[label] for label in cell]] = 1
        return several

    def decode(self, outputs: Array) -> Floats:
        """The model's outputs (..., K) as probabilities, or as numbers in raw units."""
        if self.answers == "one":
            return softmax(outputs)
        if self.answers == "several":
            probabilities: Floats = 0.5 * (1 + np.tanh(0.5 * outputs.astype(np.float64)))
            return probabilities
        assert self.target is not None
        return self.target.inverse(outputs)

    # --- streams

    def push(self, row: Push, memory: Memory) -> Steps:
        if self.reads_text:
            return self._push_symbol(row.x, memory)
        assert self.guard is not None
        self.guard.reset()
        values = self._row(row.x)
        inputs = self.encode_values(values[None])
        if self.clock is not None:
            last = self.clock.recall(memory.get("time"))
            now = self.clock.read(row.time, format=self.layout.columns.time_format, last=last)
            inputs["gap"] = self.clock.gaps(now, last)
            memory = {"time": self.clock.write(now)[0]}
        return Steps(inputs, memory, [*self.guard.report(without="missing"), *self._unseen(row.x)])

    def _push_symbol(self, symbol: Json, memory: Memory) -> Steps:
        assert self.vocabulary is not None
        if not isinstance(symbol, str) or not symbol:
            raise DataError(f'expected "x" to be one {self.level} as text, got {symbol!r}')
        symbols = tokens(symbol, self.level, self.casing)
        if len(symbols) != 1:
            raise DataError(f'expected "x" to be one {self.level}, got {len(symbols)} in {symbol!r}; send one a line')
        flags = [] if symbols[0] in self.vocabulary else [f"unknown symbol {symbol!r}"]
        return Steps(self.complete(self._encode_symbols(symbols), trim=False), memory, flags)

    def _row(self, x: Json) -> Floats:
        """The features (C,) of a row given as a list, or as {column: value} with categories by their column."""
        names = self.layout.names
        if isinstance(x, Mapping):
            return np.array([self._feature(x, name) for name in names], np.float64)
        given = [x] if isinstance(x, int | float) and not isinstance(x, bool) else x
        if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != len(names):
            raise DataError(f'expected "x" to be {len(names)} numbers ({", ".join(names[:8])}), got {x!r}')
        return np.array([_number(value, name) for value, name in zip(given, names, strict=True)], np.float64)

    def _feature(self, x: Mapping[str, Json], name: str) -> float:
        column, equals, category = name.partition("=")
        if equals and column in self.layout.categories and name not in x:
            if column not in x:
                raise DataError(f'expected "x" to have {column!r}, got {", ".join(map(repr, x))}')
            given = _category(x[column], column)
            return float(given == category) if given else np.nan
        if name not in x:
            raise DataError(f'expected "x" to have {name!r}, got {", ".join(map(repr, x))}')
        return _number(x[name], name)

    def _unseen(self, x: Json) -> list[str]:
        """What to tell of categories that training has not seen."""
        row = x if isinstance(x, Mapping) else {}
        given = {column: _category(row[column], column) for column in self.layout.categories if column in row}
        return [
            f"column {column!r}: 1 value not seen in training (such as {category!r}), taken as none of the categories"
            for column, category in given.items()
            if category and category not in self.layout.categories[column]
        ]

    def answer(self, output: Array, memory: Memory) -> Json:  # noqa: ARG002  (nothing is remembered)
        values = self.decode(output)
        if self.answers == "numbers":
            return {name: float(value) for name, value in zip(self.outputs, values, strict=True)}
        order = np.argsort(-values, kind="stable")[: self.top]
        return {self.outputs[place]: float(values[place]) for place in order}

    # --- JSON

    def to_json(self) -> dict[str, Any]:
        return {
            "layout": self.layout.to_json(),
            "answers": self.answers,
            "outputs": list(self.outputs),
            "vocabulary": self.vocabulary and self.vocabulary.to_json(),
            "level": self.level,
            "casing": self.casing,
            "longest": self.longest,
            "parts": self.parts,
            "scaler": self.scaler and self.scaler.to_json(),
            "guard": self.guard and self.guard.to_json(),
            "masked": self.masked,
            "target": self.target and self.target.to_json(),
            **({"clock": self.clock.to_json()} if self.clock else {}),  # runs of earlier versions have none
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "SequenceCodec":
        def made(kind: Any, name: str) -> Any:
            return None if values[name] is None else kind.from_json(values[name])

        return cls(
            Layout.from_json(values["layout"]),
            values["answers"],
            values["outputs"],
            vocabulary=made(Vocabulary, "vocabulary"),
            level=values["level"],
            casing=values["casing"],
            longest=values["longest"],
            parts=values["parts"],
            scaler=made(Scaler, "scaler"),
            guard=made(InputGuard, "guard"),
            masked=values["masked"],
            target=made(Scaler, "target"),
            clock=Clock.from_json(values["clock"]) if "clock" in values else None,
        )


def numbers(cells: Sequence[Cell], place: str) -> Floats:
    """Cells of numbers as (cells, K). Raises DataError for what is not a finite number, or too large."""
    try:
        values = np.array([[float(part) for part in cell] for cell in cells], np.float64)
    except ValueError:
        bad = next(part for cell in cells for part in cell if not _is_number(part))
        raise DataError(f"{place}: expected a number as label, got {bad!r}") from None
    if (wrong := np.isnan(values) | too_large(values)).any():
        step, number = np.argwhere(wrong)[0]
        _, wanted = size_fault(values[step, number])
        raise DataError(f"{place}: expected {wanted} as label, got {cells[step][number][:40]!r}")
    return values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(value: Json, name: str) -> float:
    if value is None:
        return np.nan
    if isinstance(value, bool | int | float):
        return float(value)
    raise DataError(f"expected {name!r} to be a number or null, got {value!r}")


def _category(value: Json, column: str) -> str:
    """A category as text; "" is a missing one."""
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return str(value).strip()
    raise DataError(f"expected {column!r} to be a category as text, or null, got {value!r}")
