"""What is written and shown while training, and when it stops early."""

import io
import json
import math
import resource
from pathlib import Path

import pytest
from rich.console import Console

from elman.errors import ElmanError
from elman.training.callbacks import EarlyStopping, MetricsLog, ProgressBar
from elman.training.history import History, Validation
from elman.training.plan import Plan


def history(updates: int = 10) -> History:
    return History(Plan(updates, 1, updates))


def validated(of: History, loss: float, **metrics: float) -> None:
    """One update and one validation, the weights kept if the loss is the lowest."""
    of.updates += 1
    lowest = min((v.loss for _, _, v in of.curve), default=math.inf)
    of.validated(Validation(loss, metrics), improved=loss <= lowest)


@pytest.mark.parametrize(
    ("patience", "losses", "stops_at"),
    [
        (2, [3, 2, 2.5, 2.4, 9], 4),
        (2, [3, 3.5, 2, 2.5, 1.9, 2, 2], 7),
        (1, [1, 2], 2),
        (2, [math.nan, math.nan, 1], 2),
        (0, [1, 2, 3, 4, 5, 6], None),
        (3, [5, 4, 3, 2, 1], None),
    ],
)
def test_early_stopping(patience: int, losses: list[float], stops_at: int | None) -> None:
    ours, stopping = history(), EarlyStopping(patience)
    stopped = None
    for number, loss in enumerate(losses, 1):
        validated(ours, loss)
        stopping.validated(ours)
        if ours.stop:
            stopped = number
            break
    assert stopped == stops_at
    if stopped:
        assert ours.stop == f"no better validation loss in {patience} validations"


def test_the_log_is_json_lines_and_what_is_not_finite_is_null(tmp_path: Path) -> None:
    ours, log = history(), MetricsLog(tmp_path / "metrics.jsonl")
    ours.train_loss = 1.5
    for loss, mae in ((0.75, 2.0), (math.nan, math.inf)):
        validated(ours, loss, mae=mae)
        log.validated(ours)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    lines = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line, parse_constant=refuse) for line in lines]
    assert [(row["update"], row["valid_loss"], row["mae"], row["train_loss"]) for row in rows] == [
        (1, 0.75, 2.0, 1.5),
        (2, None, None, 1.5),
    ]
    assert all(row["seconds"] >= 0 for row in rows)


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="a device that is always full is Linux's")
def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    ours, path = history(), tmp_path / "metrics.jsonl"
    path.symlink_to("/dev/full")
    validated(ours, 0.75)
    with pytest.raises(ElmanError, match=r"metrics.jsonl: cannot be written: No space left on device; make room"):
        MetricsLog(path).validated(ours)


def test_a_log_keeps_no_half_of_a_row(tmp_path: Path) -> None:
    """The system refuses to write more than the first row and a part of the second, as a full disk would."""
    ours, path = history(), tmp_path / "metrics.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    validated(ours, 0.75)
    MetricsLog(path).validated(ours)
    before = path.read_text()
    assert 60 < len(before) < 200
    validated(ours, 0.75)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, limits[1]))
    try:
        with pytest.raises(ElmanError, match="File too large"):
            MetricsLog(path).validated(ours)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == before


def test_progress_where_nobody_watches_is_one_line_a_validation(capsys: pytest.CaptureFixture[str]) -> None:
    ours = history()
    bar = ProgressBar(Console(stderr=True, force_terminal=False, width=40), "mae")
    bar.start(ours)
    for loss in (0.75, 0.8):
        validated(ours, loss, mae=3.14159)
        bar.updated(ours)
        bar.validated(ours)
    bar.end(ours)
    first, second = capsys.readouterr().err.strip().splitlines()
    assert first.startswith("update 1/10")
    assert "valid 0.75" in first
    assert "mae 3.142" in first
    assert first.endswith("*")  # kept
    assert second.startswith("update 2/10")
    assert not second.endswith("*")


def test_the_last_phase_is_told_once_and_counted() -> None:
    file = io.StringIO()
    ours = History(Plan(10, 5, 10, finish=3))
    bar = ProgressBar(Console(file=file, width=200), "mae")
    bar.start(ours)
    for done in (1, 2, 3):
        bar.finishing(ours, done)
    bar.end(ours)
    assert file.getvalue() == "last phase: learning from the held-out part too\n"
    shown = bar.progress.tasks[0]
    assert (shown.completed, shown.total) == (13, 13)
