"""The settings of training, typed and checked."""

import re

from pydantic import BaseModel, ConfigDict, Field

from elman.errors import ConfigError


class TrainingConfig(BaseModel):
    """How a model is trained. Defaults that depend on the data come from `elman.training.defaults`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(20, ge=1)
    """Passes over the training part at most."""
    updates: int | None = Field(None, ge=1)
    """Updates of the weights at most; None: as many as `epochs` take. What was planned, within the budget, is stored."""
    budget: float | None = Field(None, gt=0)
    """Seconds of training; becomes a number of updates after a measured warm-up."""
    batch_size: int = Field(32, ge=1)
    """Sequences, or parallel streams, in a batch."""
    window: int = Field(64, ge=0)
    """Time steps per backward pass of truncated BPTT; the state is carried on and detached. 0: sequences are read whole, where the
    task has sequences with an end. Of an answer at the end of a sequence, the last window learns alone."""
    learning_rate: float = Field(2e-3, gt=0)
    """Peak rate of AdamW, reached after the warm-up, then decayed along a cosine."""
    final_rate: float = Field(0.02, ge=0, le=1)
    """The last learning rate as a share of the peak."""
    warm_up: float = Field(0.05, ge=0, lt=1)
    """Share of the updates in which the rate rises."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled, on matrices only: biases and norms are not decayed."""
    clip: float = Field(1.0, gt=0)
    """Largest global norm of the gradient."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """On embedded inputs and on the encoder's outputs; between layers it is `encoder.dropout`."""
    finish: float = Field(0.0, ge=0, le=1)
    """A last phase on all data, what was held out included, as a share of the updates; none if validation data was given."""
    finish_rate: float = Field(0.2, gt=0, le=1)
    """Learning rate at its beginning, as a share of the peak; it falls from there."""
    averaging: float = Field(0.0, ge=0, lt=1)
    """Decay of the moving average of the weights that is validated and kept; 0 keeps the weights themselves."""
    tolerance: float = Field(0.0, ge=0, lt=1)
    """The latest weights are kept whose validation loss is at most that share above the lowest."""
    patience: int = Field(12, ge=0)
    """Validations without a better loss after which training stops; 0: never."""
    validations: int = Field(40, ge=1)
    """Validations at most, evenly spread."""
    seed: int = 1
    checkpoint_every: float = Field(60.0, ge=0)
    """Seconds between checkpoints; sooner after a validation."""
    processes: int = Field(1, ge=1)
    """Processes on this machine that train together, each on its share of the rows of every batch."""


def parse_duration(text: str) -> float:
    """Seconds in "90", "90s", "10m", "1h30m" or "2d".

    >>> parse_duration("1h30m")
    5400.0

    Raises:
        ConfigError: the text is not a duration.
    """
    seconds = {"d": 86400, "h": 3600, "m": 60, "s": 1, "": 1}
    parts = re.fullmatch(r"(?:\d+(?:\.\d+)?[dhms])+|\d+(?:\.\d+)?", text.strip())
    if not parts:
        raise ConfigError(f"expected a duration like 90s, 10m or 1h30m, got {text!r}")
    total = sum(float(number) * seconds[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)([dhms]?)", text))
    if total <= 0:
        raise ConfigError(f"expected a duration above zero, got {text!r}")
    return total
