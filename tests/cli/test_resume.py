"""Training that is interrupted, by every means there is, and gone on with: the result is that of the uninterrupted run."""

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from safetensors import safe_open

import elman as library
from elman import job
from elman.cli.main import run
from elman.errors import UsageError
from elman.run import environment
from elman.training import phase

if TYPE_CHECKING:
    from tests.cli.conftest import Data, Line

SMALL = ("--hidden", "8", "--dropout", "0.2", "--set", "training.updates=40", "--set", "training.validations=8")
SERIES = ("--time", "date", "--target", "load", "--horizon", "6")
OFTEN = ("--set", "training.checkpoint_every=0")

KILLS_ITSELF = """
import importlib, os, signal, sys
from pathlib import Path
module, name, number = sys.argv[1:4]
owner = importlib.import_module(module)
*path, name = name.split(".")
for part in path:
    owner = getattr(owner, part)
original, calls = getattr(owner, name), 0

def deadly(*arguments, **named):
    global calls
    calls += 1
    if calls == int(number):
        if name == "save_file":
            original(*arguments, **named)
            beside = Path(arguments[1])
            beside.write_bytes(beside.read_bytes()[: beside.stat().st_size // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **named)

setattr(owner, name, deadly)
from elman.cli.main import run
from elman.run import environment
sys.exit(run(sys.argv[4:]))
"""
"""The command line in a process that ends without a word at the given call of a function, files half written."""


def dies(place: str, number: int, line: list[str], folder: Path) -> None:
    """Run a command line that is killed at the ``number``th call of ``place``."""
    module, _, name = place.partition(":")
    command = [sys.executable, "-c", KILLS_ITSELF, module, name, str(number), *line]
    done = subprocess.run(command, capture_output=True, check=False, cwd=folder)
    assert done.returncode == -9, done.stderr.decode()


def line_of(kind: str, data: "Data", out: Path | str, *more: str) -> list[str]:
    what = ("forecast", data.old, *SERIES) if kind == "forecast" else ("language", data.text, "--layers", "2")
    return ["fit", *map(str, what), *SMALL, *more, "--out", str(out)]


@pytest.fixture(scope="module")
def whole(data: "Data", tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The uninterrupted runs."""
    folder = tmp_path_factory.mktemp("whole")
    for kind in ("forecast", "language"):
        assert run(line_of(kind, data, folder / kind)) == 0
    return {kind: folder / kind for kind in ("forecast", "language")}


def contents(folder: Path) -> dict[str, object]:
    """What the files of a run hold, without seconds and what tells one place or moment from another."""
    found: dict[str, object] = {}
    for name in ("model.safetensors", "codec.json"):
        found[name] = (folder / name).read_bytes()
    with safe_open(folder / "tail.safetensors", "np") as tail:  # its metadata is in no particular order
        found["tail"] = {name: tail.get_tensor(name).tobytes() for name in tail.keys()}, tail.metadata()  # noqa: SIM118
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((folder / "result.json").read_text())
    found["rows"] = [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
    found["result"] = {key: value for key, value in result.items() if key not in ("seconds", "run")}
    return found


def assert_same(folder: Path, whole: Path) -> None:
    ours, expected = contents(folder), contents(whole)
    assert [name for name in expected if ours[name] != expected[name]] == []
    assert {"checkpoints"}.isdisjoint(file.name for file in folder.iterdir())
    assert not list(folder.rglob("*.part"))


KILLED = [
    ("forecast", "elman.training.checkpoint:save_file", 17),
    ("forecast", "elman.job:Job._summarise", 1),
    ("language", "elman.training.phase:learn", 43),
]
MORE = [
    ("forecast", "elman.training.checkpoint:save_file", 1),
    ("forecast", "elman.training.checkpoint:save_file", 45),
    ("forecast", "elman.training.loop:validate", 3),
    ("forecast", "elman.training.loop:finish", 1),
    ("forecast", "elman.training.settings:Settings.save", 1),
    ("forecast", "elman.models.load:save_file", 1),
    ("language", "elman.training.checkpoint:save_file", 2),
    ("language", "elman.training.phase:learn", 7),
    ("language", "elman.job:environment", 1),
    ("language", "elman.data.codec:Codec.save", 1),
    ("language", "elman.training.callbacks:MetricsLog.validated", 6),
]


@pytest.mark.parametrize(
    ("kind", "place", "number"), [*KILLED, *(pytest.param(*p, marks=pytest.mark.slow) for p in MORE)]
)
def test_a_killed_run_goes_on_to_the_same_bytes(
    elman: "Line", data: "Data", whole: dict[str, Path], tmp_path: Path, kind: str, place: str, number: int
) -> None:
    line = line_of(kind, data, "run", *OFTEN)
    dies(place, number, line, tmp_path)
    done = elman(*line, "--resume")
    assert done.code == 0, done.err
    assert_same(tmp_path / "run", whole[kind])


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 21))])
def test_a_run_killed_at_a_random_moment(elman: "Line", data: "Data", tmp_path: Path, seed: int) -> None:
    """SIGKILL from outside, some seconds after the start, up to three times in a row."""
    chance = random.Random(seed)
    kind = chance.choice(["forecast", "language"])
    longer = ("--set", "training.updates=150", "--set", "training.checkpoint_every=0.05")
    line = line_of(kind, data, "run", *longer)
    assert elman(*line_of(kind, data, "whole", *longer)).code == 0
    for _ in range(chance.choice([1, 1, 2, 3])):
        resume = ["--resume"] if (tmp_path / "run").exists() else []
        command = [sys.executable, "-c", "from elman.cli.main import main; main()", *line, *resume]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(2 + 4 * chance.random())
        process.kill()
        process.wait()
    done = elman(*line, "--resume")
    assert done.code == 0, done.err
    assert_same(tmp_path / "run", tmp_path / "whole")


@contextmanager
def ctrl_c(after: int) -> Iterator[None]:
    """Ctrl-C is pressed after so many updates."""
    learn, calls = phase.learn, iter(range(1000))

    def pressed(*arguments: object) -> object:
        if next(calls) == after:
            raise KeyboardInterrupt
        return learn(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phase, "learn", pressed)
        yield


@pytest.fixture(scope="module")
def stopped(data: "Data", tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with ctrl_c(20):
        assert run(line_of("forecast", data, folder, *OFTEN)) == 1
    return folder


@pytest.fixture
def interrupted(stopped: Path, tmp_path: Path) -> Path:
    """A forecast on which Ctrl-C was pressed after 20 updates."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def test_ctrl_c_keeps_a_model_and_is_gone_on_with(
    elman: "Line", data: "Data", whole: dict[str, Path], interrupted: Path
) -> None:
    with ctrl_c(0):
        done = elman(*line_of("forecast", data, "run"), "--resume")
    assert (done.code, done.out) == (1, "")
    assert done.message.endswith(
        "elman: interrupted; run keeps what was learned so far; `--resume` goes on after update 20 of 50"
    )
    assert elman("predict", interrupted, data.new).code == 0
    again = elman(*line_of("forecast", data, "run", *OFTEN))
    assert (again.code, again.message) == (
        2,
        "elman: run: its training was interrupted; go on with `--resume`, or choose another `--out`",
    )
    done = elman(*line_of("forecast", data, "run"), "--resume")
    assert done.code == 0
    assert "goes on after update 20 of 50" in done.err
    assert "update 20/40" not in done.err
    assert_same(interrupted, whole["forecast"])


def state(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.rglob("*") if file.is_file()}


def test_a_finished_run_is_told_and_not_changed_without_a_look_at_the_data(
    elman: "Line", whole: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(whole["forecast"], tmp_path / "run")
    before = state(tmp_path)
    line = ("fit", "forecast", "gone.csv", *SERIES, "--out", "run", "--resume")
    done = elman(*line)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("run: gru,") or "whole" in done.out
    assert json.loads(elman(*line, "--json").out)["task"] == "forecast"
    assert state(tmp_path) == before
    run = library.fit("forecast", "gone.csv", target="load", horizon=6, out=tmp_path / "run", resume=True)
    assert run.fitted.encoder == "gru"


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "a run that had only begun"])
def test_what_has_no_checkpoint_starts(
    elman: "Line", data: "Data", whole: dict[str, Path], tmp_path: Path, there: str
) -> None:
    if there != "nothing":
        (tmp_path / "run").mkdir()
    if there == "a run that had only begun":
        (tmp_path / "run" / "checkpoints").mkdir()
        for name in ("config.toml", ".codec.json.4711.part", "metrics.jsonl"):
            (tmp_path / "run" / name).write_text("half of it")
    assert elman(*line_of("language", data, "run"), "--resume").code == 0
    assert_same(tmp_path / "run", whole["language"])


def refused(elman: "Line", folder: Path, line: list[str]) -> str:
    """The message of a command line that does not go on, and leaves everything as it was."""
    before = state(folder)
    done = elman(*line, "--resume")
    assert (done.code, done.out) == (2, "")
    assert done.err.count("elman: ") == 1
    assert state(folder) == before
    return str(done.message)


def test_other_settings_are_refused_by_name(elman: "Line", data: "Data", interrupted: Path) -> None:
    line = line_of("forecast", data, "run")
    message = refused(elman, interrupted, [*line, "--hidden", "16"])
    assert "encoder.hidden was 8 and is 16" in message
    assert "options.horizon was 6 and is 7" in refused(elman, interrupted, [*line, "--horizon", "7"])
    assert "task was 'forecast' and is 'language'" in refused(elman, interrupted, line_of("language", data, "run"))


def test_other_data_is_refused(elman: "Line", data: "Data", interrupted: Path, tmp_path: Path) -> None:
    rows = data.old.read_text().splitlines()
    rows[200] = rows[200].replace(",", ",1", 1)
    (tmp_path / "other.csv").write_text("\n".join(rows) + "\n")
    line = [part.replace(str(data.old), "other.csv") for part in line_of("forecast", data, "run")]
    assert "run: the data differs from what the run was started with" in refused(elman, interrupted, line)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: content[:0],
    "flipped": lambda content: content[:-500] + bytes([content[-500] ^ 1]) + content[-499:],
    "newer": lambda content: content.replace(rb"{\"format\": 1,", rb"{\"format\": 9,", 1),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_checkpoint_that_is_damaged_or_newer(elman: "Line", interrupted: Path, how: str) -> None:
    """Told before the data is read."""
    path = interrupted / "checkpoints" / "latest.safetensors"
    content = DAMAGE[how](path.read_bytes())
    assert content != path.read_bytes()
    path.write_bytes(content)
    message = refused(elman, interrupted, ["fit", "forecast", "gone.csv", *SERIES, "--out", "run"])
    assert "latest.safetensors: " in message
    assert ("install elman 0.1.0 or later" if how == "newer" else "remove run and fit again") in message


def test_foreign_files_are_left_alone(elman: "Line", data: "Data", tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for name in ("precious", "config.toml"):
        (tmp_path / "run" / name).write_text("mine")
    message = refused(elman, tmp_path / "run", line_of("forecast", data, "run"))
    assert message == "elman: run: exists already; choose another `--out`, or remove it"


def project(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """A folder of somebody's work that has a folder `checkpoints`, and names of files that a run has too."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "tensorboard").mkdir()
    for name in ("thesis.txt", "checkpoints/my-model.ckpt", "config.toml", "tensorboard/events"):
        (folder / name).write_text("mine")
    return state(folder)


@pytest.mark.parametrize("without", [[], ["thesis.txt"], ["thesis.txt", "checkpoints/my-model.ckpt", "checkpoints"]])
def test_a_folder_of_somebody_elses_work_is_not_touched(
    elman: "Line", data: "Data", tmp_path: Path, without: list[str]
) -> None:
    project(tmp_path / "run")
    for name in without:
        (tmp_path / "run" / name).unlink() if "." in name else (tmp_path / "run" / name).rmdir()
    message = refused(elman, tmp_path / "run", line_of("forecast", data, "run"))
    assert message == "elman: run: exists already; choose another `--out`, or remove it"


def test_a_file_put_beside_a_run_is_named(elman: "Line", data: "Data", interrupted: Path) -> None:
    (interrupted / "notes.txt").write_text("mine")
    message = refused(elman, interrupted, line_of("forecast", data, "run"))
    assert message.startswith("elman: run/notes.txt: no training has written this; move it elsewhere")


@pytest.mark.parametrize("fails", [False, True], ids=["success", "no room"])
def test_what_is_put_into_the_folder_meanwhile_stays(
    elman: "Line", data: "Data", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """A folder that was there, empty; files come while the data's statistics are written."""
    (tmp_path / "run").mkdir()
    theirs = [tmp_path / "run" / "thesis.txt", tmp_path / "run" / "checkpoints" / "my-model.ckpt"]
    original = environment

    def puts() -> dict[str, object]:
        for file in theirs:
            file.write_text("mine")
        if fails:
            raise OSError(28, "No space left on device")
        return original()

    monkeypatch.setattr(job, "environment", puts)
    assert elman(*line_of("language", data, "run")).code == int(fails)
    assert [file.read_text() for file in theirs] == ["mine", "mine"]
    assert (tmp_path / "run" / "config.toml").exists() != fails
    assert [file.name for file in theirs[1].parent.iterdir()] == [theirs[1].name]


def training(line: list[str], folder: Path, until: str) -> "subprocess.Popen[str]":
    """A training in another process that has come so far as to say something."""
    command = [sys.executable, "-m", "elman", *line]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder)
    assert process.stderr
    while until not in (said := process.stderr.readline()):
        assert said, "it has ended"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_training_at_a_time_that_a_signal_ends_after_a_checkpoint(
    elman: "Line", data: "Data", tmp_path: Path, number: signal.Signals
) -> None:
    longer = ("--set", "training.updates=2000", "--set", "training.checkpoint_every=3600")
    line = line_of("language", data, "run", *longer)
    with training(line, tmp_path, "update 250/") as process:
        for more in ([], ["--resume"]):
            second = elman(*line, *more)
            assert second.code == 2
            assert f"elman: run: is being trained by process {process.pid};" in second.message
        process.send_signal(number)
        out, said = process.communicate()
    assert (process.returncode, out) == (1, "")
    words = r"elman: interrupted; run keeps what was learned so far; `--resume` goes on after update (\d+) of \d+"
    found = re.fullmatch(words, said.splitlines()[-1])
    assert found
    assert int(found[1]) >= 250
    assert [file.name for file in (tmp_path / "run" / "checkpoints").iterdir()] == ["latest.safetensors"]
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_a_signal_changes_nothing_in_the_result(
    elman: "Line", data: "Data", whole: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM in the 7th update, which is before a validation, and again in the first one after; then in the last phase."""
    learn, calls = phase.learn, iter(range(1, 1000))

    def signalled(*arguments: object) -> object:
        if next(calls) in (7, 8, 45):
            signal.raise_signal(signal.SIGTERM)
        return learn(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(phase, "learn", signalled)
    line = line_of("forecast", data, "run")
    for more, update in (([], 7), (["--resume"], 8), (["--resume"], 45)):
        before = [file.read_bytes() for file in (tmp_path / "run").glob("model.safetensors")]
        done = elman(*line, *more)
        assert (done.code, done.out) == (1, "")
        assert done.message.endswith(f"`--resume` goes on after update {update} of 50")
        if update == 8:
            assert [(tmp_path / "run" / "model.safetensors").read_bytes()] == before
    assert elman(*line, "--resume").code == 0
    assert_same(tmp_path / "run", whole["forecast"])


def test_weights_that_no_validation_has_seen_do_not_replace_others(elman: "Line", data: "Data", tmp_path: Path) -> None:
    """The first attempt has left a model and no checkpoint with updates; the second one is over before it validates."""
    line = line_of("forecast", data, "run", "--set", "training.checkpoint_every=3600")
    with ctrl_c(12):
        assert "`--resume` starts anew" in elman(*line).message
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    with ctrl_c(2):
        assert elman(*line, "--resume").code == 1
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="a device that is always full is Linux's")
def test_a_log_that_cannot_be_written_keeps_the_run(
    elman: "Line", data: "Data", whole: dict[str, Path], tmp_path: Path
) -> None:
    """A device that is always full takes the log's place, for a while."""
    line = line_of("forecast", data, "run", *OFTEN)
    learn, log, aside = phase.learn, tmp_path / "run" / "metrics.jsonl", tmp_path / "aside"

    def fills(*arguments: object) -> object:
        if not aside.exists() and log.exists():
            log.rename(aside)
            log.symlink_to("/dev/full")
        return learn(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phase, "learn", fills)
        done = elman(*line)
    aside.rename(log)
    assert done.code == 1
    assert "elman: run/metrics.jsonl: cannot be written: No space left on device; make room" in done.message
    assert "run keeps what was learned so far; `--resume` goes on after update 9 of 50" in done.err
    assert elman(*line, "--resume").code == 0
    assert_same(tmp_path / "run", whole["forecast"])


def test_resume_needs_a_folder(elman: "Line", data: "Data") -> None:
    done = elman("fit", "forecast", data.old, *SERIES, "--resume")
    assert (done.code, done.out) == (2, "")
    assert done.message == "elman: `--resume` needs `--out`: the folder of the run to go on with"
    with pytest.raises(UsageError, match="`--resume` needs `--out`"):
        library.fit("forecast", data.old, target="load", horizon=6, resume=True)


def test_a_budget_is_not_measured_again(
    elman: "Line", data: "Data", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = line_of("language", data, "run", *OFTEN, "--budget", "1h")
    with ctrl_c(45):  # some of these are for measuring
        assert elman(*line).code == 1
    monkeypatch.setattr("elman.training.budget.measure", lambda *_: pytest.fail("measured again"))
    assert elman(*line, "--resume").code == 0
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_evaluate_and_describe_say_what_to_do_with_an_unfinished_run(
    elman: "Line", data: "Data", interrupted: Path
) -> None:
    (interrupted / "model.safetensors").unlink()  # as after SIGKILL
    for verb in (("describe", "run"), ("evaluate", "run", data.new)):
        done = elman(*verb)
        assert (done.code, done.out) == (2, "")
        assert done.message.endswith("whose training has finished: go on with `elman fit ... --resume`")


def test_a_full_disk_keeps_the_last_good_state(
    elman: "Line", data: "Data", whole: dict[str, Path], interrupted: Path
) -> None:
    """The system refuses to write more than 20 kB to a file, as a full disk would."""
    path = interrupted / "checkpoints" / "latest.safetensors"
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    line = line_of("forecast", data, "run", *OFTEN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    done = elman(*line, "--resume")
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert done.code == 1
    assert "latest.safetensors: cannot be written" in done.message
    assert path.read_bytes() == before
    assert elman(*line, "--resume").code == 0
    assert_same(interrupted, whole["forecast"])


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_folder(elman: "Line", data: "Data", interrupted: Path) -> None:
    interrupted.chmod(0o500)
    done = elman(*line_of("forecast", data, "run"), "--resume")
    interrupted.chmod(0o700)
    assert done.code == 1
    assert "Permission denied" in done.message
    assert (interrupted / "checkpoints" / "latest.safetensors").exists()


def test_what_a_kill_after_the_summary_left_is_tidied_up(elman: "Line", data: "Data", tmp_path: Path) -> None:
    line = line_of("forecast", data, "run")
    assert elman(*line).code == 0
    before = state(tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink()
    left = tmp_path / "run" / "checkpoints"
    left.mkdir()
    (left / "latest.safetensors").write_bytes(b"of no use any more")
    (left / "lock").touch()
    assert elman(*line, "--resume").code == 0
    assert set(state(tmp_path / "run")) == set(before)
    left.mkdir()
    (left / "my-model.ckpt").write_text("mine")
    assert elman(*line, "--resume").code == 0
    assert (left / "my-model.ckpt").read_text() == "mine"
