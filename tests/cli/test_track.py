"""`elman fit --track`, and settings as a sweep writes them."""

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Data, Line


def test_settings_as_a_sweep_writes_them(elman: "Line", data: "Data") -> None:
    dotted = (
        "--training.learning_rate=0.03",
        "--encoder.hidden=24",
        "--encoder.cell.forget_bias=2",
        "--options.level=word",
    )
    done = elman("fit", "language", data.text, "--encoder", "lstm", *dotted, "--dry-run")
    settings = tomllib.loads(done.out)
    assert settings["training"]["learning_rate"] == 0.03
    assert settings["encoder"]["hidden"] == 24
    assert settings["encoder"]["cell"] == {"forget_bias": 2}
    assert settings["options"]["level"] == "word"
    unknown = elman("fit", "language", data.text, "--training.learning_rat=0.03")
    assert unknown.code == 2
    assert "learning_rate" in unknown.message


def test_track_writes_beside_the_log(elman: "Line", data: "Data") -> None:
    fast = ("--hidden", "8", "--set", "training.updates=4", "--set", "training.validations=2")
    assert elman("fit", "language", data.text, *fast, "--out", "run", "--track", "tensorboard").code == 0
    assert len(list(Path("run/tensorboard").iterdir())) == 1
    assert len(Path("run/metrics.jsonl").read_text().splitlines()) == 2
    assert json.loads(Path("run/result.json").read_text())["task"] == "language"


def test_a_tracked_training_that_was_killed_early_begins_anew(elman: "Line", data: "Data") -> None:
    fast = ("--hidden", "8", "--set", "training.updates=4", "--set", "training.validations=2")
    line = ("fit", "language", data.text, *fast, "--out", "run", "--track", "tensorboard")
    assert elman(*line).code == 0
    weights = Path("run/model.safetensors").read_bytes()
    for name in ("result.json", "model.safetensors"):
        (Path("run") / name).unlink()
    Path("run/checkpoints").mkdir()
    assert "go on with `--resume`" in elman(*line).message
    assert elman(*line, "--resume").code == 0
    assert Path("run/model.safetensors").read_bytes() == weights


@pytest.mark.parametrize("name", ["mlflow", "tensorboard,mlflow", ""])
def test_an_unknown_tracker(elman: "Line", data: "Data", name: str) -> None:
    done = elman("fit", "language", data.text, "--out", "run", "--track", name)
    assert done.code == 2
    assert "there is no tracker" in done.message
    assert not Path("run").exists()
