"""Valid files of every kind, damaged in every way: one message and exit 2 with nothing left behind, or a correct result."""

import contextlib
import csv
import gzip
import io
import itertools
import json
import math
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elman.cli.main import run
from elman.data.sequences import SequenceColumns, SequenceSet, read_sequences
from elman.data.series import SeriesColumns, read_series
from elman.data.text import read_text

if TYPE_CHECKING:
    from tests.cli.conftest import Line, Result

# --- valid files ----------------------------------------------------------------------------------------------------

WORDS = ("great", "awful", "café", "film", "naïve", "plot", "so", "it", '"uh"', "well,")
START = datetime(2024, 3, 1)
CHOICE = np.random.default_rng(0)


def sentences(count: int) -> list[str]:
    return [" ".join(CHOICE.choice(WORDS, size=6)) for _ in range(count)]


def written(rows: Iterable[Iterable[object]], delimiter: str = ",", **how: Any) -> bytes:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator="\n", **how).writerows(rows)
    return file.getvalue().encode()


def plain_rows(count: int = 40) -> list[dict[str, Any]]:
    numbers = CHOICE.normal(size=(count, 2)).round(3).tolist()
    return [
        {"size": size, "colour": ("rød", "blå")[i % 2], "weight": weight, "kind": ("a", "b")[i % 3 == 0]}
        for i, (size, weight) in enumerate(numbers)
    ]


def parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(rows).write_parquet(file)
    return file.getvalue()


HOURS = [["date", "load", "place"]] + [
    [START + timedelta(hours=hour), round(20 + 5 * math.sin(hour / 4), 3), "Köln"] for hour in range(90)
]
TEXTS = [["text", "stars"]] + [[text, 1 + i % 2] for i, text in enumerate(sentences(40))]
CLIPS = [["id", "step", "left", "right", "état"]] + [
    [clip, step, *CHOICE.normal(size=2).round(3), "oui" if clip % 2 else "non"]
    for clip in range(30)
    for step in range(4)
]
CASES = "# séries\n@problemName signes\n@univariate false\n@classLabel true oui non\n@data\n" + "".join(
    ":".join(",".join(map(str, CHOICE.normal(size=3 + case % 3).round(3))) for _ in range(2)) + f":{label}\n"
    for case, label in zip(range(30), itertools.cycle(("oui", "non")))
)
PLAIN = plain_rows()
TABLE = written([list(PLAIN[0]), *(row.values() for row in PLAIN)])
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in PLAIN).encode()

FILES = {
    "series.csv": written(HOURS),
    "book.txt": ("Ein Bär ging über die Brücke, und weiter.\n" * 9 + "Ende\n").encode(),
    "texts.tsv": written(TEXTS, "\t", quoting=csv.QUOTE_NONE, quotechar=None),
    "texts.csv": written(TEXTS),
    "clips.csv": written(CLIPS),
    "cases.ts": CASES.encode(),
    "plain.csv": TABLE,
    "plain.jsonl": LINES,
    "plain.parquet": parquet(PLAIN),
    "texts.tsv.gz": gzip.compress(written(TEXTS, "\t", quoting=csv.QUOTE_NONE, quotechar=None), mtime=0),
    "plain.csv.gz": gzip.compress(TABLE, mtime=0),
}
HORIZON = 3
FORECAST, LANGUAGE = "series.csv", "book.txt"
OPTIONS = {
    "series": ("forecast", "--time", "date", "--target", "load", "--horizon", str(HORIZON)),
    "book": ("language",),
    "texts": ("classify", "--text", "text", "--label", "stars"),
    "clips": ("classify", "--id", "id", "--time", "step", "--label", "état"),
    "cases": ("classify",),
    "plain": ("classify", "--label", "kind"),
}
COLUMNS = {
    "texts": SequenceColumns(text="text", label=("stars",)),
    "clips": SequenceColumns(id="id", time=("step",), label=("état",)),
    "cases": SequenceColumns(),
    "plain": SequenceColumns(label=("kind",)),
}
QUICK = ("--hidden", "4", "--set", "training.updates=2", "--set", "training.validations=1")


def stem(name: str) -> str:
    """What the data is, in whatever format."""
    return name.partition(".")[0]


# --- damage ---------------------------------------------------------------------------------------------------------

Damage = Callable[[bytes, random.Random], bytes]


def lines_of(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(1, len(data))]


def head_lost(data: bytes, rng: random.Random) -> bytes:
    return data[rng.randrange(1, len(data)) :]


def bit_flipped(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def overwritten(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(8) + data[at + 8 :]


def byte_lost(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + 1 :]


def zeroed(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes(20) + data[at + 20 :]


def part_moved(data: bytes, rng: random.Random) -> bytes:
    a, b, c = sorted(rng.randrange(len(data)) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def emptied(data: bytes, rng: random.Random) -> bytes:  # noqa: ARG001
    return b""


def appended(data: bytes, rng: random.Random) -> bytes:
    return data + rng.randbytes(30)


def latin_1(data: bytes, rng: random.Random) -> bytes:  # noqa: ARG001
    return data.decode().encode("latin-1")


def utf_16(data: bytes, rng: random.Random) -> bytes:
    return data.decode().encode(rng.choice(["utf-16", "utf-16-le", "utf-16-be"]))


def bom(data: bytes, rng: random.Random) -> bytes:  # noqa: ARG001
    return b"\xef\xbb\xbf" + data


def old_line_ends(data: bytes, rng: random.Random) -> bytes:
    return data.replace(b"\n", rng.choice([b"\r", b"\r\n"]))


def line_lost(data: bytes, rng: random.Random) -> bytes:
    lines = lines_of(data)
    del lines[rng.randrange(len(lines))]
    return b"".join(lines)


def line_twice(data: bytes, rng: random.Random) -> bytes:
    lines = lines_of(data)
    lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    return b"".join(lines)


def lines_shuffled(data: bytes, rng: random.Random) -> bytes:
    first, *lines = lines_of(data)
    rng.shuffle(lines)
    return first + b"".join(lines)


def file_twice(data: bytes, rng: random.Random) -> bytes:  # noqa: ARG001
    return data + data


def blank_lines(data: bytes, rng: random.Random) -> bytes:
    lines = lines_of(data)
    for _ in range(3):
        lines.insert(rng.randrange(len(lines)), rng.choice([b"\n", b"  \n"]))
    return b"".join(lines)


def columns_swapped(data: bytes, rng: random.Random) -> bytes:
    """In every line, or in some of them only."""
    separator = next(one for one in (b"\t", b":", b",") if all(one in line for line in lines_of(data)[5:]))
    share = rng.choice([1.0, 0.3])
    swapped = []
    for line in lines_of(data):
        first, *rest = line.rstrip(b"\n").split(separator)
        whole = rest and not line.startswith((b"@", b"#")) and rng.random() < share
        swapped.append(separator.join([rest[0], first, *rest[1:]]) + b"\n" if whole else line)
    return b"".join(swapped)


def delimiters_mixed(data: bytes, rng: random.Random) -> bytes:
    lines = lines_of(data)
    at = rng.randrange(len(lines))
    lines[at] = re.sub(rb"[,\t:]", rng.choice([b";", b"|", b" ", b",", b"\t"]), lines[at])
    return b"".join(lines)


def quote_opened(data: bytes, rng: random.Random) -> bytes:
    at = rng.choice([m.end() for m in re.finditer(rb"[,\t:\n]", data)])
    return data[:at] + b'"' + data[at:]


def number_replaced(*others: bytes) -> Damage:
    def replace(data: bytes, rng: random.Random) -> bytes:
        numbers = list(re.finditer(rb"-?\d+(\.\d+)?", data)) or list(re.finditer(rb"\w+", data))
        found = rng.choice(numbers)
        return data[: found.start()] + rng.choice(others) + data[found.end() :]

    return replace


BYTES: dict[str, Damage] = {
    damage.__name__: damage
    for damage in (
        cut, head_lost, bit_flipped, overwritten, byte_lost, zeroed, part_moved, emptied, appended,
    )
}  # fmt: skip
TEXT: dict[str, Damage] = {
    damage.__name__: damage
    for damage in (
        latin_1, utf_16, bom, old_line_ends, line_lost, line_twice, lines_shuffled, file_twice, blank_lines, columns_swapped,
        delimiters_mixed, quote_opened,
    )
} | {
    "huge": number_replaced(b"1e308", b"-1e200", b"1e400", b"9" * 400, b"1e30"),
    "infinite": number_replaced(b"inf", b"-Infinity", b"nan", b""),
    "not a number": number_replaced(b"abc", b"1,5", b"1.2.3", b"0x1F", b"1_000", "١٢".encode(), b"\x1b[31m"),
    "date broken": number_replaced(b"2024-02-30", b"31", b"0000", b"2024"),
}  # fmt: skip


def damaged(name: str, damage: str, seed: int) -> bytes:
    """A variant of a file; the text in a compressed one is damaged as text, or the compressed bytes are."""
    rng, data = random.Random(f"{name} {damage} {seed}"), FILES[name]
    if damage in BYTES:
        return BYTES[damage](data, rng)
    if name.endswith(".gz"):
        return gzip.compress(TEXT[damage](gzip.decompress(data), rng), mtime=0)
    return TEXT[damage](data, rng)


VARIANTS = [
    (name, damage)
    for name in FILES
    for damage in (*BYTES, *(() if name.endswith((".parquet", ".gz")) else TEXT))
    if (name, damage) != (LANGUAGE, "columns_swapped")
]

# --- the same files, read by other hands ----------------------------------------------------------------------------

MISSING = ("", "na", "n/a", "nan", "null", "none", "?", "-")
Row = dict[str, Any]


def number(cell: Any) -> float | None:
    """A cell as a number; None if it is missing. Raises ValueError."""
    return None if cell is None or str(cell).strip().lower() in MISSING else float(cell)


def value(cell: Any) -> float | str | None:
    try:
        return number(cell)
    except ValueError:
        return str(cell).strip()


def label(cell: Any) -> str:
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


def table(name: str, data: bytes) -> list[Row]:
    """The rows of a table, as the standard library or pyarrow read it."""
    if name.endswith(".parquet"):
        with contextlib.suppress(OSError, pa.ArrowException):
            return list(pq.read_table(io.BytesIO(data)).to_pylist())
        return PLAIN  # damage in a part that only pyarrow reads
    data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    text = data.decode("utf-8-sig")
    if ".jsonl" in name:
        found = [json.loads(line) for line in text.split("\n") if line.strip()]
        every = dict.fromkeys(name for row in found for name in row)
        return [{name: row.get(name) for name in every} for row in found]
    tabs = ".tsv" in name
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(lines, strict=True)
    head, *rows = (row for row in reader if row)
    names = [cell.strip() or str(i) for i, cell in enumerate(head, 1)]
    return [dict(zip(names, row, strict=True)) for row in rows]


def content(row: Row, without: tuple[str, ...]) -> Row:
    return {name: value(cell) for name, cell in row.items() if name not in without}


def sequences(name: str, data: bytes) -> list[tuple[Any, tuple[str, ...]]]:
    """Content and labels of each sequence, one label for each step."""
    if stem(name) == "cases":
        return cases(data)
    rows = table(name, data)
    if stem(name) == "texts":
        return [(row["text"] or "", (label(row.get("stars")),)) for row in rows]
    if stem(name) == "plain":
        return [([content(row, ("kind",))], (label(row.get("kind")),)) for row in rows]
    clips: dict[str, list[Row]] = {}
    for row in rows:
        clips.setdefault(row["id"].strip(), []).append(row)
    ordered = [sorted(clip, key=lambda row: float(row["step"])) for clip in clips.values()]
    return [
        ([content(row, ("id", "step", "état")) for row in clip], tuple(label(row.get("état")) for row in clip))
        for clip in ordered
    ]


def cases(data: bytes) -> list[tuple[Any, tuple[str, ...]]]:
    text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    start = next(i for i, line in enumerate(lines) if line.strip().lower().split()[:1] == ["@data"])
    found = []
    for line in lines[start + 1 :]:
        if line.strip() and not line.strip().startswith("#"):
            *channels, said = line.split(":")
            values = [[number(cell) for cell in channel.split(",")] if channel else [] for channel in channels]
            steps = list(itertools.zip_longest(*values))
            names = [str(i + 1) for i in range(len(channels))]
            found.append(([dict(zip(names, step, strict=True)) for step in steps], (said.strip(),) * len(steps)))
    return found


def as_read(data: SequenceSet) -> list[tuple[Any, tuple[str, ...]]]:
    """What our reader made of the file, in the words of `sequences`."""
    assert data.labels is not None
    contents = data.texts or [[described(data, step) for step in one.tolist()] for one in data.values or ()]
    labels = [[cell[0] for cell in cells] for cells in data.labels]
    lengths = [1 if isinstance(one, str) else len(one) for one in contents]
    return [
        (one, tuple(cells if len(cells) == length else cells * length))
        for one, cells, length in zip(contents, labels, lengths, strict=True)
    ]


def described(data: SequenceSet, step: list[float]) -> Row:
    row: Row = {}
    for name, x in zip(data.layout.names, step, strict=True):
        column, _, category = name.partition("=")
        if column not in data.layout.categories:
            row[name] = None if math.isnan(x) else x
        elif x == 1 or column not in row:
            row[column] = category if x == 1 else None
    return row


def series(data: bytes) -> dict[datetime, float]:
    """The values that are not missing, by time."""
    rows = table(FORECAST, data)
    values = {when(row["date"].strip()): number(row["load"]) for row in rows}
    return {time: x for time, x in values.items() if x is not None}


def when(text: str) -> datetime:
    with contextlib.suppress(ValueError):
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S")
    return datetime.fromisoformat(text)


def book(data: bytes) -> str:
    return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


# --- what must hold -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Models:
    """A run for each of the data, fitted on the whole files, and what it predicts for them."""

    folder: Path
    answers: dict[str, list[Row]]

    def run(self, name: str) -> Path:
        return self.folder / stem(name)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("models")
    made = Models(folder, {})
    for name, data in FILES.items():
        file = folder / name
        file.write_bytes(data)
        kind = stem(name)
        if not made.run(name).exists():
            task, *options = OPTIONS[kind]
            line = ["fit", task, file, *options, *QUICK, "--out", made.run(name)]
            assert run(list(map(str, line))) == 0
        assert run(["predict", str(made.run(name)), str(file), "--out", str(folder / "p.jsonl")]) == 0
        made.answers[name] = json_lines(folder / "p.jsonl")
    return made


def json_lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def refused(done: "Result", case: str) -> bool:
    """Whether there was one message; nothing else may have happened then."""
    if done.code == 0:
        return False
    assert (done.code, done.out) == (2, ""), (case, done)
    (message,) = done.err.splitlines()
    assert message.startswith("elman: "), (case, message)
    assert message.isprintable(), (case, message)
    return True


def check_reading(name: str, path: Path) -> None:
    """What was read equals what other hands read of the same file."""
    data = path.read_bytes()
    if name == FORECAST:
        (one,) = read_series([path], SeriesColumns(("load",), ("date",))).series
        ours = {t.item(): v for t, v in zip(one.times, one.values[:, 0].tolist(), strict=True) if v == v}
        assert ours == series(data)
    elif name == LANGUAGE:
        assert "".join(read_text(path)) == book(data)
    else:
        assert as_read(read_sequences([path], COLUMNS[stem(name)])) == sequences(name, data)


def check_answers(name: str, path: Path, answers: list[Row], models: Models) -> None:
    """Every sequence has its answer, and those that the damage spared have the same as before."""
    data = path.read_bytes()
    if name == FORECAST:
        last = max(series(data))
        hours = [str(last + timedelta(hours=hour)) for hour in range(1, HORIZON + 1)]
        assert [row["date"].replace("T", " ") for row in answers] == [hour[: len(answers[0]["date"])] for hour in hours]
        return
    if name == LANGUAGE:
        assert [row["text"] for row in answers] == book(data).removesuffix("\n").split("\n")
        return
    whole = {
        repr(one): answer for (one, _), answer in zip(sequences(name, FILES[name]), models.answers[name], strict=True)
    }
    found = sequences(name, data)
    assert len(found) == len(answers)
    for (one, _), answer in zip(found, answers, strict=True):
        before = whole.get(repr(one), answer)
        assert all(answer[key] == pytest.approx(before[key], abs=1e-5) for key in answer if key.startswith("p"))


SCORED = ("cut", "bit_flipped", "line_lost", "latin_1", "huge")
"""Evaluation reads as prediction does and takes longest: of the first of the variants only these are scored."""


def check_variant(elman: "Line", models: Models, tmp_path: Path, name: str, damage: str, seed: int) -> None:
    path = tmp_path / name
    path.write_bytes(damaged(name, damage, seed))
    case = f"{name}, {damage}, {seed}"
    task, *options = OPTIONS[stem(name)]
    fitted = elman("fit", task, name, *options, "--out", "run", "--dry-run")
    if not refused(fitted, case):
        check_reading(name, path)
    predicted = elman("predict", models.run(name), name, "--out", "p.jsonl")
    if not refused(predicted, case):
        check_answers(name, path, json_lines(tmp_path / "p.jsonl"), models)
        (tmp_path / "p.jsonl").unlink()
    if seed or damage in SCORED:
        scored = elman("evaluate", models.run(name), name, "--json")
        if not refused(scored, case):
            assert json.loads(scored.out)["count"] > 0
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(("name", "damage"), VARIANTS)
def test_damaged_files(elman: "Line", models: Models, tmp_path: Path, name: str, damage: str) -> None:
    check_variant(elman, models, tmp_path, name, damage, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 8))
@pytest.mark.parametrize(("name", "damage"), VARIANTS)
def test_many_damaged_files(elman: "Line", models: Models, tmp_path: Path, name: str, damage: str, seed: int) -> None:
    check_variant(elman, models, tmp_path, name, damage, seed)


@pytest.mark.parametrize(
    ("name", "damage"),
    [("series.csv", "line_lost"), ("book.txt", "cut"), ("cases.ts", "line_twice"), ("plain.csv", "line_lost"),
     ("texts.tsv", "cut"), ("texts.tsv.gz", "cut"), ("plain.parquet", "bit_flipped")],
)  # fmt: skip
def test_a_fit_on_damaged_data_leaves_a_whole_run_or_none(
    elman: "Line", tmp_path: Path, name: str, damage: str
) -> None:
    (tmp_path / name).write_bytes(damaged(name, damage, 0))
    task, *options = OPTIONS[stem(name)]
    fitted = elman("fit", task, name, *options, *QUICK, "--out", "run")
    if refused(fitted, f"{name}, {damage}"):
        assert [path.name for path in tmp_path.iterdir()] == [name]
    else:
        assert elman("predict", "run", name, "--out", "p.jsonl").code == 0
        assert json_lines(tmp_path / "p.jsonl")


def test_a_process_of_its_own_says_one_line(tmp_path: Path) -> None:
    name = "plain.parquet"
    (tmp_path / name).write_bytes(damaged(name, "zeroed", 20))  # with this a thread of polars panics
    task, *options = OPTIONS[stem(name)]
    line = [sys.executable, "-m", "elman", "fit", task, name, *options, "--out", "run"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"elman: {name}")
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


# --- runs -----------------------------------------------------------------------------------------------------------

RUN_FILES = ("config.toml", "codec.json", "tail.safetensors", "model.safetensors")
RUN_VARIANTS = [(file, damage) for file in RUN_FILES for damage in BYTES]


def check_run(elman: "Line", models: Models, tmp_path: Path, name: str, variant: tuple[str, str], seed: int) -> None:
    """A run with a damaged file is refused or at work; that one weight is another than it was cannot be known."""
    file, damage = variant
    copy = tmp_path / "copy"
    copy.mkdir()
    for one in RUN_FILES:
        shutil.copy(models.run(name) / one, copy / one)
    data = (copy / file).read_bytes()
    (copy / file).write_bytes(BYTES[damage](data, random.Random(f"{name} {file} {damage} {seed}")))
    case = f"{name}, {file}, {damage}, {seed}"
    bad = refused(elman("predict", copy, models.folder / name, "--out", "p.jsonl"), case)
    assert (tmp_path / "p.jsonl").exists() != bad
    refused(elman("describe", copy), case)
    refused(elman("stream", copy), case)
    assert {path.name for path in copy.iterdir()} == set(RUN_FILES)


@pytest.mark.parametrize("variant", RUN_VARIANTS)
def test_damaged_runs(elman: "Line", models: Models, tmp_path: Path, variant: tuple[str, str]) -> None:
    check_run(elman, models, tmp_path, "texts.tsv", variant, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("variant", RUN_VARIANTS)
@pytest.mark.parametrize("name", [FORECAST, LANGUAGE, "texts.tsv", "plain.csv"])
def test_many_damaged_runs(
    elman: "Line", models: Models, tmp_path: Path, name: str, variant: tuple[str, str], seed: int
) -> None:
    check_run(elman, models, tmp_path, name, variant, seed)
