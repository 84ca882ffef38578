"""Two that want to train in one folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from elman.errors import ElmanError, UsageError
from elman.training.lock import NAME, check_free, locked

HOLDS = """
import sys
from pathlib import Path
from elman.training.lock import locked
with locked(Path(sys.argv[1])):
    print("holds", flush=True)
    sys.stdin.read()
"""


def test_only_one_at_a_time(tmp_path: Path) -> None:
    check_free(tmp_path)
    with locked(tmp_path):
        held = f"is being trained by process {os.getpid()}; wait for its end"
        with pytest.raises(UsageError, match=held):
            check_free(tmp_path)
        with pytest.raises(UsageError, match=held), locked(tmp_path):
            pass
        assert (tmp_path / NAME).exists()
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path):
        pass


def test_what_else_is_in_the_folder_stays(tmp_path: Path) -> None:
    with locked(tmp_path):
        (tmp_path / NAME).with_name("other").write_text("mine")
    assert [file.name for file in (tmp_path / NAME).parent.iterdir()] == ["other"]


def test_a_process_that_is_killed_holds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"holds\n"
        with pytest.raises(UsageError, match=f"process {process.pid};"):
            check_free(tmp_path)
        process.kill()
        process.wait()
    assert (tmp_path / NAME).exists()
    with locked(tmp_path):
        assert (tmp_path / NAME).read_text() == str(os.getpid())


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("mine")
    with pytest.raises(ElmanError, match="checkpoints/lock: cannot be written"), locked(tmp_path):
        pass
    assert (tmp_path / "checkpoints").read_text() == "mine"
