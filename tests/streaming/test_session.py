"""Streams in use: many at once, saved and restored, and nothing half done."""

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors import safe_open

from elman.data.codec import Push
from elman.data.source import Source
from elman.errors import DataError, RunError, UsageError
from elman.models.build import EncoderConfig
from elman.models.language import LanguageModel
from elman.models.load import save_model
from elman.models.stepper import TorchStepper
from elman.state import NumpyState
from elman.stepper import Arrays
from elman.streaming import StreamSession, load
from elman.streaming.prove import TOLERANCE, prove
from elman.tasks.task import Task
from elman.training.config import TrainingConfig
from elman.training.settings import Settings, make_task

ROWS = 120


def frame(rows: int = ROWS) -> pl.DataFrame:
    """Two shops by the hour, with a covariate of each role, a category and missing values; some rows are left out."""
    rng = np.random.default_rng(0)
    times = np.datetime64("2024-01-01", "us") + np.arange(rows) * np.timedelta64(1, "h")
    parts = []
    for shop, (scale, size) in {"a": (1.0, 10.0), "b": (100.0, 20.0)}.items():
        load = scale * (5 + np.sin(np.arange(rows) / 4) + 0.1 * rng.normal(size=rows))
        weather = rng.choice(["dry", "wet"], rows)
        columns = {"shop": [shop] * rows, "time": times, "load": load, "wind": rng.normal(size=rows)}
        parts.append(pl.DataFrame({**columns, "weather": weather, "size": [size] * rows}))
    parts[0] = parts[0].with_columns(pl.when(pl.int_range(rows) % 7 == 3).then(None).otherwise("load").alias("load"))
    parts[0] = parts[0].filter(~pl.int_range(rows).is_in([40, 41, 42]))
    return pl.concat(parts)


OPTIONS = {
    "target": "load", "time": "time", "horizon": 3, "id": "shop", "past": "wind", "future": "weather", "static": "size",
    "context": 6,
}  # fmt: skip


def run(folder: Path, task: Task, **encoder: Any) -> Path:
    """A run folder with random weights: streams do not care whether a model is any good."""
    torch.manual_seed(0)
    config = EncoderConfig(name="gru", **{"hidden": 5, **encoder})
    model = task.build(config, 0.0).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    folder.mkdir()
    options = task.options.model_dump(mode="json")
    Settings(
        version="0", task=task.name, options=options, encoder=config, training=TrainingConfig(), model=model.config()
    ).save(folder)
    task.save(folder)
    save_model(model, folder)
    return folder


def prepared(task: str, data: object, **options: object) -> Task:
    made = make_task(task, options)
    made.prepare([Source(data)], None, 0)  # type: ignore[arg-type]
    return made


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("runs") / "shops", prepared("forecast", frame(), **OPTIONS))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    book = folder / "book.txt"
    book.write_text("so it goes and so it went on\n" * 20, encoding="utf-8")
    return run(folder / "run", prepared("language", str(book)))


@pytest.fixture
def session(shops: Path) -> StreamSession:
    return load(shops)


def row(t: int, **more: Any) -> Push:
    """Row ``t`` of a shop."""
    rng = np.random.default_rng(t + 1000)
    x = {"load": float(rng.normal(5)), "wind": float(rng.normal()), "weather": "wet", "size": 10.0, **more}
    time = str(np.datetime64("2024-02-01T00") + np.timedelta64(t, "h"))
    return Push(x, time, [{"weather": "dry"}] * 3)


def push(session: StreamSession, push: Push, n: int | str = 0) -> Any:
    return session.push(push.x, push.time, push.future, n=n)


def numbers(answer: Any) -> Iterator[float]:
    for value in answer.values() if isinstance(answer, dict) else answer:
        yield from numbers(value) if isinstance(value, dict | list) else iter([value])


def assert_close(a: Any, b: Any) -> None:
    got, expected = np.array(list(numbers(a))), np.array(list(numbers(b)))
    assert np.abs(got - expected).max() <= TOLERANCE * np.abs(expected).max()


def snapshot(session: StreamSession, path: Path) -> dict[str, Any]:
    """All that a snapshot holds; its bytes may be in another order."""
    session.snapshot(path)
    with safe_open(path, framework="numpy") as file:
        return {**file.metadata(), **{name: file.get_tensor(name).tolist() for name in file.keys()}}  # noqa: SIM118


# --- many at once -----------------------------------------------------------------------------------------------------


def test_many_streams_give_what_each_gives_alone(shops: Path) -> None:
    together, alone = load(shops), {n: load(shops) for n in range(5)}
    for t in range(12):
        rows: dict[Hashable, Push] = {n: row(100 * n + t, shop="ab"[n % 2]) for n in alone if (t + n) % 3}
        answers = together.push_many(rows)
        assert list(answers) == list(rows)
        for n, one in rows.items():
            assert_close(answers[n].y, push(alone[n], one))  # type: ignore[index]


def test_the_order_of_streams_does_not_matter(shops: Path) -> None:
    sessions = [load(shops) for _ in range(6)]
    orders = list(itertools.permutations("xyz"))
    for t in range(4):
        answers = [
            s.push_many({n: row(10 * ord(n) + t) for n in order}) for s, order in zip(sessions, orders, strict=True)
        ]
        for other in answers[1:]:
            for n in "xyz":
                assert_close(answers[0][n].y, other[n].y)


def test_streams_that_leave_out_different_numbers_of_rows(shops: Path) -> None:
    together, alone = load(shops), [load(shops) for _ in range(3)]
    together.push_many({n: row(n) for n in range(3)})
    for n, one in enumerate(alone):
        push(one, row(n))
    rows: dict[Hashable, Push] = {n: row(n + gap) for n, gap in enumerate((1, 4, 9))}
    answers = together.push_many(rows)
    for n, one in enumerate(alone):
        assert_close(answers[n].y, push(one, rows[n]))
    assert answers[0].flags == []
    assert answers[2].flags == ["8 rows left out, taken as missing"]


def test_reset_of_some(shops: Path) -> None:
    session, fresh = load(shops), load(shops)
    for t in range(5):
        session.push_many({n: row(10 * n + t) for n in range(4)})
    session.reset(1, 3, "never seen")
    assert session.streams == [0, 2]
    first = push(fresh, row(77))
    for n in (1, 3, 9):
        assert_close(push(session, row(77), n), first)
    before, after = (push(s, row(5)) for s in (session, fresh_after(shops, 5)))
    assert_close(before, after)
    session.reset()
    assert session.streams == []
    assert_close(push(session, row(77)), first)


def fresh_after(shops: Path, steps: int) -> StreamSession:
    """A session whose only stream has read as much as stream 0 of the test above."""
    session = load(shops)
    for t in range(steps):
        push(session, row(t))
    return session


def test_a_thousand_streams(text: Path) -> None:
    session = load(text)
    for _ in range(2):
        answers = session.push_many({n: Push("s" if n % 2 else "o") for n in range(1000)})
    assert len(session.streams) == 1000
    two = load(text)
    for _ in range(2):
        few = two.push_many({0: Push("o"), 1: Push("s")})
    for n in (0, 1, 500, 501, 998, 999):
        assert_close(answers[n].y, few[n % 2].y)


def test_a_place_that_was_left_is_used_again(text: Path) -> None:
    session = load(text)
    for n in range(300):
        session.push("s", n=n)
        session.reset(n)
    assert session.streams == []
    table = session._table
    while isinstance(table, tuple):
        table = table[0]
    assert len(table) == 1


# --- saved and restored -----------------------------------------------------------------------------------------------


def test_restored_streams_go_on(shops: Path, tmp_path: Path) -> None:
    session, other = load(shops), load(shops)
    keys = [0, 7, "7", "a name"]
    for t in range(6):
        session.push_many({n: row(10 * i + t, shop="b") for i, n in enumerate(keys)})
    session.reset(7)
    session.snapshot(tmp_path / "state")
    push(other, row(99), "gone after the restore")
    other.restore(tmp_path / "state")
    assert other.streams == [0, "7", "a name"]
    for t in range(60, 63):
        rows = {n: row(t) for n in (*other.streams, "new")}
        expected, got = session.push_many(rows), other.push_many(rows)
        for n in rows:
            assert_close(got[n].y, expected[n].y)


def test_restored_in_another_process(shops: Path, tmp_path: Path) -> None:
    session = load(shops)
    for t in range(5):
        push(session, row(t), "k")
    session.snapshot(tmp_path / "state")
    code = (
        "import sys, json; from elman.streaming import load\n"
        "session = load(sys.argv[1]); session.restore(sys.argv[2])\n"
        "print(json.dumps(session.push(json.loads(sys.argv[3]), n='k')))"
    )
    x = row(5).x
    done = subprocess.run(
        [sys.executable, "-c", code, shops, tmp_path / "state", json.dumps(x)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert_close(json.loads(done.stdout), session.push(x, n="k"))


def test_an_empty_session_can_be_saved(shops: Path, tmp_path: Path) -> None:
    session = load(shops)
    session.snapshot(tmp_path / "state")
    push(session, row(0))
    session.restore(tmp_path / "state")
    assert session.streams == []


def test_the_state_of_another_model_is_refused(shops: Path, text: Path, tmp_path: Path) -> None:
    session, other = load(shops), load(text)
    push(session, row(0))
    other.push("s")
    other.snapshot(tmp_path / "state")
    before = snapshot(session, tmp_path / "own")
    with pytest.raises(
        RunError, match="the state is of another model; restore it into a stream of the run that wrote it"
    ):
        session.restore(tmp_path / "state")
    assert snapshot(session, tmp_path / "own") == before


def test_the_state_of_a_run_over_other_data_is_refused(shops: Path, tmp_path: Path) -> None:
    """The shapes are the same, the scales are not: the answers would be wrong without anybody noticing."""
    twice = frame().with_columns(pl.col("load") * 2)
    other = load(run(tmp_path / "run", prepared("forecast", twice, **OPTIONS)))
    push(other, row(0))
    other.snapshot(tmp_path / "state")
    with pytest.raises(RunError, match="the state is of another model"):
        load(shops).restore(tmp_path / "state")


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "garbage", "flipped header"])
def test_a_damaged_state_is_refused(shops: Path, tmp_path: Path, damage: str) -> None:
    session, path = load(shops), tmp_path / "state"
    push(session, row(0))
    before = snapshot(session, path)
    whole = path.read_bytes()
    damaged = {"empty": b"", "truncated": whole[:-10], "garbage": b"\xff" * 200, "flipped header": whole[1:]}
    path.unlink() if damage == "missing" else path.write_bytes(damaged[damage])
    with pytest.raises(RunError, match="expected a state that `snapshot` wrote"):
        session.restore(path)
    assert snapshot(session, tmp_path / "own") == before


def test_keys_that_cannot_be_saved(shops: Path, tmp_path: Path) -> None:
    session = load(shops)
    session.push_many({("a", 1): row(0)})
    with pytest.raises(UsageError, match="expected keys of streams to be text or whole numbers"):
        session.snapshot(tmp_path / "state")
    assert list(tmp_path.iterdir()) == []


# --- nothing half done ------------------------------------------------------------------------------------------------

BAD: dict[str, tuple[Push, str]] = {
    "column": (row(1, lod=3.0), "unknown column 'lod'; expected load, wind, weather, size, shop"),
    "no target": (Push({"wind": 1.0}), r"expected a value of load \(null where it is missing\)"),
    "too few": (Push([1.0, 2.0]), r"expected 3 values \(load, wind, weather\), got 2"),
    "text": (Push("5"), 'expected "x" to be a list of values or'),
    "word": (row(1, load="many"), "expected a number for 'load', got 'many'"),
    "infinite": (row(1, load=float("inf")), "expected a finite number for 'load'"),
    "same time": (row(0), "is not later than that of the row before"),
    "back": (row(-3), "is not later than that of the row before, 2024-02-01: send rows in order"),
    "off the grid": (Push({"load": 1.0}, "2024-02-01 01:30"), "is not on the grid"),
    "far ahead": (Push({"load": 1.0}, "2064-02-01 01:00"), "is it right"),
    "no time": (Push({"load": 1.0}, "soon"), "the row's time"),
    "future": (Push({"load": 1.0}, None, [[1.0, 2.0]]), 'expected each row of "future" to hold weather'),
    "future a number": (Push({"load": 1.0}, None, 5), 'expected "future" to be a list of rows, each with weather, got 5'),  # type: ignore[arg-type]
    "another series": (row(1, shop="b"), "expected a row of series '', got 'b': give each series a stream of its own"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_row_that_cannot_be_used_changes_nothing(session: StreamSession, tmp_path: Path, name: str) -> None:
    bad, message = BAD[name]
    session.push_many({0: row(0), 1: row(0)})
    before = snapshot(session, tmp_path / "state")
    with pytest.raises(DataError, match=message):
        push(session, bad)
    with pytest.raises(DataError, match=message):
        session.push_many({1: row(1), "new": row(1), 0: bad})
    assert snapshot(session, tmp_path / "state") == before


def test_the_first_row_needs_a_time(session: StreamSession) -> None:
    with pytest.raises(DataError, match='the first row of a stream needs its "time"'):
        session.push({"load": 1.0})
    assert session.streams == []


def test_a_model_that_fails_changes_nothing(shops: Path, tmp_path: Path) -> None:
    class Failing(TorchStepper):
        left = 3

        def step(self, inputs: Arrays, state: NumpyState) -> tuple[np.ndarray, NumpyState]:
            self.left -= 1
            if self.left < 0:
                raise MemoryError("no room")
            return super().step(inputs, state)

    sound = load(shops)
    failing = Failing(sound._stepper.model)  # type: ignore[attr-defined]
    session = StreamSession(sound.codec, failing)
    push(session, row(0))
    before = snapshot(session, tmp_path / "state")
    with pytest.raises(MemoryError):
        session.push_many({0: row(5), "new": row(5)})  # five steps, of which two succeed
    assert snapshot(session, tmp_path / "state") == before
    failing.left = 0
    with pytest.raises(MemoryError):
        session.push_many({0: row(5)})  # and no stream is new
    assert snapshot(session, tmp_path / "state") == before
    failing.left = 100
    push(sound, row(0))
    assert_close(push(session, row(5)), push(sound, row(5)))


# --- what a row may leave out -----------------------------------------------------------------------------------------


def test_time_defaults_to_the_next_step(shops: Path) -> None:
    told, untold = load(shops), load(shops)
    for t in range(4):
        one = row(t)
        expected = push(told, one)
        assert_close(untold.push(one.x, one.time if t == 0 else None, one.future), expected)


def test_values_by_order_or_by_name(shops: Path) -> None:
    named, listed = load(shops), load(shops)
    first: dict[str, Any] = {"load": 5.0, "wind": 0.1, "weather": "dry"}
    assert_close(
        named.push(first, "2024-02-01", [{"weather": "wet"}] * 3),
        listed.push([5.0, 0.1, "dry"], "2024-02-01", [["wet"]] * 3),
    )


def test_static_values_and_the_id_are_remembered(shops: Path) -> None:
    """Said once, at the first row; the scales are those of the named series from then on."""
    once, always = load(shops), load(shops)
    about: dict[str, Any] = {"shop": "b", "size": 20.0}
    for t in range(4):
        x: dict[str, Any] = {"load": 500.0 + t, "wind": 0.0, "weather": "dry"}
        time = f"2024-02-01 0{t}:00"
        future = [{"weather": "dry"}] * 3
        assert_close(
            once.push({**x, **(about if t == 0 else {})}, time, future), always.push({**x, **about}, time, future)
        )
    nobody = load(shops)
    for t in range(4):
        unlike = nobody.push({"load": 500.0 + t, "wind": 0.0, "weather": "dry"}, f"2024-02-01 0{t}:00")
    assert abs(next(numbers(unlike)) - next(numbers(once.push({"load": 504.0})))) > 1


def test_each_series_has_its_own_scale(shops: Path) -> None:
    session = load(shops)
    a, b = (
        next(numbers(session.push({"load": None, "shop": shop}, "2024-02-01", [["dry"]] * 3, n=shop))) for shop in "ab"
    )
    scales = {shop: session.codec.scale_of(shop) for shop in "ab"}  # type: ignore[attr-defined]
    in_units = [((value - scales[shop].mean) / scales[shop].scale).item() for shop, value in (("a", a), ("b", b))]
    assert in_units[0] == pytest.approx(in_units[1], abs=1e-4)
    assert scales["b"].scale > 50 * scales["a"].scale


def test_missing_values_are_null_or_left_out(shops: Path) -> None:
    null, left_out = load(shops), load(shops)
    for session in (null, left_out):
        push(session, row(0))
    assert_close(null.push({"load": 5.0, "wind": None, "weather": None}), left_out.push({"load": 5.0}))


def test_what_is_suspicious_is_flagged(session: StreamSession) -> None:
    push(session, row(0))
    assert session.flags == []
    session.push(row(1).x, row(1).time)
    assert session.flags == ["3 of the next 3 rows of weather are missing"]
    one = row(2, load=1e6)
    session.push(one.x, one.time, one.future and one.future[:1])
    assert session.flags == [
        "2 of the next 3 rows of weather are missing",
        "load: outside the range of the training data",
    ]


def test_what_training_has_not_seen_is_flagged(session: StreamSession) -> None:
    first = row(0, shop="c", weather="snow")
    session.push(first.x, first.time, [{"weather": "dry"}] * 3)
    assert session.flags == ["series 'c' was not in training", "weather: not seen in training, taken as missing"]
    session.push(row(1, shop="c").x, row(1).time, [{"weather": "hail"}, {"weather": None}, {"weather": "dry"}])
    assert session.flags == ["weather: not seen in training, taken as missing"]
    push(session, row(2, shop="c"))
    assert session.flags == []


def test_future_without_such_columns_is_refused(tmp_path: Path) -> None:
    options = {"target": "load", "time": "time", "horizon": 3}
    only = frame().filter(pl.col("shop") == "b").drop("shop", "wind", "weather", "size")
    session = load(run(tmp_path / "run", prepared("forecast", only, **options)))
    with pytest.raises(DataError, match="the model was fitted without columns that are known ahead"):
        session.push([1.0], "2024-02-01", [[1.0]])


def test_numbered_rows_need_no_time(tmp_path: Path) -> None:
    only = pl.DataFrame({"load": np.sin(np.arange(80) / 3)})
    session = load(run(tmp_path / "run", prepared("forecast", only, target="load", horizon=2)))
    told = load(tmp_path / "run")
    for t in range(4):
        assert_close(session.push([0.1 * t]), told.push([0.1 * t], t))


# --- symbols ----------------------------------------------------------------------------------------------------------


def test_symbols_in_probabilities_out(text: Path) -> None:
    session = load(text)
    answer = session.push("s")
    assert isinstance(answer, dict)
    assert len(answer) == session.codec.top
    values = list(numbers(answer))
    assert values == sorted(values, reverse=True)
    session.codec.top = 1000
    assert sum(numbers(session.push("o"))) == pytest.approx(1.0)
    session.push("é")
    assert session.flags == ["unknown symbol 'é'"]


@pytest.mark.parametrize("bad", ["", "so", 3, None, ["s"]])
def test_one_symbol_at_a_time(text: Path, bad: Any) -> None:
    with pytest.raises(DataError, match='expected "x" to be one char'):
        load(text).push(bad)


# --- the whole --------------------------------------------------------------------------------------------------------


def test_a_replay_with_gaps_missing_values_and_categories(shops: Path) -> None:
    session = load(shops)
    settings = {**OPTIONS}
    task = make_task("forecast", settings)
    task.restore(shops)
    model = session._stepper.model  # type: ignore[attr-defined]
    proof = prove(session, task.replay(model, [Source(frame())]))
    assert proof.holds
    assert proof.steps == ROWS - 3


def test_a_model_that_is_not_causal_is_refused(text: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(text, folder)
    session = load(text)
    encoder = EncoderConfig(name="gru", hidden=3, bidirectional=True)
    model = LanguageModel(encoder.model_dump(), len(session.codec.vocabulary), 4)  # type: ignore[attr-defined]
    Settings(
        version="0", task="language", options={}, encoder=encoder, training=TrainingConfig(), model=model.config()
    ).save(folder)
    save_model(model, folder)
    with pytest.raises(UsageError, match="it cannot stream"):
        load(folder)


def test_importing_streams_loads_no_torch(shops: Path) -> None:
    code = (
        "import sys, elman.streaming\n"
        "assert 'torch' not in sys.modules\n"
        f"elman.streaming.load({str(shops)!r})\n"
        "assert 'torch' in sys.modules and 'elman.training' not in sys.modules and 'polars' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
