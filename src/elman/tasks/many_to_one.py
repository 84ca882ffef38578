"""What `classify` and `regress` share: one answer for a sequence, or one at every row of it."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.batch import Batch, tensors
from elman.data.bucketing import bucketed, pad
from elman.data.codec import Array, Json, Push, load_codec
from elman.data.examples import Examples
from elman.data.sequence_codec import Answers, SequenceCodec
from elman.data.sequence_store import load_seen, load_sequences, save_sequences
from elman.data.sequences import Cell, SequenceColumns, SequenceSet, read_sequences
from elman.data.source import Source
from elman.data.splits import HELD_OUT, Seen, shared_sequences, split_rows
from elman.data.word_parts import PARTS
from elman.errors import DataError, RunError
from elman.layers.pooling import Mode, at_end
from elman.models.attribution import integrated_gradients
from elman.models.build import EncoderConfig
from elman.models.many_to_one import ManyToOne
from elman.models.model import Model
from elman.tasks.many_to_one_data import Encoded, ManyToOneBaseline, ManyToOneOptions, SequenceTest
from elman.tasks.predictions import Predictions
from elman.tasks.task import Facts, Scores, Task

Floats = NDArray[np.float64]

TAIL = 5_000_000  # numbers or characters of the data that a run keeps: what the baselines are fitted on
EMBEDDED = 16  # numbers of an embedded symbol at least; half of the units are as good as all, and tables are most of the weights
ROWS_AT_ONCE = 64  # sequences per forward call in evaluation
MOST_EXPLAINED = 20  # shares of an answer that are told where steps have several numbers: the largest


class ManyToOneTask(Task[SequenceTest]):
    """One answer for a sequence of text or of numbers, or at every row of it; plain rows are sequences of length 1."""

    reads_whole: ClassVar[bool] = True  # unless windows are asked for
    answers: Answers
    options: ManyToOneOptions
    codec: SequenceCodec

    @abstractmethod
    def make_codec(self, given: SequenceSet) -> SequenceCodec:
        """The codec with its answers, from all labels given; its inputs are fitted later, on the training part."""

    @abstractmethod
    def strata(self, given: SequenceSet) -> Sequence[Cell] | None:
        """What every part of the data must have its share of."""

    @abstractmethod
    def truth(self, labels: Array) -> NDArray[Any]:
        """Encoded labels (places, ...) as metrics and baselines read them, (places, K)."""

    def columns(self) -> SequenceColumns:
        options = self.options
        names = ("label", "text", "id", "time", "time_format", "features", "group")
        return SequenceColumns(**{name: getattr(options, name) for name in names}, multi=self.answers == "several")

    @property
    def unit(self) -> str:  # type: ignore[override]
        return "rows" if self._every else "sequences"

    # --- data

    def prepare(self, data: Sequence[Source], valid: Sequence[Source] | None, seed: int) -> None:
        given = read_sequences(data, self.columns(), header=self.options.header, timed=self.options.gaps)
        self.notes += given.notes
        if self.options.score == "all" and not given.layout.aligned:
            self.notes.append("labels do not vary within a sequence: each has one, and --score all changes nothing")
        self.codec = self.make_codec(given)
        self.holds_out = valid is None
        if valid is None:
            if len(given) < 2:
                raise DataError(f"{given.name}: expected at least two sequences to learn from, got {len(given)}")
            rng = np.random.default_rng(seed)
            rows, held = split_rows(self.strata(given), given.groups, HELD_OUT, rng, count=len(given))
            train, other = given.take(rows), given.take(held)
            if shared := shared_sequences(train, other):
                self.notes.append(
                    f"{shared} of {len(other)} held-out sequences stand in the training part too: what is held out looks easier "
                    "than new data will be"
                )
        else:
            train, other = given, self._read(valid)
            self._refuse_overlap(train, other)
        self._fit_inputs(train)
        self.tail = given if valid is None else train
        self.seen = Seen.of(self.tail)
        self._train, self._valid = self._encode(train), self._scored_part(self._encode(other))
        if self.codec.guard is not None:
            self.codec.guard.reset()  # held-out values outside the range are no news to anyone

    def _refuse_overlap(self, train: SequenceSet, other: SequenceSet) -> None:
        shared = shared_sequences(train, other)
        if shared > len(other) / 2:
            raise DataError(
                f"{other.name}: {shared} of {len(other)} validation sequences are in the training data; remove them from one "
                "of the two"
            )
        if shared:
            self.notes.append(f"{shared} of {len(other)} validation sequences are in the training data too")

    def _fit_inputs(self, train: SequenceSet) -> None:
        options, text = self.options, train.texts is not None
        level = options.level or ("word" if not text else None)
        self.codec.fit_inputs(
            train,
            level=level,
            casing=options.casing,
            longest=options.longest or (1000 if text else None),
            min_count=options.min_count,
            max_vocabulary=options.max_vocabulary,
            parts=options.parts,
            policy=options.guard,
            gaps=options.gaps,
        )
        if self.codec.clock is not None:
            self.notes.append(f"the time between rows is read in units of the median one, {self.codec.clock.unit_name}")
        if train.texts is not None:
            unknown, symbols = self.codec.count_unknown(train.texts)
            how = "in lower case" if self.codec.casing == "lower" else "with their case"
            self.notes.append(
                f"texts are read by {self.codec.level}, {how}; {unknown} of {symbols} training symbols are rare and became <unk>"
            )

    def _read(self, sources: Sequence[Source], labels: Literal["required", "optional"] = "required") -> SequenceSet:
        """Later data, read as the first was."""
        options = self.options
        return read_sequences(sources, self.codec.layout, labels=labels, header=options.header, timed=options.gaps)

    def _encode(self, data: SequenceSet) -> Encoded:
        return Encoded(self.codec.encode(data), self._encode_labels(data))

    def _encode_labels(self, data: SequenceSet) -> list[Array]:
        """One label of each sequence, or one of each row of it that is read; none if they are not given."""
        return [
            self.codec.encode_labels(cells[: self.codec.longest], place)
            for cells, place in zip(data.labels or (), data.places, strict=False)
        ]

    def _scored_part(self, data: Encoded) -> Encoded:
        """With the labels that evaluation scores: selection and calibration look at what counts, though all are learned from."""
        return data if self._every else Encoded(data.inputs, [one[-1:] for one in data.labels])

    def facts(self) -> Facts:
        lengths = self._train.lengths
        return Facts(
            steps=sum(lengths),
            sequences=len(lengths),
            symbols=len(self.codec.vocabulary) if self.codec.vocabulary else 0,
            features=self.codec.features,
            longest=max(lengths),
            outputs=len(self.codec.outputs),
            level=self.codec.level if self.codec.reads_text else "",
        )

    def windows(self, rows: int, window: int) -> int:
        """Those that hold a label: the others are read on the way and count nothing."""
        lengths, labels = self._train.lengths, self._train.labels
        batches = bucketed(lengths, rows, np.random.default_rng(0))
        if not window:
            return len(batches)
        return sum(
            len({part for row in batch for part in _windows(lengths[row] - len(labels[row]), lengths[row], window)})
            for batch in batches
        )

    def batches(self, split: str, rows: int, window: int, seed: int) -> Iterator[Batch]:
        data = {"train": [self._train], "valid": [self._valid], "all": [self._train, self._valid]}[split]
        inputs = [one for part in data for one in part.inputs]
        labels = [one for part in data for one in part.labels]
        lengths = [length for part in data for length in part.lengths]
        rng = None if split == "valid" else np.random.default_rng(seed)
        for chosen in bucketed(lengths, rows, rng):
            whole = self._batch([inputs[i] for i in chosen], [labels[i] for i in chosen])
            yield from [whole] if split == "valid" else whole.windows(window)

    def _batch(self, inputs: Sequence[dict[str, Array]], labels: Sequence[Array] = ()) -> Batch:
        """Padded sequences; "labels" and where they are "scored": at the last step, or at every one."""
        arrays, lengths = {}, np.zeros(0, np.int64)
        for name in inputs[0]:
            arrays[name], lengths = pad([one[name] for one in inputs])
        targets: dict[str, Array] = {}
        if labels:
            time = int(lengths.max())
            targets["labels"] = np.zeros((len(labels), time, *labels[0].shape[1:]), labels[0].dtype)
            targets["scored"] = np.zeros((len(labels), time), bool)
            for row, (one, length) in enumerate(zip(labels, lengths, strict=True)):
                places = slice(length - len(one), length)
                targets["labels"][row, places], targets["scored"][row, places] = one, True
        fresh = torch.ones(len(lengths), dtype=torch.bool)
        return Batch(tensors(self.codec.complete(arrays)), tensors(targets), torch.from_numpy(lengths), fresh)

    # --- the model

    def build(self, encoder: EncoderConfig, dropout: float) -> Model:
        codec = self.codec
        text = codec.reads_text
        return ManyToOne(
            encoder.model_dump(),
            len(codec.outputs),
            pooling=self.options.pooling or self._pooling(),
            vocabulary_size=len(codec.vocabulary) if codec.vocabulary else 0,
            parts=PARTS + 1 if codec.parts else 0,
            embedding_size=max(EMBEDDED, encoder.hidden // 2) if text else 0,
            features=codec.features,
            masked=codec.masked,
            timed=codec.clock is not None,
            members=self.options.members or (3 if text else 1),
            symbol_dropout=dropout if text else 0.0,
            dropout=dropout,
        )

    def _pooling(self) -> Mode:
        if self.codec.layout.aligned:
            return "last"  # a label that changes along a sequence is not in the mean of what was before
        return "max" if self.codec.reads_text else "mean"

    def scored(self, model: Model, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Outputs (M places, K) and labels (M places, ...) of a batch where there are labels.

        In training those of every member, one after the other: each learns on its own.
        """
        assert isinstance(model, ManyToOne)
        places = batch.targets["scored"]
        outputs = model.each(features[places]) if model.training else model.head(features[places])[None]
        labels = batch.targets["labels"][places]
        return outputs.flatten(0, 1), labels.repeat(len(outputs), *[1] * (labels.ndim - 1))

    def measure(self, scores: Scores, model: Model, features: Tensor, batch: Batch) -> None:
        outputs, labels = self.scored(model, features, batch)
        decoded, truth = self.codec.decode(outputs.numpy()), self.truth(labels.numpy())
        for metric in scores.values():
            metric.update(decoded, truth)

    def outputs(self, model: Model, data: Encoded, every: bool = False) -> list[Array]:
        """The model's outputs of each sequence, (1, K) at its end or (T_i, K) at every step."""
        found: dict[int, Array] = {}
        model.eval()
        for chosen in bucketed(data.lengths, ROWS_AT_ONCE):
            batch = self._batch([data.inputs[i] for i in chosen])
            with torch.inference_mode():
                features, _ = model(batch.inputs, model.begin({}, len(chosen)), batch.lengths)
                outputs = model.head(features if every else at_end(features, batch.lengths)[:, None]).numpy()
            for i, row, length in zip(chosen.tolist(), outputs, batch.lengths.tolist(), strict=True):
                found[i] = row[: length if every else 1]
        return [found[i] for i in range(len(data))]

    # --- the run folder

    def save(self, folder: Path) -> None:
        self.codec.save(folder / "codec.json")
        save_sequences(self.tail, folder / "tail.safetensors", TAIL)

    def restore(self, folder: Path) -> None:
        codec = load_codec(folder / "codec.json")
        if not isinstance(codec, SequenceCodec):
            raise RunError(f"{folder / 'codec.json'}: expected a codec of sequences, got {codec.kind!r}")
        self.codec = codec
        self.tail = load_sequences(folder / "tail.safetensors")
        self.seen = load_seen(folder / "tail.safetensors")

    # --- evaluation

    @property
    def _every(self) -> bool:
        return self.codec.layout.aligned and self.options.score == "all"

    def test(self, sources: Sequence[Source]) -> SequenceTest:
        given = self._read(sources)
        notes = [*given.notes, *self._met(given)]
        encoded = self._encode(given)
        if shared := self.seen.count_in(given):
            notes.append(f"{shared} of {len(given)} sequences were seen in fitting; scores on new ones would be worse")
        if len(self.tail) < self.seen.count:
            notes.append(f"the baselines are fitted on {len(self.tail):,} of {self.seen.count:,} sequences")
        if self.codec.clock is not None:
            notes.append("the baselines do not read the time between rows")
        return SequenceTest(given, encoded, self._truth_of(encoded.labels), notes)

    def _met(self, given: SequenceSet) -> list[str]:
        """What is read otherwise than it stands: unknown symbols, values the guard stops."""
        if given.texts is not None:
            unknown, symbols = self.codec.count_unknown(given.texts)
            return (
                [f"{unknown} of {symbols} symbols were not seen in training and are read as <unk>"] if unknown else []
            )
        assert self.codec.guard is not None
        self.codec.guard.reset()
        for one in given.values or ():
            self.codec.guard.apply(one)
        notes = self.codec.guard.report(without="missing")  # the reader has told those
        self.codec.guard.reset()
        return notes

    def _truth_of(self, labels: Sequence[Array]) -> NDArray[Any]:
        return self.truth(np.concatenate([one if self._every else one[-1:] for one in labels]))

    def decoded(self, model: Model, data: Encoded) -> Floats:
        """Answers (places, K): probabilities, or numbers in raw units."""
        return self.codec.decode(np.concatenate(self.outputs(model, data, self._every)))

    def score(self, model: Model, test: SequenceTest) -> Scores:
        return self._scores(self.decoded(model, test.encoded), test.truth)

    def _scores(self, decoded: Floats, truth: NDArray[Any]) -> Scores:
        scores = self.metrics()
        for metric in scores.values():
            metric.update(decoded, truth)
        return scores

    def block(self, test: SequenceTest) -> int:
        return max(test.encoded.lengths) if self._every else 1

    def baseline_settings(self) -> dict[str, Any]:
        kind = "text" if self.codec.reads_text else "values"
        steps = not self._every and any(len(one) > 1 for one in self.tail.values or ())
        return {"kind": kind, "steps": steps}

    def score_baselines(
        self, baselines: Iterable[ManyToOneBaseline], test: SequenceTest
    ) -> Iterator[tuple[str, Scores]]:
        """On whole sequences; where every row counts, on rows, each with its label."""
        known = self._truth_of(self._encode_labels(self.tail))
        fitted_on, examples = self._examples(self.tail), self._examples(test.given)
        for baseline in baselines:
            baseline.fit(fitted_on, known)
            yield baseline.name, self._scores(baseline.predict(examples), test.truth)

    def _examples(self, data: SequenceSet) -> Examples:
        if data.texts is not None:
            return Examples(texts=[self.codec.split(text) for text in data.texts])
        values = [one[: self.codec.longest] for one in data.values or ()]
        return Examples(values=[row[None] for one in values for row in one] if self._every else values)

    # --- prediction

    @abstractmethod
    def answer_columns(self, decoded: Floats) -> dict[str, list[Json]]:
        """Answers (places, K) as the columns of a table."""

    def predict(self, model: Model, sources: Sequence[Source]) -> Predictions:
        """A row per sequence, or per row of it where labels vary within one and all are scored."""
        return self._predict(model, sources, explain=False)

    def predict_explained(self, model: Model, sources: Sequence[Source]) -> Predictions:
        """As `predict`, with a column of what decided the answer at the end of each sequence, beside that row, see `explain`."""
        return self._predict(model, sources, explain=True)

    def _predict(self, model: Model, sources: Sequence[Source], *, explain: bool) -> Predictions:
        given = self._read(sources, labels="optional")
        encoded = self._encode(SequenceSet(**{**vars(given), "labels": None}))
        lengths = encoded.lengths if self._every else [1] * len(given)
        name = given.layout.columns.id or "row"
        columns: dict[str, Sequence[Json]] = {
            name: [i for i, n in zip(given.ids, lengths, strict=True) for _ in range(n)]
        }
        if self._every and given.times is not None:
            columns["time"] = [when for times, n in zip(given.times, lengths, strict=True) for when in times[:n]]
        columns.update(self.answer_columns(self.decoded(model, encoded)))
        if explain:
            told = self.explain(model, given, encoded)
            columns["explanation"] = [
                row for one, n in zip(told, lengths, strict=True) for row in [*[None] * (n - 1), one]
            ]
        return Predictions(columns, given.suffix, [*given.notes, *self._met(given)])

    def explain(self, model: Model, given: SequenceSet, encoded: Encoded) -> list[list[Json]]:
        """What decided the answer at the end of each sequence: (symbol, share) in order, or the largest (step, feature, share).

        Shares are of the log odds of what was answered, or of the number in raw units, by `integrated_gradients`; those of a
        sequence add up to the difference to having read nothing.
        """
        told: list[list[Json]] = []
        for number, shares in enumerate(self.shares(model, encoded)):
            if given.texts is None:
                told.append(self._largest(shares))
                continue
            each = zip(self.codec.split(given.texts[number]), shares.sum(-1).tolist(), strict=True)
            told.append([{"symbol": symbol, "share": round(share, 6)} for symbol, share in each])
        return told

    def shares(self, model: Model, data: Encoded) -> list[NDArray[np.float32]]:
        """Of each sequence, (T_i, embedded symbol or features): the parts of `explained` at its end."""
        assert isinstance(model, ManyToOne)
        found: dict[int, NDArray[np.float32]] = {}
        for chosen in bucketed(data.lengths, ROWS_AT_ONCE):
            batch = self._batch([data.inputs[i] for i in chosen])
            shares, _ = integrated_gradients(model, batch.inputs, batch.lengths, self.explained)
            for i, row, length in zip(chosen.tolist(), shares.numpy(), batch.lengths.tolist(), strict=True):
                found[i] = row[:length] if self.codec.reads_text else row[:length, : self.codec.features]
        return [found[i] for i in range(len(data))]

    @abstractmethod
    def explained(self, outputs: Tensor) -> Tensor:
        """Outputs (batch, K) -> (batch,): the figure whose parts `explain` tells."""

    def _largest(self, shares: NDArray[np.float32]) -> list[Json]:
        names = self.codec.layout.names
        order = np.argsort(-np.abs(shares), axis=None)[:MOST_EXPLAINED]
        steps, features = np.unravel_index(order, shares.shape)
        told: list[Json] = [
            {"step": int(step) + 1, "feature": names[feature], "share": round(float(shares[step, feature]), 6)}
            for step, feature in zip(steps, features, strict=True)
        ]
        if shares.size > len(order):
            rest = float(shares.sum() - shares[steps, features].sum())
            told.append({"step": None, "feature": "all others", "share": round(rest, 6)})
        return told

    def replay(self, model: Model, sources: Sequence[Source]) -> Iterator[tuple[Push, Json]]:
        given = self._read(sources, labels="optional").take([0])
        encoded = self._encode(SequenceSet(**{**vars(given), "labels": None}))
        inputs = self._batch(encoded.inputs).inputs
        with torch.inference_mode():
            features, _ = model(inputs, model.begin({}, 1))
            outputs = model.head(features)[0].numpy()
        for push, output in zip(self._pushes(given), outputs, strict=False):
            yield push, self.codec.answer(output, {})

    def _pushes(self, given: SequenceSet) -> list[Push]:
        """The rows of the first sequence as a stream gets them."""
        if given.texts is not None:
            return [Push(symbol) for symbol in self.codec.split(given.texts[0])]
        rows = [[None if value != value else value for value in row] for row in (given.values or ())[0].tolist()]
        clock = self.codec.clock
        times: Sequence[str | float | None] = [None] * len(rows)
        if clock is not None and given.moments is not None:
            times = clock.write(given.moments[0])
        return [Push(row, time) for row, time in zip(rows, times, strict=True)]


def _windows(start: int, stop: int, window: int) -> range:
    """The windows that hold some of the steps from ``start`` to before ``stop``, counted from 0."""
    return range(start // window, -(-stop // window))
