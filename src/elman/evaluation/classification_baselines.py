"""What a classifier has to beat: the commonest class, and models that know no recurrence."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal, Protocol

import numpy as np

from elman.data.examples import Examples, Rows, check_targets, spread_sample
from elman.errors import ConfigError
from elman.evaluation.neighbours import Neighbours
from elman.evaluation.ngrams import NgramBag
from elman.evaluation.summary import Features
from elman.evaluation.threads import one_thread
from elman.metrics.classification import Flags
from elman.metrics.metric import Floats

# What keeps fitting to some tens of seconds on one core.
_MOST_EXAMPLES = 50_000
_MOST_ANSWERS = 400_000  # examples times classes, of logistic regression
_MOST_CELLS = 20_000_000  # examples times features times classes, of boosting
_FEWEST_EXAMPLES = 1_000
_MOST_HISTOGRAMS = 200_000  # rounds times features times classes, of boosting
_WEAKNESS = 30.0  # 1 / penalty: of 10, 20 and 30 the best in cross-validation on short reviews, and flat around it
_LEFT_OUT = 200  # training sequences that tell how often the nearest neighbour is right


class ClassificationBaseline(ABC):
    """A classifier without recurrence.

    Every class has a probability above 0, also one that training did not show, so that the cross-entropy is finite.

    Args:
        classes: K, at least 1.
        multi: an example may have several labels, or none; each then has a probability of its own.

    Raises: ConfigError for no class at all; DataError from `fit` without examples.
    """

    name: str

    def __init__(self, classes: int, multi: bool = False) -> None:
        if classes < 1:
            raise ConfigError(f"expected `classes` of at least 1, got {classes}")
        self.classes = classes
        self.multi = multi

    @abstractmethod
    def fit(self, examples: Examples, targets: Flags) -> None:
        """Learn from N examples and their labels (N, K)."""

    @abstractmethod
    def predict(self, examples: Examples) -> Floats:
        """Probabilities (N, K): of each label with `multi`, else adding up to 1."""


class Majority(ClassificationBaseline):
    """How often each class came in training, plus one (Laplace): the same for every example."""

    name = "majority"

    def fit(self, examples: Examples, targets: Flags) -> None:
        check_targets(examples, targets)
        self._probabilities = _laplace(targets.mean(axis=0), len(targets), 2 if self.multi else self.classes)

    def predict(self, examples: Examples) -> Floats:
        return np.tile(self._probabilities, (len(examples), 1))


class NgramLogistic(ClassificationBaseline):
    """Logistic regression on a bag of words and pairs of words, tf-idf weighted; with `multi` one for each label.

    A text counts as its words alone: their order matters within pairs only.

    Source: Wang, Manning, "Baselines and Bigrams: Simple, Good Sentiment and Topic Classification", 2012.
    Differs: tf-idf in place of their ratios of counts, which are for two classes.
    """

    name = "ngram_logistic"

    def fit(self, examples: Examples, targets: Flags) -> None:
        from sklearn.linear_model import LogisticRegression

        check_targets(examples, targets)
        rows = _sample(targets, _MOST_ANSWERS // self.classes)
        texts = examples.take(rows).require_texts()
        self._bag = NgramBag(texts, self.classes)
        self._model = _Classifier(
            lambda: LogisticRegression(C=_WEAKNESS, max_iter=100), self._bag(texts), targets[rows], self.multi
        )

    def predict(self, examples: Examples) -> Floats:
        return self._model(self._bag(examples.require_texts()))


class Nearest(ClassificationBaseline):
    """The labels of the nearest training sequence under dynamic time warping: `Neighbours` says how it is compared.

    How sure it is, is the same for every example: as often as the nearest neighbour was right among up to 200 training
    sequences, each left out in turn. The rest is shared by all classes.

    Args:
        steps: sequences have several steps. With one there is nothing to warp, and this is the nearest neighbour.
    """

    def __init__(self, classes: int, multi: bool = False, steps: bool = True) -> None:
        super().__init__(classes, multi)
        self.name = "nearest_dtw" if steps else "nearest_neighbour"

    def fit(self, examples: Examples, targets: Flags) -> None:
        check_targets(examples, targets)
        kinds = _kinds(targets)
        self._neighbours = Neighbours(examples, kinds)
        self._labels = targets[self._neighbours.rows]
        self._sureness = self._measured_sureness(spread_sample(kinds[self._neighbours.rows], _LEFT_OUT))

    def predict(self, examples: Examples) -> Floats:
        labels = self._labels[self._neighbours.nearest(examples)[:, 0]]
        return np.asarray(self._sureness * labels + (1 - self._sureness) / self._answers)

    @property
    def _answers(self) -> int:
        return 2 if self.multi else self.classes

    def _measured_sureness(self, places: Rows) -> float:
        """Accuracy of the neighbour above chance, as a share of what is above chance; never 0, so that it decides."""
        if len(self._labels) == 1:
            return 0.5
        right = self._labels[places] == self._labels[self._neighbours.nearest_others(places)]
        right = right if self.multi else right.all(axis=1)
        chance = 1 / max(self._answers, 2)
        accuracy = (right.sum() + 1) / (right.size + 2)
        return max(float(accuracy - chance) / (1 - chance), 0.01)


class Boosting(ClassificationBaseline):
    """Gradient-boosted trees on summary statistics of a sequence (`summaries`), or on the values of a single step.

    With `multi`, trees of their own for each label.

    Args:
        steps: sequences have several steps.
    """

    name = "boosting"

    def __init__(self, classes: int, multi: bool = False, steps: bool = True) -> None:
        super().__init__(classes, multi)
        self._steps = steps

    def fit(self, examples: Examples, targets: Flags) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier

        check_targets(examples, targets)
        width = Features(examples.take([0]), self._steps).width
        rows = _sample(targets, _MOST_CELLS // (width * self.classes))
        chosen = examples.take(rows)
        self._features = Features(chosen, self._steps)
        rounds = int(np.clip(_MOST_HISTOGRAMS // (width * self.classes), 20, 100))
        trees = {"max_iter": rounds, "learning_rate": min(10 / rounds, 0.3), "max_bins": 63, "early_stopping": False}
        with one_thread():
            self._model = _Classifier(
                lambda: HistGradientBoostingClassifier(random_state=0, **trees),
                self._features(chosen),
                targets[rows],
                self.multi,
            )

    def predict(self, examples: Examples) -> Floats:
        with one_thread():
            return self._model(self._features(examples))


def classification_baselines(
    kind: Literal["text", "values"], classes: int, multi: bool = False, steps: bool = True
) -> list[ClassificationBaseline]:
    """The baselines that stand beside every classifier; `steps`: sequences of values have several steps.

    Raises: ConfigError for an unknown kind.

    >>> [baseline.name for baseline in classification_baselines("text", classes=2)]
    ['majority', 'ngram_logistic']
    >>> [baseline.name for baseline in classification_baselines("values", classes=2)]
    ['majority', 'nearest_dtw', 'boosting']
    """
    if kind == "text":
        return [Majority(classes, multi), NgramLogistic(classes, multi)]
    if kind == "values":
        return [Majority(classes, multi), Nearest(classes, multi, steps), Boosting(classes, multi, steps)]
    raise ConfigError(f"expected `kind` text or values, got {kind!r}")


class _Estimator(Protocol):
    """What is used of a scikit-learn classifier."""

    classes_: Any

    def fit(self, X: Any, y: Any) -> Any: ...

    def predict_proba(self, X: Any) -> Any: ...


class _Classifier:
    """A scikit-learn classifier that also answers for classes it has not seen; with `multi` one for each label.

    Args:
        make: an unfitted estimator.
        x: (N, features), dense or sparse.
    """

    def __init__(self, make: Callable[[], _Estimator], x: Any, targets: Flags, multi: bool) -> None:
        self._seen, self._answers, self._multi = len(targets), 2 if multi else targets.shape[1], multi
        questions = targets.T.astype(np.int64) if multi else targets.argmax(axis=1)[None]
        self._members = [_fitted(make, x, answers) for answers in questions]

    def __call__(self, x: Any) -> Floats:
        """(N, K)"""
        shares = np.zeros((len(self._members), x.shape[0], self._answers))
        for member, share in zip(self._members, shares, strict=True):
            share[:, member.classes_] = member.predict_proba(x)
        probabilities = _laplace(shares, self._seen, self._answers)
        return probabilities[..., 1].T if self._multi else probabilities[0]


def _fitted(make: Callable[[], _Estimator], x: Any, answers: Rows) -> _Estimator:
    import warnings

    from sklearn.dummy import DummyClassifier
    from sklearn.exceptions import ConvergenceWarning

    estimator = make() if answers.min() < answers.max() else DummyClassifier(strategy="prior")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the rounds are bounded on purpose
        estimator.fit(x, answers)
    return estimator


def _laplace(shares: Floats, seen: int, answers: int) -> Floats:
    """Shares as if every answer had been seen once more."""
    return (shares * seen + 1) / (seen + answers)


def _sample(targets: Flags, most: int) -> Rows:
    return spread_sample(_kinds(targets), int(np.clip(most, _FEWEST_EXAMPLES, _MOST_EXAMPLES)))


def _kinds(targets: Flags) -> Rows:
    """A number for each different row of labels: (N,)."""
    return np.asarray(np.unique(targets, axis=0, return_inverse=True)[1]).reshape(-1)
