"""The table by which torch's kernel or the native program is chosen: stored whole, ignored where it does not fit."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elman.errors import ElmanError, SlowWarning
from elman.layers import timings
from elman.layers.timings import KINDS, SITUATIONS, Point, Situation, faster, held, hold, store, timings_file


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the table is, for this test."""
    monkeypatch.setenv("ELMAN_CACHE", str(tmp_path))
    timings._points.cache_clear()
    yield tmp_path
    timings._points.cache_clear()


def written(**speeds: float) -> list[Point]:
    """A whole table in which the kinds have these speeds, and the others 1."""
    return [Point(situation, speeds.get(situation.kind, 1.0)) for situation in SITUATIONS]


def test_without_a_file_built_in_figures_decide(folder: Path) -> None:
    for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        assert faster(kind, 32, 100, 128) in ("native", "torch")
    assert faster("gru", 32, 100, 128) == "native"
    assert list(folder.iterdir()) == []


def test_what_is_stored_decides() -> None:
    store(written(lstm=0.5, gru=2.0, rnn=0.9))
    assert [faster(kind, 7, 13, 99) for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu")] == [
        "torch",
        "native",
        "torch",
        "torch",
    ]
    store(written(lstm=2.0))
    assert faster("lstm", 7, 13, 99) == "native"


def test_the_nearest_point_decides() -> None:
    slow = Situation("lstm", True, 32, 64, 128)
    store([Point(situation, 0.5 if situation == slow else 2.0) for situation in SITUATIONS])
    assert faster("lstm", 32, 64, 128) == "torch"
    assert faster("lstm", 20, 100, 150) == "torch"
    assert faster("lstm", 32, 64, 128, training=False) == "native"
    assert faster("gru", 32, 64, 128) == "native"
    for batch, time, hidden in ((8, 64, 128), (32, 8, 128), (32, 64, 32), (32, 64, 400), (0, 64, 128), (1000, 64, 128)):
        assert faster("lstm", batch, time, hidden) == "native"


def test_the_file_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert timings_file() == tmp_path / "timings.json"
    monkeypatch.delenv("ELMAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert timings_file() == tmp_path / "shared" / "elman" / "timings.json"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert timings_file() == tmp_path / "home" / ".cache" / "elman" / "timings.json"
    assert store(written()) == timings_file()
    assert [path.name for path in timings_file().parent.iterdir()] == ["timings.json"]


def changed(path: tuple[str | int, ...], value: Any) -> str:
    """The text of a good file with one part replaced."""
    stored = json.loads(store(written(gru=0.5)).read_text())
    part = stored
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return json.dumps(stored)


def bad_files() -> dict[str, tuple[Any, str]]:
    """The path of what is changed and the value, or a whole text; and what the warning says."""
    return {
        "other processor": ((("machine", "cpu"), "another"), "measured elsewhere .cpu 'another', now"),
        "other torch": ((("machine", "torch"), "1.0"), "measured elsewhere .torch '1.0', now"),
        "other core": ((("machine", "core"), "avx9"), "measured elsewhere .core 'avx9', now"),
        "no machine": ((("machine",), None), "damaged"),
        "newer": ((("version",), 99), "of version 99"),
        "a kind lacks": ((("points",), []), "not complete"),
        "no speed": ((("points", 0, 5), "fast"), "could not convert"),
        "speed of zero": ((("points", 0, 5), 0), "damaged"),
        "infinite speed": ((("points", 0, 5), float("inf")), "damaged"),
        "batch of zero": ((("points", 0, 2), 0), "damaged"),
        "short point": ((("points", 0), ["lstm"]), "damaged"),
        "points are a number": ((("points",), 3), "damaged"),
        "cut off": ('{"version": 1, "mach', "damaged"),
        "empty": ("", "damaged"),
        "a list": ("[1, 2]", "damaged"),
    }


@pytest.mark.parametrize("name", bad_files())
def test_a_file_that_does_not_fit_is_told_once_and_not_used(folder: Path, name: str) -> None:
    change, said = bad_files()[name]
    text = change if isinstance(change, str) else changed(*change)
    (folder / "timings.json").write_text(text)
    timings._points.cache_clear()
    with pytest.warns(SlowWarning, match=said) as told:
        chosen = faster("gru", 32, 64, 128)
    assert (chosen, len(told)) == ("native", 1)
    assert faster("gru", 32, 64, 128) == "native"  # in silence: a second warning would be an error here
    message = str(told[0].message)
    assert message.startswith(str(folder / "timings.json"))
    assert "elman bench --tune" in message
    assert "\n" not in message


def test_bytes_that_are_no_text_are_not_used(folder: Path) -> None:
    (folder / "timings.json").write_bytes(b"\xff\xfe\x00")
    with pytest.warns(SlowWarning, match="is not used"):
        assert faster("gru", 32, 64, 128) == "native"


def test_a_folder_in_its_place_is_told(folder: Path) -> None:
    (folder / "timings.json").mkdir()
    with pytest.warns(SlowWarning, match="Is a directory"):
        faster("gru", 32, 64, 128)
    with pytest.raises(ElmanError, match="it is a folder"):
        store(written())


def test_a_good_file_is_used_in_silence() -> None:
    store(written(gru=0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert faster("gru", 32, 64, 128) == "torch"


def test_every_kind_has_a_default_and_is_measured() -> None:
    wanted = {(kind, training) for kind in KINDS for training in (True, False)}
    assert {point.situation[:2] for point in timings.DEFAULTS} == wanted
    assert {situation[:2] for situation in SITUATIONS} == wanted


def test_a_table_that_is_held_decides_until_it_is_let_go() -> None:
    here = faster("lstm", 32, 32, 128)
    other = "torch" if here == "native" else "native"
    with held():
        before = hold(None)
        turned = [[*row[:-1], 1 / float(row[-1])] for row in before]
        assert json.loads(json.dumps(hold(turned))) == turned
        assert faster("lstm", 32, 32, 128) == other
    assert faster("lstm", 32, 32, 128) == here
