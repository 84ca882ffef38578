"""Metrics of language models, from the negative log likelihood of each symbol.

All read the same three arrays, one entry for each scored symbol:

    nll         (N,) float64   nats
    characters  (N,)           characters of the symbol: 1 at character level; a word's length and the blank after it
    units       (N,) int       the unit of resampling: a document, a line, a block of text

A row of sums is (nats, symbols, characters) of one unit, in ascending order of the ids; a unit belongs in one call.
"""

import numpy as np
from numpy.typing import NDArray

from elman.metrics.metric import Floats, Metric, ratio


class LanguageMetric(Metric):
    """A figure of the likelihood of a text: sums are (nats, symbols, characters) for each unit."""

    def statistics(self, nll: Floats, characters: NDArray[np.generic], units: NDArray[np.integer]) -> Floats:
        """Sums (units, 3); shapes as in the file's head."""
        ids, row = np.unique(units, return_inverse=True)
        columns = (nll, np.ones(len(nll)), characters)
        return np.stack([np.bincount(row, weights=column, minlength=len(ids)) for column in columns], axis=-1)


class NLL(LanguageMetric):
    """Mean negative log likelihood, nats per symbol."""

    name = "nll"

    def value(self, totals: Floats) -> Floats:
        return ratio(totals[..., 0], totals[..., 1])


class Perplexity(LanguageMetric):
    """exp of the nats per symbol: the size of a fair die that is as hard to guess."""

    name = "perplexity"

    def value(self, totals: Floats) -> Floats:
        with np.errstate(over="ignore"):  # a model that is this wrong has perplexity infinity
            return np.asarray(np.exp(ratio(totals[..., 0], totals[..., 1])))


class BitsPerCharacter(LanguageMetric):
    """Bits for each character of the text, so that models over different symbols compare."""

    name = "bits_per_char"

    def value(self, totals: Floats) -> Floats:
        return ratio(totals[..., 0], totals[..., 2] * np.log(2))


def language_metrics() -> dict[str, LanguageMetric]:
    """Every metric of a language model, by name.

    >>> list(language_metrics())
    ['nll', 'perplexity', 'bits_per_char']
    """
    return {metric.name: metric for metric in (NLL(), Perplexity(), BitsPerCharacter())}
