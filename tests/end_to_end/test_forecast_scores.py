"""What `evaluate` scores: the right origins, from what is known there, recomputed in NumPy."""

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import elman
from elman import Run
from elman.data.series import Series
from elman.errors import DataError

HORIZON, CONTEXT, OLD, ALL = 6, 24, 400, 520


def frame(first: int, stop: int) -> pl.DataFrame:
    """Hours first..stop of one endless series; what an hour holds does not depend on the part that is asked for."""
    noise = np.random.default_rng(1).normal(size=2000)
    hours = np.arange(first, stop)
    load = 20 + 5 * np.sin(2 * np.pi * hours / 24) + noise[hours]
    return pl.DataFrame({"date": [dt.datetime(2024, 1, 1) + dt.timedelta(hours=int(h)) for h in hours], "load": load})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Fitted on hours 100 to 400."""
    return elman.fit(
        "forecast", frame(100, OLD), out=tmp_path_factory.mktemp("runs") / "load", time="date", target="load",
        horizon=HORIZON, context=CONTEXT, hidden=8, settings={"training": {"updates": 20, "validations": 2}},
    )  # fmt: skip


def test_scores_recomputed_from_the_forecasts(run: Run) -> None:
    """A file that follows on is scored from its first row: the first origin is the last training row."""
    rows = frame(100, ALL)
    values, times = rows["load"].to_numpy(), rows["date"].to_numpy().astype("datetime64[us]")
    forecasts = run.task.forecasts(run.model, Series("", times, values[:, None], np.zeros(0)))  # type: ignore[attr-defined]
    origins = range(OLD - 100 - 1, len(values) - HORIZON)
    target = np.stack([values[t + 1 : t + 1 + HORIZON] for t in origins])
    low, median, high = (np.stack([forecasts[t, :, 0, q] for t in origins]) for q in range(3))
    error = target - median
    scores = run.evaluate(frame(OLD, ALL))
    assert scores.count == len(origins) == ALL - OLD - HORIZON + 1
    for name, value in {
        "mae": np.abs(error).mean(),
        "mse": (error**2).mean(),
        "rmse": np.sqrt((error**2).mean()),
        "coverage": ((low <= target) & (target <= high)).mean(),
        "mase": np.abs(error).mean() / np.abs(values[24:300] - values[:276]).mean(),
    }.items():
        np.testing.assert_allclose(scores.metrics[name].value, value, rtol=1e-5, err_msg=name)


def test_baselines_share_the_origins(run: Run) -> None:
    values = frame(0, ALL)["load"].to_numpy()
    origins = np.arange(OLD - 1, ALL - HORIZON)[:, None]
    ahead = np.arange(1, HORIZON + 1)
    scores = run.evaluate(frame(OLD, ALL)).baselines
    for name, guess in {
        "last_value": values[origins],
        "seasonal_naive_24": values[origins + ahead - 24],
        "seasonal_naive_168": values[origins + ahead - 168],
    }.items():
        np.testing.assert_allclose(scores[name]["mae"], np.abs(values[origins + ahead] - guess).mean(), err_msg=name)
    assert {"linear", "boosting"} <= set(scores)
    assert all("mae" in values for values in scores.values())


@pytest.mark.parametrize("first", [0, 100, 250, OLD - 1])
def test_rows_seen_in_fitting_only_warm_up(run: Run, first: int) -> None:
    """Whether the file begins where training began, within it or long before: what follows on is what is scored."""
    whole, following = run.evaluate(frame(first, ALL)), run.evaluate(frame(OLD, ALL))
    assert whole.count == following.count
    if first:
        for name, score in following.metrics.items():
            np.testing.assert_allclose(whole.metrics[name].value, score.value, rtol=1e-6, err_msg=name)


def test_after_a_gap_its_own_rows_warm_up(run: Run) -> None:
    later = run.evaluate(frame(OLD + 50, ALL))
    assert later.count == ALL - OLD - 50 - CONTEXT - HORIZON + 1
    assert any("50 rows are missing between" in note and f"first {CONTEXT} rows" in note for note in later.notes)


def test_too_little_to_score(run: Run) -> None:
    with pytest.raises(DataError, match=r"nothing to score.*0 rows to score"):
        run.evaluate(frame(200, OLD))
    with pytest.raises(DataError, match=r"5 rows to score, fewer than the horizon"):
        run.evaluate(frame(OLD, OLD + HORIZON - 1))
    assert run.evaluate(frame(OLD, OLD + HORIZON)).count == 1
    with pytest.raises(DataError, match=rf"first {CONTEXT} rows warm up; 5 rows to score"):
        run.evaluate(frame(OLD + 50, OLD + 50 + CONTEXT + HORIZON - 1))


def test_files_given_together_are_one(run: Run, tmp_path: Path) -> None:
    frame(OLD, 460).write_csv(tmp_path / "a.csv")
    frame(460, ALL).write_csv(tmp_path / "b.csv")
    both, one = run.evaluate(tmp_path / "a.csv", tmp_path / "b.csv"), run.evaluate(frame(OLD, ALL))
    np.testing.assert_allclose(both.metrics["mae"].value, one.metrics["mae"].value, rtol=1e-9)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Fitted on hours 100 to 400 without their times."""
    return elman.fit(
        "forecast", frame(100, OLD).select("load"), out=tmp_path_factory.mktemp("runs") / "numbered", target="load",
        horizon=HORIZON, context=CONTEXT, hidden=8, settings={"training": {"updates": 20, "validations": 2}},
    )  # fmt: skip


@pytest.mark.parametrize("first", [0, 100, 250])
def test_without_times_the_rows_themselves_tell_what_was_seen(numbered: Run, first: int) -> None:
    following = numbered.evaluate(frame(OLD, ALL).select("load"))
    assert following.count == ALL - OLD - HORIZON + 1
    whole = numbered.evaluate(frame(first, ALL).select("load"))
    assert whole.count == following.count
    if first:
        np.testing.assert_allclose(whole.metrics["mae"].value, following.metrics["mae"].value, rtol=1e-6)
    with pytest.raises(DataError, match="0 rows to score"):
        numbered.evaluate(frame(200, 300).select("load"))


def test_without_times_predictions_are_numbered_on(numbered: Run) -> None:
    assert numbered.predict(frame(OLD, ALL).select("load")).frame()["time"].to_list() == list(range(420, 426))
