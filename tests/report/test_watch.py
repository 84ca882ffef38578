"""The chart in the terminal, against dots placed by hand, and the following of a file that grows."""

import io
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from elman.errors import RunError
from elman.report import watch as module
from elman.report.watch import braille, chart, watch


def row(update: int, train: float | None = 2.0, valid: float | None = 1.0, *, kept: bool = True) -> dict[str, object]:
    losses = {"train_loss": train, "valid_loss": valid}
    return {"update": update, "epoch": 1, "seconds": 3.2, **losses, "kept": kept}


def write(run: Path, *rows: dict[str, object], more: str = "") -> None:
    (run / "config.toml").touch()
    (run / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows) + more)


def letters(codes: np.ndarray) -> list[str]:
    return ["".join(chr(0x2800 + code) for code in line) for line in codes.tolist()]


def test_a_falling_line_in_dots() -> None:
    x, y = np.array([0.0, 3.0]), np.array([3.0, 0.0])
    # each step is one dot to the right and one down, and what lies between two heights belongs to the later column
    assert letters(braille(x, y, 2, 1, (0, 3), (0, 3))) == ["⠙⢦"]


def test_one_point_lies_in_the_middle() -> None:
    codes = braille(np.array([5.0]), np.array([2.0]), 3, 3, (5, 5), (2, 2))
    assert np.count_nonzero(codes) == 1
    assert codes[1, 1]


def test_nothing_is_nothing() -> None:
    assert not braille(np.zeros(0), np.zeros(0), 4, 2, (0, 1), (0, 1)).any()


def test_chart_shows_limits_and_latest_values() -> None:
    text = chart([row(10, 4.0, 3.0), row(20, 2.5, None), row(30, 2.0, 1.0)], 60, 8, finished=True).plain
    lines = text.splitlines()
    assert lines[0].split()[0] == "4"
    assert lines[7].split()[0] == "1"
    assert lines[8].split() == ["10", "update", "30"]
    assert "validation 1" in lines[9]
    assert "training 2" in lines[9]
    assert "finished" in lines[9]
    assert max(map(len, lines[:9])) <= 60


def test_chart_without_any_loss() -> None:
    assert chart([], 60, 8, finished=False).plain == "no validation yet"
    assert "no validation" in chart([row(1, None, None)], 60, 8, finished=True).plain


@pytest.mark.parametrize("terminal", [False, True])
def test_a_finished_run_is_drawn_once(tmp_path: Path, terminal: bool) -> None:
    write(tmp_path, row(1, 4.0, 3.0), row(2, kept=False))
    (tmp_path / "result.json").write_text("{}")
    out = io.StringIO()
    watch(tmp_path, Console(file=out, force_terminal=terminal, width=80, height=20), 9)
    if terminal:
        assert "finished" in out.getvalue()
    else:
        expected = ["update 1/9  epoch 1  loss 4  valid 3  3 s *", "update 2/9  epoch 1  loss 2  valid 1  3 s"]
        assert out.getvalue().splitlines() == expected


def test_follows_until_the_run_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.01)
    write(tmp_path, row(1))
    out = io.StringIO()
    follower = threading.Thread(target=watch, args=(tmp_path, Console(file=out, width=80), None), daemon=True)
    follower.start()
    write(tmp_path, row(1), row(2))
    write(tmp_path, row(1), row(2), row(3))
    (tmp_path / "result.json").write_text("{}")
    follower.join(20)
    assert not follower.is_alive()
    assert [line.split()[1] for line in out.getvalue().splitlines()] == ["1", "2", "3"]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_run_that_is_removed_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    monkeypatch.setattr(module, "EVERY", 0.01)
    run = tmp_path / "run"
    run.mkdir()
    write(run, row(1))
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80, height=20)
    told: list[str] = []

    def follow() -> None:
        with pytest.raises(RunError) as error:
            watch(run, console, None)
        told.append(str(error.value))

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    follower.join(0.1)
    assert follower.is_alive()
    shutil.rmtree(run)
    follower.join(20)
    assert not follower.is_alive()
    assert "config.toml is gone" in told[0]
