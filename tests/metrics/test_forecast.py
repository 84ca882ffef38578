"""Forecast metrics against values worked by hand, NumPy and closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_pinball_loss

from elman.errors import ConfigError
from elman.metrics.forecast import CRPS, MASE, ForecastMetric, forecast_metrics, mase_scale
from elman.metrics.metric import Floats

NAN = float("nan")


def score(metric: ForecastMetric, prediction: Floats, target: Floats, scale: Floats | None = None) -> float:
    metric.update(prediction, target, np.ones(target[:, 0].shape) if scale is None else scale)
    return metric.compute()


def column(values: list[float]) -> Floats:
    """(N, 1, 1) from N values."""
    return np.array(values)[:, None, None]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mae", (1 + 2 + 3) / 3),
        ("mse", (1 + 4 + 9) / 3),
        ("rmse", ((1 + 4 + 9) / 3) ** 0.5),
        ("smape", (2 * 1 / 3 + 2 * 2 / 6 + 2 * 3 / 3) / 3),
        ("mase", (1 / 2 + 2 / 4 + 3 / 4) / 3),
    ],
)
def test_point_metrics_worked_by_hand_and_missing_targets_not_counted(name: str, expected: float) -> None:
    target, forecast = column([1, 4, 0, NAN]), column([2, 2, 3, 100])[..., None]
    scale = np.array([[2.0], [4.0], [4.0], [1.0]])
    assert score(forecast_metrics()[name], forecast, target, scale) == pytest.approx(expected, rel=1e-12)


def test_smape_of_zero_forecast_for_zero_is_zero_and_never_above_two() -> None:
    assert score(forecast_metrics()["smape"], column([0, -5])[..., None], column([0, 5])) == pytest.approx(1.0)


def test_mase_skips_series_without_a_scale() -> None:
    scale = np.array([[NAN], [0.0], [2.0]])
    assert score(MASE(), column([1, 1, 1])[..., None], column([9, 9, 2]), scale) == 0.5


def test_mase_of_the_seasonal_naive_on_its_own_training_part_is_one() -> None:
    rng = np.random.default_rng(0)
    series = rng.normal(size=(60, 2))
    series[5, 0] = NAN
    naive, target = series[:-7, None, :, None], series[7:, None]
    known = ~np.isnan(naive[..., 0])  # a naive forecast from a missing value is not counted in the scale either
    scale = np.repeat(mase_scale(series, 7)[None], len(target), axis=0)
    assert score(MASE(), np.nan_to_num(naive), np.where(known, target, NAN), scale) == pytest.approx(1.0, rel=1e-12)


def test_mase_scale_is_nan_where_nothing_is_known() -> None:
    scale = mase_scale(np.array([[1.0, NAN], [4.0, 1.0]]))
    np.testing.assert_array_equal(scale, [3.0, NAN])
    assert np.isnan(mase_scale(np.ones((3, 1)), season=5)).all()
    with pytest.raises(ConfigError, match="season"):
        mase_scale(np.ones((3, 1)), season=0)


def test_nothing_counted_gives_nan() -> None:
    for metric in forecast_metrics((0.1, 0.5, 0.9)).values():
        assert np.isnan(metric.compute())
        assert np.isnan(score(metric, np.zeros((2, 1, 1, 3)), column([NAN, NAN])))


def test_a_forecast_that_does_not_answer_has_no_score() -> None:
    prediction = np.array([[1.0, 1.0, 1.0], [NAN, NAN, NAN]])[:, None, None]
    for metric in forecast_metrics((0.1, 0.5, 0.9)).values():
        assert np.isnan(score(metric, prediction, column([1, 1])))


@given(st.integers(0, 1000), st.lists(st.integers(1, 99), min_size=2, max_size=9, unique=True))
def test_crps_is_twice_the_mean_pinball_loss_of_sklearn(seed: int, percents: list[int]) -> None:
    rng, quantiles = np.random.default_rng(seed), [percent / 100 for percent in sorted(percents)]
    prediction, target = rng.normal(size=(5, 4, 2, len(quantiles))), rng.normal(size=(5, 4, 2))
    losses = [
        mean_pinball_loss(target.ravel(), prediction[..., i].ravel(), alpha=quantiles[i]) for i in range(len(quantiles))
    ]
    assert score(CRPS(quantiles), prediction, target) == pytest.approx(2 * np.mean(losses), rel=1e-10)


def test_crps_of_many_quantiles_nears_the_closed_form_of_the_uniform_distribution() -> None:
    levels = (np.arange(1000) + 0.5) / 1000  # the quantiles of U(0, 1) are the levels themselves
    prediction = np.broadcast_to(levels, (1, 1, 1, 1000))
    assert score(CRPS(levels.tolist()), prediction, column([0.3])) == pytest.approx((0.3**3 + 0.7**3) / 3, rel=1e-3)


def test_coverage_counts_the_widest_symmetric_pair_with_its_ends() -> None:
    metric = forecast_metrics((0.05, 0.1, 0.5, 0.9))["coverage"]
    prediction = np.broadcast_to(np.array([0.0, 1.0, 2.0, 3.0]), (5, 1, 1, 4))
    assert score(metric, prediction, column([0.5, 1, 2, 3, 3.5])) == pytest.approx(3 / 5)
    assert metric.nominal == pytest.approx(0.8)  # type: ignore[attr-defined]


def test_coverage_and_crps_only_where_the_quantiles_allow() -> None:
    assert set(forecast_metrics((0.1, 0.5))) == {"mae", "rmse", "mse", "smape", "mase", "crps"}
    assert "coverage" in forecast_metrics((0.3, 0.7))


@pytest.mark.parametrize(
    ("quantiles", "expected"),
    [((0.1, 0.5, 0.9), 20.0), ((0.4, 0.6), 15.0), ((0.1, 0.2), 20.0), ((0.7, 0.8), 10.0), ((0.2, 0.4, 0.8), 22.5)],
)
def test_the_point_forecast_is_the_median(quantiles: tuple[float, ...], expected: float) -> None:
    prediction: Floats = np.linspace(10.0, 10.0 * len(quantiles), len(quantiles))[None, None, None]
    assert score(forecast_metrics(quantiles)["mae"], prediction, column([0.0])) == pytest.approx(expected)


@pytest.mark.parametrize("quantiles", [(), (0.5, 0.1), (0.0, 0.5), (0.5, 1.0), (0.5, 0.5)])
def test_quantiles_out_of_order_or_range_are_refused(quantiles: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="ascending"):
        forecast_metrics(quantiles)


@given(st.integers(0, 1000))
def test_batches_combine_and_steps_of_the_horizon_add_up(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prediction = np.sort(rng.normal(size=(6, 3, 2, 3)), axis=-1)
    target, scale = rng.normal(size=(6, 3, 2)), rng.uniform(1, 2, size=(6, 2))
    target[rng.uniform(size=target.shape) < 0.3] = NAN
    for metric in forecast_metrics((0.1, 0.5, 0.9)).values():
        whole = metric.statistics(prediction, target, scale)
        by_step = [metric.statistics(prediction[:, k : k + 1], target[:, k : k + 1], scale) for k in range(3)]
        np.testing.assert_allclose(np.sum(by_step, axis=0), whole, rtol=1e-12, atol=1e-12)
        metric.update(prediction[:2], target[:2], scale[:2])
        metric.update(prediction[2:], target[2:], scale[2:])
        np.testing.assert_array_equal(metric.units(), whole)
        assert metric.compute() == pytest.approx(float(metric.value(whole.sum(axis=0))), nan_ok=True)
