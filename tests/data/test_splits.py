"""What is held out."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from elman.data.arrays import Arrays
from elman.data.sequences import SequenceColumns, SequenceSet, read_sequences
from elman.data.series import SeriesColumns, SeriesSet, read_series
from elman.data.splits import Seen, refuse_overlap, shared_sequences, split_rows, split_series, tail
from elman.errors import ConfigError, DataError


def series_set(times: dict[str, range], timed: bool = True) -> SeriesSet:
    rows = [(name, step, float(step)) for name, steps in times.items() for step in steps]
    frame = pl.DataFrame(rows, schema=["id", "t", "y"], orient="row")
    return read_series([frame], SeriesColumns(("y",), ("t",) if timed else (), id="id"))


@given(st.integers(0, 1000), st.floats(0.01, 0.99))
@example(3, 0.1)
@example(3, 0.9)
def test_tail(length: int, fraction: float) -> None:
    held = tail(length, fraction)
    assert held == 0 if length < 2 else 1 <= held < length
    assert abs(held - length * fraction) <= 1


def test_tail_wants_a_fraction() -> None:
    for fraction in (0.0, 1.0, 10):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            tail(10, fraction)


def test_series_are_split_by_position() -> None:
    data = series_set({"a": range(20), "b": range(5, 10), "c": range(1)})
    train, valid = split_series(data, 0.2)
    assert [(s.id, s.times.tolist()) for s in train.series] == [("a", [*range(16)]), ("b", [*range(5, 9)]), ("c", [0])]
    assert [(s.id, s.times.tolist()) for s in valid.series] == [("a", [*range(16, 20)]), ("b", [9])]
    np.testing.assert_array_equal(valid.series[0].values[:, 0], [16, 17, 18, 19])
    assert np.shares_memory(valid.series[0].values, data.series[0].values)
    refuse_overlap(train, valid)


def test_overlap_is_refused_by_id_and_time() -> None:
    train = series_set({"a": range(10), "b": range(10)})
    refuse_overlap(train, series_set({"a": range(10, 20), "c": range(10)}))
    with pytest.raises(DataError, match="series 'b': training and validation data share 3 times, from 7 to 9"):
        refuse_overlap(train, series_set({"a": range(10, 20), "b": range(7, 12)}))
    untimed = series_set({"a": range(10)}, timed=False)
    refuse_overlap(untimed, untimed)


def test_data_that_fills_a_gap_does_not_overlap() -> None:
    holes = read_series([pl.DataFrame({"t": [0, 1, 2, 8, 9], "y": [1.0] * 5})], SeriesColumns(("y",), ("t",)))
    filling = read_series([pl.DataFrame({"t": [3, 4, 5], "y": [1.0] * 3})], SeriesColumns(("y",), ("t",)))
    refuse_overlap(holes, filling)
    with pytest.raises(DataError, match=r"the series: .* share 5 times"):
        refuse_overlap(holes, holes)


@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=200), st.integers(0, 5))
def test_labels_keep_their_share(labels: list[str], seed: int) -> None:
    train, valid = split_rows(labels, None, 0.3, np.random.default_rng(seed))
    assert sorted([*train, *valid]) == list(range(len(labels)))
    assert len(valid) == tail(len(labels), 0.3)
    share = len(valid) / len(labels)
    held = Counter(labels[row] for row in valid)
    for label, count in Counter(labels).items():
        assert abs(held[label] - share * count) <= 1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), min_size=2, max_size=100), st.integers(0, 5))
def test_groups_stay_whole(rows: list[tuple[str, int]], seed: int) -> None:
    labels, groups = [label for label, _ in rows], [group for _, group in rows]
    rng = np.random.default_rng(seed)
    if len(set(groups)) < 2:
        with pytest.raises(DataError, match="at least two groups"):
            split_rows(labels, groups, 0.2, rng)
        return
    train, valid = split_rows(labels, groups, 0.2, rng)
    assert sorted([*train, *valid]) == list(range(len(rows)))
    assert not {groups[row] for row in train} & {groups[row] for row in valid}
    assert len(train)
    assert len(valid)


def test_many_groups_come_close_to_the_share() -> None:
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 3, 1000).tolist(), rng.integers(0, 200, 1000).tolist()
    _, valid = split_rows(labels, groups, 0.2, rng)
    held = np.bincount(np.array(labels)[valid], minlength=3)
    np.testing.assert_allclose(held, 0.2 * np.bincount(labels), atol=6)


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_many_rare_labels_in_small_groups(alike: bool, seed: int) -> None:
    labels = [
        row // 5 if alike else row % 77 for row in range(385)
    ]  # 77 labels of 5, users of 2 of one label or of two
    groups = [row // 2 for row in range(385)]
    _, valid = split_rows(labels, groups, 0.1, np.random.default_rng(seed))
    assert 37 <= len(valid) <= 39  # of 38.5
    assert max(Counter(labels[row] for row in valid).values()) <= 2
    assert len({labels[row] for row in valid}) >= 19


def test_groups_hold_out_better_than_chance() -> None:
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 20, 20_000), rng.integers(0, 4000, 20_000)
    _, valid = split_rows(labels.tolist(), groups.tolist(), 0.1, rng)
    assert len(valid) == 2000
    off = np.bincount(labels[valid], minlength=20) - 0.1 * np.bincount(labels)
    assert off.std() < 3  # 9.5 by chance: the root of 2000 / 20 * 0.9


def test_large_groups_are_held_out_if_they_must() -> None:
    held = [split_rows(None, [0] * 6 + [1] * 3, 0.1, np.random.default_rng(seed))[1].tolist() for seed in range(9)]
    assert held == [[6, 7, 8]] * 9  # the smaller
    thirds = {split_rows(None, [0, 1, 2] * 9, 0.1, np.random.default_rng(seed))[1][0] for seed in range(20)}
    assert thirds == {0, 1, 2}
    _, valid = split_rows(None, [0] * 5 + [1] * 3, 0.9, np.random.default_rng(0))
    assert len(valid) in (3, 5)  # both would leave nothing to train on
    _, valid = split_rows(None, [0] * 50 + [1] * 4 + [2] * 3, 0.1, np.random.default_rng(0))
    assert len(valid) in (3, 4, 7)


def test_groups_move_with_the_seed_alone() -> None:
    groups = np.random.default_rng(0).integers(0, 30, 500).tolist()
    held = [split_rows(None, groups, 0.1, np.random.default_rng(seed))[1].tolist() for seed in (0, 0, 1, 2)]
    assert held[0] == held[1]
    assert len({*map(tuple, held)}) == 3


def test_rows_move_with_the_seed_and_need_two() -> None:
    first, second = (split_rows(None, None, 0.1, np.random.default_rng(seed), count=100)[1] for seed in (0, 1))
    assert first.tolist() != second.tolist()
    with pytest.raises(DataError, match="at least two sequences to hold some out, got 1"):
        split_rows(["a"], None, 0.1, np.random.default_rng(0))


def test_shared_sequences_are_counted_by_content() -> None:
    def read(x: list[object]) -> SequenceSet:
        return read_sequences([Arrays(x)], SequenceColumns(), labels="optional")

    assert shared_sequences(read(["a", "b", "a"]), read(["a", "c", "a"])) == 2
    train = read([[0.0, np.nan], [1.0, 2.0]])
    assert shared_sequences(train, read([[-0.0, -np.nan], [2.0, 1.0], [1.0]])) == 1
    assert shared_sequences(train, read([[[1.0, 2.0]]])) == 0
    seen = Seen.of(read(["a", "b", "a"]))
    assert (seen.count, len(seen.digests)) == (3, 2)
    assert seen.count_in(read(["b", "c", "b"])) == 2
