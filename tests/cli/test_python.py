"""The Python face does what the command line does."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import elman as library
from elman.errors import DataError, ElmanError, RunError, UsageError

if TYPE_CHECKING:
    from tests.cli.conftest import Data, Line

FAST = {"training": {"updates": 20, "validations": 2}}


@pytest.mark.parametrize("kind", ["file", "polars", "pandas", "pandas times", "files"])
def test_fit_gives_the_weights_of_the_command_line(data: "Data", tmp_path: Path, kind: str) -> None:
    frame = pl.read_csv(data.old)
    times = pd.read_csv(data.old, parse_dates=["date"])
    half = tmp_path / "half.csv"
    rest = tmp_path / "rest.csv"
    frame[:200].write_csv(half)
    frame[200:].write_csv(rest)
    forms: dict[str, Any] = {
        "file": data.old, "polars": frame, "pandas": pd.read_csv(data.old), "pandas times": times, "files": [half, rest],
    }  # fmt: skip
    run = library.fit(
        "forecast", forms[kind], out=tmp_path / "run", time="date", target="load", horizon=6, hidden=8, settings=FAST
    )
    assert (run.path / "model.safetensors").read_bytes() == (data.load / "model.safetensors").read_bytes()
    assert run.fitted.best == library.Run(data.load).fitted.best


def test_settings_of_the_encoder_go_by_their_names_and_the_state_is_told_as_it_is_in_use(
    data: "Data", tmp_path: Path
) -> None:
    run = library.fit(
        "forecast", data.old, out=tmp_path / "run", time="date", target="load", horizon=6, hidden=8,
        variational_dropout=0.2, zoneout=0.1, settings={"training": {"updates": 2}},
    )  # fmt: skip
    assert (run.settings.encoder.variational_dropout, run.settings.encoder.zoneout) == (0.2, 0.1)
    written = json.loads((run.path / "environment.json").read_text())
    assert written["state_numbers"] == run.describe()["state_numbers"]  # without the masks of training


def test_evaluate_and_predict_give_what_the_command_line_gives(elman: "Line", data: "Data") -> None:
    run = library.Run(data.load)
    shown = json.loads(elman("evaluate", data.load, data.new, "--json").out)
    for given in (data.new, str(data.new), pl.read_csv(data.new), pd.read_csv(data.new)):
        scores = run.evaluate(given)
        assert scores.metrics["mae"].value == shown["metrics"]["mae"]["value"]
        assert scores.baselines == shown["baselines"]
        frame = run.predict(given).frame()
        assert frame.equals(run.predict(data.new).frame())
    elman("predict", data.load, data.new, "--out", "p.parquet")
    assert pl.read_parquet("p.parquet").equals(run.predict(data.new).frame())


def test_a_scaled_score_does_not_change_the_next_one(data: "Data") -> None:
    run = library.Run(data.load)
    plain, scaled, again = (
        run.evaluate(data.new, scaled=wanted).metrics["mae"].value for wanted in (False, True, False)
    )
    deviation = np.nanstd(pl.read_csv(data.old)["load"].to_numpy())
    np.testing.assert_allclose(scaled, plain / deviation, rtol=1e-12)
    assert again == plain


def test_stream_and_generate(elman: "Line", data: "Data") -> None:
    session = library.Run(data.load).stream()
    y = session.push({"load": 20}, time="2024-03-01")
    assert {"y": y} == json.loads(elman("stream", data.load, stdin=b'{"x": [20], "time": "2024-03-01"}\n').out)
    pieces = list(library.Run(data.char).generate("The", 20, seed=3))
    assert len(pieces) == 20
    text = elman("generate", data.char, "--prompt", "The", "--length", "20", "--seed", "3").out
    assert text == "The" + "".join(pieces) + "\n"


def test_a_frame_is_not_a_text(data: "Data") -> None:
    with pytest.raises(DataError, match="data frame: expected a text, got frame"):
        library.Run(data.char).evaluate(pl.DataFrame({"text": ["a"]}))


def test_errors_are_elmans(data: "Data", tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected at least one file or data frame"):
        library.fit("forecast", target="load", horizon=6)
    with pytest.raises(UsageError, match=r"no setting 'horzion'.*did you mean 'horizon'"):
        library.fit("forecast", data.old, target="load", horizon=6, horzion=3)
    with pytest.raises(RunError, match="expected a run folder"):
        library.Run(tmp_path)
    with pytest.raises(DataError, match="expected a path"):
        library.fit("forecast", {"load": [1]}, target="load", horizon=6)  # type: ignore[arg-type]
    assert issubclass(RunError, ElmanError)


@pytest.mark.parametrize("name", ["result.json", "metrics.jsonl"])
def test_a_damaged_summary(data: "Data", tmp_path: Path, name: str) -> None:
    shutil.copytree(data.load, tmp_path / "run")
    (tmp_path / "run" / name).write_text("{")
    with pytest.raises(RunError, match=f"{name}: damaged"):
        library.Run(tmp_path / "run").report()
