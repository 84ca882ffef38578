"""The forecast task: what is scored when, what is known when, and known answers."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from elman.data.source import Source
from elman.data.streams import cut
from elman.errors import ConfigError, DataError
from elman.evaluation.baselines import make_baselines
from elman.models.build import EncoderConfig
from elman.models.forecast import ForecastModel
from elman.models.model import Model
from elman.tasks.forecast import Forecast
from elman.tasks.forecast_data import ForecastOptions
from elman.training.config import TrainingConfig
from elman.training.loop import fit
from elman.training.plan import Plan

HORIZON, CONTEXT = 3, 5
Frame = pl.DataFrame


def hourly(values: np.ndarray, **columns: Any) -> Frame:
    times = np.datetime64("2024-01-01", "us") + np.arange(len(values)) * np.timedelta64(1, "h")
    return pl.DataFrame({"time": times, "y": values, **columns})


def task(train: Frame, valid: Frame | None = None, **options: Any) -> Forecast:
    settings = {"target": "y", "time": "time", "horizon": HORIZON, "context": CONTEXT, **options}
    made = Forecast(ForecastOptions(**settings))
    made.prepare([Source(train)], None if valid is None else [Source(valid)], 0)
    return made


def restored(prepared: Forecast, folder: Path) -> Forecast:
    prepared.save(folder)
    made = Forecast(prepared.options)
    made.restore(folder)
    return made


def trained(of: Forecast, updates: int, hidden: int = 16) -> Model:
    torch.manual_seed(0)
    model = of.build(EncoderConfig(name="gru", hidden=hidden), 0.0)
    config = TrainingConfig(batch_size=8, window=48, learning_rate=5e-3, averaging=0.9)
    fit(model, of, config, Plan(updates, max(1, updates // 5), updates))
    return model.eval()


def maes(of: Forecast, model: Model, later: Frame) -> dict[str, float]:
    """Of the model and of every baseline."""
    test = of.test([Source(later)])
    baselines = of.score_baselines(make_baselines(of.baselines()), test)
    scores = {"model": of.score(model, test)} | dict(baselines)
    return {name: metrics["mae"].compute() for name, metrics in scores.items()}


# --- what is scored ---------------------------------------------------------------------------------------------------


def positions(
    of: Forecast, split: str, rows: int = 4, window: int = 9
) -> Iterator[tuple[int, int, list[int], bool, bool]]:
    """(row, position read, positions of the known targets, whether the row is fresh here, whether it is scored).

    The values of the series are positions, so that those in a batch tell where they are from.
    """
    for batch in of.batches(split, rows, window, seed=3):
        scale, mean = batch.targets["scales"].unbind(1)
        for row, steps in enumerate(batch.lengths.tolist()):
            for t in range(steps):
                read = float(batch.inputs["target"][row, t, 0] * scale[row, 0] + mean[row, 0])
                known = batch.targets["observed"][row, t, :, 0] > 0
                ahead = batch.targets["values"][row, t, :, 0] * scale[row, 0] + mean[row, 0]
                fresh = bool(batch.fresh[row]) and t == 0
                yield row, round(read), [round(v) for v in ahead[known].tolist()], fresh, bool(known.any())


def several(lengths: list[int]) -> Frame:
    """Series whose values are their positions, each after the other's end, with a gap between."""
    starts = [1000 * number for number in range(len(lengths))]
    parts = [
        hourly(np.arange(start, start + length, dtype=float), id=[f"s{start}"] * length)
        for start, length in zip(starts, lengths, strict=True)
    ]
    return pl.concat(parts)


LENGTHS = [200, 41, 90]


@pytest.fixture(scope="module")
def numbered() -> Forecast:
    return task(several(LENGTHS), id="id")


def borders(length: int) -> int:
    """Rows that train: all but the last tenth."""
    return length - round(0.1 * length)


def scored_in_a_pass(of: Forecast, seed: int) -> Counter[int]:
    counts: Counter[int] = Counter()
    for batch in of.batches("train", 4, 9, seed):
        scale, mean = batch.targets["scales"][..., 0].unbind(1)
        read = (batch.inputs["target"][..., 0] * scale[:, None] + mean[:, None]).round().long()
        counts.update(read[batch.targets["observed"].flatten(2).any(-1)].tolist())
    return counts


def test_training_comes_by_every_origin_that_is_warmed_up(numbered: Forecast) -> None:
    """Pieces lie at random places: in about one pass over all steps each, and over many passes everywhere."""
    every = {1000 * n + t for n, length in enumerate(LENGTHS) for t in range(CONTEXT, borders(length) - 1)}
    passes = [scored_in_a_pass(numbered, seed) for seed in range(150)]
    assert set().union(*passes) == every
    assert np.mean([one.total() for one in passes]) == pytest.approx(len(every), rel=0.25)
    assert passes[0] != passes[1]


def test_all_data_is_learned_from_the_held_out_part_included(numbered: Forecast) -> None:
    seen: set[int] = set()
    for seed in range(300):
        for batch in numbered.batches("all", 4, 9, seed):
            scale, mean = batch.targets["scales"][..., 0].unbind(1)
            read = (batch.inputs["target"][..., 0] * scale[:, None] + mean[:, None]).round().long()
            seen.update(read[batch.targets["observed"].flatten(2).any(-1)].tolist())
    assert seen == {1000 * n + t for n, length in enumerate(LENGTHS) for t in range(CONTEXT, length - 1)}


def test_validation_scores_every_held_out_row_once_for_each_step_ahead(numbered: Forecast) -> None:
    scored = Counter(read for _, read, _, _, counted in positions(numbered, "valid") if counted)
    every = [1000 * n + t for n, length in enumerate(LENGTHS) for t in range(borders(length) - 1, length - 1)]
    assert scored == Counter(every)


@pytest.mark.parametrize("split", ["train", "valid"])
def test_targets_are_the_rows_after_the_origin_and_inside_the_part(numbered: Forecast, split: str) -> None:
    for _, read, ahead, _, counted in positions(numbered, split):
        if counted:
            length = LENGTHS[read // 1000]
            end = 1000 * (read // 1000) + (borders(length) if split == "train" else length)
            assert ahead == list(range(read + 1, min(read + HORIZON + 1, end)))


@pytest.mark.parametrize("split", ["train", "valid"])
def test_what_warms_up_is_not_scored(numbered: Forecast, split: str) -> None:
    """A row that begins in the middle of a series reads the context first; at the start of one there is none to read."""
    began: dict[int, int] = {}
    middle = 0
    for row, read, _, fresh, counted in positions(numbered, split):
        if fresh:
            began[row] = read
            middle += read % 1000 > 0
        if began[row] % 1000 > 0 and read < began[row] + CONTEXT:
            assert not counted, f"{read} is scored {read - began[row]} steps after the state began"
    assert middle > 1


def test_the_check_of_warm_up_is_not_empty() -> None:
    pieces = cut([300], 4, CONTEXT, np.random.default_rng(0))
    assert all(piece.score_from - piece.start == CONTEXT for piece in pieces if piece.start)


def test_scored_origins_of_a_file_that_follows(tmp_path: Path) -> None:
    whole = hourly(np.arange(120.0))
    of = restored(task(whole[:100]), tmp_path)
    for given, expected in ((whole[100:], range(99, 117)), (whole, range(99, 117)), (whole[90:], range(99, 117))):
        test = of.test([Source(given)])
        scored = [int(part.series.values[t, 0]) for part in test.parts for t in part.origins]
        assert scored == list(expected)
    after_a_gap = of.test([Source(whole[104:])])
    assert [int(p.series.values[t, 0]) for p in after_a_gap.parts for t in p.origins] == list(
        range(104 + CONTEXT - 1, 117)
    )
    with pytest.raises(DataError, match="nothing to score"):
        of.test([Source(whole[:100])])


def test_scaled_scores_are_in_deviations_of_the_series_or_for_a_new_one_of_all(tmp_path: Path) -> None:
    data = noisy(200)
    both = pl.concat([data.with_columns(pl.col("y") * k, id=pl.lit(f"s{k}")) for k in (1, 9)])
    of = restored(task(both, id="id"), tmp_path)
    model = of.build(EncoderConfig(hidden=4), 0.0).eval()
    values = both["y"].to_numpy()
    for name, deviation in (("s1", values[:200].std()), ("s9", values[200:].std()), ("new", values.std())):
        later = noisy(300, 1)[200:].with_columns(id=pl.lit(name))
        plain, scaled = (scored(of, model, later, scaled=wanted) for wanted in (False, True))
        assert scaled == pytest.approx(plain / deviation, rel=1e-9)


def scored(of: Forecast, model: Model, later: Frame, *, scaled: bool) -> float:
    of.score_scaled(scaled)
    return of.score(model, of.test([Source(later)]))["mae"].compute()


# --- what is known ----------------------------------------------------------------------------------------------------


def noisy(rows: int = 240, seed: int = 0) -> Frame:
    rng = np.random.default_rng(seed)
    return hourly(rng.normal(size=rows), wind=rng.normal(size=rows), kind=rng.choice(["a", "b"], rows))


ROLES: dict[str, Any] = {"past": "wind", "future": "kind"}


def test_held_out_values_change_nothing_that_is_fitted() -> None:
    data = noisy()
    held = pl.int_range(len(data)) >= 216
    wild = data.with_columns(
        pl.when(held).then(1e6).otherwise("y").alias("y"),
        pl.when(held).then(-1e6).otherwise("wind").alias("wind"),
        pl.when(held).then(pl.lit("a")).otherwise("kind").alias("kind"),
    )
    one, other = task(data, **ROLES), task(wild, **ROLES)
    assert one.codec.to_json() == other.codec.to_json()
    for a, b in zip(one._train, other._train, strict=True):
        assert all(np.array_equal(a[name], b[name]) for name in a)
    changed = task(data.with_columns(pl.when(~held).then(pl.col("y") * 2).otherwise("y").alias("y")), **ROLES)
    assert changed.codec.to_json() != one.codec.to_json()


def test_a_validation_file_changes_nothing_that_is_fitted() -> None:
    data = noisy()
    later = data[200:]
    wild = later.with_columns(pl.lit(1e6).alias("y"), pl.lit(1e6).alias("wind"))
    one, other = (task(data[:200], valid, **ROLES) for valid in (later, wild))
    assert one.codec.to_json() == other.codec.to_json()
    scored = [
        sum(float(batch.targets["observed"].sum()) for batch in t.batches("valid", 4, 9, 0)) for t in (one, other)
    ]
    # 40 rows are seen from one step before, 39 from two, 38 from three: the first origin is the last training row
    assert scored == [40 + 39 + 38] * 2


def test_nothing_after_a_row_changes_the_forecast_made_at_it() -> None:
    of = task(noisy(), **ROLES)
    torch.manual_seed(0)
    model = of.build(EncoderConfig(hidden=8), 0.0).eval()
    series = of.tail.series[0]
    t = 100
    expected = of.forecasts(model, series)[: t + 1]
    wild = series.values.copy()
    wild[t + 1 :, : len(of.codec.targets) + len(of.codec.past)] = 3.0
    wild[t + 1 + HORIZON :] = np.nan
    np.testing.assert_array_equal(of.forecasts(model, replace(series, values=wild))[: t + 1], expected)
    wild[t] = 3.0
    assert not np.allclose(of.forecasts(model, replace(series, values=wild))[t], expected[t])


# --- known answers ----------------------------------------------------------------------------------------------------


def only(model: Model, candidate: int) -> ForecastModel:
    """A forecaster that repeats one candidate: 1 the last value, 2 the value a season before."""
    assert isinstance(model, ForecastModel)
    with torch.no_grad():
        for parameter in (p for n, p in model.named_parameters() if ".output." in n):
            parameter.zero_()
        model.preference.zero_()
        model.preference[..., candidate] = 1e4
    return model.eval()


@pytest.mark.parametrize(("candidate", "baseline"), [(1, "last_value"), (2, "seasonal_naive_24")])
def test_a_model_that_repeats_scores_exactly_as_the_baseline_that_does(
    tmp_path: Path, candidate: int, baseline: str
) -> None:
    rng = np.random.default_rng(0)
    values = 300 + 50 * np.sin(2 * np.pi * np.arange(400) / 24) + rng.normal(0, 9, 400)
    values[rng.random(400) < 0.05] = np.nan
    data = hourly(values).with_columns(pl.col("y").fill_nan(None))
    of = restored(task(data[:300]), tmp_path)
    model = only(of.build(EncoderConfig(hidden=4), 0.0), candidate)
    values_of = maes(of, model, data[300:])
    assert values_of["model"] == pytest.approx(values_of[baseline], rel=1e-5)


def test_a_constant_series_is_forecast_as_itself(tmp_path: Path) -> None:
    data = hourly(np.full(200, 41.5))
    of = restored(task(data[:150]), tmp_path)
    model = trained(task(data[:150]), 30, hidden=4)
    forecast = of.forecasts(model, of.test([Source(data[150:])]).parts[0].series)[-1]
    np.testing.assert_allclose(forecast[:, 0, 1], 41.5, atol=0.2)


def seasonal(rows: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 10 + 3 * np.sin(2 * np.pi * np.arange(rows) / 24) + rng.normal(0, 1, rows)


def test_a_trained_model_beats_repeating(tmp_path: Path) -> None:
    """Noise around a daily curve: a forecast that repeats has the noise twice, so its error is about 1.41 times as large."""
    data = hourly(seasonal(1200))
    prepared = task(data[:1000])
    model = trained(prepared, 150)
    values = maes(restored(prepared, tmp_path), model, data[1000:])
    naive = min(value for name, value in values.items() if name.startswith(("last", "seasonal")))
    assert values["model"] < 0.85 * naive
    assert values["model"] > 0.75 * np.sqrt(2 / np.pi)  # nobody can beat the noise itself


def test_on_shuffled_values_nothing_is_learned(tmp_path: Path) -> None:
    values = np.random.default_rng(1).permutation(seasonal(1200))
    data = hourly(values)
    prepared = task(data[:1000])
    model = trained(prepared, 100)
    best_constant = np.abs(values[1000:] - np.median(values)).mean()
    assert maes(restored(prepared, tmp_path), model, data[1000:])["model"] > 0.97 * best_constant


def test_a_future_covariate_is_used(tmp_path: Path) -> None:
    """The value is the covariate of the same hour, which is noise: who does not read it ahead can only guess."""
    rng = np.random.default_rng(0)
    wind = rng.normal(size=900)
    data = hourly(5 * wind + 100, wind=wind)
    prepared = task(data[:800], future="wind")
    model = trained(prepared, 150)
    values = maes(restored(prepared, tmp_path), model, data[800:])
    assert values["model"] < 0.4 * min(v for name, v in values.items() if name.startswith(("last", "seasonal")))


def test_what_only_warms_up_does_not_change_the_forecasts() -> None:
    """The forecasts from a row on are those of the whole, whichever part of the series the head is spared."""
    of = task(noisy(1300), **ROLES)
    torch.manual_seed(0)
    model = of.build(EncoderConfig(hidden=4), 0.0).eval()
    series = of.tail.series[0]
    whole = of.forecasts(model, series)
    for first in (0, 511, 512, 700, 1299):
        np.testing.assert_array_equal(of.forecasts(model, series, first=first), whole[first:])


def test_a_forecast_from_few_rows_is_told(tmp_path: Path) -> None:
    data = hourly(seasonal(300))
    of = restored(task(data[:250], context=48), tmp_path)
    model = of.build(EncoderConfig(hidden=4), 0.0).eval()
    told = "the series: 10 rows before the forecast, fewer than the 48 that warm up"
    assert told in of.predict(model, [Source(data[260:270])]).notes  # after a gap the run's own rows do not warm up
    assert told not in of.predict(model, [Source(data[250:260])]).notes


def test_predictions_are_the_forecast_of_the_last_row(tmp_path: Path) -> None:
    data = hourly(seasonal(300), id=["x"] * 300)
    of = restored(task(data[:250], id="id"), tmp_path)
    torch.manual_seed(0)
    model = of.build(EncoderConfig(hidden=4), 0.0).eval()
    frame = of.predict(model, [Source(data[250:])]).frame()
    assert frame.columns == ["id", "time", "y_0.1", "y_0.5", "y_0.9"]
    assert frame["time"].to_list() == ["2024-01-13 12:00", "2024-01-13 13:00", "2024-01-13 14:00"]
    series = of.test([Source(data[250:])]).parts[0].series
    np.testing.assert_allclose(
        frame.select("y_0.1", "y_0.5", "y_0.9").to_numpy(), of.forecasts(model, series)[-1][:, 0]
    )


# --- larger than memory -----------------------------------------------------------------------------------------------


def test_series_larger_than_memory_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pl.concat([noisy(rows, seed).with_columns(site=pl.lit(f"s{seed}")) for seed, rows in enumerate((240, 90))])
    expected = task(data, id="site", **ROLES)
    monkeypatch.setattr("elman.tasks.forecast.IN_MEMORY", 1000)
    monkeypatch.setattr("elman.data.series_codec.ENCODED_AT_ONCE", 7)
    mapped = task(data, id="site", **ROLES)
    assert mapped.codec.to_json() == expected.codec.to_json()
    for part in ("_train", "_whole"):
        for one, other in zip(getattr(mapped, part), getattr(expected, part), strict=True):
            assert set(one) == set(other)
            assert all(isinstance(array, np.memmap) for array in one.values())
            assert all(np.array_equal(one[name], other[name]) for name in one)
    for split in ("train", "valid", "all"):
        for a, b in zip(*(of.batches(split, 4, 9, 0) for of in (mapped, expected)), strict=True):
            assert all(torch.equal(a.inputs[name], b.inputs[name]) for name in a.inputs)
            assert all(torch.equal(a.targets[name], b.targets[name]) for name in a.targets)
    tail = mapped.tail.series[0].values
    assert isinstance(tail, np.memmap)
    folder = Path(str(tail.filename)).parent
    restored(mapped, tmp_path)
    assert folder.is_dir()
    del mapped
    assert not folder.exists()


# --- refused ----------------------------------------------------------------------------------------------------------


def test_a_bidirectional_encoder_is_refused() -> None:
    with pytest.raises(ConfigError, match="a bidirectional encoder reads on"):
        task(noisy()).build(EncoderConfig(bidirectional=True), 0.0)


def test_too_little_data_is_refused() -> None:
    with pytest.raises(DataError, match=r"the series has 7 rows to train on; a horizon of 3 needs at least 8"):
        task(hourly(np.arange(8.0)))
    with pytest.raises(DataError, match="series 's1000' has 4 rows to train on"):
        task(several([100, 5]), id="id")


def test_a_target_without_any_value_is_refused() -> None:
    values: list[float | None] = [None] * 50 + [1.0] * 4
    with pytest.raises(DataError, match="column 'y' has no value at all in the training part of the series"):
        task(hourly(np.zeros(54)).with_columns(pl.Series("y", values)))


def test_overlap_of_training_and_validation_is_refused() -> None:
    data = noisy()
    with pytest.raises(DataError, match="training and validation data share 20 times"):
        task(data[:200], data[180:])


@pytest.mark.parametrize(
    "wrong", [{"horizon": 0}, {"quantiles": [0.9, 0.1]}, {"quantiles": [0.0, 0.5]}, {"quantiles": []}, {"context": 0}]
)
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ForecastOptions(**{"target": "y", "horizon": 3, **wrong})
