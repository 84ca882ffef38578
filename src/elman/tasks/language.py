"""`language`: the next symbol of a text. Many-to-many, one stream, the state carried from window to window."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from elman.data.batch import Batch, tensors
from elman.data.codec import Json, Push, load_codec
from elman.data.files import replacing, scratch_folder
from elman.data.source import Source
from elman.data.splits import shared_text, tail
from elman.data.streams import cut, plan_windows
from elman.data.text import count_symbols, encode_stream, read_text
from elman.data.text_codec import LINE_END, TextCodec
from elman.data.vocabulary import UNKNOWN, Vocabulary
from elman.decoding import generate
from elman.errors import ConfigError, DataError, RunError
from elman.metrics.language import language_metrics
from elman.models.build import EncoderConfig
from elman.models.language import LanguageModel
from elman.models.model import Model
from elman.models.stepper import TorchStepper
from elman.tasks.exhibits import AnyExhibit
from elman.tasks.language_exhibits import Read, first_symbols, language_exhibits, read_closely
from elman.tasks.predictions import Predictions
from elman.tasks.task import Baselines, Facts, Scores, Task, TaskOptions, register

Ids = NDArray[np.int32]

IN_MEMORY = 200_000_000  # symbols of text; above, they live in a memory-mapped file
TAIL = 5_000_000  # symbols of the training text kept in a run: what the n-gram baselines are counted on
SHORTEST = 200  # symbols; less cannot be split into a training and a validation part that mean anything
SCORED_AT_ONCE = 2048  # symbols per forward call in evaluation; the result does not depend on it
BLOCK = 200  # symbols in a unit of the bootstrap: about a paragraph, beyond which losses are nearly independent


class LanguageOptions(TaskOptions):
    """Options of `language`."""

    level: Literal["char", "word"] = "char"
    """What a symbol is."""
    min_count: int | None = None
    """Symbols seen less often in training become `<unk>`. Default: 2 for words, unless the text itself marks unknown words by
    `<unk>`; 1 for characters."""
    max_vocabulary: int | None = None
    """The most frequent symbols kept."""


@dataclass(frozen=True)
class TextTest:
    """A text to score: ids, the characters each symbol stands for, and where each file begins."""

    ids: Ids
    widths: NDArray[np.float64]
    starts: list[int]
    notes: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.ids)


class LanguageBaseline(Protocol):
    """A simpler model of the same symbols; see `elman.evaluation.language_baselines`."""

    name: str

    def fit(self, ids: Ids, vocabulary_size: int) -> None: ...

    def nll(self, ids: Ids, before: Ids) -> NDArray[np.float64]: ...


@register("language")
class Language(Task[TextTest]):
    """Language modelling over characters or words; every line end is a symbol and is counted.

    The first symbol is predicted too, as if a line had just ended. Metrics: `nll` (nats per symbol), `perplexity` (per symbol),
    `bits_per_char`.
    """

    name: ClassVar[str] = "language"
    Options: ClassVar[type[TaskOptions]] = LanguageOptions
    unit: ClassVar[str] = "symbols"
    selection: ClassVar[str] = "nll"
    options: LanguageOptions
    codec: TextCodec

    def prepare(self, data: Sequence[Source], valid: Sequence[Source] | None, seed: int) -> None:  # noqa: ARG002  (nothing is drawn)
        seen = count_symbols(_lines_of(data), self.options.level)
        self._scratch = scratch_folder(self) if seen.total() > IN_MEMORY else None
        everything = Vocabulary.fit(seen, unknown=UNKNOWN)
        ids = self._encode(data, everything, "train")
        held = tail(len(ids)) if valid is None else 0
        self.holds_out = valid is None
        self.all, self.train, self.valid = ids, ids[: len(ids) - held], ids[len(ids) - held :]
        counts = _counts(self.train, len(everything))
        vocabulary = self._vocabulary(dict(zip(everything.symbols, counts.tolist(), strict=True)))
        self.codec = TextCodec(self.options.level, vocabulary)
        table = vocabulary.encode(everything.symbols)
        for begin in range(0, len(ids), TAIL):  # in place and part by part: the ids may be a file larger than memory
            ids[begin : begin + TAIL] = table[ids[begin : begin + TAIL]]
        if valid is not None:
            self.valid = self._encode(valid, vocabulary, "valid")
        if len(self.train) < SHORTEST or len(self.valid) < SHORTEST // 10:
            names = ", ".join(source.name for source in [*data, *(valid or ())])
            raise DataError(
                f"{names}: expected at least {SHORTEST} symbols ({self.options.level}s) to train on and {SHORTEST // 10} to "
                f"validate on, got {len(self.train)} and {len(self.valid)}; give a longer text"
            )
        if valid is not None and (shared := shared_text(self.train, self.valid)) > 0.5:
            raise DataError(
                f"{', '.join(source.name for source in valid)}: {100 * shared:.0f} % of the validation text is in the training "
                "text; remove it from one of the two"
            )
        unknown = int((self.train == self.codec.unknown_id).sum())
        if unknown:
            self.notes.append(f"{unknown} of {len(self.train)} training symbols are rare and became {UNKNOWN}")

    def _vocabulary(self, counts: dict[str, int]) -> Vocabulary:
        marked = counts.pop(UNKNOWN, 0) > 0  # the text marks its unknown words itself, as the Penn Treebank does
        rare = 2 if self.options.level == "word" and not marked else 1
        counts[LINE_END] = max(
            counts.get(LINE_END, 0), rare
        )  # the start of every text, though it may hold one line only
        least = self.options.min_count or rare
        return Vocabulary.fit(counts, unknown=UNKNOWN, min_count=least, max_size=self.options.max_vocabulary)

    def _encode(self, sources: Sequence[Source], vocabulary: Vocabulary, name: str) -> Ids:
        folder = self._scratch and self._scratch / name
        return encode_stream(_lines_of(sources), vocabulary, self.options.level, folder)

    def facts(self) -> Facts:
        return Facts(steps=len(self.train), symbols=len(self.codec.vocabulary), level=self.options.level)

    def windows(self, rows: int, window: int) -> int:
        return max(1, round(len(self.train) / (rows * window)))

    def batches(self, split: str, rows: int, window: int, seed: int) -> Iterator[Batch]:
        ids = {"train": self.train, "valid": self.valid, "all": self.all}[split]
        rng = np.random.default_rng(seed) if split != "valid" else None
        for slots in plan_windows(cut([len(ids)], rows, 0, rng), rows, window):
            symbols = np.zeros((len(slots), window), dtype=np.int64)
            following = np.zeros_like(symbols)
            for row, slot in enumerate(slots):
                read = self._after_start(ids, slot.start, slot.stop)
                symbols[row, : len(read)] = read
                following[row, : len(read)] = ids[slot.start : slot.stop]
            yield Batch(
                inputs=tensors({"symbols": symbols}),
                targets=tensors({"symbols": following}),
                lengths=torch.tensor([slot.stop - slot.start for slot in slots]),
                fresh=torch.tensor([slot.fresh for slot in slots]),
            )

    def _after_start(self, ids: Ids, start: int, stop: int) -> Ids:
        """What is read while ids[start:stop] are predicted: the symbol before each, the first after a line end."""
        if start > 0 or start == stop:
            return ids[max(0, start - 1) : max(0, stop - 1)]
        return np.concatenate([[self.codec.start_id], ids[: stop - 1]]).astype(np.int32)

    def build(self, encoder: EncoderConfig, dropout: float) -> Model:
        if encoder.bidirectional:
            raise ConfigError("a language model predicts what comes next, a bidirectional encoder has read it already")
        size, symbols = encoder.hidden, len(self.codec.vocabulary)
        return LanguageModel(encoder.model_dump(), symbols, size, tied=self.options.level == "word", dropout=dropout)

    def loss(self, model: Model, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        losses = self._losses(model, features, batch)
        return losses.sum(), batch.lengths.sum()

    def _losses(self, model: Model, features: Tensor, batch: Batch) -> Tensor:
        """Nats (symbols,) of the real symbols of a batch, row after row."""
        real = torch.arange(features.shape[1]) < batch.lengths[:, None]
        return F.cross_entropy(model.head(features[real]), batch.targets["symbols"][real], reduction="none")

    def metrics(self) -> Scores:
        return language_metrics()

    def measure(self, scores: Scores, model: Model, features: Tensor, batch: Batch) -> None:
        nll = self._losses(model, features, batch).double().numpy()
        # the characters of words are known in evaluation, where the text is at hand; here only nats are shown
        scores["nll"].update(nll, np.ones(len(nll)), np.zeros(len(nll), dtype=np.int64))

    def save(self, folder: Path) -> None:
        self.codec.save(folder / "codec.json")
        with replacing(folder / "tail.safetensors") as beside:
            save_file({"ids": np.ascontiguousarray(self.all[-TAIL:])}, beside)

    def restore(self, folder: Path) -> None:
        codec = load_codec(folder / "codec.json")
        if not isinstance(codec, TextCodec):
            raise RunError(f"{folder / 'codec.json'}: expected a text codec, got {codec.kind!r}")
        self.codec = codec
        path = folder / "tail.safetensors"
        try:
            self.tail: Ids = load_file(path)["ids"]
        except (OSError, SafetensorError, KeyError) as error:
            raise RunError(f"{path}: expected the symbols that `elman fit` wrote: {error}") from error

    def test(self, sources: Sequence[Source]) -> TextTest:
        ids, widths, starts, unknown = [], [], [0], 0
        for source in sources:
            symbols = self.codec.split("".join(read_text(source)))
            if not symbols:
                raise DataError(f"{source.name}: expected text, got only blanks")
            ids.append(self.codec.vocabulary.encode(symbols))
            widths.append(self.codec.widths(symbols))
            starts.append(starts[-1] + len(symbols))
            unknown += self.codec.count_unknown(symbols)
        test = TextTest(np.concatenate(ids), np.concatenate(widths), starts)
        if unknown:
            test.notes.append(f"{unknown} of {test.count} symbols were not seen in training and count as {UNKNOWN}")
        if (shared := shared_text(self.tail, test.ids)) > 0:
            test.notes.append(
                f"{100 * shared:.0f} % of the text was seen in fitting; scores on new text would be worse"
            )
        return test

    def notes_on(self, prompt: str) -> list[str]:
        symbols = self.codec.split(prompt)
        unknown = self.codec.count_unknown(symbols)
        return [f"{unknown} of {len(symbols)} symbols of the prompt are read as {UNKNOWN}"] if unknown else []

    def score(self, model: Model, test: TextTest) -> Scores:
        nll = [self._nll(model, test.ids[a:b]) for a, b in pairwise(test.starts)]
        return self._scores(np.concatenate(nll), test)

    def _nll(self, model: Model, ids: Ids) -> NDArray[np.float64]:
        """Nats (symbols,) of one text from its first symbol on."""
        return np.concatenate([
            F.cross_entropy(logits, following, reduction="none").double().numpy()
            for logits, following in self._scored(model, ids)
        ])  # fmt: skip

    def _scored(self, model: Model, ids: Ids) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits (symbols, V) and the symbol each is for, part by part of one stream."""
        state = model.begin({}, 1)
        for begin in range(0, len(ids), SCORED_AT_ONCE):
            stop = min(begin + SCORED_AT_ONCE, len(ids))
            read = torch.from_numpy(self._after_start(ids, begin, stop).astype(np.int64))
            with torch.inference_mode():
                features, state = model({"symbols": read[None]}, state)
                yield model.head(features[0]), torch.from_numpy(ids[begin:stop].astype(np.int64))

    def _scores(self, nll: NDArray[np.float64], test: TextTest) -> Scores:
        scores = self.metrics()
        for metric in scores.values():
            metric.update(nll, test.widths, np.arange(len(nll)) // BLOCK)
        return scores

    def exhibits(self, model: Model, test: TextTest) -> list[AnyExhibit]:
        """Samples, the lines it expected most and least, and a reliability diagram."""
        texts = [test.ids[a:b] for a, b in first_symbols(test.starts)]
        parts = [read_closely(*part) for ids in texts for part in self._scored(model, ids)]
        read = Read(np.concatenate(texts), *map(np.concatenate, zip(*parts, strict=True)))

        def sample(temperature: float, length: int) -> Iterator[str]:
            return generate(self.codec, TorchStepper(model), "", length, temperature=temperature, top_k=0, seed=1)

        return language_exhibits(self.codec, read, sample)

    def block(self, test: TextTest) -> int:  # noqa: ARG002
        return 1  # a unit is already `BLOCK` symbols

    def baselines(self) -> Baselines:
        return Baselines("language")

    def score_baselines(self, baselines: Iterable[LanguageBaseline], test: TextTest) -> Iterator[tuple[str, Scores]]:
        start = np.array([self.codec.start_id])
        for baseline in baselines:
            baseline.fit(self.tail, len(self.codec.vocabulary))
            nll = [baseline.nll(test.ids[a:b], start) for a, b in pairwise(test.starts)]
            yield baseline.name, self._scores(np.concatenate(nll), test)

    def predict(self, model: Model, sources: Sequence[Source]) -> Predictions:
        """One row per line: its symbols, their mean negative log likelihood in nats, and their perplexity."""
        test = self.test(sources)
        texts: list[str] = []
        lines: list[NDArray[np.float64]] = []
        for source, (a, b) in zip(sources, pairwise(test.starts), strict=True):
            ends = np.flatnonzero(test.ids[a:b] == self.codec.start_id) + 1
            lines += np.split(self._nll(model, test.ids[a:b]), ends[ends < b - a])
            texts += "".join(read_text(source)).removesuffix(LINE_END).split(LINE_END)
        columns: dict[str, Sequence[Json]] = {
            "text": texts,
            "symbols": [len(line) for line in lines],
            "nll": [float(line.mean()) for line in lines],
            "perplexity": [float(np.exp(line.mean())) for line in lines],
        }
        return Predictions(columns, ".jsonl", test.notes)

    def replay(self, model: Model, sources: Sequence[Source]) -> Iterator[tuple[Push, Json]]:
        symbols = self.codec.split("".join(_lines_of(sources)))
        ids = self.codec.vocabulary.encode(symbols)
        logits = torch.cat([out for out, _ in self._scored(model, np.append(ids, self.codec.start_id))])
        for symbol, scores in zip(symbols, logits[1:].numpy(), strict=True):
            yield Push(symbol), self.codec.answer(scores, {})


def _lines_of(sources: Sequence[Source]) -> Iterator[str]:
    """The text of all sources one after the other, each beginning a line of its own."""
    chunk = LINE_END
    for source in sources:
        if not chunk.endswith(LINE_END):
            yield LINE_END
        for chunk in read_text(source):
            yield chunk


def _counts(ids: Ids, size: int) -> NDArray[np.int64]:
    """How often each id occurs, part by part: the ids may be a file larger than memory."""
    counts = np.zeros(size, np.int64)
    for begin in range(0, len(ids), TAIL):
        counts += np.bincount(ids[begin : begin + TAIL], minlength=size)
    return counts
