"""Long sequences cut into pieces, and pieces into windows, for truncated back-propagation through time.

Each row of a batch walks along one piece, window after window, carrying its state, and takes the next piece at its end.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Piece:
    """A part of a series that is read in one go, from a fresh state.

    Attributes:
        series: number of the series.
        start, stop: the positions that are read.
        score_from: the first position that is scored; those before it only warm up the state.
    """

    series: int
    start: int
    stop: int
    score_from: int


@dataclass(frozen=True)
class Slot:
    """One row of one window. ``start == stop``: the row has nothing left.

    Attributes:
        series, start, stop: what is read.
        fresh: the row begins a piece, from a fresh state.
        score_from: as in `Piece`.
    """

    series: int
    start: int
    stop: int
    fresh: bool
    score_from: int

    def __len__(self) -> int:
        return self.stop - self.start


NOTHING = Slot(0, 0, 0, False, 0)


def cut(lengths: Sequence[int], rows: int, warm_up: int, rng: np.random.Generator | None = None) -> list[Piece]:
    """Cut series so that ``rows`` rows are busy and every position of every series is scored exactly once.

    A series longer than its share of a row is cut into about equal pieces. Each piece but the first of a series starts
    ``warm_up`` steps before the first position it scores.

    Args:
        lengths: steps of each series.
        rows: rows of a batch.
        warm_up: steps, >= 0.
        rng: moves the cut points and shuffles the pieces, differently in every epoch; None: neither.
    """
    share = max(-(-sum(lengths) // rows), 1)
    pieces: list[Piece] = []
    for series, length in enumerate(lengths):
        for start, stop in pairwise(_cut_points(length, share, rng)):
            pieces.append(Piece(series, max(start - warm_up, 0), stop, start))
    if rng is None:
        return pieces
    shuffled = [pieces[number] for number in rng.permutation(len(pieces))]
    # What a shifted cut leaves at both ends of a series comes last: together it fills the one row that is still free.
    return sorted(shuffled, key=lambda piece: 2 * (piece.stop - piece.score_from) < share)


def sample(lengths: Sequence[int], rows: int, warm_up: int, scored: int, rng: np.random.Generator) -> list[Piece]:
    """Pieces at random places: about one pass over all steps, and one for every row at least.

    Where series are short, disjoint pieces would be mostly warm-up; these overlap instead. A series is drawn in proportion to
    its length; one that is shorter than a piece is read whole, and at least its last step is scored.

    Args:
        lengths: steps of each series. rows: rows of a batch.
        warm_up: steps before the first scored one. scored: steps scored in a piece.
    """
    sizes = np.asarray(lengths)
    count = max(rows, round(sizes.sum() / scored))
    # systematic sampling: the pieces are spread evenly over all steps, so that passes differ in their places, not their shares
    places = (np.arange(count) + rng.random()) * sizes.sum() / count
    chosen = np.searchsorted(np.cumsum(sizes), places, side="right").clip(max=len(sizes) - 1)
    pieces: list[Piece] = []
    for series in rng.permutation(chosen).tolist():
        start = int(rng.integers(max(int(sizes[series]) - warm_up - scored, 0) + 1))
        stop = min(start + warm_up + scored, int(sizes[series]))
        pieces.append(Piece(series, start, stop, min(start + warm_up, stop - 1)))
    return pieces


def _cut_points(length: int, share: int, rng: np.random.Generator | None) -> list[int]:
    """Where the pieces of one series begin and end, 0 and ``length`` included; [] for an empty series."""
    if not length:
        return []
    count = max(round(length / share), 1)
    shift = 0 if rng is None or count == 1 else int(rng.integers(-(-length // count)))
    points = {shift + number * length // count for number in range(count)}
    return sorted({0, length} | {point for point in points if point < length})


def plan_windows(pieces: Sequence[Piece], rows: int, window: int) -> Iterator[list[Slot]]:
    """Windows of at most ``window`` steps for ``rows`` rows, until all pieces are read.

    A row walks along its piece and takes the next one from ``pieces`` when it is finished, always at the beginning of a
    window. Rows with nothing left get `NOTHING`.
    """
    waiting = iter(pieces)
    current: list[Piece | None] = [next(waiting, None) for _ in range(rows)]
    position = [piece.start if piece else 0 for piece in current]
    while any(current):
        slots: list[Slot] = []
        for row, piece in enumerate(current):
            if piece is None:
                slots.append(NOTHING)
                continue
            start, stop = position[row], min(position[row] + window, piece.stop)
            slots.append(Slot(piece.series, start, stop, start == piece.start, piece.score_from))
            position[row] = stop
            if stop == piece.stop:
                current[row] = following = next(waiting, None)
                position[row] = following.start if following else 0
        yield slots
