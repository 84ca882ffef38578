"""`regress`: one or several numbers for a sequence, or at every row of it. Many-to-one, or one-to-one for plain rows."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.batch import Batch
from elman.data.codec import Array, Json
from elman.data.scaling import Scaler
from elman.data.sequence_codec import Answers, SequenceCodec, numbers
from elman.data.sequences import Cell, SequenceSet
from elman.metrics.regression import regression_metrics
from elman.models.model import Model
from elman.tasks.exhibits import AnyExhibit, Scatter
from elman.tasks.many_to_one import Floats, ManyToOneTask
from elman.tasks.many_to_one_data import ManyToOneOptions, SequenceTest
from elman.tasks.task import Baselines, Scores, TaskOptions, register

STRATA = 10  # parts of the range of a number that every part of the data must have its share of
MOST_POINTS = 3000  # in a plot


class RegressOptions(ManyToOneOptions):
    """Options of `regress`."""


@register("regress")
class Regress(ManyToOneTask):
    """Numbers of texts, series, long tables and plain rows.

    Loss: squared error in units of the training labels' standard deviation. Metrics, in raw units: rmse mae.
    """

    name: ClassVar[str] = "regress"
    Options: ClassVar[type[TaskOptions]] = RegressOptions
    selection: ClassVar[str] = "rmse"
    answers: Answers = "numbers"
    options: RegressOptions

    def make_codec(self, given: SequenceSet) -> SequenceCodec:
        assert given.labels is not None
        values = [numbers(cells, place) for cells, place in zip(given.labels, given.places, strict=True)]
        names = given.layout.columns.label or tuple(f"y{k + 1}" if k else "y" for k in range(values[0].shape[1]))
        return SequenceCodec(given.layout, self.answers, names, target=Scaler.fit(values, len(names)))

    def strata(self, given: SequenceSet) -> Sequence[Cell] | None:
        """Tenths of the range of the first number."""
        values = np.array([float(cells[-1][0]) for cells in given.labels or ()])
        borders = np.unique(np.quantile(values, np.linspace(0, 1, STRATA + 1)[1:-1]))
        return [(str(tenth),) for tenth in np.searchsorted(borders, values)]

    def truth(self, labels: Array) -> NDArray[Any]:
        return self.codec.decode(labels)

    def loss(self, model: Model, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        outputs, labels = self.scored(model, features, batch)
        return (outputs - labels).square().sum(), torch.tensor(float(labels.numel()))

    def metrics(self) -> Scores:
        return regression_metrics()

    def baselines(self) -> Baselines:
        return Baselines("regression", {"targets": len(self.codec.outputs), **self.baseline_settings()})

    def answer_columns(self, decoded: Floats) -> dict[str, list[Json]]:
        return {name: decoded[:, k].tolist() for k, name in enumerate(self.codec.outputs)}

    def explained(self, outputs: Tensor) -> Tensor:
        """The first number, in raw units."""
        assert self.codec.target is not None
        return outputs[:, 0] * float(self.codec.target.scale[0])

    def exhibits(self, model: Model, test: SequenceTest) -> list[AnyExhibit]:
        decoded = self.decoded(model, test.encoded)
        rows = np.unique(np.linspace(0, len(decoded) - 1, min(MOST_POINTS, len(decoded))).round().astype(np.int64))
        return [
            Scatter(
                name=f"predicted-{k + 1}",
                title=f"{name}: said and true",
                caption="On the diagonal the model is right.",
                x_label="true",
                y_label="predicted",
                x=test.truth[rows, k].tolist(),
                y=decoded[rows, k].tolist(),
            )
            for k, name in enumerate(self.codec.outputs)
        ]
