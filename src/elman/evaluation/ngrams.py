"""Texts as bags of n-grams."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_MOST_FEATURES = 200_000
_MOST_WEIGHTS = 2_000_000  # over all outputs: a solver that remembers its last ten steps walks over all of them


class NgramBag:
    """tf-idf of single words and of two in a row, 1 + log of the count, every text of length 1.

    Args:
        texts: the training texts, lists of words.
        outputs: how many numbers will be predicted from it; with many, only the more frequent n-grams are kept.
    """

    def __init__(self, texts: Sequence[Sequence[str]], outputs: int) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        most = min(_MOST_FEATURES, max(1000, _MOST_WEIGHTS // outputs))
        self._vectorizer = TfidfVectorizer(analyzer=ngrams, sublinear_tf=True, max_features=most)
        self._vectorizer.fit(texts)

    def __call__(self, texts: Sequence[Sequence[str]]) -> "csr_matrix":
        """(N, features)"""
        features: csr_matrix = self._vectorizer.transform(texts)
        return features


def ngrams(words: Sequence[str]) -> list[tuple[str, ...]]:
    """The words of a text and each two in a row, and once no word: so that the row of an empty text is not empty.

    >>> ngrams(["not", "good"])
    [(), ('not',), ('good',), ('not', 'good')]
    """
    return [(), *zip(words, strict=True), *itertools.pairwise(words)]
