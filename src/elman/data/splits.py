"""What is held out: the end of a series or stream, or some of many sequences."""

import hashlib
from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from elman.data.sequences import Floats, SequenceSet
from elman.data.series import Series, SeriesSet
from elman.data.times import TimeArray, show_time
from elman.errors import ConfigError, DataError

Rows = NDArray[np.int64]
Digests = NDArray[np.uint64]

HELD_OUT = 0.1
"""The share that is held out unless told otherwise."""
PASSAGE, PASSAGES = 100, 20
"""Symbols in a passage that hardly occurs twice by chance, and how many of them tell whether two texts overlap."""
AT_ONCE = 5_000_000
CANDIDATES = 32
"""Groups that are compared, at most, before one is held out."""


def tail(length: int, fraction: float = HELD_OUT) -> int:
    """How many of the last of ``length`` items are held out: ``fraction`` of them, at least one, never all.

    >>> tail(100), tail(5), tail(1)
    (10, 1, 0)
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"expected a fraction between 0 and 1 to hold out, got {fraction}")
    return min(max(round(length * fraction), 1), length - 1) if length > 1 else 0


def split_series(data: SeriesSet, fraction: float = HELD_OUT) -> tuple[SeriesSet, SeriesSet]:
    """The first part of every series for training and its end for validation, as views. A series of one row trains."""
    train, valid = [], []
    for series in data.series:
        border = len(series) - tail(len(series), fraction)
        train.append(series.part(0, border))
        if border < len(series):
            valid.append(series.part(border, len(series)))
    return replace(data, series=tuple(train)), replace(data, series=tuple(valid))


def refuse_overlap(train: SeriesSet, valid: SeriesSet) -> None:
    """Raise a DataError if some series has values at the same times in both. Numbered rows (no times) cannot tell."""
    if not (train.timed and valid.timed):
        return
    known = {series.id: series for series in train.series}
    for series in valid.series:
        if series.id in known and len(shared := _shared_times(known[series.id], series)):
            name = f"series {series.id!r}" if series.id else "the series"
            raise DataError(
                f"{name}: training and validation data share {len(shared)} times, from {show_time(shared[0])} to "
                f"{show_time(shared[-1])}; remove them from one of the two"
            )


def _shared_times(a: Series, b: Series) -> TimeArray:
    """Times at which both have a value; rows that only fill a gap do not count."""
    times_a, times_b = (series.times[~np.isnan(series.values).all(axis=1)] for series in (a, b))
    shared: TimeArray = times_a[np.isin(times_a, times_b, assume_unique=True)]
    return shared


def shared_text(train: NDArray[np.int32], other: NDArray[np.int32]) -> float:
    """The share of some passages, evenly spaced over ``other``, that stand in ``train`` word for word; 0 where it is short."""
    if len(other) < PASSAGE:
        return 0.0
    starts = np.linspace(0, len(other) - PASSAGE, min(PASSAGES, len(other) // PASSAGE)).astype(np.int64)
    return float(np.mean([_contains(train, other[start : start + PASSAGE]) for start in starts]))


def _contains(ids: NDArray[np.int32], passage: NDArray[np.int32]) -> bool:
    """Whether a passage stands in ``ids``, looked for part by part: they may be a file larger than memory."""
    wanted = passage.astype(np.int32).tobytes()
    return any(
        wanted in np.ascontiguousarray(ids[begin : begin + AT_ONCE + len(passage)], np.int32).tobytes()
        for begin in range(0, len(ids), AT_ONCE)
    )


def shared_sequences(train: SequenceSet, other: SequenceSet) -> int:
    """How many sequences of ``other`` stand in ``train`` with the very same text or numbers, whatever their labels."""
    return Seen.of(train).count_in(other)


@dataclass(frozen=True, eq=False)
class Seen:
    """Which sequences a model was fitted on, in 8 bytes each.

    Attributes:
        digests: of their texts or numbers, sorted, each once.
        count: how many sequences there were.
    """

    digests: Digests
    count: int

    @classmethod
    def of(cls, data: SequenceSet) -> "Seen":
        return cls(np.unique(_digests(data)), len(data))

    def count_in(self, data: SequenceSet) -> int:
        """How many sequences of ``data`` were seen with the very same text or numbers, whatever their labels."""
        return int(np.isin(_digests(data), self.digests).sum())


def _digests(data: SequenceSet) -> Digests:
    """(N,) what tells the texts, or the numbers and their shapes, apart."""
    if data.texts is not None:
        contents: Iterable[bytes] = (text.encode("utf-8", "surrogatepass") for text in data.texts)
    else:
        contents = map(_content, data.values or ())
    digests = b"".join(hashlib.blake2b(content, digest_size=8).digest() for content in contents)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def _content(values: Floats) -> bytes:
    plain = np.where(np.isnan(values), np.nan, values + 0.0)  # one form of NaN, one of zero
    return str(values.shape).encode() + plain.astype("<f8").tobytes()


def split_rows(
    labels: Sequence[Hashable] | None,
    groups: Sequence[Hashable] | None,
    fraction: float,
    rng: np.random.Generator,
    *,
    count: int | None = None,
) -> tuple[Rows, Rows]:
    """Which sequences train and which validate: (train, valid), each sorted.

    Args:
        labels: one per sequence; every label keeps its share in both parts. None: no labels.
        groups: one per sequence; a group is never divided. None: each sequence is its own group.
        fraction: the share to hold out.
        count: the number of sequences, needed if there are neither labels nor groups.

    Raises: DataError if there is nothing to divide.
    """
    size = len(labels) if labels is not None else len(groups) if groups is not None else count or 0
    label_of = _numbered(labels) if labels is not None else np.zeros(size, np.int64)
    if groups is None:
        chosen = _stratified(label_of, fraction, rng)
    else:
        chosen = _whole_groups(label_of, _numbered(groups), fraction, rng)
    held = np.zeros(size, bool)
    held[chosen] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def _numbered(values: Sequence[Hashable]) -> Rows:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)


def _stratified(label_of: Rows, fraction: float, rng: np.random.Generator) -> Rows:
    """Evenly spaced places in the rows ordered by label: every label gets its share, up to rounding."""
    wanted = tail(len(label_of), fraction)
    if not wanted:
        raise DataError(f"expected at least two sequences to hold some out, got {len(label_of)}")
    shuffled = rng.permutation(len(label_of))
    by_label = shuffled[np.argsort(label_of[shuffled], kind="stable")]
    places = np.floor((np.arange(wanted) + rng.random()) * len(label_of) / wanted).astype(np.int64)
    return by_label[places]


def _whole_groups(label_of: Rows, group_of: Rows, fraction: float, rng: np.random.Generator) -> Rows:
    """Groups up to the share of all rows: of the next few in random order always the one that keeps the labels' shares best."""
    sizes = np.bincount(group_of)
    if len(sizes) < 2:
        raise DataError(f"expected at least two groups to hold some out, got {len(sizes)}")
    rows_of = np.split(np.argsort(group_of, kind="stable"), np.cumsum(sizes)[:-1])
    totals = np.bincount(label_of)
    few = min(CANDIDATES, -(-len(sizes) // 4))
    waiting = deque(rng.permutation(len(sizes)).tolist())
    held, room = np.zeros(len(totals)), tail(len(label_of), fraction)
    chosen: list[int] = []
    while candidates := _next(waiting, few, sizes, room):
        counts = np.stack([np.bincount(label_of[rows_of[group]], minlength=len(totals)) for group in candidates])
        best = _most_alike(held + counts, totals)
        held += counts[best]
        chosen.append(candidates.pop(best))
        room -= int(sizes[chosen[-1]])
        waiting.extend(candidates)
    free = rng.permutation(np.setdiff1d(np.arange(len(sizes)), chosen))
    smallest = int(free[sizes[free].argmin()])
    if not chosen or (len(free) > 1 and sizes[smallest] - room < room):  # too many rows are nearer than too few
        chosen.append(smallest)
    return np.concatenate([rows_of[group] for group in chosen])


def _next(waiting: deque[int], most: int, sizes: Rows, room: int) -> list[int]:
    """Take up to ``most`` groups that fit; those that do not are dropped, since there is never more room."""
    taken: list[int] = []
    while waiting and len(taken) < most:
        group = waiting.popleft()
        if sizes[group] <= room:
            taken.append(group)
    return taken


def _most_alike(counts: NDArray[np.float64], totals: Rows) -> int:
    """Which of some counts per label (candidates, K) is most like a sample of the totals (K,), by chi-square."""
    sizes = counts.sum(axis=1)
    return int(((counts**2 / totals).sum(axis=1) * totals.sum() / sizes - sizes).argmin())
