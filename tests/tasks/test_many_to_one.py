"""Irregular time: what gaps are worth, that all verbs read them alike, and what happens to times that cannot be used."""

import datetime as dt
import json
import math
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import elman
from elman.data.arrays import Arrays
from elman.data.sequence_codec import SequenceCodec
from elman.data.source import Source
from elman.errors import ConfigError, DataError
from elman.models.many_to_one import ManyToOne
from elman.run import Run
from elman.tasks.many_to_one import ManyToOneTask
from elman.testing import check_task
from elman.testing.tasks import EXAMPLES, Example
from elman.training.settings import make_task

START = dt.datetime(2026, 1, 1)
COLUMNS: dict[str, Any] = {"id": "id", "time": "at", "gaps": True}
QUICK: dict[str, Any] = {"hidden": 8, "settings": {"training": {"updates": 20, "batch_size": 8}}}


def paces(count: int, seed: int = 0) -> pl.DataFrame:
    """Levels that rise by chance, from row to row alike in every sequence; fast ones do so in a third of the time."""
    rng, rows = np.random.default_rng(seed), []
    for number in range(count):
        rises = 0.05 + rng.exponential(1, int(rng.integers(6, 12)))
        hours = (rises / (1, 3)[number % 2]).cumsum()
        for hour, level in zip(hours.tolist(), (rng.normal() + rises.cumsum()).tolist(), strict=True):
            rows.append((f"s{number}", START + dt.timedelta(hours=hour), level, ("slow", "fast")[number % 2]))
    return pl.DataFrame(rows, schema=["id", "at", "level", "pace"], orient="row")


@pytest.mark.parametrize("encoder", ["gru", "gru_d", "cfc"])
def test_what_depends_on_rates_is_learned_with_gaps(tmp_path: Path, encoder: str) -> None:
    run = fit_paces(tmp_path / "run", encoder=encoder, gaps=True)
    assert run.evaluate(paces(100, seed=1)).metrics["accuracy"].value > 0.85


def test_and_not_without_them(tmp_path: Path) -> None:
    run = fit_paces(tmp_path / "run", encoder="gru", gaps=False)
    assert run.evaluate(paces(100, seed=1)).metrics["accuracy"].value < 0.65


def fit_paces(out: Path, *, encoder: str, gaps: bool) -> Run:
    training = {"updates": 250, "batch_size": 16, "learning_rate": 0.01, "dropout": 0.0}
    columns: dict[str, Any] = {**COLUMNS, "label": "pace", "gaps": gaps}
    return elman.fit(
        "classify", paces(200), out=out, encoder=encoder, hidden=16, bidirectional=False, settings={"training": training},
        **columns,
    )  # fmt: skip


# --- one computation --------------------------------------------------------------------------------------------------


def visits(seed: int, folder: Path, *, missing: float = 0.1, decimals: bool = False) -> pl.DataFrame:  # noqa: ARG001
    """Rows at irregular times, each with a number; a year's silence in one sequence."""
    rng, rows = np.random.default_rng(seed), []
    for number in range(36):
        hours = (0.01 + rng.exponential(1, int(rng.integers(3, 12)))).cumsum()
        hours[-1] += 8760 * (number == 0)
        for hour in hours.tolist():
            pulse = None if rng.random() < missing else rng.normal()
            at = hour if decimals else START + dt.timedelta(hours=hour)
            rows.append((f"s{number}", at, pulse, rng.normal(), hours[0] + 0.1 * number))
    return pl.DataFrame(rows, schema=["id", "at", "pulse", "flow", "stay"], orient="row")


VISITS: dict[str, Any] = {**COLUMNS, "label": "stay"}


@pytest.mark.parametrize("missing", [0.1, 0.0])
@pytest.mark.parametrize("decimals", [False, True])
def test_keeps_the_promises_of_tasks(monkeypatch: pytest.MonkeyPatch, missing: float, decimals: bool) -> None:
    made = partial(visits, missing=missing, decimals=decimals)
    monkeypatch.setitem(EXAMPLES, "regress", Example(VISITS, partial(made, 0), partial(made, 1)))
    check_task("regress", ["gru_d", "cfc"] if decimals else ["gru", "gru_d", "ltc", "tcn"])


def test_keeps_them_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXAMPLES, "regress", Example(VISITS, partial(visits, 0), partial(visits, 1)))
    check_task("regress", ["gru", "gru_d"], bidirectional=True)


def fitted(folder: Path, missing: float) -> Run:
    made = visits(0, folder, missing=missing)
    return elman.fit("regress", made, out=folder / "run", encoder="gru_d", bidirectional=False, **VISITS, **QUICK)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fitted(tmp_path_factory.mktemp("visits"), missing=0.1)


def rows_of(frame: pl.DataFrame, id: str) -> list[tuple[dict[str, float | None], str]]:
    own = frame.filter(pl.col("id") == id)
    return [({"pulse": row["pulse"], "flow": row["flow"]}, str(row["at"])) for row in own.iter_rows(named=True)]


def test_a_stream_says_what_predict_says(run: Run, tmp_path: Path) -> None:
    test, stream = visits(1, tmp_path), run.stream()
    said = run.predict(test.drop("stay")).frame()
    for id, expected in said.select("id", "stay").iter_rows():
        answers = [stream.push(x, at, n=id) for x, at in rows_of(test, id)]
        assert isinstance(answers[-1], dict)
        assert math.isclose(answers[-1]["stay"], expected, rel_tol=1e-5)


def test_the_order_of_rows_does_not_matter_but_their_times_do(run: Run, tmp_path: Path) -> None:
    test = visits(1, tmp_path)
    said = run.predict(test).frame()["stay"]
    shuffled = run.predict(test.sort(pl.col("flow"))).frame().sort(pl.col("id").str.slice(1).cast(pl.Int64))["stay"]
    np.testing.assert_allclose(shuffled, said, rtol=1e-6)
    slower = test.with_columns(at=START + 3 * (pl.col("at") - START))
    assert not np.isclose(run.predict(slower).frame()["stay"], said, rtol=1e-3).all()
    later = test.with_columns(pl.col("at") + dt.timedelta(days=400))
    np.testing.assert_array_equal(run.predict(later).frame()["stay"], said)


def test_a_stream_goes_on_from_a_snapshot(run: Run, tmp_path: Path) -> None:
    rows = rows_of(visits(1, tmp_path), "s0")
    whole, first = run.stream(), run.stream()
    expected = [whole.push(x, at) for x, at in rows]
    for x, at in rows[:2]:
        first.push(x, at)
    first.snapshot(tmp_path / "state")
    second = run.stream()
    second.restore(tmp_path / "state")
    assert [second.push(x, at) for x, at in rows[2:]] == expected[2:]


def test_a_row_that_a_stream_refuses_leaves_it_as_it_was(run: Run, tmp_path: Path) -> None:
    (x, at), (y, later), *_ = rows_of(visits(1, tmp_path), "s0")
    plain, disturbed = run.stream(), run.stream()
    plain.push(x, at)
    disturbed.push(x, at)
    for time in (None, at, "2020-01-01", "soon"):
        with pytest.raises(DataError, match="time"):
            disturbed.push(y, time)
    assert disturbed.push(y, later) == plain.push(y, later)


@pytest.mark.parametrize("missing", [0.1, 0.0])
def test_what_decided_adds_up_and_times_have_no_share(run: Run, tmp_path: Path, missing: float) -> None:
    run = run if missing else fitted(tmp_path, missing)
    test = visits(1, tmp_path, missing=missing).head(40)
    codec = run.task.codec
    assert isinstance(codec, SequenceCodec)
    assert codec.scaler is not None
    average = test.with_columns(
        pl.when(pl.col(name).is_null()).then(None).otherwise(mean).alias(name)
        for name, mean in zip(codec.layout.names, codec.scaler.mean.tolist(), strict=True)
    )
    frame = run.predict(test, explain=True).frame()
    difference = frame["stay"] - run.predict(average).frame()["stay"]
    assert np.abs(difference.to_numpy()).max() > 0.01
    for told, whole in zip(frame["explanation"], difference, strict=True):
        assert {share["feature"] for share in told} <= {"pulse", "flow", "all others"}
        assert math.isclose(sum(share["share"] for share in told), whole, abs_tol=0.02 * abs(whole) + 1e-4)


def test_the_report_and_the_baselines_go_without_gaps(run: Run, tmp_path: Path) -> None:
    evaluation = run.evaluate(visits(1, tmp_path))
    assert set(evaluation.baselines) == {"mean", "nearest_dtw", "boosting"}
    assert "the baselines do not read the time between rows" in evaluation.notes


def test_a_run_of_before_there_were_gaps(tmp_path: Path) -> None:
    made = visits(0, tmp_path)
    run = elman.fit("regress", made, out=tmp_path / "run", bidirectional=False, **{**VISITS, "gaps": False}, **QUICK)
    config = tmp_path / "run" / "config.toml"
    text = config.read_text()
    older = re.sub(r"^(gaps|timed) = false\n", "", text, flags=re.MULTILINE)
    assert len(text.splitlines()) == len(older.splitlines()) + 2
    assert "clock" not in json.loads((tmp_path / "run" / "codec.json").read_text())
    config.write_text(older)
    again = Run(tmp_path / "run")
    assert again.predict(made).frame().equals(run.predict(made).frame())
    model = again.model
    assert isinstance(model, ManyToOne)
    assert not model.timed


# --- what is refused --------------------------------------------------------------------------------------------------


def prepared(data: Any, **options: Any) -> ManyToOneTask:
    task = make_task("regress", options)
    assert isinstance(task, ManyToOneTask)
    task.prepare([Source.of(data)], None, 0)
    return task


def test_the_unit_is_told(tmp_path: Path) -> None:
    hourly = visits(0, tmp_path).with_columns(at=START + pl.int_range(pl.len()).over("id") * dt.timedelta(minutes=90))
    assert "the time between rows is read in units of the median one, 90 minutes" in prepared(hourly, **VISITS).notes


def test_sequences_of_one_row_have_no_gaps(tmp_path: Path) -> None:
    single = visits(0, tmp_path).unique("id", maintain_order=True)
    with pytest.raises(
        DataError, match=r"expected sequences of several rows, got one row for each, .* leave out --gaps"
    ):
        prepared(single, **VISITS)


def test_later_data_without_such_times_is_refused(run: Run, tmp_path: Path) -> None:
    steps = visits(1, tmp_path).with_columns(at=pl.int_range(pl.len()))
    with pytest.raises(DataError, match="row 1: expected times as time stamps, as in training, got numbers"):
        run.predict(steps)
    with pytest.raises(DataError, match="has no column 'at'"):
        run.evaluate(steps.drop("at"))
    with pytest.raises(
        DataError, match=r"arrays have no times, and the model was fitted with --gaps; give a table .* 'at'"
    ):
        run.predict([np.ones((3, 2))])


def test_only_what_has_times_has_gaps() -> None:
    with pytest.raises(DataError, match="arrays have no times for --gaps to read; leave it out, or give a long table"):
        prepared(Arrays(np.ones((4, 3, 1)), [1, 2, 3, 4]), gaps=True)
    with pytest.raises(ConfigError, match="gaps"):
        elman.fit("language", "book.txt", gaps=True)


# --- truncated BPTT ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["pace", "step"])
@pytest.mark.parametrize("window", [0, 1, 4, 7, 100])
def test_a_pass_is_as_many_updates_as_were_planned(label: str, window: int) -> None:
    """Give or take a little chance in which sequences come together."""
    frame = paces(40).with_columns(step=(pl.int_range(pl.len()).over("id") % 3).cast(pl.String))
    task = make_task("classify", {"id": "id", "time": "at", "label": label, "features": "level"})
    task.prepare([Source.of(frame)], None, seed=1)
    for rows in (1, 8):
        learned = [batch for batch in task.batches("train", rows, window, seed=3) if batch.targets["scored"].any()]
        assert math.isclose(task.windows(rows, window), len(learned), rel_tol=0 if rows == 1 else 0.25)
