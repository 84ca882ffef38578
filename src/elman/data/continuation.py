"""Series that go on from others: a new file after the data of fitting, validation data after training data."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from elman.data.series import Floats, Series, SeriesSet
from elman.data.times import Frequency, show_time
from elman.errors import DataError

MATCHED = 20  # rows without times that are the same in two files tell how the files lie to each other


@dataclass(frozen=True)
class Continuation:
    """A series with what is remembered of it put before it.

    Attributes:
        series: remembered rows, then the given ones; only the given ones where a gap lies between.
        new: the first row that comes after everything remembered.
        gap: rows that are missing between the two; 0 where the given series goes on directly or overlaps.
    """

    series: Series
    new: int
    gap: int


def go_on(one: Series, tail: Series, frequency: Frequency, *, timed: bool) -> Continuation:
    """How ``one`` goes on from ``tail``, the end of what was given before; the given rows count where both have one."""
    if not timed:
        one = _numbered_on(one, tail)
    distance = int(frequency.index(one.times[:1], tail.times[-1])[0])
    if distance > 1:
        return Continuation(one, 0, distance - 1)
    before = max(0, len(tail) + distance - 1)  # rows of the tail before the first given one
    seen = max(0, 1 - distance)  # given rows that are not new, though the tail may not reach back to them
    return Continuation(_joined(tail.part(0, before), one) if before else one, before + seen, 0)


def follow(train: SeriesSet, valid: SeriesSet) -> SeriesSet:
    """Each training series with its validation rows after it; the rows between them are missing.

    Raises DataError if a series is not in the validation data, or begins there before its training rows end.
    """
    later = {one.id: one for one in valid.series}
    series = []
    for one in train.series:
        name = f"series {one.id!r}" if one.id else "the series"
        if one.id not in later:
            raise DataError(f"{name} is not in the validation data; expected every series of the training data")
        after = later[one.id] if train.timed else _numbered_on(later[one.id], one)
        gap = int(train.frequency.index(after.times[:1], one.times[-1])[0]) - 1
        if gap < 0:
            raise DataError(
                f"{name}: the validation data begins at {show_time(after.times[0])}; expected it after the training data, "
                f"which ends at {show_time(one.times[-1])}"
            )
        times = train.frequency.add(one.times[-1], np.arange(1, gap + 1))
        between = replace(one, times=times, values=np.full((gap, one.values.shape[1]), np.nan))
        series.append(replace(_joined(_joined(one, between), after), static=one.static))
    return replace(train, series=tuple(series))


def _joined(first: Series, second: Series) -> Series:
    times = np.concatenate([first.times, second.times])
    return replace(second, times=times, values=np.concatenate([first.values, second.values]))


def _numbered_on(one: Series, tail: Series) -> Series:
    """A series without times, numbered on from ``tail``: where its rows stand in that, or else right after it."""
    place = _place(one.values, tail.values)
    first = tail.times[-1] + 1 if place is None else tail.times[0] + place
    return replace(one, times=first + np.arange(len(one)))


def _place(rows: Floats, tail: Floats) -> int | None:
    """The row of ``tail`` that the first of ``rows`` is, negative where they begin before it; None if they do not overlap."""
    length = min(MATCHED, len(tail))
    starts = chain(_find(rows[:length], tail), (-start for start in _find(tail[:length], rows)))
    return next((start for start in starts if _agree(rows, tail, start)), None) if len(rows) >= length else None


def _find(rows: Floats, values: Floats) -> Iterator[int]:
    """Where ``rows`` stand in ``values``, all columns of all of them."""
    for start in np.flatnonzero(_same(values, rows[0]).all(axis=1)).tolist():
        if len(values) - start >= len(rows) and _same(values[start : start + len(rows)], rows).all():
            yield start


def _agree(rows: Floats, tail: Floats, start: int) -> bool:
    """Whether all that the two have in common is the same, and no mere repetition of one row, which proves nothing."""
    shared = rows[max(0, -start) : max(0, len(tail) - start)]
    same = _same(shared, tail[max(0, start) : max(0, start + len(rows))]).all()
    return bool(same and not _same(shared, shared[0]).all())


def _same(a: Floats, b: Floats) -> NDArray[np.bool_]:
    """Value by value; missing values are equal to each other."""
    equal: NDArray[np.bool_] = (a == b) | (np.isnan(a) & np.isnan(b))
    return equal
