"""Every way a file can be bad, through the command line: the message, the exit code, and nothing left behind."""

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Data, Line

GOOD = "".join(f"2024-01-{d:02},{d},x\n" for d in range(1, 32))
BLANK = "".join(f"2024-01-{d:02},,x\n" for d in range(1, 32))
HEAD = "date,load,kind\n"
FIT = ("fit", "forecast", "--time", "date", "--target", "load", "--horizon", "3", "--out", "run")


def replaced(line: int, text: str) -> str:
    lines = (HEAD + GOOD).splitlines(keepends=True)
    lines[line - 1] = text + "\n"
    return "".join(lines)


AMBIGUOUS = HEAD + "".join(f"{d:02}/{m:02}/2024,{d},x\n" for m in (1, 2, 3) for d in range(1, 13))

BAD_FILES = {
    "a number": (replaced(9, "2024-01-08,abc,x"), ("bad.csv, line 9", "number", "'load'", "'abc'", "empty cell")),
    "a date": (replaced(9, "2024-13-08,8,x"), ("bad.csv, line 9", "'2024-13-08'", "month 13")),
    "infinite": (replaced(9, "2024-01-08,inf,x"), ("bad.csv, line 9", "'load'", "infinite", "finite number")),
    "one time twice": (replaced(9, "2024-01-07,8,x"), ("bad.csv, line 9", "2024-01-07", "line 8", "--id")),
    "empty": ("", ("bad.csv is empty",)),
    "header only": (HEAD, ("bad.csv", "header but no rows")),
    "short": (HEAD + GOOD[:60], ("rows to train on", "horizon of 3 needs at least 8", "shorter horizon")),
    "NUL": (replaced(9, "2024-01-08,8\0,x"), ("bad.csv, line 9", "NUL byte")),
    "ragged, more": (replaced(9, "2024-01-08,8,x,y"), ("bad.csv, line 9", "expected 3 cells", "got 4")),
    "ragged, less": (replaced(9, "2024-01-08,8"), ("bad.csv, line 9", "expected 3 cells", "got 2")),
    "other delimiter": ((HEAD + GOOD).replace(",", ";"), ("bad.csv", "separated by ';'")),
    "ambiguous dates": (AMBIGUOUS, ("bad.csv, line 2", "day/month or month/day", "--time-format dayfirst")),
    "no values": (HEAD + BLANK, ("'load'", "no value at all")),
    "no such grid": (replaced(9, "2024-01-07T10:00,8,x"), ("bad.csv", "grid", "2024-01-07 10:00")),
    "column twice": (HEAD.replace("kind", "load") + GOOD, ("bad.csv", "two columns are called 'load'")),
}
FOR_FIT_ONLY = ("short", "no values", "no such grid")  # a run knows its grid, and predicts from any number of rows
CASES = [(verb, case) for case in BAD_FILES for verb in ("fit", "predict") if verb == "fit" or case not in FOR_FIT_ONLY]


@pytest.mark.parametrize(("verb", "case"), CASES)
def test_a_bad_file_is_told_with_its_line(elman: "Line", data: "Data", tmp_path: Path, case: str, verb: str) -> None:
    content, words = BAD_FILES[case]
    (tmp_path / "bad.csv").write_text(content)
    done = elman(*FIT, "bad.csv") if verb == "fit" else elman("predict", data.load, "bad.csv", "--out", "p.csv")
    assert done.code == 2
    assert done.out == ""
    assert all(word in done.message for word in words), done.message
    assert done.err.count("elman: ") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


BAD_BYTES = {
    "latin-1 in UTF-8": ((HEAD + GOOD).encode() + b"2024-02-01,1,\xe9\n", ("line 33", "UTF-8", "0xe9")),
    "UTF-16": ((HEAD + GOOD).encode("utf-16"), ("UTF-16", "Save it as UTF-8")),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0", ("line 1", "UTF-8")),
}


@pytest.mark.parametrize("case", BAD_BYTES)
def test_bytes_that_are_not_text(elman: "Line", tmp_path: Path, case: str) -> None:
    content, words = BAD_BYTES[case]
    (tmp_path / "bad.csv").write_bytes(content)
    done = elman(*FIT, "bad.csv")
    assert done.code == 2
    assert all(word in done.message for word in ("bad.csv", *words)), done.message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["bad.csv.gz", "bad.csv"])
def test_a_truncated_gz(elman: "Line", tmp_path: Path, name: str) -> None:
    whole = gzip.compress((HEAD + GOOD).encode())
    (tmp_path / name).write_bytes(whole[:-20])
    done = elman(*FIT, name)
    assert (done.code, done.message) == (
        2,
        f"elman: {name} is truncated: the compressed data ends too early; copy it again",
    )
    (tmp_path / name).write_bytes(whole[:30] + b"\0\0\0\0" + whole[34:])
    assert elman(*FIT, name).code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nosuch.csv",), ("there is no file nosuch.csv",)),
        (("god.csv",), ("there is no file god.csv", "did you mean good.csv")),
        ((".",), ("expected a file", "folder")),
        (("good.dat",), ("good.dat", "--format", "csv, tsv, jsonl, parquet")),
        (("good.csv", "--format", "parquet"), ("good.csv", "not a readable Parquet")),
        (("good.csv", "--format", "jsonl"), ("good.csv, line 1", "JSON object per line")),
        (("good.csv", "--format", "txt"), ("expected a table, got txt", "--format")),
        (("good.csv", "--format", "xls"), ("no format 'xls'", "csv, jsonl")),
        (("good.csv", "--target", "laod"), ("no column 'laod'", "did you mean 'load'")),
        (("good.csv", "--time", "dat"), ("no column 'dat'", "did you mean 'date'")),
        (("good.csv", "--target", "9"), ("has 3 columns", "-1 is the last", "'9'")),
        (("good.csv", "--past", "load"), ("'load' is named twice",)),
        (("good.csv", "--time-format", "%d/%m/%Y"), ("good.csv, line 2", "%d/%m/%Y", "'2024-01-01'")),
        (("good.csv", "--no-header"), ("no column 'load'", "1, 2, 3")),
        (("good.csv", "--valid", "nosuch.csv"), ("there is no file nosuch.csv",)),
        (("good.csv", "--valid", "good.csv"), ("share 31 times", "2024-01-01", "2024-01-31", "remove")),
        (("-",), ("standard input", "--format")),
    ],
)
def test_the_wrong_file_or_column(
    elman: "Line", tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    (tmp_path / "good.csv").write_text(HEAD + GOOD)
    (tmp_path / "good.dat").write_text(HEAD + GOOD)
    done = elman(*FIT, *arguments)
    assert done.code == 2
    assert all(word in done.message for word in words), done.message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"too short\n", ("bad.txt", "expected at least 200 symbols", "longer text")),
        (b"", ("bad.txt is empty",)),
        (b"abc\n" * 100 + b"caf\xe9\n", ("bad.txt, line 101", "UTF-8", "0xe9")),
        (b"abc\n" * 100 + b"\0\n", ("bad.txt, line 101", "NUL")),
    ],
)
def test_bad_text(elman: "Line", data: "Data", tmp_path: Path, content: bytes, words: tuple[str, ...]) -> None:
    (tmp_path / "bad.txt").write_bytes(content)
    done = elman("fit", "language", "bad.txt", "--out", "run")
    assert done.code == 2
    assert all(word in done.message for word in words), done.message
    assert not (tmp_path / "run").exists()
    if len(content) > 100:
        again = elman("evaluate", data.char, "bad.txt", "--json")
        assert (again.code, again.out, again.message) == (2, "", done.message)


def test_a_table_is_not_a_text_unless_said(elman: "Line", data: "Data") -> None:
    done = elman("fit", "language", data.old, "--dry-run")
    assert done.code == 2
    assert "expected a text, got csv; if its lines are the text, add --format txt" in done.message
    assert elman("fit", "language", data.old, "--dry-run", "--format", "txt").code == 0


def test_validation_text_that_was_trained_on_is_refused(elman: "Line", data: "Data", tmp_path: Path) -> None:
    copy = tmp_path / "copy.txt"
    copy.write_text(data.text.read_text()[90:700])
    done = elman("fit", "language", data.text, "--valid", copy, "--out", "run")
    assert done.code == 2
    assert "100 % of the validation text is in the training text" in done.message
    assert not (tmp_path / "run").exists()


def test_scores_on_text_that_was_trained_on_are_doubted(elman: "Line", data: "Data", tmp_path: Path) -> None:
    assert "100 % of the text was seen in fitting" in elman("evaluate", data.char, data.text).err
    new = tmp_path / "new.txt"
    new.write_text("".join(reversed(data.text.read_text())))
    assert "seen in fitting" not in elman("evaluate", data.char, new).err


def test_a_time_off_the_grid_of_the_run(elman: "Line", data: "Data", tmp_path: Path) -> None:
    (tmp_path / "off.csv").write_text("date,load\n2024-02-01 10:00,1\n2024-02-01 10:30,2\n")
    done = elman("predict", data.load, "off.csv")
    assert done.code == 2
    assert "off.csv, line 3: time 2024-02-01 10:30 is not on the grid" in done.message


def test_what_was_seen_in_fitting_only_warms_up(elman: "Line", data: "Data", tmp_path: Path) -> None:
    done = elman("evaluate", data.load, data.old)
    assert done.code == 2
    assert "nothing to score: expected at least 6 rows" in done.message
    assert "0 rows to score" in done.message
    short = tmp_path / "short.csv"
    short.write_text("".join(data.new.read_text().splitlines(keepends=True)[:4]))
    done = elman("evaluate", data.load, short)
    assert done.code == 2
    assert "3 rows to score, fewer than the horizon" in done.message


def test_repairs_are_told_with_counts(elman: "Line", data: "Data", tmp_path: Path) -> None:
    head, *rows = data.new.read_text().splitlines(keepends=True)
    rows[10] = rows[10].replace(rows[10].split(",")[1], "")
    rows[11] = rows[11].replace(rows[11].split(",")[1], "NaN")
    rows[12] = rows[12].replace(rows[12].split(",")[1], "900")
    del rows[40:43]
    rows[50], rows[51] = rows[51], rows[50]
    (tmp_path / "rough.csv").write_text(head + "".join(rows))
    for verb in ("evaluate", "predict"):
        done = elman(verb, data.load, "rough.csv")
        assert done.code == 0
        assert "1 row out of time order; sorted" in done.err
        assert "column 'load': 2 values missing" in done.err
        assert "3 rows missing in 1 gap of a grid that is hourly" in done.err
        assert "column 'load': 1 value outside the range of the training data" in done.err
        assert done.err.count("missing") == 3  # in two notes: nothing is told twice


def test_unknown_symbols_and_categories_are_counted(elman: "Line", data: "Data", tmp_path: Path) -> None:
    (tmp_path / "odd.txt").write_text("The quick brown Ünicorn\n")
    assert "1 of 24 symbols were not seen in training" in elman("evaluate", data.char, "odd.txt").err
    assert "1 of 5 symbols were not seen in training" in elman("predict", data.word, "odd.txt").err
    assert "1 of 2 symbols of the prompt" in elman("generate", data.word, "--prompt", "The unicorn").err
    (tmp_path / "odd.csv").write_text(data.cities_new.read_text().replace(",work,", ",strike,", 3))
    done = elman("predict", data.several, "odd.csv")
    assert done.code == 0
    assert "column 'kind': 3 values not seen in training (such as 'strike')" in done.err
