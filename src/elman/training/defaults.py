"""Every default that depends on the data, in one place, each with its reason.

They see `Facts` only: counts and measured statistics of the training part, never a name of a data set.
"""

from dataclasses import dataclass

from elman.models.build import EncoderConfig
from elman.tasks.task import Facts
from elman.training.config import TrainingConfig


@dataclass(frozen=True)
class Defaults:
    encoder: EncoderConfig
    training: TrainingConfig


def defaults(task: str, facts: Facts) -> Defaults:
    """What `fit` uses where the user says nothing."""
    if task == "language":
        return _language(facts)
    return _forecast(facts)


def _language(facts: Facts) -> Defaults:
    """An LSTM as wide as the text can fill: two layers once there is enough to learn from."""
    large = facts.steps >= 300_000  # below, a second layer learns by heart what the first one left
    return Defaults(
        EncoderConfig(
            name="lstm", hidden=256 if large else 128, layers=2 if large else 1, dropout=0.2 if large else 0.1
        ),
        TrainingConfig(
            epochs=40 if facts.steps < 3_000_000 else 10,
            rows=64 if large else 16,  # many streams keep the cores busy; a short text needs the updates more
            window=100 if facts.level == "char" else 35,
            learning_rate=4e-3 if facts.level == "char" else 2e-3,
            weight_decay=0.01,
            dropout=0.2 if large else 0.1,
        ),
    )


def _forecast(facts: Facts) -> Defaults:
    """A GRU that learns from many short updates; each reason was measured on the inner part of several series."""
    window = min(168, max(32, facts.season))  # a season at least, so that a window has seen what repeats
    wide = facts.steps >= 5000
    return Defaults(
        EncoderConfig(name="gru", hidden=128 if wide else 64),
        TrainingConfig(
            epochs=40,
            rows=16,
            window=window,
            learning_rate=3e-3,
            weight_decay=0.01,
            dropout=0.1,
            averaging=0.99,
            tolerance=0.02,
            validations=20,
        ),
    )
