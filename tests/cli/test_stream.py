"""`elman stream`: JSON lines in and out, equal to `predict`, states saved and restored."""

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tests.cli.conftest import Data, Line, Result


Row = Mapping[str, object]


def lines(rows: Sequence[Row]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def answers(done: "Result") -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]


def pushes(file: Path, **extra: object) -> list[dict[str, Any]]:
    """The rows of a table of `load` as lines of a stream; a blank cell is null."""
    with file.open() as opened:
        return [
            {"x": {"load": float(row["load"]) if row["load"] else None}, "time": row["date"], **extra}
            for row in csv.DictReader(opened)
        ]


def quantiles(table: str, prefix: str = "load", **where: str) -> NDArray[np.float64]:
    """(quantiles, horizon) of what `predict` wrote."""
    rows = [row for row in csv.DictReader(table.splitlines()) if all(row[k] == v for k, v in where.items())]
    return np.array([[float(row[name]) for row in rows] for name in rows[0] if name.startswith(f"{prefix}_")])


def test_the_last_answer_is_what_predict_says(elman: "Line", data: "Data") -> None:
    """Gaps and blank cells included: the stream fills them itself."""
    done = elman("stream", data.load, stdin=lines(pushes(data.old)))
    assert (done.code, done.err) == (0, "")
    got = answers(done)
    assert len(got) == 395
    assert list(got[-1]) == ["y"]
    assert got[50]["flags"] == ["5 rows left out, taken as missing"]
    expected = quantiles(elman("predict", data.load, data.old).out)
    np.testing.assert_allclose(list(got[-1]["y"]["load"].values()), expected, rtol=1e-5)
    assert list(got[-1]["y"]["load"]) == ["0.1", "0.5", "0.9"]


def test_several_series_with_everything_known(elman: "Line", data: "Data") -> None:
    with data.cities.open() as opened:
        rows = list(csv.DictReader(opened))
    ahead = [{"hour": int(row["hour"]), "kind": row["kind"]} for row in rows]
    pushed = []
    for i, row in enumerate(rows):
        left = 199 - i % 200
        x: dict[str, object] = {name: float(row[name]) for name in ("load", "price", "wind", "hour", "size")}
        known = ahead[i + 1 : i + 1 + min(4, left)]
        x |= {"kind": row["kind"], "city": row["city"]}
        pushed.append({"x": x, "time": row["date"], "future": known, "n": row["city"]})
    turns = [row for pair in zip(pushed[:200], pushed[200:], strict=True) for row in pair]  # row about
    got = answers(elman("stream", data.several, stdin=lines(turns)))
    assert [answer["n"] for answer in got] == ["Ulm", "Bonn"] * 200
    table = elman("predict", data.several, data.cities).out
    for answer in got[-2:]:
        for target in ("load", "price"):
            expected = quantiles(table, target, city=answer["n"])
            np.testing.assert_allclose(list(answer["y"][target].values()), expected, rtol=1e-5)
    assert got[-1]["flags"] == ["4 of the next 4 rows of hour, kind are missing"]
    assert "flags" not in got[100]


def test_two_halves_with_a_saved_state_are_the_whole(elman: "Line", data: "Data") -> None:
    rows = [*pushes(data.new, n=7), *pushes(data.new, n="b")]
    whole = elman("stream", data.load, stdin=lines(rows)).out
    first = elman("stream", data.load, "--state", "s", stdin=lines(rows[:150])).out
    second = elman("stream", data.load, "--state", "s", stdin=lines(rows[150:])).out
    assert first + second == whole
    again = elman("stream", data.load, "--state", "s", stdin=lines([{"x": [20], "n": 7}]))
    assert answers(again)[0]["n"] == 7


def test_an_interrupt_while_waiting_saves_the_state(elman: "Line", data: "Data", tmp_path: Path) -> None:
    rows = lines(pushes(data.new)).splitlines(keepends=True)
    code = "from elman.cli.main import main; main()"
    command = [sys.executable, "-c", code, "stream", str(data.load), "--state", "s"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path) as stream:
        assert stream.stdin is not None
        assert stream.stdout is not None
        for row in rows[:5]:
            stream.stdin.write(row)
            stream.stdin.flush()
            stream.stdout.readline()
        stream.send_signal(signal.SIGINT)
        assert stream.wait(60) == 130
    went_on = elman("stream", data.load, "--state", "s", stdin=rows[5]).out
    assert went_on == elman("stream", data.load, stdin=b"".join(rows[:6])).out.splitlines(keepends=True)[-1]


def test_the_time_defaults_to_the_last_plus_one_step(elman: "Line", data: "Data") -> None:
    rows = pushes(data.new)
    silent = [rows[0], *({"x": row["x"]} for row in rows[1:])]
    assert elman("stream", data.load, stdin=lines(silent)).out == elman("stream", data.load, stdin=lines(rows)).out


def test_values_by_name_by_order_and_missing(elman: "Line", data: "Data") -> None:
    begin: Row = {"x": [20], "time": "2024-03-01"}
    by_name: list[Row] = [begin, {"x": {"load": 21}}]
    by_order: list[Row] = [begin, {"x": [21]}]
    assert elman("stream", data.load, stdin=lines(by_name)).out == elman("stream", data.load, stdin=lines(by_order)).out
    missing: list[Row] = [begin, {"x": [None]}]
    skipped: list[Row] = [begin, {"x": [22], "time": "2024-03-01 02:00"}]
    got = answers(elman("stream", data.load, stdin=lines([*missing, {"x": [22]}])))
    assert got[-1]["y"] == answers(elman("stream", data.load, stdin=lines(skipped)))[-1]["y"]


def test_a_value_out_of_range_is_flagged(elman: "Line", data: "Data") -> None:
    got = answers(elman("stream", data.load, stdin=lines([{"x": [1e9], "time": "2024-03-01"}])))
    assert got[0]["flags"] == ["load: outside the range of the training data"]


BAD_LINES = {
    "not json": ("not json", "expected a JSON object, got 'not json'"),
    "a list": ("[]", 'expected a JSON object with "x"'),
    "no x": ('{"y": 3}', 'expected a JSON object with "x"'),
    "unknown key": ('{"x": [20], "tme": 3}', "unknown key 'tme'; valid: x, time, future, n"),
    "unknown column": ('{"x": {"load": 1, "lod": 2}}', "unknown column 'lod'"),
    "too many": ('{"x": [1, 2]}', "(load), got 2"),
    "no target": ('{"x": {}}', "expected a value of load"),
    "text": ('{"x": ["abc"]}', "expected a number for 'load', got 'abc'"),
    "infinite": ('{"x": [1e999]}', "expected a finite number for 'load'"),
    "a number": ('{"x": 20}', "expected"),
    "time going back": ('{"x": [20], "time": "2024-01-01"}', "is not later than that of the row before"),
    "time off the grid": ('{"x": [20], "time": "2024-03-01 10:30"}', "not on the grid"),
    "time far ahead": ('{"x": [20], "time": "9999-01-01"}', "is it right?"),
    "time no time": ('{"x": [20], "time": "noon"}', "'noon'"),
    "time a number": ('{"x": [20], "time": 5}', "got the integer 5"),
    "key a list": ('{"x": [20], "n": [1]}', 'expected "n" to be a number or text, got [1]'),
    "future": ('{"x": [20], "future": [[1]]}', "without columns that are known ahead"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_line_is_answered_and_changes_nothing(elman: "Line", data: "Data", case: str) -> None:
    bad, words = BAD_LINES[case]
    first, last = b'{"x": [20], "time": "2024-03-01"}\n', b'{"x": [21]}\n'
    good = elman("stream", data.load, stdin=first + last).out.splitlines()
    done = elman("stream", data.load, stdin=first + bad.encode() + b"\n\n" + last)
    got = done.out.splitlines()
    assert done.code == 2
    assert done.err == ""
    assert [got[0], got[2]] == good
    error = json.loads(got[1])
    assert list(error) == ["error"]
    assert error["error"].startswith("line 2: ")
    assert words in error["error"], error


def test_bytes_that_are_not_utf8(elman: "Line", data: "Data") -> None:
    done = elman("stream", data.char, stdin=b'{"x": "a"}\n\xe9\n{"x": "b"}\n')
    assert done.code == 2
    assert [list(one) for one in answers(done)] == [["y"], ["error"], ["y"]]
    assert "line 2: expected UTF-8 text, got byte 0xe9 at byte 0" in answers(done)[1]["error"]


def test_the_first_row_needs_its_time(elman: "Line", data: "Data") -> None:
    done = elman("stream", data.load, stdin=b'{"x": [20]}\n')
    assert done.code == 2
    assert 'the first row of a stream needs its "time"' in answers(done)[0]["error"]


@pytest.mark.parametrize("kind", ["char", "word"])
def test_symbols(elman: "Line", data: "Data", kind: str) -> None:
    text = ["T", "h", "e"] if kind == "char" else ["The", "quick", "brown"]
    done = elman("stream", getattr(data, kind), "--top", "3", stdin=lines([{"x": symbol} for symbol in [*text, "Ü"]]))
    assert done.code == 0
    got = answers(done)
    for answer in got:
        shares = list(answer["y"].values())
        assert len(shares) == 3
        assert shares == sorted(shares, reverse=True)
        assert 0 < sum(shares) <= 1
    assert [answer.get("flags") for answer in got] == [None, None, None, ["unknown symbol 'Ü'"]]
    two = elman("stream", getattr(data, kind), stdin=lines([{"x": "ab cd"}, {"x": ""}, {"x": 3}]))
    assert two.code == 2
    assert all("error" in answer for answer in answers(two))


@pytest.mark.parametrize("name", ["nothing", "garbage"])
def test_a_state_that_is_not_one(elman: "Line", data: "Data", tmp_path: Path, name: str) -> None:
    state = tmp_path / "state"
    state.write_bytes(b"" if name == "nothing" else b"\x93garbage" * 9)
    before = state.read_bytes()
    done = elman("stream", data.char, "--state", state, stdin=b'{"x": "a"}\n')
    assert (done.code, done.out) == (2, "")
    assert "expected a state that `snapshot` wrote" in done.message
    assert state.read_bytes() == before


def test_a_state_of_another_run(elman: "Line", data: "Data") -> None:
    """Both have one LSTM layer of 8 units: the shapes alone would not tell."""
    elman("stream", data.char, "--state", "s", stdin=b'{"x": "a"}\n')
    done = elman("stream", data.word, "--state", "s", stdin=b'{"x": "fox"}\n')
    assert (done.code, done.out) == (2, "")
    assert "the state is of another model" in done.message
