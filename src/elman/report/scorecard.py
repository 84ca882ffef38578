"""The scores of a run as a report keeps them: an evaluation, and what its figures mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import cleandoc

from pydantic import TypeAdapter

from elman.evaluation.evaluate import Evaluation
from elman.metrics.metric import Metric
from elman.tasks.exhibits import Number


@dataclass(frozen=True)
class Figure:
    """A metric's value with its 95 % interval, and what it means."""

    value: Number
    low: Number
    high: Number
    about: str
    higher_is_better: bool


@dataclass(frozen=True)
class Scorecard:
    """An evaluation to show.

    Attributes:
        data: names of what was scored. count: units scored; unit: what they are.
        selection: the metric that says it in one figure.
        metrics: name -> figure of the model. baselines: baseline -> metric -> value.
        notes: what was repaired or left out, in sentences.
    """

    data: Sequence[str]
    count: int
    unit: str
    selection: str
    metrics: dict[str, Figure]
    baselines: dict[str, dict[str, Number]]
    notes: Sequence[str] = ()

    @classmethod
    def of(
        cls, evaluation: Evaluation, metrics: Mapping[str, Metric], selection: str, data: Sequence[str]
    ) -> "Scorecard":
        figures = {
            name: Figure(
                score.value, score.low, score.high, _first_sentence(metrics[name]), metrics[name].higher_is_better
            )
            for name, score in evaluation.metrics.items()
        }
        chosen = selection if selection in figures else next(iter(figures))
        return cls(data, evaluation.count, evaluation.unit, chosen, figures, evaluation.baselines, evaluation.notes)

    @classmethod
    def from_json(cls, text: str) -> "Scorecard":
        """Raises ValueError if the text is not what `to_json` wrote."""
        return TypeAdapter(cls).validate_json(text)

    def to_json(self) -> str:
        return TypeAdapter(Scorecard).dump_json(self, indent=1).decode("utf-8")

    def ranked(self) -> list[tuple[str, float]]:
        """Baselines that have the selected metric, the best first."""
        sign = -1 if self.metrics[self.selection].higher_is_better else 1
        values = ((name, scores.get(self.selection, float("nan"))) for name, scores in self.baselines.items())
        return sorted(((name, value) for name, value in values if value == value), key=lambda pair: sign * pair[1])


def _first_sentence(metric: Metric) -> str:
    """The first line of the metric's documentation, without the marks of code."""
    return cleandoc(type(metric).__doc__ or "").partition("\n")[0].replace("`", "")
