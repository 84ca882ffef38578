"""Every default that depends on the data, in one place, each with its reason.

They see `Facts` only: counts and measured statistics of the training part, never a name of a data set.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from elman.cells import CELLS, Cell
from elman.models.build import EncoderConfig
from elman.models.encoder import ENCODERS
from elman.tasks.task import Facts
from elman.training.config import TrainingConfig


@dataclass(frozen=True)
class Defaults:
    encoder: EncoderConfig
    training: TrainingConfig


def defaults(task: str, facts: Facts, encoder: str | None = None) -> Defaults:
    """What `fit` uses where the user says nothing, or no more than which encoder."""
    base = _of_task(task, facts)
    if encoder is None or encoder == base.encoder.name:
        return base
    if encoder in ENCODERS:
        return _rival(base, encoder, facts)
    return _linear(base, encoder) if CELLS.get(encoder).scan is not Cell.scan else _with(base, name=encoder)


def _of_task(task: str, facts: Facts) -> Defaults:
    if task == "language":
        return _language(facts)
    if task in ("classify", "regress"):
        return _texts(facts) if facts.symbols else _sequences(facts)
    return _forecast(facts)


def _with(base: Defaults, **encoder: Any) -> Defaults:
    return replace(base, encoder=base.encoder.model_copy(update=encoder))


def _linear(base: Defaults, name: str) -> Defaults:
    """Recurrences that are linear in their state need something that is not between them, twice at least, and norms to hold it."""
    return _with(
        base,
        name=name,
        layers=max(2, base.encoder.layers or 1),
        connections="residual",
        layer_norm="before",
        feedforward=True,
    )


def _rival(base: Defaults, name: str, facts: Facts) -> Defaults:
    """As deep as it takes to see what a recurrent network is trained to see, 512 steps at most; rates at which all learn."""
    reach = base.training.window or min(max(facts.longest, 1), 512)
    shapes: dict[str, tuple[int, dict[str, int | float | str | bool]]] = {
        "mlp": (2, {"window": min(reach, 64)}),  # its first layer grows with it
        "cnn": (4, {}),
        "tcn": (max(2, math.ceil(math.log2(reach / 4 + 1))), {}),  # 1 + 4 (2^L - 1) steps
        "transformer": (2, {"window": reach}),
        "ssm": (2, {}),
    }
    layers, options = shapes.get(name, (2, {}))
    shape = _with(base, name=name, layers=layers, dropout=min(base.encoder.dropout, 0.3), cell=options)
    return replace(
        shape, training=base.training.model_copy(update={"learning_rate": min(base.training.learning_rate, 2e-3)})
    )


def _language(facts: Facts) -> Defaults:
    """An LSTM as wide as the text can fill: two layers once there is enough to learn from."""
    large = facts.steps >= 300_000  # below, a second layer learns by heart what the first one left
    return Defaults(
        EncoderConfig(
            name="lstm", hidden=256 if large else 128, layers=2 if large else 1, dropout=0.2 if large else 0.1
        ),
        TrainingConfig(
            epochs=40 if facts.steps < 3_000_000 else 10,
            finish=0.1,
            batch_size=32 if large else 16,  # as fast as 64 on two cores, and twice the updates
            window=100 if facts.level == "char" else 35,
            learning_rate=4e-3 if facts.level == "char" else 2e-3,
            weight_decay=0.01,
            dropout=0.2 if large else 0.1,
        ),
    )


def _forecast(facts: Facts) -> Defaults:
    """A GRU that learns from some hundred short updates; measured on the inner part of seven series of 300 to 40,000 rows."""
    wide = facts.steps >= 5000
    return Defaults(
        EncoderConfig(name="gru", hidden=128 if wide else 64),
        TrainingConfig(
            # 80 for 200 rows, 300 for 10,000: what more updates learn is noise, and the validation part is too short to see it
            updates=round(40 * math.log2(max(facts.steps, 200) / 50)),
            finish=0.25,  # the held-out part is the newest: worth 1 % of the error
            batch_size=32,  # 16 for each of two members
            window=min(168, max(72, 2 * facts.season)),  # has seen what repeats, twice where that is short
            learning_rate=6e-3 if wide else 3e-3,
            weight_decay=0.01,
            dropout=0.2 if wide else 0.1,
            averaging=0.99,  # of some hundred noisy updates: worth 3 % of the error on hourly data
            tolerance=0.02,  # a tenth of one series is a short part to choose on
            validations=20,
        ),
    )


def _texts(facts: Facts) -> Defaults:
    """A bidirectional LSTM that is hardly allowed to learn by heart: there are always fewer texts than words."""
    return Defaults(
        EncoderConfig(name="lstm", hidden=128, bidirectional=True, dropout=0.5),
        TrainingConfig(
            # with the square root of the texts: 400 for 500, six passes over 6,000, three over 25,000
            updates=round(1200 * math.sqrt(max(facts.sequences, 100) / 6000)),
            finish=0.15,
            batch_size=32,
            window=0,
            learning_rate=2e-3,
            weight_decay=0.01,
            dropout=0.5,
            averaging=0.99,
            validations=20,
        ),
    )


def _sequences(facts: Facts) -> Defaults:
    """A bidirectional GRU that reads a sequence, or a plain row, both ways."""
    small = facts.sequences < 2000
    return Defaults(
        EncoderConfig(name="gru", hidden=128, bidirectional=facts.longest > 1, dropout=0.3),
        TrainingConfig(
            # 1,000 for 200 sequences, 3,200 for 10,000: a passing over few is short, and they must be seen often
            updates=round(1000 * (max(facts.sequences, 50) / 200) ** 0.3),
            finish=0.25,
            batch_size=16 if small else 32,
            window=0,
            learning_rate=3e-3,
            weight_decay=0.01,
            dropout=0.3,
            averaging=0.99,
            validations=20,
        ),
    )
