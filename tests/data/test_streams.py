"""Pieces and windows: every position once, in order, from a fresh state only where a piece begins."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data.streams import NOTHING, Piece, cut, plan_windows, sample

lengths_of = st.lists(st.integers(0, 60), max_size=6)
seeds = st.none() | st.integers(0, 1000)


def generator(seed: int | None) -> np.random.Generator | None:
    return None if seed is None else np.random.default_rng(seed)


@given(lengths_of, st.integers(1, 8), st.integers(0, 30), seeds)
def test_every_position_is_scored_once_after_its_warm_up(
    lengths: list[int], rows: int, warm_up: int, seed: int | None
) -> None:
    pieces = cut(lengths, rows, warm_up, generator(seed))
    scored = Counter((p.series, t) for p in pieces for t in range(p.score_from, p.stop))
    assert scored == Counter((series, t) for series, length in enumerate(lengths) for t in range(length))
    for piece in pieces:
        assert piece.start == max(piece.score_from - warm_up, 0)
        assert piece.score_from < piece.stop


@given(lengths_of, st.integers(1, 8), st.integers(0, 30), seeds, st.integers(1, 20))
@settings(deadline=None)
def test_windows_follow_their_pieces(
    lengths: list[int], rows: int, warm_up: int, seed: int | None, window: int
) -> None:
    pieces = cut(lengths, rows, warm_up, generator(seed))
    plan = list(plan_windows(pieces, rows, window))
    read: list[Piece] = []
    for row in range(rows):
        for before, slot in zip(
            [NOTHING, *(slots[row] for slots in plan)], (slots[row] for slots in plan), strict=False
        ):
            assert len(slot) <= window
            if slot.start == slot.stop:
                assert slot == NOTHING
            elif slot.fresh:
                read.append(Piece(slot.series, slot.start, slot.stop, slot.score_from))
            else:
                assert (slot.series, slot.start, slot.score_from) == (before.series, before.stop, before.score_from)
                last = read.pop()
                assert len(before) == window
                read.append(Piece(last.series, last.start, slot.stop, last.score_from))
    assert Counter(read) == Counter(pieces)
    assert all(len(slots) == rows for slots in plan)
    assert all(any(len(slot) for slot in slots) for slots in plan)


def test_one_long_series_keeps_all_rows_busy() -> None:
    for seed in (None, 0, 1, 2):
        pieces = cut([100_000], 32, 0, generator(seed))
        steps = [len(slot) for slots in plan_windows(pieces, 32, 100) for slot in slots]
        assert sum(steps) == 100_000
        assert sum(steps) / (100 * len(steps)) > 0.93


def test_equal_pieces_and_moving_cuts() -> None:
    sizes = [piece.stop - piece.start for piece in cut([1000], 3, 0)]
    assert sizes == [333, 333, 334]
    cuts = [{piece.score_from for piece in cut([1000], 4, 10, np.random.default_rng(seed))} for seed in range(5)]
    assert len(set.union(*cuts)) > 12
    short = [piece.series for piece in cut([10] * 20, 4, 0, np.random.default_rng(0))]
    assert sorted(short) == list(range(20))
    assert short != list(range(20))


def test_a_row_takes_the_next_piece() -> None:
    pieces = [Piece(0, 0, 5, 0), Piece(1, 0, 2, 0), Piece(2, 4, 6, 5)]
    plan = [[(s.series, s.start, s.stop, s.fresh) for s in slots] for slots in plan_windows(pieces, 2, 3)]
    nothing = (0, 0, 0, False)
    assert plan == [[(0, 0, 3, True), (1, 0, 2, True)], [(0, 3, 5, False), (2, 4, 6, True)]]
    assert [[(s.series, s.start, s.stop, s.fresh) for s in slots] for slots in plan_windows(pieces[:1], 2, 9)] == [
        [(0, 0, 5, True), nothing]
    ]


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=6),
    st.integers(1, 8),
    st.integers(0, 30),
    st.integers(1, 30),
    st.integers(0, 1000),
)
def test_random_pieces_lie_inside_their_series_and_warm_up_first(
    lengths: list[int], rows: int, warm_up: int, scored: int, seed: int
) -> None:
    pieces = sample(lengths, rows, warm_up, scored, np.random.default_rng(seed))
    assert len(pieces) == max(rows, round(sum(lengths) / scored))
    for piece in pieces:
        length = lengths[piece.series]
        assert 0 <= piece.start <= piece.score_from < piece.stop <= length
        if length >= warm_up + scored:
            assert (piece.score_from - piece.start, piece.stop - piece.score_from) == (warm_up, scored)
        else:  # read whole, and at least its last step is scored
            assert (piece.start, piece.stop, piece.score_from) == (0, length, min(warm_up, length - 1))
    assert pieces == sample(lengths, rows, warm_up, scored, np.random.default_rng(seed))


def test_random_pieces_are_spread_in_proportion_to_the_lengths_and_over_all_places() -> None:
    rng = np.random.default_rng(0)
    pieces = [piece for _ in range(200) for piece in sample([300, 100], 4, 5, 20, rng)]
    counts = Counter(piece.series for piece in pieces)
    assert counts == {0: 3000, 1: 1000}
    assert {piece.start for piece in pieces if piece.series == 1} == set(range(100 - 25 + 1))
