"""What was interrupted goes on as if it had not been; what cannot be gone on with is told."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from elman.data.source import Source
from elman.errors import DataError, ElmanError, RunError, UsageError
from elman.layers.timings import held, hold
from elman.models.build import EncoderConfig
from elman.models.load import FORMAT as RUN_FORMAT
from elman.models.model import Model
from elman.tasks.language import Language, LanguageOptions
from elman.training.callbacks import Callback, EarlyStopping, MetricsLog
from elman.training.checkpoint import FORMAT, NAME, About, Checkpoint, Checkpoints, differences, fingerprint, read
from elman.training.config import TrainingConfig
from elman.training.history import History, Validation
from elman.training.loop import fit
from elman.training.plan import Plan

CONFIG = TrainingConfig(batch_size=5, window=16, dropout=0.2, averaging=0.9, patience=3, learning_rate=0.02)
PLAN = Plan(14, 3, 9, finish=6)
SETTINGS = {"task": "language", "options": {"level": "char"}, "encoder": {"hidden": 8}, "training": {"seed": 1}}


def prepared(folder: Path, seed: int = 0, change: Callable[[str], str] = str) -> Language:
    path = folder / "text.txt"
    path.write_text(change("".join(np.random.default_rng(seed).choice(list("abc \n"), 900))), encoding="utf-8")
    task = Language(LanguageOptions(level="char"))
    task.prepare([Source(path)], None, 0)
    return task


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Language:
    return prepared(tmp_path_factory.mktemp("text"))


def about(**changes: object) -> About:
    return replace(About(SETTINGS, "abc", PLAN, "0.1.0", 1, 1), **changes)  # type: ignore[arg-type]


def model(of: Language) -> Model:
    torch.manual_seed(0)
    made = of.build(EncoderConfig(name="lstm", hidden=8, layers=2, dropout=0.1), 0.2)
    made.embedding.weight = made.output.weight  # type: ignore[union-attr]  # tied, as words are
    return made


class Killed(BaseException):
    """What nothing handles."""


class Kills(Callback):
    """Ends training after so many updates; with them the validation and the checkpoint that would follow."""

    def __init__(self, after: int, validation: bool = False) -> None:
        self.after, self.validation = after, validation

    def updated(self, history: History) -> None:
        if history.updates == self.after and not self.validation:
            raise Killed

    def validated(self, history: History) -> None:
        if history.updates >= self.after and self.validation:
            raise Killed

    def finishing(self, history: History, done: int) -> None:
        if history.updates + done == self.after and not self.validation:
            raise Killed


def run(of: Language, folder: Path, *callbacks: Callback, every: float = 0) -> tuple[Model, History]:
    """Train, or go on with training, in a folder."""
    folder.mkdir(exist_ok=True)
    ours = model(of)
    checkpoints = Checkpoints(folder, about(), every, read(folder))
    checkpoints.begin()
    log = MetricsLog(folder / "metrics.jsonl")
    stopping = EarlyStopping(CONFIG.patience)
    return ours, fit(ours, of, CONFIG, PLAN, [log, stopping, *callbacks], checkpoints=checkpoints)


def rows(folder: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in lines]


def same(ours: Model, other: Model) -> bool:
    pairs = zip(ours.state_dict().items(), other.state_dict().items(), strict=True)
    return all(name == again and torch.equal(value, one) for (name, value), (again, one) in pairs)


@pytest.fixture(scope="module")
def whole(task: Language, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, History, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return *run(task, folder, every=math.inf), folder


@pytest.mark.parametrize("kills", [[k] for k in (1, 3, 9, 10, 14, 15, 20)] + [[2, 13, 17], [16, 16]])
def test_a_run_killed_after_any_update_is_the_same(
    task: Language, whole: tuple[Model, History, Path], tmp_path: Path, kills: list[int]
) -> None:
    for number in kills:
        with pytest.raises(Killed):
            run(task, tmp_path, Kills(number))
    resumed, history = run(task, tmp_path)
    assert same(resumed, whole[0])
    assert history.curve == whole[1].curve
    assert (history.best, history.epoch, history.steps) == (whole[1].best, whole[1].epoch, whole[1].steps)
    assert rows(tmp_path) == rows(whole[2])


@pytest.mark.parametrize("update", [3, 6, 14])
def test_a_run_killed_in_a_validation_is_the_same(
    task: Language, whole: tuple[Model, History, Path], tmp_path: Path, update: int
) -> None:
    with pytest.raises(Killed):
        run(task, tmp_path, Kills(update, validation=True))
    resumed, history = run(task, tmp_path)
    assert same(resumed, whole[0])
    assert history.curve == whole[1].curve
    assert rows(tmp_path) == rows(whole[2])


def test_early_stopping_goes_on_counting(task: Language, tmp_path: Path) -> None:
    """Patience for two validations that are not better: the first one before, the second after the interruption."""

    class Worse(Callback):
        def validated(self, history: History) -> None:
            update, loss, _ = history.curve[-1]
            history.curve[-1] = (update, loss, Validation(1.0 + update))
            history.best, history.best_update = history.curve[0][2], history.curve[0][0]

    def stops(folder: Path, *callbacks: Callback) -> History:
        return run(task, folder, Worse(), EarlyStopping(2), *callbacks)[1]

    (tmp_path / "a").mkdir()
    uninterrupted = stops(tmp_path / "a")
    with pytest.raises(Killed):
        stops(tmp_path / "b", Kills(7))
    assert uninterrupted.stop
    assert stops(tmp_path / "b").updates == uninterrupted.updates == 9


def test_when_checkpoints_are_written_makes_no_difference(
    task: Language, whole: tuple[Model, History, Path], tmp_path: Path
) -> None:
    ours, _ = run(task, tmp_path, every=0)
    assert same(ours, whole[0])


def test_they_are_written_every_so_many_seconds_and_sooner_after_a_validation(
    task: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a second an update: after a tenth of the 50 seconds at a validation, every third update, else after all of them."""
    clock, written = [0.0], []
    monkeypatch.setattr("elman.training.checkpoint.time.monotonic", lambda: clock[0])
    write = Checkpoints._write

    def noted(self: Checkpoints, *content: object) -> None:
        written.append(int(clock[0]))
        write(self, *content)  # type: ignore[arg-type]

    monkeypatch.setattr(Checkpoints, "_write", noted)

    class Ticks(Callback):
        def updated(self, history: History) -> None:  # noqa: ARG002
            clock[0] += 1

        def finishing(self, history: History, done: int) -> None:  # noqa: ARG002
            clock[0] += 10

    run(task, tmp_path, Ticks(), every=50)
    assert written == [0, 6, 12, 64]


def test_nothing_but_safetensors_and_json(task: Language, tmp_path: Path) -> None:
    run(task, tmp_path)
    path = tmp_path / NAME
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with safe_open(path, "pt") as file:
        said = json.loads(file.metadata()["elman"], parse_constant=pytest.fail)
        assert said["format"] == 1
        assert {name.split(".")[0] for name in file.keys()} == {  # noqa: SIM118
            "model", "average", "best", "optimiser", "state", "random",
        }  # fmt: skip


def test_losses_that_are_not_finite_come_back() -> None:
    history = History(PLAN, updates=2)
    history.validated(Validation(math.inf, {"nll": math.nan, "loss": -math.inf}), improved=True)
    again = History(PLAN)
    again.resume(json.loads(json.dumps(history.to_json(), allow_nan=False)))
    assert repr(again.curve) == repr(history.curve)
    assert repr(again.best) == repr(history.best)
    assert math.isnan(again.train_loss)


# --- what cannot be resumed ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def interrupted(task: Language, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(Killed):
        run(task, folder, Kills(5))
    return folder


def test_no_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert read(tmp_path / "nothing") is None


@pytest.mark.parametrize("place", [0.0, 0.0005, 0.03, 0.3, 0.6, 0.999])
def test_damage_is_told(interrupted: Path, tmp_path: Path, place: float) -> None:
    """A flipped bit, and a file that ends early."""
    shutil.copytree(interrupted, tmp_path / "run")
    path = tmp_path / "run" / NAME
    content = bytearray(path.read_bytes())
    at = int(place * len(content))
    path.write_bytes(content[:at])
    with pytest.raises(RunError, match=r"latest.safetensors: damaged .*; remove .*run and fit again"):
        read(tmp_path / "run")
    content[at] ^= 4
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"latest.safetensors: damaged"):
        read(tmp_path / "run")


@pytest.mark.parametrize(
    ("what", "formats"), [("checkpoint", (FORMAT + 1, RUN_FORMAT)), ("run", (FORMAT, RUN_FORMAT + 1))]
)
def test_a_newer_format_names_the_version_it_needs(tmp_path: Path, what: str, formats: tuple[int, int]) -> None:
    (tmp_path / NAME).parent.mkdir()
    said = {"format": formats[0], "run_format": formats[1], "about": {"version": "7.0"}, "else": 1}
    save_file({"x": torch.zeros(1)}, tmp_path / NAME, {"elman": json.dumps(said)})
    known = {"checkpoint": FORMAT, "run": RUN_FORMAT}[what]
    words = rf"the {what} has format {known + 1}, written by elman 7.0; .* up to {known}: install elman 7.0 or later"
    with pytest.raises(RunError, match=words):
        read(tmp_path)


def saved(**changes: object) -> Checkpoint:
    return Checkpoint(Path("run") / NAME, about(**changes), {}, {})


def test_other_settings_are_named_with_both_values() -> None:
    now = {**SETTINGS, "encoder": {"hidden": 16, "layers": 2}, "training": {"seed": 1, "processes": 2}}
    with pytest.raises(UsageError, match=r"encoder.hidden was 8 and is 16, encoder.layers was None and is 2;"):
        saved().check(now, "abc")
    saved().check({**SETTINGS, "training": {"seed": 1, "processes": 2, "checkpoint_every": 5}}, "abc")


def test_other_data_is_told_unless_the_options_say_why() -> None:
    with pytest.raises(DataError, match=r"run: the data differs"):
        saved().check(SETTINGS, "xyz")
    with pytest.raises(DataError, match=r"run: the data differs"):  # a default may have followed the data
        saved().check({**SETTINGS, "encoder": {"hidden": 16}}, "xyz")
    with pytest.raises(UsageError, match=r"options.level was 'char' and is 'word'"):
        saved().check({**SETTINGS, "options": {"level": "word"}}, "xyz")


def test_differences_go_into_tables() -> None:
    assert differences({"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"b": 2, "c": [1]}, "d": 2}) == {"a.b": (1, 2)}
    assert differences({"a": 1}, {"a": {"b": 1}}) == {"a": (1, {"b": 1})}


def test_the_fingerprint_follows_the_data(task: Language, tmp_path: Path) -> None:
    again, other = tmp_path / "again", tmp_path / "other"
    again.mkdir()
    other.mkdir()
    assert fingerprint(prepared(again)) == fingerprint(task)
    swapped = prepared(other, change=lambda text: text[:400] + text[401] + text[400] + text[402:])
    assert swapped.codec.to_json() == task.codec.to_json()
    assert fingerprint(swapped) != fingerprint(task)


def test_threads_and_processes_that_differ_are_told(tmp_path: Path, task: Language) -> None:
    with pytest.raises(Killed):
        run(task, tmp_path, Kills(5))
    notes = Checkpoints(tmp_path, about(threads=2, processes=3, kernels="portable"), 0, read(tmp_path)).begin()
    assert [note.split(":")[0] for note in notes] == [
        "the checkpoint was written by a training in 1 threads, this one is in 2",
        "the checkpoint was written by a training in 1 processes, this one is in 3",
        "the checkpoint was written by a training with the kernels 'none' of elman's core, this one has 'portable'",
    ]


def test_the_table_by_which_backends_are_chosen_is_kept(tmp_path: Path) -> None:
    with held():
        table = hold(None)
        Checkpoints(tmp_path, about(timings=table), 0).begin()
    saved = read(tmp_path)
    assert saved is not None
    assert saved.about.timings == table
    with held():
        assert hold(saved.about.timings) == table


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    task: Language, whole: tuple[Model, History, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
        save_file(tensors, path, metadata)
        path.write_bytes(path.read_bytes()[:1000])
        if '"updates": 8' in metadata["elman"]:
            raise OSError(28, "No space left on device")
        save_file(tensors, path, metadata)

    monkeypatch.setattr("elman.training.checkpoint.save_file", full)
    with pytest.raises(ElmanError, match=r"latest.safetensors: cannot be written: No space left on device"):
        run(task, tmp_path)
    monkeypatch.undo()
    assert [file.name for file in (tmp_path / NAME).parent.iterdir()] == ["latest.safetensors"]
    before = read(tmp_path)
    assert before is not None
    assert before.values["history"]["updates"] == 7
    assert same(run(task, tmp_path)[0], whole[0])
