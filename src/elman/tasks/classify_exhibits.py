"""What a report shows of a classifier: what is taken for what, how sure it is, and examples with what decided them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elman.data.sequences import SequenceSet
from elman.metrics.classification import calibration_bins, confusion, predicted
from elman.tasks.exhibits import AnyExhibit, Confusion, Listing, Passage, Passages, Reliability

Floats = NDArray[np.float64]

SHOWN = 8  # examples in a table
MARKED = 4  # texts whose words are marked
EXCERPT = 160  # characters of a text in a table

Shares = Sequence[tuple[str, float]]
"""The symbols of a text, each with its share of the answer."""


@dataclass(frozen=True)
class Answered:
    """Sequences with what they are and what the model said: probabilities and truth (places, K)."""

    given: SequenceSet
    labels: Sequence[str]
    probabilities: Floats
    truth: NDArray[np.bool_]
    multi: bool

    @property
    def likelihood(self) -> Floats:
        """(places,): the probability given to what it is; with several labels, to the one the model is furthest from."""
        if self.multi:
            return np.asarray(np.where(self.truth, self.probabilities, 1 - self.probabilities).min(1))
        return np.asarray(self.probabilities[self.truth])

    def names(self, chosen: NDArray[np.bool_]) -> str:
        return "|".join(self.labels[k] for k in np.flatnonzero(chosen).tolist())

    def about(self, number: int) -> tuple[str, str]:
        """What a sequence is, and what was said."""
        said = predicted(self.probabilities[number : number + 1], self.multi)[0]
        return self.names(self.truth[number]), self.names(said)


def figures(answered: Answered) -> list[AnyExhibit]:
    """The confusion matrix, where one label is said at a time, and the reliability diagram."""
    confidence, accuracy, count = calibration_bins(answered.probabilities, answered.truth, multi=answered.multi)
    reliability = Reliability(
        name="reliability",
        title="How sure, how often right",
        caption="On the diagonal, a probability of 0.8 is right in 80 of 100 cases.",
        confidence=confidence.tolist(),
        accuracy=accuracy.tolist(),
        count=count.tolist(),
    )
    if answered.multi:
        return [reliability]
    matrix = Confusion(
        name="confusion",
        title="Which label is taken for which",
        caption="Rows: what it is. Columns: what the model says.",
        labels=list(answered.labels),
        counts=confusion(answered.probabilities, answered.truth).tolist(),
    )
    return [matrix, reliability]


def order_of(answered: Answered) -> NDArray[np.int64]:
    """Sequences from the most mistaken to the surest that is right."""
    return np.argsort(answered.likelihood, kind="stable")


def examples(answered: Answered) -> list[AnyExhibit]:
    """The most mistaken sequences and the surest, as tables."""
    order = order_of(answered)
    columns = [
        "text" if answered.given.texts is not None else "sequence",
        "is",
        "said",
        "probability of what it is",
    ]

    def listing(name: str, title: str, caption: str, chosen: NDArray[np.int64]) -> Listing:
        rows: list[list[str | int | float]]
        rows = [[_short(answered.given, i), *answered.about(i), float(answered.likelihood[i])] for i in chosen.tolist()]
        return Listing(name=name, title=title, caption=caption, columns=columns, rows=rows)

    return [
        listing("worst", "Most mistaken", "Where the model is surest of something else.", order[:SHOWN]),
        listing("best", "Surest and right", "Where the model has least doubt.", order[::-1][:SHOWN]),
    ]


def decided(answered: Answered, chosen: Sequence[int], shares: Sequence[Shares]) -> Passages:
    """Texts with the words marked that spoke for the answer."""
    passages = []
    for number, one in zip(chosen, shares, strict=True):
        is_, said = answered.about(number)
        most = max((share for _, share in one), default=0.0)
        shade = [max(0.0, share) / most if most > 0 else 0.0 for _, share in one]
        heading = f"said {said or 'none'}, is {is_ or 'none'}"
        passages.append(Passage(heading, [f"{symbol} " for symbol, _ in one], shade))
    return Passages(
        name="decided",
        title="Which words decided",
        caption="The darker a word is marked, the more it spoke for the answer: integrated gradients, against having read nothing.",
        passages=passages,
    )


def _short(given: SequenceSet, number: int) -> str:
    if given.texts is None:
        steps = len((given.values or ())[number])
        return f"{given.ids[number]} ({steps} steps)"
    text = given.texts[number]
    return text if len(text) <= EXCERPT else text[:EXCERPT] + " ..."
