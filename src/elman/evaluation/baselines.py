"""The baselines of each family, made by name of the family."""

from collections.abc import Callable, Sequence
from typing import Any

from elman.errors import UsageError
from elman.evaluation.classification_baselines import classification_baselines
from elman.evaluation.forecast_baselines import forecast_baselines
from elman.evaluation.language_baselines import language_baselines
from elman.evaluation.regression_baselines import regression_baselines
from elman.registry import suggest
from elman.tasks.task import Baselines

FAMILIES: dict[str, Callable[..., Sequence[Any]]] = {
    "forecast": forecast_baselines,
    "language": language_baselines,
    "classification": classification_baselines,
    "regression": regression_baselines,
}


def make_baselines(wanted: Baselines) -> Sequence[Any]:
    """Untrained baselines, each with a ``name``. Raises UsageError for an unknown family."""
    if wanted.family not in FAMILIES:
        raise UsageError(f"there are no baselines of family {wanted.family!r}; {suggest(wanted.family, FAMILIES)}")
    return FAMILIES[wanted.family](**wanted.settings)
