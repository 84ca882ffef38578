"""How long a training run is: fixed before the first update, so that the result does not depend on the clock."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """The length of a training run.

    Attributes:
        updates: updates of the weights on the training part.
        validate_every: updates between two validations.
        per_epoch: updates in about one pass over the training part.
        finish: updates of the last phase, on all data.
    """

    updates: int
    validate_every: int
    per_epoch: int
    finish: int = 0

    def validates_after(self, update: int) -> bool:
        return update % self.validate_every == 0 or update == self.updates
