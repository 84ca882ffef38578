"""The input guard under its three policies."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from elman.data.guard import InputGuard, Policy
from elman.errors import ConfigError, DataError

TRAINING = np.array([[0.0, 5.0, np.nan], [10.0, 5.0, np.nan], [np.nan, 5.0, np.nan]])
NAMES = ("temp", "flat", "empty")


def guard(policy: Policy = "clip") -> InputGuard:
    return InputGuard.fit([TRAINING[:1], TRAINING[1:]], NAMES, policy)


def test_limits_are_the_range_widened_by_itself() -> None:
    np.testing.assert_array_equal(guard().low, [-10, 0, -np.inf])
    np.testing.assert_array_equal(guard().high, [20, 10, np.inf])


def test_inside_nothing_changes_and_nothing_is_counted() -> None:
    one = guard("error")
    values = np.array([[-10.0, 5, 1e9], [20, 0, -1e9]])
    np.testing.assert_array_equal(one.apply(values), values)
    assert one.report() == []


def test_clip_impute_and_counts() -> None:
    values = np.array([[25.0, 5, np.inf], [np.nan, -np.inf, 1], [-11, 5, 1], [np.inf, 5, 1]])
    clip = guard("clip")
    np.testing.assert_array_equal(clip.apply(values), [[20, 5, np.nan], [np.nan, 0, 1], [-10, 5, 1], [20, 5, 1]])
    assert clip.counts == {
        ("temp", "range"): 2,
        ("temp", "missing"): 1,
        ("temp", "infinity"): 1,
        ("flat", "infinity"): 1,
        ("empty", "infinity"): 1,
    }
    assert "column 'temp': 2 values outside the range of the training data, set to the nearest limit" in clip.report()
    assert "column 'temp': 1 value missing" in clip.report()
    impute = guard("impute")
    expected = [[np.nan, 5, np.nan], [np.nan, np.nan, 1], [np.nan, 5, 1], [np.nan, 5, 1]]
    np.testing.assert_array_equal(impute.apply(values), expected)
    assert impute.counts == clip.counts
    impute.reset()
    assert impute.report() == []


def test_one_row_and_a_batch() -> None:
    one = guard()
    np.testing.assert_array_equal(one.apply([25.0, 5, 0]), [20, 5, 0])
    one.apply(np.full((2, 3, 3), 100.0))
    assert one.counts["temp", "range"] == 7


def test_error_names_feature_value_and_limits() -> None:
    with pytest.raises(DataError, match="'temp' is 25; expected -10 to 20, as in training"):
        guard("error").apply([[1.0, 5, 1], [25.0, 5, 1]])
    with pytest.raises(DataError, match="'flat' is inf"):
        guard("error").apply([1.0, np.inf, 1])
    with pytest.raises(ConfigError, match="one of error, clip, impute, got 'stop'"):
        guard("stop")  # type: ignore[arg-type]


def test_time_and_unknown_symbols() -> None:
    one = guard()
    assert one.check_time(np.datetime64("2011-01-01"), np.datetime64("2011-01-02"))
    assert not one.check_time(5, 5)
    one.count_unknown("word", 3)
    one.count_unknown("word", 0)
    assert one.report() == [
        "column 'time': 1 time stamp not later than the one before",
        "column 'word': 3 symbols unknown",
    ]
    with pytest.raises(DataError, match="4 comes after 5"):
        guard("error").check_time(5, 4)
    with pytest.raises(DataError, match="word: 1 symbol not seen in training"):
        guard("error").count_unknown("word")


@given(arrays.arrays(np.float64, (5, 3)))
def test_what_comes_out_is_inside_or_missing(values: np.ndarray) -> None:
    for policy in ("clip", "impute"):
        one = guard(policy)
        out = one.apply(values)
        assert (np.isnan(out) | (np.isfinite(out) & (out >= one.low) & (out <= one.high))).all()
        assert np.isnan(out[np.isnan(values)]).all()


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5))
def test_training_data_always_passes(values: list[float]) -> None:
    column = np.array(values)[:, None]
    np.testing.assert_array_equal(InputGuard.fit([column], ["x"], "error").apply(column), column)


def test_json() -> None:
    one = guard("impute")
    again = InputGuard.from_json(json.loads(json.dumps(one.to_json(), allow_nan=False)))
    np.testing.assert_array_equal(again.low, one.low)
    np.testing.assert_array_equal(again.high, one.high)
    assert (again.names, again.policy) == (one.names, one.policy)
