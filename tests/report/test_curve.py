"""The log of validations: whole, still being written, cut, and damaged."""

import json
from pathlib import Path

import pytest

from elman.errors import RunError
from elman.report.curve import read_rows

ROWS = [{"update": update, "valid_loss": 1.5, "kept": True} for update in (1, 2)]
WHOLE = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "metrics.jsonl").write_bytes(WHOLE)
    return tmp_path


def finish(run: Path) -> None:
    (run / "result.json").write_text("{}")


def add(run: Path, more: bytes) -> None:
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(more)


def test_every_row(run: Path) -> None:
    assert read_rows(run) == ROWS
    finish(run)
    assert read_rows(run) == ROWS


def test_nothing_logged_yet(tmp_path: Path) -> None:
    assert read_rows(tmp_path) == []


@pytest.mark.parametrize("cut", [b"{", b'{"update": 3, "ep', b'{"update": 3, "epoch": 1', b"\0\0\0\0", b"\xff"])
def test_a_line_that_is_not_complete_is_left_out_while_it_may_be_being_written(run: Path, cut: bytes) -> None:
    add(run, cut)
    assert read_rows(run) == ROWS
    finish(run)
    with pytest.raises(RunError, match=r"metrics\.jsonl: damaged: expected a JSON object in line 3, got"):
        read_rows(run)


@pytest.mark.parametrize("damage", [b"{", b"", b"\0\0", b"\xff", b"3"])
def test_a_damaged_line_before_the_last_is_told(run: Path, damage: bytes) -> None:
    add(run, damage + b"\n" + WHOLE)
    with pytest.raises(RunError, match=r"line 3, got .*; remove that line"):
        read_rows(run)
