"""`elman report` and what `elman fit` writes of itself."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Data, Line


def test_fit_leaves_a_first_report(data: "Data") -> None:
    text = (data.load / "report.html").read_text(encoding="utf-8")
    assert "Learning curve" in text
    assert "Not scored on new data yet" in text
    assert f"elman report {data.load} NEWER-DATA" in text
    assert (data.load / "report" / "learning-curve.png").is_file()
    rows = (data.load / "report" / "learning-curve.csv").read_text().splitlines()
    logged = [json.loads(line) for line in (data.load / "metrics.jsonl").read_text().splitlines()]
    losses = [row.split(",")[1] for row in rows[1:]]
    assert [float(loss) for loss in losses] == [row["valid_loss"] for row in logged]


def test_report_scores_and_remembers(elman: "Line", data: "Data") -> None:
    shutil.copytree(data.load, "run")
    done = elman("report", "run", data.new)
    assert (done.code, done.out) == (0, "run/report.html\n")
    first = Path("run/report.html").read_text(encoding="utf-8")
    scores = json.loads(elman("evaluate", "run", data.new, "--json").out)
    assert f"MAE {scores['metrics']['mae']['value']:.4g}" in first
    assert all(name.replace("_", " ") in first for name in scores["baselines"])
    assert elman("report", "run").code == 0
    assert Path("run/report.html").read_text(encoding="utf-8") == first


def test_out_writes_the_page_elsewhere(elman: "Line", data: "Data") -> None:
    shutil.copytree(data.char, "run")
    before = Path("run/report.html").read_bytes()
    done = elman("report", "run", data.text, "--out", "page.html")
    assert done.out == "page.html\n"
    assert "What it writes" in Path("page.html").read_text(encoding="utf-8")
    assert Path("run/report.html").read_bytes() == before
    assert elman("report", "run", "--out", "nowhere/page.html").code == 1


def test_an_unfinished_run_has_a_report(elman: "Line", data: "Data") -> None:
    shutil.copytree(data.load, "run")
    for name in ("result.json", "model.safetensors", "report.html"):
        (Path("run") / name).unlink()
    assert elman("report", "run").code == 0
    text = Path("run/report.html").read_text(encoding="utf-8")
    assert "Training has not finished" in text
    assert "of 20" in text
    refused = elman("report", "run", data.new)
    assert refused.code == 2
    assert "model.safetensors: not found" in refused.message


def test_a_run_of_an_older_version_has_a_report(elman: "Line", data: "Data") -> None:
    shutil.copytree(data.load, "run")
    shutil.rmtree("run/report")
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    Path("run/metrics.jsonl").write_text("".join(json.dumps({**row, "kept": None}) + "\n" for row in rows))
    Path("run/environment.json").unlink()
    assert elman("report", "run").code == 0


@pytest.mark.parametrize(
    ("name", "content"), [("metrics.jsonl", "{"), ("report/scores.json", "{"), ("environment.json", "{")]
)
def test_what_is_damaged_is_told(elman: "Line", data: "Data", name: str, content: str) -> None:
    shutil.copytree(data.load, "run")
    (Path("run") / name).write_text(content)
    done = elman("report", "run")
    assert done.code == 2
    assert f"run/{name}: damaged" in done.message


def test_a_log_that_is_cut_is_read_alike_by_both(elman: "Line", data: "Data") -> None:
    shutil.copytree(data.load, "run")
    log = Path("run/metrics.jsonl")
    whole = log.read_text()
    log.write_text(whole + '{"update": 3')
    for arguments in (("run",), ("run", "--watch")):
        done = elman("report", *arguments)
        assert done.code == 2
        assert (
            f"run/metrics.jsonl: damaged: expected a JSON object in line {len(whole.splitlines()) + 1}" in done.message
        )
    Path("run/result.json").unlink()
    assert elman("report", "run").code == 0
    rows = Path("run/report/learning-curve.csv").read_text().splitlines()[1:]
    assert len(rows) == len(whole.splitlines())


@contextmanager
def watched(finished: Path, run: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that watches ``run``, a copy of a finished one that has not ended yet; it has drawn something."""
    shutil.copytree(finished, run)
    (run / "result.json").unlink()
    code = "from elman.cli.main import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "report", run, "--watch"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline().startswith("update ")
        yield watching


def test_watching_a_run_that_is_removed_ends_with_a_message(data: "Data", tmp_path: Path) -> None:
    run = tmp_path / "run"
    with watched(data.load, run) as watching:
        shutil.rmtree(run)
        _, err = watching.communicate(timeout=30)
    assert watching.returncode == 2
    assert "config.toml is gone" in " ".join(err.split())
    assert "Traceback" not in err


def test_no_run_and_no_data(elman: "Line", data: "Data") -> None:
    assert elman("report", "nowhere").code == 2
    done = elman("report", data.load, "nowhere.csv")
    assert done.code == 2
    assert "nowhere.csv" in done.message


def test_watch_prints_a_finished_run_once(elman: "Line", data: "Data") -> None:
    done = elman("report", data.load, "--watch")
    assert done.code == 0
    rows = (data.load / "metrics.jsonl").read_text().splitlines()
    assert len(done.out.splitlines()) == len(rows)
    assert done.out.startswith("update ")
    refused = elman("report", data.load, data.new, "--watch")
    assert refused.code == 2
    assert "--watch draws in the terminal" in refused.message


def test_watch_ends_well_when_interrupted(data: "Data", tmp_path: Path) -> None:
    run = tmp_path / "run"
    with watched(data.load, run) as watching:
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=30)
    assert watching.returncode == 0
    assert err == ""
