"""Scaling, judged against scikit-learn."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.preprocessing import StandardScaler

from elman.data.scaling import Scaler

matrices = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 20), st.just(3)),
    elements=st.floats(-1e9, 1e9, allow_subnormal=False) | st.just(np.nan),
)


@given(matrices)
def test_inverse_is_exact_to_a_rounding_or_two(values: np.ndarray) -> None:
    scaler = Scaler.fit([values], 3)
    back = scaler.inverse(scaler.transform(values))
    bound = 4 * np.finfo(float).eps * (np.abs(np.nan_to_num(values)) + np.abs(scaler.mean))
    np.testing.assert_array_equal(np.isnan(back), np.isnan(values))
    assert (np.abs(np.nan_to_num(back - values)) <= bound).all()


def test_equal_to_scikit_learn_with_missing_values() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal([1e6, -3, 0], [1, 20, 1e-3], (1000, 3))
    values[rng.random(values.shape) < 0.1] = np.nan
    expected = StandardScaler().fit(values)
    scaler = Scaler.fit([values[:300], values[300:]], 3)
    np.testing.assert_allclose(scaler.mean, expected.mean_, rtol=1e-12)
    np.testing.assert_allclose(scaler.scale, expected.scale_, rtol=1e-9)
    np.testing.assert_allclose(scaler.transform(values), expected.transform(values), atol=1e-9)
    chosen = scaler.select(slice(1, 3))
    np.testing.assert_array_equal(chosen.transform(values[:, 1:]), scaler.transform(values)[:, 1:])


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9 + 0.1])
def test_constant_and_empty_features_have_scale_one(constant: float) -> None:
    values = np.column_stack([np.full(1000, constant), np.full(1000, np.nan)])
    scaler = Scaler.fit([values], 2)
    np.testing.assert_array_equal(scaler.scale, [1, 1])
    np.testing.assert_allclose(scaler.mean, [constant, 0], rtol=1e-15)


def test_json_is_exact() -> None:
    scaler = Scaler.fit([np.random.default_rng(1).normal(size=(50, 2))], 2)
    again = Scaler.from_json(json.loads(json.dumps(scaler.to_json())))
    np.testing.assert_array_equal(again.mean, scaler.mean)
    np.testing.assert_array_equal(again.scale, scaler.scale)
