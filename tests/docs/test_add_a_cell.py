"""The page docs/add-a-cell.md, followed to the letter."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "add-a-cell.md"
SOURCE = Path(__file__).parents[2] / "src" / "elman"
BLOCK = re.compile(r'^```python(?: title="(?P<file>[^"]+)")?\n(?P<code>.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the reader has after typing the page: the files it names, and the rest, in order, as session.py."""
    session = []
    for block in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        if block["file"]:
            (tmp_path / block["file"]).write_text(block["code"], encoding="utf-8")
        else:
            session.append(block["code"])
    (tmp_path / "session.py").write_text("\n".join(session), encoding="utf-8")
    return tmp_path


def python(folder: Path, script: str) -> "subprocess.CompletedProcess[str]":
    """A process of its own: the cell's name must not stay in this one's registry."""
    return subprocess.run(
        [sys.executable, "-W", "error", script], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_toy_cell_is_one_file_of_under_60_lines(folder: Path) -> None:
    assert sorted(file.name for file in folder.iterdir()) == ["leaky.py", "session.py"]
    assert len((folder / "leaky.py").read_text(encoding="utf-8").splitlines()) < 60


def test_the_toy_cell_passes_the_suite_trains_and_streams(folder: Path) -> None:
    session = (folder / "session.py").read_text(encoding="utf-8")
    assert all(call in session for call in ("check_cell(", "loss.backward()", "layer.initial_state("))
    done = python(folder, "session.py")
    assert (done.returncode, done.stderr) == (0, "")
    learned = re.fullmatch(r"mean squared error: ([\d.]+) at first, ([\d.]+) at last\n", done.stdout)
    assert learned, done.stdout
    # 1/12 is the variance of a uniform number: the error of a network that learned nothing but the mean.
    assert float(learned[2]) < 0.1 / 12


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
    done = python(folder, "moved.py")
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
