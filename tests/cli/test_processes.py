"""Several processes that train together do what one does; one that is lost ends the training with a message."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.torch import load_file

if TYPE_CHECKING:
    from tests.cli.conftest import Line

FAST = (
    "--hidden", "8", "--dropout", "0.3", "--set", "training.updates=12", "--set", "training.validations=3",
    "--set", "training.batch_size=7",
)  # fmt: skip
"""Of 7 rows the second process has the last 4, from an odd number on: a forecaster's members must see whose rows they are."""
TEXT = ("--set", "training.window=16", "--layers", "2")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table and a text."""
    folder, random = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    rows = (f"{t},{20 + 5 * np.sin(t / 4) + random.normal():.3f}\n" for t in range(300))
    (folder / "load.csv").write_text("t,load\n" + "".join(rows))
    (folder / "book.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 30)
    return folder


def line(files: Path, kind: str, out: Path | str, *more: str) -> list[str]:
    table = ("forecast", files / "load.csv", "--time", "t", "--target", "load", "--horizon", "4", "--seed", "2")
    what = table if kind == "forecast" else ("language", files / "book.txt", *TEXT)
    return ["fit", *map(str, what), *FAST, *more, "--out", str(out)]


def furthest(one: Path, other: Path) -> float:
    """The largest difference of two models' weights."""
    a, b = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize("kind", ["forecast", pytest.param("language", marks=pytest.mark.slow)])
def test_two_processes_give_what_one_gives(elman: "Line", files: Path, kind: str) -> None:
    """Dropout at work, states carried from window to window, an odd number of rows, and a last phase on all data."""
    assert elman(*line(files, kind, "one")).code == 0
    done = elman(*line(files, kind, "two", "--processes", "2", "--json"))
    assert done.code == 0
    assert json.loads(done.out)["run"] == "two"
    assert done.err.count("update 12/12") == 1
    assert "distributed" not in done.err.lower()
    assert 0 < furthest(Path("one"), Path("two")) < 1e-6
    best = [json.loads((Path(name) / "result.json").read_text())["best"] for name in ("one", "two")]
    assert best[0] == pytest.approx(best[1], rel=1e-5)


def test_a_difference_in_dropout_is_seen(elman: "Line", files: Path) -> None:
    """The comparison above is able to fail."""
    assert elman(*line(files, "language", "one")).code == 0
    assert elman(*line(files, "language", "two", "--dropout", "0.4")).code == 0
    assert furthest(Path("one"), Path("two")) > 1e-4


def test_torchrun(elman: "Line", files: Path, tmp_path: Path) -> None:
    assert elman(*line(files, "language", "one")).code == 0
    arguments = line(files, "language", "two", "--processes", "3", "--json", "--resume")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "elman", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"] == "two"
    assert done.stderr.count("torchrun has started 2 processes: `processes` is 2, not 3") == 1
    assert done.stderr.count("update 12/12") == 1
    assert furthest(Path("one"), Path("two")) < 1e-6


def workers(of: int) -> list[int]:
    """The processes that train, of a command that was started: not the one that tidies up after them."""
    found = []
    for child in Path(f"/proc/{of}/task/{of}/children").read_text().split():
        if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
            found.append(int(child))
    return found


def is_running(pid: int) -> bool:
    """Whether a process is more than an entry that nobody has fetched."""
    command = Path(f"/proc/{pid}/cmdline")
    return command.exists() and bool(command.read_bytes())


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="who is whose child is read from Linux's /proc")
@pytest.mark.parametrize("victim", ["second", pytest.param("parent", marks=pytest.mark.slow)])
def test_a_run_that_lost_a_process_is_resumed(elman: "Line", files: Path, tmp_path: Path, victim: str) -> None:
    """With one process in place of two."""
    often = [f"--set=training.{said}" for said in ("checkpoint_every=0", "updates=150", "validations=75")]
    arguments = line(files, "language", "run", *often)
    command = [sys.executable, "-m", "elman", *arguments, "--processes", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stderr
        while "update 4/" not in process.stderr.readline():
            pass
        pids = workers(process.pid)
        os.kill(pids[1] if victim == "second" else process.pid, signal.SIGKILL)
        said = process.stderr.read()  # until all of them have ended: they hold the other end
    if victim == "second":
        assert process.returncode == 1
        assert said.splitlines()[-1].startswith("elman: process 2 of 2 was lost: it was ended by SIGKILL")
        assert said.count("elman: ") == 1
        assert "Traceback" not in said
    assert len(pids) == 2
    assert not any(is_running(pid) for pid in pids)
    done = elman(*arguments, "--resume")
    assert done.code == 0
    assert "written by a training in 2 processes, this one is in 1" in done.err
    assert elman(*line(files, "language", "whole", *often)).code == 0
    assert furthest(tmp_path / "run", tmp_path / "whole") < 1e-5
