"""What a regression has to beat: the mean, and models that know no recurrence."""

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np

from elman.data.examples import Examples, Rows, check_targets, spread_sample
from elman.errors import ConfigError
from elman.evaluation.neighbours import Neighbours
from elman.evaluation.ngrams import NgramBag
from elman.evaluation.summary import Features
from elman.evaluation.threads import one_thread
from elman.metrics.metric import Floats

# What keeps fitting to some tens of seconds on one core.
_MOST_EXAMPLES = 50_000
_MOST_CELLS = 20_000_000  # examples times features times targets, of boosting
_FEWEST_EXAMPLES = 1_000
_PENALTY = 0.3  # of 0.1, 0.3, 1 and 3 the best in cross-validation on short reviews
_NEIGHBOURS = 5  # one alone would carry its own noise into the answer


class RegressionBaseline(ABC):
    """A regression without recurrence.

    Args:
        targets: C, at least 1.

    Raises: ConfigError for no target at all; DataError from `fit` without examples.
    """

    name: str

    def __init__(self, targets: int) -> None:
        if targets < 1:
            raise ConfigError(f"expected `targets` of at least 1, got {targets}")
        self.targets = targets

    @abstractmethod
    def fit(self, examples: Examples, targets: Floats) -> None:
        """Learn from N examples and their targets (N, C), finite."""

    @abstractmethod
    def predict(self, examples: Examples) -> Floats:
        """(N, C), in the units of the targets."""


class Mean(RegressionBaseline):
    """The mean of training, for every example."""

    name = "mean"

    def fit(self, examples: Examples, targets: Floats) -> None:
        check_targets(examples, targets)
        self._mean = targets.mean(axis=0)

    def predict(self, examples: Examples) -> Floats:
        return np.tile(self._mean, (len(examples), 1))


class NgramRidge(RegressionBaseline):
    """Ridge regression on a bag of words and pairs of words, tf-idf weighted."""

    name = "ngram_ridge"

    def fit(self, examples: Examples, targets: Floats) -> None:
        from sklearn.linear_model import Ridge

        check_targets(examples, targets)
        rows = spread_sample(targets[:, 0], _MOST_EXAMPLES)
        texts = examples.take(rows).require_texts()
        self._bag = NgramBag(texts, self.targets)
        self._model = Ridge(alpha=_PENALTY).fit(self._bag(texts), targets[rows])

    def predict(self, examples: Examples) -> Floats:
        answers = self._model.predict(self._bag(examples.require_texts()))
        return np.asarray(answers, dtype=np.float64).reshape(len(examples), self.targets)


class Nearest(RegressionBaseline):
    """Mean of the five nearest training sequences under dynamic time warping: `Neighbours` says how they are compared.

    Args:
        steps: sequences have several steps. With one there is nothing to warp, and these are the nearest neighbours.
    """

    def __init__(self, targets: int, steps: bool = True) -> None:
        super().__init__(targets)
        self.name = "nearest_dtw" if steps else "nearest_neighbour"

    def fit(self, examples: Examples, targets: Floats) -> None:
        check_targets(examples, targets)
        self._neighbours = Neighbours(examples, targets[:, 0])
        self._targets = targets[self._neighbours.rows]

    def predict(self, examples: Examples) -> Floats:
        return np.asarray(self._targets[self._neighbours.nearest(examples, _NEIGHBOURS)].mean(axis=1))


class Boosting(RegressionBaseline):
    """Gradient-boosted trees on summary statistics of a sequence (`summaries`), or on the values of a single step.

    Trees of their own for each target.

    Args:
        steps: sequences have several steps.
    """

    name = "boosting"

    def __init__(self, targets: int, steps: bool = True) -> None:
        super().__init__(targets)
        self._steps = steps

    def fit(self, examples: Examples, targets: Floats) -> None:
        from sklearn.ensemble import HistGradientBoostingRegressor

        check_targets(examples, targets)
        rows = self._sample(examples, targets)
        chosen, y = examples.take(rows), targets[rows]
        self._features = Features(chosen, self._steps)
        self._mean, deviation = y.mean(axis=0), y.std(axis=0)
        self._scale = np.where(deviation > 0, deviation, 1.0)  # trees work in float32
        x, y = self._features(chosen), (y - self._mean) / self._scale
        with one_thread():
            self._models: list[HistGradientBoostingRegressor] = [
                HistGradientBoostingRegressor(early_stopping=False, random_state=0).fit(x, column) for column in y.T
            ]

    def predict(self, examples: Examples) -> Floats:
        x = self._features(examples)
        with one_thread():
            answers = np.stack([model.predict(x) for model in self._models], axis=-1)
        return np.asarray(answers * self._scale + self._mean)

    def _sample(self, examples: Examples, targets: Floats) -> Rows:
        width = Features(examples.take([0]), self._steps).width
        most = np.clip(_MOST_CELLS // (width * self.targets), _FEWEST_EXAMPLES, _MOST_EXAMPLES)
        return spread_sample(targets[:, 0], int(most))


def regression_baselines(
    kind: Literal["text", "values"], targets: int = 1, steps: bool = True
) -> list[RegressionBaseline]:
    """The baselines that stand beside every regression; `steps`: sequences of values have several steps.

    Raises: ConfigError for an unknown kind.

    >>> [baseline.name for baseline in regression_baselines("text")]
    ['mean', 'ngram_ridge']
    >>> [baseline.name for baseline in regression_baselines("values", steps=False)]
    ['mean', 'nearest_neighbour', 'boosting']
    """
    if kind == "text":
        return [Mean(targets), NgramRidge(targets)]
    if kind == "values":
        return [Mean(targets), Nearest(targets, steps), Boosting(targets, steps)]
    raise ConfigError(f"expected `kind` text or values, got {kind!r}")
