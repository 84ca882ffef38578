"""Metrics of classifiers, from the probability of every class.

All read the same two arrays, a row for each scored place (a sequence, or a step where every step has a label):

    probabilities  (N, K) float64   rows add up to 1; where labels may come together each is a probability of its own
    labels         (N, K) bool      exactly one True in a row; any number where labels may come together (`multi`)

A unit is a place. The predicted class is the likeliest, the first of equals; with `multi` every label of probability
0.5 and more. A probability that is NaN makes the value NaN: a model that does not answer must not look better for it.
"""

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from elman.errors import ConfigError
from elman.metrics.metric import Floats, Metric, ratio

Flags = NDArray[np.bool_]

_LEAST = float(np.finfo(np.float64).eps)  # as scikit-learn's log_loss: what was called impossible costs 36 nats


class ClassificationMetric(Metric):
    """A figure of probabilities and labels.

    Args:
        multi: a place may have several labels, or none.
    """

    def __init__(self, multi: bool = False) -> None:
        super().__init__()
        self.multi = multi

    def statistics(self, probabilities: Floats, labels: Flags) -> Floats:
        """Sums for each place; shapes as in the file's head."""
        unanswered = np.isnan(probabilities).any(axis=1, keepdims=True)
        return np.where(unanswered, np.nan, self.sums(probabilities, labels))

    @abstractmethod
    def sums(self, probabilities: Floats, labels: Flags) -> Floats:
        """Rows (N, k) for places that were all answered."""


class MeanOfPlaces(ClassificationMetric):
    """A metric that is a mean over places: sums are (figure, 1)."""

    def sums(self, probabilities: Floats, labels: Flags) -> Floats:
        return np.stack([self.figure(probabilities, labels), np.ones(len(labels))], axis=-1)

    def value(self, totals: Floats) -> Floats:
        return ratio(totals[..., 0], totals[..., 1])

    @abstractmethod
    def figure(self, probabilities: Floats, labels: Flags) -> Floats:
        """(N,)"""


class Accuracy(MeanOfPlaces):
    """Fraction of places predicted exactly as they are labelled.

    With `multi` every label of a place must be right (subset accuracy).
    """

    name = "accuracy"
    higher_is_better = True

    def figure(self, probabilities: Floats, labels: Flags) -> Floats:
        return np.asarray((predicted(probabilities, self.multi) == labels).all(axis=1), dtype=np.float64)


class CrossEntropy(MeanOfPlaces):
    """Mean negative log probability given to what is true, in nats.

    With `multi` the mean over labels of the binary one.
    Probabilities below 2.2e-16 count as that, and with `multi` those above 1 - 2.2e-16 as that.
    """

    name = "cross_entropy"

    def figure(self, probabilities: Floats, labels: Flags) -> Floats:
        if self.multi:
            came = np.where(labels, probabilities, 1 - probabilities)
            return np.asarray(-np.log(np.maximum(came, _LEAST)).mean(axis=1))
        return np.asarray(-np.log(np.maximum(np.where(labels, probabilities, 0.0).sum(axis=1), _LEAST)))


class MacroF1(ClassificationMetric):
    """Mean over classes of the F1 score, 2 hits / (times predicted + times true).

    A class that is neither predicted nor true is left out. A row of sums is (hits, times predicted + times true) of
    each class in turn.
    """

    name = "macro_f1"
    higher_is_better = True

    def sums(self, probabilities: Floats, labels: Flags) -> Floats:
        guess = predicted(probabilities, self.multi)
        hits, times = guess & labels, guess.astype(np.float64) + labels
        return np.concatenate([hits, times], axis=1)

    def value(self, totals: Floats) -> Floats:
        hits, times = np.split(totals, 2, axis=-1)
        scores = ratio(2 * hits, times)
        present = ~np.isnan(scores)
        mean = ratio(np.where(present, scores, 0.0).sum(axis=-1), present.sum(axis=-1).astype(np.float64))
        return np.where(np.isnan(totals).any(axis=-1), np.nan, mean)


class AUROC(ClassificationMetric):
    """Area under the ROC curve: how often a place of a class scores above one of another class, ties counting half.

    Of two classes that of the second; of several, or of labels that come together, the mean over those with both
    places that have them and places that have not. NaN where there is none such.

    No sum over places gives it, but a mean does: that of the influence values

        psi_i = A + (V_i - A) / share of i's kind,   V_i = share of the other kind that is on the right side of i

    whose bootstrap variance is the one of DeLong. A unit's row is (psi_i, 1), averaged over classes.

    Source: DeLong, DeLong, Clarke-Pearson, "Comparing the Areas under Two or More Correlated Receiver Operating
    Characteristic Curves: A Nonparametric Approach", 1988, doi:10.2307/2531595; ranks as in Sun, Xu, "Fast
    Implementation of DeLong's Algorithm", 2014, doi:10.1109/LSP.2014.2337313.
    Differs: divides by n where DeLong has n - 1, as every bootstrap does.
    """

    name = "auroc"
    higher_is_better = True

    def sums(self, probabilities: Floats, labels: Flags) -> Floats:
        """What `units` needs: the scores, then the labels."""
        return np.concatenate([probabilities, labels], axis=1)

    def units(self) -> Floats:
        rows = super().units()
        if not len(rows):
            return rows
        scores, labels = np.split(rows, 2, axis=1)
        columns = [1] if scores.shape[1] == 2 and not self.multi else range(scores.shape[1])
        influence = [_influence(scores[:, k], labels[:, k] == 1) for k in columns if 0 < labels[:, k].mean() < 1]
        mean = np.mean(influence, axis=0) if influence else np.full(len(rows), np.nan)
        return np.stack([mean, np.ones(len(rows))], axis=-1)

    def value(self, totals: Floats) -> Floats:
        return np.clip(ratio(totals[..., 0], totals[..., 1]), 0.0, 1.0)


def classification_metrics(classes: int, multi: bool = False) -> dict[str, Metric]:
    """Every metric of a classifier, by name.

    Raises: ConfigError for no class at all.

    >>> list(classification_metrics(3))
    ['accuracy', 'macro_f1', 'cross_entropy', 'auroc']
    """
    if classes < 1:
        raise ConfigError(f"expected `classes` of at least 1, got {classes}")
    return {kind.name: kind(multi) for kind in (Accuracy, MacroF1, CrossEntropy, AUROC)}


def predicted(probabilities: Floats, multi: bool = False) -> Flags:
    """What a classifier answers, (N, K) bool: see the file's head."""
    if multi:
        return np.asarray(probabilities >= 0.5)
    return np.asarray(np.arange(probabilities.shape[1]) == probabilities.argmax(axis=1)[:, None])


def confusion(probabilities: Floats, labels: Flags) -> NDArray[np.int64]:
    """How often each class was taken for each: (K, K), rows are the truth, columns the prediction.

    >>> confusion(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([[True, False], [False, True]]))
    array([[1, 0],
           [1, 0]])
    """
    return np.asarray(labels.T.astype(np.int64) @ predicted(probabilities).astype(np.int64))


def calibration_bins(
    probabilities: Floats, labels: Flags, bins: int = 10, *, multi: bool = False
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """The points of a reliability diagram of the predicted class; with `multi`, of the probability of every label.

    Args:
        bins: of equal width over 0 to 1, at least 1; the upper edge belongs to the next one, 1 to the last.

    Returns: mean confidence, accuracy and count of each bin, (bins,) each; the first two are NaN where a bin is empty.
    Raises: ConfigError if `bins` is below 1.
    """
    if bins < 1:
        raise ConfigError(f"expected `bins` of at least 1, got {bins}")
    right = labels if multi else (predicted(probabilities) & labels).any(axis=1)
    confidence = probabilities if multi else probabilities.max(axis=1)
    place = np.clip((confidence * bins).astype(np.int64), 0, bins - 1).ravel()
    count, sure, came = (
        np.asarray(np.bincount(place, weights=part, minlength=bins), dtype=np.float64)
        for part in (np.ones(place.size), confidence.ravel(), right.ravel())
    )
    return ratio(sure, count), ratio(came, count), count.astype(np.int64)


def expected_calibration_error(probabilities: Floats, labels: Flags, bins: int = 10, *, multi: bool = False) -> float:
    """Mean distance of confidence and accuracy over bins, weighted by their counts; NaN without places.

    Source: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", 2017, equation 5.
    """
    confidence, accuracy, count = calibration_bins(probabilities, labels, bins, multi=multi)
    filled = count > 0
    distance = np.abs(accuracy[filled] - confidence[filled]) @ count[filled]
    return float(ratio(np.asarray(distance), np.asarray(count.sum())))


def _influence(scores: Floats, positive: Flags) -> Floats:
    """psi (N,), whose mean is the area; some places are positive and some are not."""
    from scipy.stats import rankdata

    ranks = rankdata(scores)
    share = np.empty(len(scores))
    for kind in (positive, ~positive):
        share[kind] = (ranks[kind] - rankdata(scores[kind])) / (~kind).sum()  # of the other kind, how many are below
    share[~positive] = 1 - share[~positive]
    area = share[positive].mean()
    return np.asarray(area + (share - area) / np.where(positive, positive.mean(), 1 - positive.mean()))
