"""`elman bench`: JSON, table, files, and every message."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from elman.cli import bench

if TYPE_CHECKING:
    from tests.cli.conftest import Line

TINY = ("--shapes", "2x4x3x5", "--rounds", "2")


def in_a_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    code = "from elman.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def test_json(tmp_path: Path) -> None:
    given = (
        "--cells",
        "gru,highway",
        "--backends",
        "loop,torch",
        *TINY,
        "--out",
        str(tmp_path / "new" / "out"),
        "--json",
    )
    done = in_a_process("bench", "train", *given)
    assert (done.returncode, done.stderr) == (0, "")
    shown = json.loads(done.stdout)
    assert {"cpu", "cores", "torch", "core", "threads", "rounds", "peak_gflops"} <= set(shown["machine"])
    measured: list[dict[str, Any]] = shown["rows"]
    by_name = {(row["cell"], row["backend"]): row for row in measured if row["backend"] != "lax.scan"}
    assert list(by_name) == [
        ("gru", "loop"), ("gru", "torch"), ("gru", "nn.GRU"), ("highway", "loop"), ("lstm", "nn.LSTM")
    ]  # fmt: skip
    assert by_name["gru", "loop"]["yardstick"] == "nn.GRU"
    assert by_name["highway", "loop"]["yardstick"] == "nn.LSTM"
    for row in measured:
        assert [row[name] for name in ("batch", "time", "inputs", "hidden", "layers")] == [2, 4, 3, 5, 1]
        assert 0 < row["fastest"] <= row["milliseconds"]
        assert row["gflops"] == pytest.approx(1000 * row["gflop"] / row["milliseconds"])
        assert 0 < row["share_of_peak"] < 1
    for (_, backend), row in by_name.items():
        yardstick = next(other for (_, name), other in by_name.items() if name == row["yardstick"])
        assert row["ratio"] == pytest.approx(yardstick["milliseconds"] / row["milliseconds"])
        assert row["ratio"] == 1 or backend != row["yardstick"]
    assert json.loads((tmp_path / "new" / "out" / "bench.json").read_text())["rows"] == measured
    assert (tmp_path / "new" / "out" / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_the_table(elman: "Line", monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ELMAN_CACHE", str(tmp_path))
    done = elman("bench", "--cells", "mgu", *TINY, "--backends", "loop,scan")
    assert (done.code, done.err) == (0, "")
    lines = [line.split() for line in done.out.splitlines()]
    assert [line[:2] for line in lines if line and line[0] in ("mgu", "lstm")][:2] == [
        ["mgu", "loop"],
        ["lstm", "nn.LSTM"],
    ]
    assert "2x4x3x5" in done.out
    assert "one thread" in done.out
    assert list(tmp_path.iterdir()) == []  # nothing is stored but by --tune


def test_a_cell_without_the_backend_is_left_out_and_named(elman: "Line") -> None:
    done = elman("bench", "--cells", "mgu,gru", *TINY, "--backends", "torch")
    assert done.code == 0
    assert "mgu is left out: it runs on loop" in done.err
    assert "mgu" not in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("stream",), "`elman bench stream` is not there yet; `elman bench train` times training"),
        (("trian",), "there is no benchmark 'trian'; did you mean 'train'? Valid: train"),
        (("--cells", "lstn"), "there is no cell 'lstn'; did you mean "),
        (("--backends", "cuda"), "there is no backend 'cuda'; Valid: auto, loop, "),
        (("--shapes", "32x100x64"), "expected a shape such as 32x100x64x128"),
        (("--shapes", "2x0x3x4"), "each at least 1), got '2x0x3x4'"),
        (("--shapes", "2x3x3xfour"), "got '2x3x3xfour'"),
        (("--rounds", "0"), "expected `rounds` >= 1, got 0"),
        (("--threads", "0"), "expected `threads` in 1.."),
        (("--threads", "100000"), "got 100000"),
        (("--cells", "mgu", "--backends", "torch", *TINY), "there is nothing to measure: mgu is left out: it runs on loop"),
        (("--tune", "--cells", "gru"), "`--tune` measures a table of its own"),
    ],
)  # fmt: skip
def test_wrong_use(elman: "Line", arguments: tuple[str, ...], message: str) -> None:
    done = elman("bench", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("elman: ")
    assert message in done.err


def test_without_the_core_there_is_nothing_to_tune(tmp_path: Path) -> None:
    done = in_a_process("bench", "--tune", ELMAN_CORE="off", ELMAN_CACHE=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is nothing to choose between: elman's compiled core is switched off" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_help_offers_training_alone(elman: "Line") -> None:
    done = elman("bench", "--help")
    assert (done.code, done.err) == (0, "")
    assert "stream" not in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    assert " ".join(done.out.split()).endswith(" ".join(bench.EXAMPLES.replace("[b]", "").replace("[/b]", "").split()))


def test_the_examples_of_the_help_work(elman: "Line", tmp_path: Path) -> None:
    for line in bench.EXAMPLES.splitlines():
        if line.startswith("elman "):
            done = elman(*line.split()[1:], "--rounds", "1")
            assert done.code == 0, done.err
    assert (tmp_path / "speed" / "bench.png").is_file()


def test_the_process_is_left_as_it_was() -> None:
    from elman.experiments.bench import measure
    from elman.experiments.bench_timing import Shape

    before = torch.get_num_threads(), os.sched_getaffinity(0), torch.get_rng_state()
    measure(["elman"], ["loop"], [Shape(2, 4, 3, 5)], rounds=1)
    after = torch.get_num_threads(), os.sched_getaffinity(0), torch.get_rng_state()
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])
