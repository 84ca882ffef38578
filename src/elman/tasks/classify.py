"""`classify`: the label of a sequence, or of every row of it. Many-to-one, or one-to-one for plain rows."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, field_validator
from scipy.optimize import minimize_scalar
from torch import Tensor

from elman.data.batch import Batch
from elman.data.codec import Array, Json
from elman.data.sequence_codec import Answers, SequenceCodec
from elman.data.sequences import Cell, SequenceSet
from elman.errors import ConfigError, DataError
from elman.metrics.classification import classification_metrics
from elman.models.many_to_one import ManyToOne
from elman.models.model import Model
from elman.tasks.classify_exhibits import MARKED, Answered, decided, examples, figures, order_of
from elman.tasks.exhibits import AnyExhibit
from elman.tasks.many_to_one import Floats, ManyToOneTask
from elman.tasks.many_to_one_data import Encoded, ManyToOneOptions, SequenceTest
from elman.tasks.task import Baselines, Scores, TaskOptions, register

MOST_COLUMNS = 20  # labels whose probabilities each have a column of the predictions
TEMPERATURES = (0.05, 20.0)
DOUBT = 0.5
"""Standard deviation of the logarithm of a temperature before anything is seen: a handful of validation sequences, all of them
right, must not make a model certain."""


class ClassifyOptions(ManyToOneOptions):
    """Options of `classify`."""

    multi: bool = False
    """A sequence may have several labels at once, or none: cells are split at "|", or every label has a column of 0 and 1."""
    class_weights: Literal["none", "balanced"] | dict[str, float] = "none"
    """What a mistake counts: "balanced" makes rare labels count as much as frequent ones; or a number per label."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target probability spread over all labels while learning."""

    @field_validator("class_weights", mode="before")
    @classmethod
    def _weights(cls, value: Any) -> Any:
        if isinstance(value, dict) and all(type(weight) in (int, float) for weight in value.values()):
            return {str(label): weight for label, weight in value.items()}
        if value not in ("none", "balanced"):
            raise ValueError("expected none, balanced, or a table with a number for each label")
        return value


@register("classify")
class Classify(ManyToOneTask):
    """Labels of texts, series, long tables and plain rows.

    Loss: cross-entropy, or with `multi` the mean binary cross-entropy of the labels. Probabilities are calibrated on the
    validation part by one temperature. Metrics: accuracy macro_f1 cross_entropy auroc.
    """

    name: ClassVar[str] = "classify"
    Options: ClassVar[type[TaskOptions]] = ClassifyOptions
    selection: ClassVar[str] = "accuracy"
    options: ClassifyOptions

    @property
    def answers(self) -> Answers:  # type: ignore[override]
        return "several" if self.options.multi else "one"

    def make_codec(self, given: SequenceSet) -> SequenceCodec:
        assert given.labels is not None
        labels = sorted({label for cells in given.labels for cell in cells for label in cell}, key=_natural)
        least = 1 if self.options.multi else 2
        if len(labels) < least:
            raise DataError(f"{given.name}: expected at least {least} different labels, got {labels}")
        if not self.options.multi and any(len(cell) != 1 for cells in given.labels for cell in cells):
            raise DataError(
                f"{given.name}: several label columns; add --multi if they are labels that may come together"
            )
        self._check_weights(labels)
        return SequenceCodec(given.layout, self.answers, labels)

    def _check_weights(self, labels: Sequence[str]) -> None:
        if isinstance(self.options.class_weights, dict):
            for label, weight in self.options.class_weights.items():
                if label not in labels:
                    raise ConfigError(
                        f"options.class_weights has the label {label!r}, the data has {', '.join(labels[:20])}"
                    )
                if not (weight > 0 and np.isfinite(weight)):
                    raise ConfigError(f"options.class_weights of {label!r}: expected a number above 0, got {weight}")

    def strata(self, given: SequenceSet) -> Sequence[Cell] | None:
        return [cells[-1] for cells in given.labels or ()]

    def truth(self, labels: Array) -> NDArray[Any]:
        if self.options.multi:
            return labels.astype(bool)
        return np.asarray(labels[:, None] == np.arange(len(self.codec.outputs)))

    def prepare(self, *args: Any, **kwargs: Any) -> None:
        super().prepare(*args, **kwargs)
        self._weights = torch.from_numpy(self._class_weights()).float()

    def _class_weights(self) -> Floats:
        """What each label counts in the loss (K,); with `multi`, what its presence counts against its absence."""
        wanted, labels = self.options.class_weights, self.codec.outputs
        if isinstance(wanted, dict):
            return np.array([wanted.get(label, 1.0) for label in labels])
        if wanted == "none":
            return np.ones(len(labels))
        truth = self.truth(np.concatenate(self._train.labels))
        counts = np.maximum(truth.sum(0), 1)
        absent = len(truth) - counts + 1
        return np.asarray(absent / counts if self.options.multi else len(truth) / (len(labels) * counts))

    def loss(self, model: Model, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        outputs, labels = self.scored(model, features, batch)
        smoothing = self.options.label_smoothing if model.training else 0.0
        if self.options.multi:
            smooth = labels * (1 - smoothing) + 0.5 * smoothing
            total = F.binary_cross_entropy_with_logits(outputs, smooth, pos_weight=self._weights, reduction="sum")
            return total, torch.tensor(float(labels.numel()))
        total = F.cross_entropy(outputs, labels, self._weights, reduction="sum", label_smoothing=smoothing)
        return total, self._weights[labels].sum()

    def metrics(self) -> Scores:
        return classification_metrics(len(self.codec.outputs), multi=self.options.multi)

    def calibrate(self, model: Model) -> None:
        """Divide the scores by the temperature that is likeliest given the validation labels, and `DOUBT`."""
        assert isinstance(model, ManyToOne)
        model.temperature.fill_(1.0)
        outputs = np.concatenate(self.outputs(model, self._valid, self._every)).astype(np.float64)
        labels = torch.from_numpy(np.concatenate(self._valid.labels))
        scores = torch.from_numpy(outputs)

        def nll(log_temperature: float) -> float:
            scaled = scores / np.exp(log_temperature)
            prior = 0.5 * (log_temperature / DOUBT) ** 2
            if self.options.multi:
                return prior + float(F.binary_cross_entropy_with_logits(scaled, labels.double(), reduction="sum"))
            return prior + float(F.cross_entropy(scaled, labels, reduction="sum"))

        found = minimize_scalar(nll, bounds=tuple(np.log(TEMPERATURES)), method="bounded")
        model.temperature.fill_(float(np.exp(found.x)))

    def baselines(self) -> Baselines:
        settings = {"classes": len(self.codec.outputs), "multi": self.options.multi, **self.baseline_settings()}
        return Baselines("classification", settings)

    def answer_columns(self, decoded: Floats) -> dict[str, list[Json]]:
        labels = self.codec.outputs
        name = self.codec.layout.columns.label[0] if len(self.codec.layout.columns.label) == 1 else "label"
        if self.options.multi:
            columns: dict[str, list[Json]] = {
                name: ["|".join(labels[k] for k in np.flatnonzero(p >= 0.5)) for p in decoded]
            }
        else:
            best = decoded.argmax(1)
            columns = {name: [labels[k] for k in best], "probability": decoded.max(1).tolist()}
        if len(labels) <= MOST_COLUMNS:
            columns.update({f"p_{label}": decoded[:, k].tolist() for k, label in enumerate(labels)})
        return columns

    def explained(self, outputs: Tensor) -> Tensor:
        """Log odds of the answer; with several labels, of the likeliest."""
        best = outputs.detach().argmax(-1, keepdim=True)
        chosen = outputs.gather(-1, best)[:, 0]
        if self.options.multi:
            return chosen
        return chosen - outputs.scatter(-1, best, -torch.inf).logsumexp(-1)

    def exhibits(self, model: Model, test: SequenceTest) -> list[AnyExhibit]:
        multi = self.options.multi
        answered = Answered(test.given, self.codec.outputs, self.decoded(model, test.encoded), test.truth, multi)
        if self._every:  # a row is no example
            return figures(answered)
        if test.given.texts is None:
            return [*figures(answered), *examples(answered)]
        order = order_of(answered)
        chosen = [*order[:MARKED].tolist(), *order[len(order) - min(MARKED, len(order) - MARKED) :][::-1].tolist()]
        encoded = Encoded([test.encoded.inputs[i] for i in chosen], [])
        marked = [
            list(zip(self.codec.split(test.given.texts[i]), one.sum(-1).tolist(), strict=True))
            for i, one in zip(chosen, self.shares(model, encoded), strict=True)
        ]
        return [*figures(answered), *examples(answered), decided(answered, chosen, marked)]


def _natural(label: str) -> tuple[int, float, str]:
    """Numbers by value, before all other labels."""
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label
