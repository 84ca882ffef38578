"""How one series goes on from another: with times by the clock, without by the rows themselves."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data.continuation import MATCHED, follow, go_on
from elman.data.series import Series, SeriesColumns, SeriesSet
from elman.data.times import Frequency, TimeArray
from elman.errors import DataError

HOURLY, STEPS = Frequency("microsecond", 3_600_000_000), Frequency("step")
START = np.datetime64("2024-01-01", "us")
NAN = float("nan")


def hours(first: int, stop: int, *, static: float = 0.0, shift: float = 0.0) -> Series:
    """The rows of some hours; a value is the hour it belongs to, plus a shift."""
    at = np.arange(first, stop)
    return Series("", HOURLY.add(START, at), at[:, None].astype(np.float64) + shift, np.array([static]))


def numbered(values: Sequence[float] | np.ndarray) -> Series:
    """Rows as a file without times gives them: numbered from 0."""
    rows = np.asarray(values, np.float64)
    return Series("", np.arange(len(rows)), rows.reshape(len(rows), -1), np.empty(0))


def a_set(*series: Series, timed: bool = True) -> SeriesSet:
    columns = tuple(f"c{i}" for i in range(series[0].values.shape[1]))
    frequency = HOURLY if timed else STEPS
    return SeriesSet(series, columns, (), (), ("s",), frequency, SeriesColumns(columns), timed=timed)


@pytest.mark.parametrize(
    ("given", "values", "new"),
    [
        ((10, 14), range(14), 10),  # right after it
        ((8, 14), range(14), 10),  # two rows again
        ((0, 14), range(14), 10),  # all of it again
        ((-3, 14), range(-3, 14), 13),  # from before what is remembered
        ((4, 9), range(9), 10),  # nothing new
    ],
)
def test_a_later_file_by_the_clock(given: tuple[int, int], values: range, new: int) -> None:
    on = go_on(hours(*given), hours(0, 10), HOURLY, timed=True)
    assert on.series.values[:, 0].tolist() == list(values)
    assert (on.new, on.gap) == (new, 0)
    np.testing.assert_array_equal(on.series.times, HOURLY.add(START, np.array(values)))


def test_the_given_rows_count_where_both_have_one() -> None:
    on = go_on(hours(8, 12, static=5.0, shift=0.5), hours(0, 10, static=4.0), HOURLY, timed=True)
    assert on.series.values[:, 0].tolist() == [*range(8), 8.5, 9.5, 10.5, 11.5]
    assert on.series.static.tolist() == [5.0]


def test_after_a_gap_nothing_is_put_before() -> None:
    on = go_on(hours(13, 20), hours(0, 10), HOURLY, timed=True)
    assert on.gap == 3
    assert on.series.values[:, 0].tolist() == list(range(13, 20))


@given(st.integers(1, 30), st.integers(-10, 40), st.integers(1, 30))
def test_rows_are_in_order_and_none_that_was_seen_is_new(remembered: int, first: int, length: int) -> None:
    on = go_on(hours(first, first + length), hours(0, remembered), HOURLY, timed=True)
    values = on.series.values[:, 0]
    assert (np.diff(values) == 1).all()
    if not on.gap:
        assert (values[on.new :] >= remembered).all()
        assert (values[: on.new] < remembered).all()


# --- without times ----------------------------------------------------------------------------------------------------

NOISE = np.random.default_rng(0).normal(size=(200, 2)).round(2)
NOISE[5, 1] = NAN


@pytest.mark.parametrize(("first", "stop"), [(0, 100), (0, 150), (40, 150), (80, 150), (30, 60), (100, 150)])
def test_a_file_finds_its_place_by_its_rows(first: int, stop: int) -> None:
    on = go_on(numbered(NOISE[first:stop]), numbered(NOISE[:100]), STEPS, timed=False)
    np.testing.assert_array_equal(on.series.values, NOISE[:stop])
    assert (on.new, on.gap) == (100, 0)


def test_a_run_may_remember_only_the_end() -> None:
    tail = Series("", np.arange(60, 100), NOISE[60:100], np.empty(0))
    on = go_on(numbered(NOISE[:120]), tail, STEPS, timed=False)
    assert on.series.times.tolist() == list(range(120))
    assert on.new == 100


@pytest.mark.parametrize(
    "later",
    [
        np.full(30, 2.0),  # as the data ends, but a row that repeats proves nothing
        np.array([1.0, 2.0, 3.0]),  # few rows are somewhere by chance
        np.concatenate([np.arange(25.0), np.full(9, 7.0)]),  # as the data begins, then otherwise: not the same data
    ],
)
def test_likeness_by_chance_is_no_place(later: np.ndarray) -> None:
    tail = np.concatenate([np.arange(40.0), np.full(MATCHED, 2.0)])
    on = go_on(numbered(later), numbered(tail), STEPS, timed=False)
    assert on.new == len(tail)
    assert on.series.values[:, 0].tolist() == [*tail, *later]


# --- validation data --------------------------------------------------------------------------------------------------


def test_validation_rows_follow_and_the_rows_between_are_missing() -> None:
    whole = follow(a_set(hours(0, 5, static=1.0)), a_set(hours(7, 9, static=NAN))).series[0]
    np.testing.assert_array_equal(whole.values[:, 0], [0, 1, 2, 3, 4, NAN, NAN, 7, 8])
    times: TimeArray = HOURLY.add(START, np.arange(9))
    np.testing.assert_array_equal(whole.times, times)
    assert whole.static.tolist() == [1.0]  # what the model is fitted on


def test_validation_rows_without_times_follow_right_after() -> None:
    train, valid = (a_set(numbered(rows), timed=False) for rows in (NOISE[:80], NOISE[80:100]))
    whole = follow(train, valid).series[0]
    np.testing.assert_array_equal(whole.values, NOISE[:100])
    assert whole.times.tolist() == list(range(100))
    with pytest.raises(DataError, match="the validation data begins at 40; expected it after the training data, which"):
        follow(train, a_set(numbered(NOISE[40:100]), timed=False))


def test_validation_data_that_does_not_fit() -> None:
    with pytest.raises(
        DataError, match="the series: the validation data begins at 2024-01-01 03:00; expected it after"
    ):
        follow(a_set(hours(0, 5)), a_set(hours(3, 9)))
    named = replace(hours(0, 5), id="north")
    with pytest.raises(DataError, match="series 'north' is not in the validation data"):
        follow(a_set(named), a_set(hours(5, 9)))
