"""The score of a trained model with its interval, and the baselines beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from elman.data.source import Source
from elman.evaluation.baselines import make_baselines
from elman.evaluation.intervals import bootstrap
from elman.metrics.metric import Metric
from elman.models.model import Model
from elman.tasks.task import Task


@dataclass(frozen=True)
class Score:
    """A metric's value and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """What `elman evaluate` prints.

    Attributes:
        count: units scored; unit: what they are, in words.
        metrics: name -> score of the model.
        baselines: baseline -> metric -> value, on the same units.
        notes: what was repaired or left out, in sentences.
    """

    task: str
    count: int
    unit: str
    metrics: dict[str, Score]
    baselines: dict[str, dict[str, float]]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "count": self.count,
            "unit": self.unit,
            "metrics": {name: vars(score) for name, score in self.metrics.items()},
            "baselines": self.baselines,
        }


def evaluate(task: Task, model: Model, sources: Sequence[Source], seed: int = 0) -> Evaluation:
    """Score ``model`` once on data that was not seen in fitting. Raises DataError if there is none in ``sources``."""
    test = task.test(sources)
    block = task.block(test)
    metrics = {name: _score(metric, block, seed) for name, metric in task.score(model, test).items()}
    baselines = {
        name: {key: metric.compute() for key, metric in scores.items()}
        for name, scores in task.score_baselines(make_baselines(task.baselines()), test)
    }
    known = {
        name: {key: value for key, value in values.items() if value == value} for name, values in baselines.items()
    }
    return Evaluation(task.name, test.count, task.unit, metrics, known, list(test.notes))


def _score(metric: Metric, block: int, seed: int) -> Score:
    low, high = bootstrap(metric.units(), metric.value, block=block, seed=seed)
    return Score(metric.compute(), low, high)
