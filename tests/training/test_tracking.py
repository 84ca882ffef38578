"""What TensorBoard's own reader, and a reader of W&B's offline file written here, find in it: what was logged."""

import json
import math
import os
import shutil
import struct
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

import elman
from elman.errors import UsageError
from elman.run import Run
from elman.training.history import History, Validation
from elman.training.plan import Plan
from elman.training.tensorboard import TensorBoard
from elman.training.tracking import (
    NEEDS,
    Guarded,
    Tracked,
    Tracker,
    best_values,
    flat,
    trackers_of,
    weights_and_gradients,
)
from elman.training.wandb import WeightsAndBiases, is_logged_in

UPDATES, VALIDATIONS, RATE = 12, 3, 0.01
SETTINGS: dict[str, dict[str, Any]] = {
    "training": {
        "updates": UPDATES,
        "validations": VALIDATIONS,
        "learning_rate": RATE,
        "warm_up": 0.25,
        "final_rate": 0.1,
    }
}
TEXT = "The quick brown fox jumps over the lazy dog.\nPack my box with five dozen liquor jugs.\n" * 20
NOT_LOGGED = {"update", "seconds", "kept"}


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nobody is logged in, and a server that is not there would be asked."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        home = tmp_path_factory.mktemp("home")
        patch.setenv("HOME", str(home))
        patch.setenv("WANDB_CONFIG_DIR", str(home / "config"))
        patch.setenv("WANDB_CACHE_DIR", str(home / "cache"))
        patch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        yield


def train(folder: Path, track: str | None) -> Run:
    (folder / "text.txt").write_text(TEXT)
    return elman.fit("language", folder / "text.txt", hidden=8, settings=SETTINGS, out=folder / "run", track=track)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A language run that both trackers followed; read only."""
    return train(tmp_path_factory.mktemp("tracked"), "tensorboard, wandb")


def events(run: Path) -> EventAccumulator:
    everything = {"scalars": 0, "histograms": 0, "images": 0, "tensors": 0, "graph": 1}
    return EventAccumulator(str(run / "tensorboard"), size_guidance=everything).Reload()


def rows(run: Run) -> list[dict[str, Any]]:
    return run.curve()


def records(run: Path) -> list[Any]:
    """The records of the offline files of W&B, oldest file first: LevelDB's log format after a header of 7 bytes.

    Blocks of 32768 bytes; a chunk is a checksum (4), a length (2), a kind (1: whole, 2: first, 3: middle, 4: last) and its data.
    """
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    wandb.teardown()  # the process that writes the file ends, as it does when Python does
    found = []
    for path in sorted(run.glob("wandb/offline-run-*/*.wandb")):
        data, at, parts = path.read_bytes(), 7, b""
        assert data.startswith(b":W&B")
        while at + 7 <= len(data):
            if 32768 - at % 32768 < 7:
                at += 32768 - at % 32768
                continue
            _, length, kind = struct.unpack_from("<IHB", data, at)
            parts += data[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4):
                found.append(Record.FromString(parts))
                parts = b""
    return found


def values_of(items: Any) -> dict[str, Any]:
    """Names and values of a record; what is several levels deep comes as such."""
    values: dict[str, Any] = {}
    for item in items:
        *outer, last = item.nested_key or [item.key]
        table = values
        for name in outer:
            table = table.setdefault(name, {})
        table[last] = json.loads(item.value_json)
    return values


def wandb_history(run: Path) -> dict[int, dict[str, Any]]:
    """step -> name -> value."""
    steps: dict[int, dict[str, Any]] = defaultdict(dict)
    for record in records(run):
        if record.HasField("history"):
            steps[record.history.step.num] |= values_of(record.history.item)
    return steps


def test_tensorboard_holds_what_the_log_holds(run: Run) -> None:
    read = events(run.path)
    assert len(rows(run)) == VALIDATIONS
    for name in set(rows(run)[0]) - NOT_LOGGED:
        points = [(event.step, event.value) for event in read.Scalars(name)]
        assert points == [(row["update"], np.float32(row[name])) for row in rows(run)], name


def test_wandb_holds_what_the_log_holds(run: Run) -> None:
    steps = wandb_history(run.path)
    for row in rows(run):
        logged = steps[row["update"]]
        assert {name: logged[name] for name in set(row) - NOT_LOGGED} == {
            k: v for k, v in row.items() if k not in NOT_LOGGED
        }


def test_every_update_has_its_learning_rate_and_gradient_norm(run: Run) -> None:
    read, steps = events(run.path), wandb_history(run.path)
    rates = {event.step: event.value for event in read.Scalars("update/learning_rate")}
    rising = UPDATES // 4
    for update in range(1, UPDATES + 1):
        done = update - 1
        share = (done - rising) / (UPDATES - rising)
        expected = RATE * (update / rising if done < rising else 0.1 + 0.9 * (1 + math.cos(math.pi * share)) / 2)
        assert rates[update] == pytest.approx(expected)
        assert steps[update]["update/learning_rate"] == pytest.approx(expected)
    norms = {event.step: event.value for event in read.Scalars("update/gradient_norm")}
    assert sorted(norms) == list(range(1, UPDATES + 1))
    assert all(np.isfinite(norm) and norm > 0 for norm in norms.values())
    assert all(np.float32(steps[update]["update/gradient_norm"]) == norm for update, norm in norms.items())


def test_histograms_of_weights_and_gradients_at_every_validation(run: Run) -> None:
    read, steps = events(run.path), wandb_history(run.path)
    parameters = dict(run.model.named_parameters())
    for kind in ("weights", "gradients"):
        for name, weight in parameters.items():
            drawn = read.Histograms(f"{kind}/{name}")
            assert [one.step for one in drawn] == [row["update"] for row in rows(run)]
            assert all(one.histogram_value.num == weight.numel() for one in drawn)
            for one in drawn:
                logged = steps[one.step][f"{kind}/{name}"]
                assert logged["_type"] == "histogram"
                assert sum(logged["values"]) == weight.numel()
                assert logged["bins"][0] == pytest.approx(one.histogram_value.min, abs=1e-6)
                assert logged["bins"][-1] == pytest.approx(one.histogram_value.max, abs=1e-6)


def test_a_histogram_is_of_the_values_given(tmp_path: Path, run: Run) -> None:
    tracker = TensorBoard(Tracked(tmp_path, run.settings, run.task, run.model, dict))
    tracker.start(History(Plan(1, 1, 1)))
    tracker.histograms({"h": torch.tensor([[-2.0, 0.5], [1.0, 3.0]])}, 7)
    tracker.close()
    (drawn,) = events(tmp_path).Histograms("h")
    value = drawn.histogram_value
    assert (drawn.step, value.min, value.max, value.num, value.sum, value.sum_squares) == (7, -2, 3, 4, 2.5, 14.25)


def text_of(read: EventAccumulator, name: str) -> str:
    (event,) = read.Tensors(f"{name}/text_summary")
    return str(event.tensor_proto.string_val[0].decode())


def test_settings_sample_figure_and_graph_are_in_tensorboard(run: Run) -> None:
    read = events(run.path)
    settings = "\n".join(line[4:] for line in text_of(read, "settings").splitlines())
    assert tomllib.loads(settings)["training"]["learning_rate"] == RATE
    assert len(text_of(read, "sample")) > 300
    (figure,) = read.Images("Learning curve")
    assert figure.encoded_image_string.startswith(b"\x89PNG")
    assert (figure.width, figure.height) == (1216, 480)  # 7.6 by 3 inches, 160 dots each
    operations = {node.op for node in read.Graph().node}
    assert {"aten::embedding", "aten::linear"} <= operations or "aten::addmm" in operations
    best = run.fitted.best
    assert read.Scalars("best.valid_loss")[0].value == np.float32(best["loss"])


def test_config_and_summary_are_in_wandb(run: Run) -> None:
    everything = records(run.path)
    (about,) = (one.run for one in everything if one.HasField("run"))
    config = {item.key: json.loads(item.value_json) for item in about.config.update}
    assert config["training.learning_rate"] == RATE
    assert config["encoder.hidden"] == 8
    assert config["task"] == "language"
    assert about.project == "elman"
    assert about.run_id == (run.path / "wandb" / "id").read_text().strip()
    summary: dict[str, Any] = {}
    for one in everything:
        summary |= values_of(one.summary.update)
    assert summary["best.valid_loss"] == run.fitted.best["loss"]
    assert summary["best.nll"] == run.fitted.best["nll"]
    last = wandb_history(run.path)[UPDATES]
    assert last["Learning curve"]["_type"] == "image-file"
    assert last["sample"]["_type"] == "table-file"


def test_tracking_changes_nothing(run: Run, tmp_path: Path) -> None:
    alone = train(tmp_path, None)
    assert (alone.path / "model.safetensors").read_bytes() == (run.path / "model.safetensors").read_bytes()
    assert not (alone.path / "wandb").exists()
    assert not (alone.path / "tensorboard").exists()


def at(updates: int) -> History:
    history = History(Plan(10, 5, 5))
    history.updates = updates
    return history


def test_a_resumed_run_takes_back_what_came_after_its_checkpoint(run: Run, tmp_path: Path) -> None:
    known = Tracked(tmp_path, run.settings, run.task, run.model, dict)
    for begin, updates, value in ((0, range(1, 7), 1.0), (4, range(5, 8), 2.0)):
        tracker = TensorBoard(known)
        tracker.start(at(begin))
        for update in updates:
            tracker.scalars({"loss": value}, update)
        tracker.close()
    points = [(event.step, event.value) for event in events(tmp_path).Scalars("loss")]
    assert points == [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2), (6, 2), (7, 2)]


def test_a_training_begun_anew_keeps_nothing_of_the_one_before(run: Run, tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        tracker = TensorBoard(Tracked(tmp_path, run.settings, run.task, run.model, dict))
        tracker.start(at(0))
        tracker.scalars({"loss": value}, 1)
        tracker.close()
    assert [event.value for event in events(tmp_path).Scalars("loss")] == [2.0]


def test_a_model_that_cannot_be_traced_leaves_a_note(run: Run, tmp_path: Path) -> None:
    task = Run(run.path).task  # restored, not prepared: it has no batch to trace the model with
    tracker = TensorBoard(Tracked(tmp_path, run.settings, task, run.model, dict))
    tracker.start(at(0))
    tracker.close()
    assert "could not be traced: AttributeError" in text_of(events(tmp_path), "graph")


def test_a_resumed_run_goes_on_in_the_same_run_of_wandb(run: Run, tmp_path: Path) -> None:
    known = Tracked(tmp_path, run.settings, run.task, run.model, dict)
    for begin in (0, 4):
        tracker = WeightsAndBiases(known)
        tracker.start(at(begin))
        tracker.scalars({"loss": 1.0}, begin + 1)
        tracker.close()
    first, second = (one.run.run_id for one in records(tmp_path) if one.HasField("run"))
    assert first == second
    assert {step: values["loss"] for step, values in wandb_history(tmp_path).items()} == {1: 1.0, 5: 1.0}


def test_a_training_that_failed_leaves_what_was_logged(run: Run, tmp_path: Path) -> None:
    tracker = TensorBoard(Tracked(tmp_path, run.settings, run.task, run.model, lambda: pytest.fail("not over")))
    history = at(0)
    tracker.start(history)
    tracker.scalars({"loss": 1.0}, 1)
    tracker.end(history)
    assert [event.value for event in events(tmp_path).Scalars("loss")] == [1.0]


class Fails(Tracker):
    """Fails in what it is told to."""

    def __init__(self, run: Tracked, *where: str) -> None:
        super().__init__(run)
        self.where, self.calls = where, list[str]()

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.where:
            raise ConnectionError("gone")

    def start(self, history: History) -> None: ...
    def scalars(self, values: Mapping[str, float], update: int) -> None:  # noqa: ARG002
        self._call("scalars")

    def histograms(self, values: Mapping[str, torch.Tensor], update: int) -> None:  # noqa: ARG002
        self._call("histograms")

    def results(self, history: History) -> None:  # noqa: ARG002
        self._call("results")

    def close(self) -> None:
        self._call("close")


@pytest.mark.parametrize(
    ("where", "calls"),
    [
        ((), ["scalars", "scalars", "histograms", "results", "close"]),
        (("scalars",), ["scalars", "close"]),
        (("scalars", "close"), ["scalars", "close"]),
        (("results",), ["scalars", "scalars", "histograms", "results", "close"]),
        (("close",), ["scalars", "scalars", "histograms", "results", "close"]),
    ],
)
def test_a_tracker_that_fails_is_told_of_once_and_left_out(
    run: Run, tmp_path: Path, where: tuple[str, ...], calls: list[str]
) -> None:
    tracker = Fails(Tracked(tmp_path, run.settings, run.task, run.model, dict), *where)
    notes: list[str] = []
    guarded, history = Guarded("wandb", tracker, notes.append), at(5)
    history.validated(Validation(1.0), improved=True)
    history.complete = True
    for hook in (guarded.start, guarded.updated, guarded.validated, guarded.end):
        hook(history)
    assert tracker.calls == calls
    assert notes == ["--track wandb has failed and is left out: ConnectionError: gone"] * bool(where)


def test_results_are_those_of_a_training_that_came_to_its_end(run: Run, tmp_path: Path) -> None:
    """All updates done, and interrupted in the last phase."""
    tracker = Fails(Tracked(tmp_path, run.settings, run.task, run.model, dict))
    history = at(10)
    assert history.done
    tracker.end(history)
    assert tracker.calls == ["close"]


def test_names_of_trackers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trackers_of(None) == ()
    assert trackers_of("tensorboard, wandb,tensorboard") == ("tensorboard", "wandb")
    assert trackers_of(["wandb"]) == ("wandb",)
    with pytest.raises(UsageError, match=r"no tracker 'tensorbord'.*tensorboard"):
        trackers_of("tensorbord")
    monkeypatch.setitem(NEEDS, "wandb", "a_package_that_is_not_installed")
    with pytest.raises(UsageError, match=r"--track wandb needs .*: pip install 'elman\[track\]'"):
        trackers_of("wandb")


def test_an_unknown_tracker_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no tracker"):
        train(tmp_path, "mlflow")
    assert not (tmp_path / "run").exists()


def test_logged_in_or_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert not is_logged_in()
    keys = tmp_path / "keys"
    keys.write_text("machine 127.0.0.1:9 login user password secret\n")
    keys.chmod(0o600)
    monkeypatch.setenv("NETRC", str(keys))
    assert is_logged_in()
    shutil.copy(keys, tmp_path / "damaged")
    (tmp_path / "damaged").write_text("machine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "damaged"))
    assert not is_logged_in()
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert is_logged_in()


def test_flat_names() -> None:
    assert flat({"a": {"b": {"c": 1}, "d": [2]}, "e": None}) == {"a.b.c": 1, "a.d": [2], "e": None}


def test_best_values_are_those_that_are_kept() -> None:
    history = at(3)
    assert best_values(history) == {}
    history.validated(Validation(2.0, {"mae": 1.0, "mase": math.nan}), improved=True)
    history.updates = 6
    history.validated(Validation(3.0, {"mae": 0.5}), improved=False)
    assert best_values(history) == {"best.valid_loss": 2.0, "best.mae": 1.0, "best.update": 3}


def test_weights_that_are_not_finite_have_no_histogram(run: Run) -> None:
    names = {name for name, _ in run.model.named_parameters()}
    assert set(weights_and_gradients(run.model)) == {f"weights/{name}" for name in names}
