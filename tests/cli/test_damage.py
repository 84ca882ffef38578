"""Runs that are damaged or too new, training that fails, and places that cannot be written to."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Data, Line

TAIL, MODEL, CODEC, CONFIG = "tail.safetensors", "model.safetensors", "codec.json", "config.toml"


def broken(run: Path, folder: Path, name: str, how: str) -> Path:
    copy = folder / "broken"
    shutil.copytree(run, copy)
    file = copy / name
    content = file.read_bytes()
    file.unlink()
    if how == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif how == "garbage":
        file.write_bytes(b"\x93\xffgarbage\0" * 20)
    return copy


@pytest.mark.parametrize("how", ["missing", "cut", "garbage"])
@pytest.mark.parametrize("name", [CONFIG, CODEC, MODEL, TAIL])
@pytest.mark.parametrize("kind", ["load", "char"])
def test_a_damaged_run_says_which_file(
    elman: "Line", data: "Data", tmp_path: Path, kind: str, name: str, how: str
) -> None:
    copy = broken(getattr(data, kind), tmp_path, name, how)
    verbs = ["evaluate", *(["stream"] if name != TAIL else []), *(["describe"] if name in (CONFIG, MODEL) else [])]
    for verb in verbs:
        files = () if verb in ("stream", "describe") else (data.new if kind == "load" else data.text,)
        done = elman(verb, copy, *files, stdin=b"{}\n")
        assert (done.code, done.out) == (2, ""), verb
        assert name in done.message, (verb, done.message)
        assert len(done.err.splitlines()) == 1, done.err


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("format = 2", "format = 99", ("format 99", "reads formats up to 2", "install elman 0.1.0 or later")),
        ("format = 2", 'format = "x"', ("config.toml: damaged", "whole number")),
        ('task = "forecast"', 'task = "forcast"', ("did you mean 'forecast'",)),
        ("hidden = 8", "hidden = -8", ("config.toml: damaged", "at least 1")),
        ("hidden = 8", "hiden = 8", ("config.toml: damaged", "did you mean 'hidden'")),
    ],
)
def test_a_run_of_a_newer_version_or_edited_by_hand(
    elman: "Line", data: "Data", tmp_path: Path, old: str, new: str, words: tuple[str, ...]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(data.load, copy)
    config = copy / CONFIG
    config.write_text(config.read_text().replace(old, new, 1))
    for verb in ("predict", "stream")[: 2 if "format" in old else 1]:
        done = elman(verb, copy, *([data.new] if verb == "predict" else []), stdin=b'{"x": [1]}\n')
        assert (done.code, done.out) == (2, "")
        assert all(word in done.message for word in words), done.message


@pytest.mark.parametrize("what", ["nosuch", "file.csv", "empty"])
@pytest.mark.parametrize("verb", ["describe", "stream", "generate"])
def test_not_a_run(elman: "Line", tmp_path: Path, verb: str, what: str) -> None:
    (tmp_path / "file.csv").write_text("x\n")
    (tmp_path / "empty").mkdir()
    done = elman(verb, what)
    assert (done.code, done.message) == (
        2,
        f"elman: {what}: expected a run folder written by `elman fit`, found no config.toml in it",
    )


def test_weights_of_another_run_are_refused(elman: "Line", data: "Data", tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(data.load, copy)
    shutil.copy(data.several / MODEL, copy / MODEL)
    done = elman("predict", copy, data.new)
    assert done.code == 2
    assert f"{MODEL}: damaged, or not of this run's config.toml" in done.message


FIT = ("--time", "date", "--target", "load", "--horizon", "6", "--hidden", "8", "--set", "training.validations=2")


def test_a_loss_that_is_not_finite_keeps_weights_that_work(elman: "Line", data: "Data") -> None:
    rate = ("--set", "training.learning_rate=1e30", "--set", "training.updates=20")
    done = elman("fit", "forecast", data.old, *FIT, *rate, "--out", "run")
    assert (done.code, done.out) == (1, "")
    assert "update 2: the loss is nan; the best weights so far are kept" in done.message
    again = elman("predict", "run", data.new)
    assert again.code == 0
    assert "NaN" not in again.out
    assert "nan" not in again.out


def test_the_run_folder_must_be_new(elman: "Line", data: "Data", tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").write_text("mine")
    done = elman("fit", "forecast", data.old, *FIT, "--out", "run")
    assert (done.code, done.message) == (2, "elman: run: exists already; choose another `--out`, or remove it")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["precious"]


def test_a_run_folder_that_cannot_be_made(elman: "Line", data: "Data", tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    done = elman("fit", "forecast", data.old, *FIT, "--set", "training.updates=1", "--out", "file/run")
    assert (done.code, done.out) == (1, "")
    assert "file/run" in done.message
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("verb", ["evaluate", "predict", "generate", "stream"])
@pytest.mark.parametrize("below", ["file", "nosuch"])
def test_an_output_that_cannot_be_written(elman: "Line", data: "Data", tmp_path: Path, verb: str, below: str) -> None:
    (tmp_path / "file").write_text("mine")
    out = f"{below}/result.csv"
    arguments = {
        "evaluate": (data.load, data.new, "--out", out),
        "predict": (data.load, data.new, "--out", out),
        "generate": (data.char, "--out", out),
        "stream": (data.char, "--state", out),
    }
    done = elman(verb, *arguments[verb], stdin=b'{"x": "a"}\n')
    assert (done.code, done.out) == (1, "")
    assert done.message == f"elman: {out}: cannot be written: there is no folder {below}"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="a device that is always full is Linux's")
@pytest.mark.parametrize("verb", ["evaluate", "predict", "generate"])
def test_a_full_disk(elman: "Line", data: "Data", tmp_path: Path, verb: str) -> None:
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    arguments = (data.char,) if verb == "generate" else (data.load, data.new)
    done = elman(verb, *arguments, "--out", full)
    assert done.code == 1
    assert done.message == f"elman: {full}: cannot be written: No space left on device"
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize("room", [3_000, 20_000], ids=["before training", "after training"])
def test_no_room_for_a_run_leaves_no_half_of_one(elman: "Line", data: "Data", tmp_path: Path, room: int) -> None:
    """The system refuses to write files beyond a size, as a full disk would: for the data's tail, then for the model."""
    line = ["fit", "forecast", data.old, *FIT, "--set", "training.updates=2", "--out", tmp_path / "run"]
    limited = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room})); "
        "from elman.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", limited, *map(str, line)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("elman: ") == 1
    assert "cannot be written" in done.stderr
    assert (tmp_path / "run").exists() == (room == 20_000)
    if room == 20_000:  # it was trained, and validated
        assert f"{tmp_path / 'run'} keeps the log of its validations; `--resume` starts anew" in done.stderr
        assert (tmp_path / "run" / "metrics.jsonl").read_text().count("valid_loss") == 2
        assert elman(*line, "--resume").code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount; others have the test of a read-only folder")
def test_a_read_only_file_system(elman: "Line", data: "Data", tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", mounted], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        written = elman("predict", data.load, data.new, "--out", mounted / "p.csv")
        fitted = elman("fit", "forecast", data.old, *FIT, "--set", "training.updates=1", "--out", mounted / "run")
    finally:
        subprocess.run(["umount", mounted], check=True)
    assert (written.code, fitted.code) == (1, 1)
    assert written.message == f"elman: {mounted / 'p.csv'}: cannot be written: Read-only file system"
    assert fitted.message.endswith("Read-only file system")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_folder(elman: "Line", data: "Data", tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    (done, other) = (
        elman("predict", data.load, data.new, "--out", locked / "p.csv"),
        elman("fit", "forecast", data.old, *FIT, "--set", "training.updates=1", "--out", locked / "run"),
    )
    assert (done.code, other.code) == (1, 1)
    assert "Permission denied" in done.message
    assert list(locked.iterdir()) == []


def test_an_output_is_replaced_whole_or_not_at_all(elman: "Line", data: "Data", tmp_path: Path) -> None:
    old = tmp_path / "p.csv"
    old.write_text("old")
    (tmp_path / "bad.csv").write_text("date,load\n2024-02-01,abc\n")
    assert elman("predict", data.load, "bad.csv", "--out", old).code == 2
    assert old.read_text() == "old"
    assert elman("predict", data.load, data.new, "--out", old).code == 0
    assert old.read_text().startswith("date,load_0.1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.csv", "p.csv"]


def test_a_run_can_be_read_by_others(data: "Data") -> None:
    mask = os.umask(0)
    os.umask(mask)
    modes = {file.name: file.stat().st_mode & 0o777 for file in data.load.rglob("*") if file.is_file()}
    assert "learning-curve.png" in modes
    assert set(modes.values()) == {0o666 & ~mask}


@pytest.mark.parametrize("name", ["p.xyz", "p.txt"])
def test_a_suffix_that_no_format_has(elman: "Line", data: "Data", name: str) -> None:
    done = elman("predict", data.load, data.new, "--out", name)
    assert (done.code, done.out) == (2, "")
    assert "expected a suffix of .csv, .tsv, .jsonl, .parquet" in done.message
