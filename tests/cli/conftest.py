"""A command line run in this process, small data, and small trained runs."""

import datetime as dt
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from elman.cli.main import run

FAST = ("--hidden", "8", "--set", "training.updates=20", "--set", "training.validations=2")
START = dt.datetime(2024, 1, 1)
TEXT = "The quick brown fox jumps over the lazy dog.\nPack my box with five dozen liquor jugs.\n"


@dataclass(frozen=True)
class Result:
    """What one command line did."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The error on stderr, the frame that usage errors come in taken off."""
        lines = [line.strip("│╭╰─╮╯ ") for line in self.err.splitlines()]
        first = next((i for i, line in enumerate(lines) if line.startswith(("elman: ", "Error"))), 0)
        return " ".join(lines[first:])


Line = Callable[..., Result]


@pytest.fixture
def elman(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Line:
    """``elman("fit", "forecast", ...)`` in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def line(*arguments: object, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfd.readouterr()
        code = run([str(one) for one in arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Result(code, out, err)

    return line


@dataclass(frozen=True)
class Data:
    """Small files and the runs fitted on them."""

    folder: Path

    @property
    def old(self) -> Path:
        """400 hours of `load`, five rows missing and two cells blank."""
        return self.folder / "old.csv"

    @property
    def new(self) -> Path:
        """The 120 hours after `old`."""
        return self.folder / "new.csv"

    @property
    def cities(self) -> Path:
        """Two series of two targets, a past, two future (one in words) and a static covariate."""
        return self.folder / "cities.csv"

    @property
    def cities_new(self) -> Path:
        return self.folder / "cities-new.csv"

    @property
    def text(self) -> Path:
        return self.folder / "book.txt"

    @property
    def load(self) -> Path:
        """A run on `old`."""
        return self.folder / "load"

    @property
    def several(self) -> Path:
        """A run on `cities`."""
        return self.folder / "several"

    @property
    def char(self) -> Path:
        return self.folder / "char"

    @property
    def word(self) -> Path:
        return self.folder / "word"

    @property
    def reviews_table(self) -> Path:
        """40 texts with `stars`, 5 or 1."""
        return self.folder / "reviews.tsv"

    @property
    def reviews(self) -> Path:
        """A run on `reviews_table`."""
        return self.folder / "reviews"


def hours(first: int, count: int, missing: Sequence[int] = (), blank: Sequence[int] = ()) -> str:
    """CSV rows date,load,hour without a header; the value of an hour is the same in every file."""
    noise = np.random.default_rng(0).normal(size=2000)
    rows = []
    for i in range(first, first + count):
        if i not in missing:
            value = "" if i in blank else f"{20 + 5 * np.sin(2 * np.pi * i / 24) + 0.5 * noise[i]:.3f}"
            rows.append(f"{START + dt.timedelta(hours=i)},{value},{i % 24}\n")
    return "".join(rows)


def city_rows(first: int, count: int) -> str:
    rows = ["city,date,load,price,wind,hour,kind,size\n"]
    for city, level in (("Ulm", 10), ("Bonn", 40)):
        noise = np.random.default_rng(level).normal(size=(2000, 2))
        for i in range(first, first + count):
            load = level + 3 * np.sin(2 * np.pi * i / 24) + 0.2 * noise[i, 0]
            kind = "work" if i // 24 % 7 < 5 else "rest"
            time = START + dt.timedelta(hours=i)
            rows.append(f"{city},{time},{load:.3f},{2 * load:.3f},{noise[i, 1]:.3f},{i % 24},{kind},{level}\n")
    return "".join(rows)


SERIES = ("--time", "date", "--target", "load", "--horizon", "6")
COLUMNS = ("--id", "city", "--past", "wind", "--future", "hour,kind", "--static", "size")
CITIES = ("--time", "date", "--target", "load,price", "--horizon", "4", *COLUMNS)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Everything below is read only."""
    made = Data(tmp_path_factory.mktemp("data"))
    made.old.write_text("date,load,hour\n" + hours(0, 400, missing=range(50, 55), blank=(60, 61)))
    made.new.write_text("date,load,hour\n" + hours(400, 120))
    made.cities.write_text(city_rows(0, 200))
    made.cities_new.write_text(city_rows(200, 60))
    made.text.write_text(TEXT * 12)
    made.reviews_table.write_text("text\tstars\n" + "so good\t5\nso bad\t1\n" * 20)
    for arguments in (
        ("forecast", made.old, *SERIES, "--out", made.load),
        ("forecast", made.cities, *CITIES, "--out", made.several),
        ("language", made.text, "--out", made.char),
        ("language", made.text, "--level", "word", "--out", made.word),
        ("classify", made.reviews_table, "--text", "text", "--label", "stars", "--out", made.reviews),
    ):
        assert run([str(one) for one in ("fit", *arguments, *FAST)]) == 0
    return made
