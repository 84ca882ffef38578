"""The page docs/add-a-cell.md, followed to the letter."""

import json
import math
import os
import re
import shutil
import site
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "add-a-cell.md"
SOURCE = Path(__file__).parents[2] / "src" / "elman"
BLOCK = re.compile(r'^```(?P<language>\w+)(?: title="(?P<file>[^"]+)")?\n(?P<code>.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the reader has after typing the page: the files it names, and the rest, in order, as session.py and shell.sh."""
    typed: dict[str, list[str]] = {"python": [], "sh": []}
    for block in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        if block["file"]:
            (tmp_path / block["file"]).write_text(block["code"], encoding="utf-8")
        else:
            typed[block["language"]].append(block["code"])
    (tmp_path / "session.py").write_text("\n".join(typed["python"]), encoding="utf-8")
    (tmp_path / "shell.sh").write_text("\n".join(typed["sh"]), encoding="utf-8")
    return tmp_path


def python(
    folder: Path, script: str, *options: str, paths: Sequence[Path | str] = ()
) -> "subprocess.CompletedProcess[str]":
    """A process of its own: the cell's name must not stay in this one's registry."""
    command = [sys.executable, *options, script]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False, env=env)


def test_the_toy_cell_is_one_file_of_under_60_lines(folder: Path) -> None:
    assert sorted(file.name for file in folder.glob("*.py")) == ["leaky.py", "session.py"]
    assert len((folder / "leaky.py").read_text(encoding="utf-8").splitlines()) < 60


def test_the_toy_cell_passes_the_suite_trains_and_streams(folder: Path) -> None:
    session = (folder / "session.py").read_text(encoding="utf-8")
    assert all(call in session for call in ("check_cell(", "loss.backward()", "layer.initial_state(", "check_task("))
    done = python(folder, "session.py", "-W", "error")
    assert (done.returncode, done.stderr) == (0, "")
    learned = re.fullmatch(r"mean squared error: ([\d.]+) at first, ([\d.]+) at last\n", done.stdout)
    assert learned, done.stdout
    # 1/12 is the variance of a uniform number: the error of a network that learned nothing but the mean.
    assert float(learned[2]) < 0.1 / 12


def test_the_toy_cell_is_fitted_and_streamed_from_the_command_line(folder: Path) -> None:
    heights = [math.sin(t / 4) for t in range(400)]
    (folder / "wave.csv").write_text("\n".join(["height", *map(str, heights)]), encoding="utf-8")
    shell = (folder / "shell.sh").read_text(encoding="utf-8")
    assert "elman fit forecast wave.csv" in shell
    assert "--encoder leaky" in shell
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    # rows in place of the page's two, so that the answers can be judged
    (folder / "rows.jsonl").write_text("".join(json.dumps({"x": [h]}) + "\n" for h in heights[:60]), encoding="utf-8")
    done = subprocess.run(
        ["bash", "-e", "shell.sh"], cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line)["y"]["height"]["0.5"] for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(answers) == 60
    errors = [abs(answers[t][k] - heights[t + 1 + k]) for t in range(30, 56) for k in range(4)]
    repeated = [abs(heights[t] - heights[t + 1 + k]) for t in range(30, 56) for k in range(4)]
    assert sum(errors) < 0.5 * sum(repeated)


def test_without_its_file_the_cell_is_not_known(folder: Path) -> None:
    command = [sys.executable, "-c", "from elman.cells import CELLS; CELLS.get('leaky')"]
    named = {**os.environ, "ELMAN_CELLS": "leaky.py"}
    assert subprocess.run(command, cwd=folder, env=named, check=False).returncode == 0
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert "there is no cell 'leaky'" in done.stderr


def test_the_toy_cell_moves_into_the_package(folder: Path) -> None:
    shutil.copytree(SOURCE, folder / "elman", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "leaky.py").rename(folder / "elman" / "cells" / "leaky.py")
    (folder / "moved.py").write_text(
        "from elman.cells import CELLS\n"
        "from elman.testing import check_cell\n"
        "from elman.testing.cells import unregistered_cells\n"
        "check_cell('leaky')\n"
        "print(CELLS.get('leaky').__module__, unregistered_cells())\n",
        encoding="utf-8",
    )
    # -S: the copy is found before an editable installation of elman
    done = python(folder, "moved.py", "-W", "error", "-S", paths=[folder, *site.getsitepackages()])
    assert (done.returncode, done.stdout, done.stderr) == (0, "elman.cells.leaky []\n", "")


def test_a_fault_in_the_toy_cell_is_caught(folder: Path) -> None:
    file = folder / "leaky.py"
    sound = file.read_text(encoding="utf-8")
    faulty = sound.replace("(1 - a) * state", "(1 - a) * state.detach()")
    assert faulty != sound
    file.write_text(faulty, encoding="utf-8")
    done = python(folder, "session.py")
    assert done.returncode == 1
    assert "Jacobian mismatch" in done.stderr
