"""The README's commands work as they stand, with smaller models and less time."""

import io
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import elman
from elman.cli.main import run

README = Path(__file__).parents[2] / "README.md"
FAST = ("--hidden", "8", "--set", "training.updates=10", "--set", "training.validations=1")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def lines(words: str) -> list[str]:
    """The commands of the block that holds these words."""
    (block,) = (block for block in blocks("sh") if block.startswith(words))
    return [line for line in block.splitlines() if line]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the README speaks of: a daily series up to 2026-05-31, June, and two texts."""
    monkeypatch.chdir(tmp_path)
    days = np.datetime64("2025-01-01") + np.arange(546)
    load = 30 + 5 * np.sin(2 * np.pi * np.arange(546) / 7) + np.random.default_rng(0).normal(size=546)
    frame = pl.DataFrame({"date": days, "load": load})
    june = pl.col("date") >= pl.date(2026, 6, 1)
    frame.filter(~june).write_csv("demand.csv")
    frame.filter(june).write_csv("demand-of-june.csv")
    for name, seed in (("book.txt", 1), ("other-book.txt", 2)):
        words = np.random.default_rng(seed).choice(["It", "was", "a", "dark", "night", "and"], 900)
        Path(name).write_text(" ".join(words) + "\n", encoding="utf-8")
    write_sequences()
    return tmp_path


def write_sequences() -> None:
    """Reviews, gestures in a .ts file, engines of several cycles, and flowers: small files of what the README names."""
    rng = np.random.default_rng(3)
    moods = [" ".join([*rng.choice(["the", "film", "was"], 4), "good" if i % 2 else "bad"]) for i in range(60)]
    reviews = pl.DataFrame({"text": moods, "stars": ["5" if i % 2 else "1" for i in range(60)]})
    reviews.write_csv("reviews.tsv", separator="\t")
    reviews[:9].drop("stars").write_csv("new.tsv", separator="\t")
    cases = [",".join(f"{v:.3f}" for v in rng.normal(i % 2, 1, 5 + i % 4)) + f":{'ab'[i % 2]}" for i in range(30)]
    head = "@problemName Gestures\n@univariate true\n@equalLength false\n@classLabel true a b\n@data\n"
    Path("gestures.ts").write_text(head + "\n".join(cases) + "\n", encoding="utf-8")
    cycles = [(i, t, float(rng.normal() + t), 20 + i) for i in range(24) for t in range(4)]
    pl.DataFrame(cycles, schema=["engine", "cycle", "heat", "life"], orient="row").write_csv("engines.csv")
    petals = {"petal": rng.normal(size=40) + np.arange(40) % 2, "species": ["ab"[i % 2] for i in range(40)]}
    pl.DataFrame(petals).write_csv("flowers.csv")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "words",
    [
        "elman fit forecast",
        "elman fit language book.txt --level",
        "elman fit classify",
        "elman fit language book.txt --budget 2h",
    ],
)
def test_commands(words: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for line in lines(words):
        fed, _, command = line.partition("#")[0].rpartition("|")
        if fed:
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(shlex.split(fed)[1].encode())))
        arguments = shlex.split(command)[1:]
        assert run([*arguments, *(FAST if arguments[0] == "fit" else ())]) == 0, (line, capfd.readouterr())
        assert "error" not in capfd.readouterr().out


def test_python(folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = (block for block in blocks("python") if "elman.fit(" in block)
    fit = elman.fit
    small = {"training": {"updates": 10, "validations": 1}, "encoder": {"hidden": 8}}
    monkeypatch.setattr(elman, "fit", lambda *data, **said: fit(*data, settings=small, **said), raising=False)
    rng = np.random.default_rng(0)
    names: dict[str, Any] = {
        "frame": pl.read_csv(folder / "demand-of-june.csv"),
        "X": rng.normal(size=(30, 5, 2)),
        "y": ["a", "b"] * 15,
        "X_new": rng.normal(size=(4, 7, 2)),
    }
    exec(code, names)
    assert set(names["ahead"]) == {"load"}
    told = capfd.readouterr().out
    assert "load_0.5" in told
    assert "Series: 'label' [str]" in told
