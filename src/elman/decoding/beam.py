"""Beam search: several sequences side by side, the likeliest kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from elman.data.codec import Array
from elman.decoding.hypothesis import Hypothesis, log_softmax
from elman.errors import ConfigError
from elman.state import NumpyState, select
from elman.stepper import Stepper

Ids = NDArray[np.int64]


def beam_search(
    stepper: Stepper,
    state: NumpyState,
    first: Array,
    *,
    beam: int,
    length: int,
    end: int | None = None,
    alpha: float = 0.0,
    banned: Sequence[int] = (),
) -> list[list[Hypothesis]]:
    """The best sequences found for every row, best first, ``beam`` of them at most.

    Of all continuations of a row's sequences the ``beam`` likeliest stay. One that takes the end symbol is done and leaves the
    others to go on; a row is finished when none of these can still overtake its done ones. Sequences are ranked by

        score = log P(Y) / ((5 + |Y|) / 6)^alpha

    With ``alpha`` = 0 that is the log probability, which prefers short sequences. A beam of 1 is greedy decoding; one that holds
    every sequence finds the best there is.

    Source: Wu et al., "Google's Neural Machine Translation System", 2016, arXiv:1609.08144, eq. 14, without its coverage penalty.
    |Y| counts the end symbol.

    Args:
        stepper: reads {"symbols": (rows,)}, any number of rows, and gives logits (rows, V).
        state: before ``first``, a row for each of its symbols.
        first: (rows,) the symbol that each row reads first: the start symbol, or the last of a prompt.
        beam: sequences kept for each row, >= 1.
        length: symbols at most, >= 1. Sequences that reach it without an end are ranked with the others.
        end: the symbol that ends a sequence; None: all have the full length.
        alpha: of the length normalization, >= 0.
        banned: ids that are never taken; the probabilities of the others stay as they are.

    Raises: ConfigError if an option is out of range.
    """
    if beam < 1 or length < 1 or not (alpha >= 0 and np.isfinite(alpha)):
        raise ConfigError(f"expected `beam` and `length` >= 1 and `alpha` >= 0, got {beam}, {length} and {alpha}")
    found = [_Found(beam, length, alpha) for _ in first]
    rows: Ids = np.arange(len(first))
    symbols, total = np.asarray(first, np.int64)[:, None], np.zeros(len(first))
    for _ in range(length):
        if not len(rows):
            break
        logits, state = stepper.step({"symbols": symbols[:, -1]}, state)
        scores = total[:, None] + log_softmax(logits)
        scores[:, list(banned)] = -np.inf
        parents, chosen = _likeliest(scores, rows, beam)
        rows, total = rows[parents], scores[parents, chosen]
        symbols = np.concatenate([symbols[parents], chosen[:, None]], axis=1)
        done = np.zeros(len(chosen), bool) if end is None else chosen == end
        for i in np.flatnonzero(done):
            found[rows[i]].add(symbols[i, 1:], total[i])
        alive = np.flatnonzero(~done)
        going = alive[_open(rows[alive], total[alive], found)]
        rows, symbols, total, state = rows[going], symbols[going], total[going], select(state, parents[going])
    for row, ids, p in zip(rows, symbols, total, strict=True):
        found[row].add(ids[1:], p)
    return [one.best for one in found]


def _likeliest(scores: NDArray[np.float64], rows: Ids, beam: int) -> tuple[Ids, Ids]:
    """Which sequences go on by which symbols: of each row the ``beam`` best, best first; of equals the one that stands first."""
    parents, chosen = [], []
    for row in np.unique(rows):
        own = np.flatnonzero(rows == row)
        flat = scores[own].ravel()
        least = np.partition(flat, -beam)[-beam] if beam < len(flat) else -np.inf
        candidates = np.flatnonzero((flat >= least) & (flat > -np.inf))
        kept = candidates[np.argsort(-flat[candidates], kind="stable")][:beam]
        parents.append(own[kept // scores.shape[1]])
        chosen.append(kept % scores.shape[1])
    return np.concatenate(parents), np.concatenate(chosen)


def _open(rows: Ids, total: NDArray[np.float64], found: "list[_Found]") -> NDArray[np.bool_]:
    """Which sequences go on: those of a row whose likeliest may still become one of its best."""
    likeliest = {row: total[rows == row].max() for row in np.unique(rows)}
    return np.array([found[row].may_gain(likeliest[row]) for row in rows], bool)


@dataclass
class _Found:
    """The best done sequences of one row."""

    beam: int
    length: int
    alpha: float
    best: list[Hypothesis] = field(default_factory=list)

    def add(self, symbols: Ids, log_probability: float) -> None:
        score = float(log_probability / self._normalizer(len(symbols)))
        self.best.append(Hypothesis(tuple(symbols.tolist()), float(log_probability), score))
        self.best.sort(key=lambda hypothesis: -hypothesis.score)
        del self.best[self.beam :]

    def may_gain(self, log_probability: float) -> bool:
        """Whether a sequence may still become one of the best: no symbol makes it likelier, and full length flatters it most."""
        full = len(self.best) == self.beam
        return not full or log_probability / self._normalizer(self.length) > self.best[-1].score

    def _normalizer(self, length: int) -> float:
        return float(((5 + length) / 6) ** self.alpha)
