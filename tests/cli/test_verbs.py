"""Every verb at work: help, JSON shapes, formats, settings in and out."""

import contextlib
import gzip
import io
import json
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from elman.cli import bench, demo, describe, evaluate, fit, generate, predict, report, stream
from elman.cli import list as list_verb
from elman.cli.main import run

if TYPE_CHECKING:
    from tests.cli.conftest import Data, Line

VERBS = {
    module.NAME: module
    for module in (demo, fit, evaluate, predict, generate, stream, report, list_verb, describe, bench)
}
FAST = ("--hidden", "8", "--set", "training.updates=20", "--set", "training.validations=2")
SERIES = ("--time", "date", "--target", "load", "--horizon", "6")


def examples(verb: str) -> list[str]:
    return [line for line in VERBS[verb].EXAMPLES.splitlines() if "elman " in line]


@pytest.mark.parametrize("verb", VERBS)
def test_help_ends_with_examples(elman: "Line", verb: str) -> None:
    done = elman(verb, "--help")
    assert (done.code, done.err) == (0, "")
    shown = " ".join(done.out.split())
    assert len(examples(verb)) >= 2
    assert shown.endswith(" ".join(["Examples", *examples(verb)]))
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize("example", [line for verb in VERBS if verb != "demo" for line in examples(verb)])
def test_the_examples_of_the_help_work(elman: "Line", data: "Data", tmp_path: Path, example: str) -> None:
    fed, _, line = example.rpartition("| ")
    line, _, file = line.partition(" < ")
    arguments = shlex.split(line)[1:]
    for name, source in {"runs/load": data.load, "runs/book": data.char, "runs/reviews": data.reviews}.items():
        if arguments[0] != "fit":
            shutil.copytree(source, tmp_path / name)
    rows = data.new.read_bytes()
    for name in ("demand.csv", "demand-of-june.csv"):
        (tmp_path / name).write_bytes(data.old.read_bytes() if name == "demand.csv" else rows)
    for name in ("book.txt", "other-book.txt", "sentences.txt"):
        (tmp_path / name).write_bytes(data.text.read_bytes())
    for name in ("reviews.tsv", "new.tsv"):
        (tmp_path / name).write_bytes(data.reviews_table.read_bytes())
    cycles = "".join(f"{i},{t},{t / 2},{20 + i}\n" for i in range(24) for t in range(4))
    (tmp_path / "engines.csv").write_text("engine,cycle,heat,life\n" + cycles)
    first = b'{"x": {"load": 31.5}, "time": "2024-02-01"}\n'
    (tmp_path / "new-rows.jsonl").write_bytes(first)
    if arguments[0] == "fit":
        arguments += ["--dry-run"]
    said = shlex.split(fed)[1].encode() + b"\n" if fed else (tmp_path / file).read_bytes() if file else b""
    done = elman(*arguments, stdin=said)
    assert (done.code, done.err.count("elman:")) == (0, 0), done.err


def test_version_and_list(elman: "Line") -> None:
    assert elman("--version").out.startswith("elman 0.")
    assert elman("list").out.startswith("tasks\n  classify")
    shown = json.loads(elman("list", "--json").out)
    assert {"forecast", "language"} <= set(shown["tasks"])
    assert {"elman", "gru", "lstm"} <= set(shown["encoders"])
    assert list(json.loads(elman("list", "cells", "--json").out)) == ["cells"]
    assert all(line for kind in shown.values() for line in kind.values())


def test_nothing_said_shows_the_help(elman: "Line") -> None:
    done = elman()
    assert done.code == 2
    assert "Commands" in done.out + done.err


def test_help_does_not_load_torch() -> None:
    script = "import sys; from elman.cli.main import run; run(['--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(shutil.which("elman", path=Path(sys.executable).parent) is None, reason="elman is not installed")
def test_the_installed_command(data: "Data", tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("elman")
    done = subprocess.run([command, "describe", data.load, "--json"], capture_output=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["task"] == "forecast"
    done = subprocess.run([command, "describe", "nosuch"], capture_output=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)


@pytest.fixture(scope="module")
def fitted(data: "Data", tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The one JSON object of a fit."""
    out = tmp_path_factory.mktemp("fitted") / "run"
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        assert run([str(a) for a in ("fit", "forecast", data.old, *SERIES, *FAST, "--out", out, "--json")]) == 0
    result: dict[str, object] = json.loads(told.getvalue())
    return result


def test_json_of_fit(fitted: dict[str, object]) -> None:
    assert {"run", "task", "encoder", "parameters", "epochs", "seconds", "best"} <= set(fitted)
    assert (fitted["task"], fitted["encoder"]) == ("forecast", "gru")
    folder = Path(str(fitted["run"]))
    assert {"config.toml", "model.safetensors", "codec.json", "metrics.jsonl", "environment.json"} <= {
        file.name for file in folder.iterdir()
    }
    best = fitted["best"]
    assert isinstance(best, dict)
    assert {"loss", "mae", "crps", "coverage"} <= set(best)


def test_the_same_seed_gives_the_same_weights(fitted: dict[str, object], data: "Data") -> None:
    assert (Path(str(fitted["run"])) / "model.safetensors").read_bytes() == (
        data.load / "model.safetensors"
    ).read_bytes()


def test_json_of_evaluate(elman: "Line", data: "Data") -> None:
    done = elman("evaluate", data.load, data.new, "--json", "--out", "scores.json")
    shown = json.loads(done.out)
    assert {"run", "task", "count", "metrics", "baselines"} <= set(shown)
    assert set(shown["metrics"]) >= {"mae", "rmse", "mse", "smape", "mase", "crps", "coverage"}
    assert all(set(score) == {"value", "low", "high"} for score in shown["metrics"].values())
    assert all(score["low"] <= score["value"] <= score["high"] for score in shown["metrics"].values())
    assert {"last_value", "seasonal_naive_24", "seasonal_naive_168", "linear", "boosting"} <= set(shown["baselines"])
    assert all("mae" in values for values in shown["baselines"].values())
    assert json.loads(Path("scores.json").read_text()) == shown
    text = json.loads(elman("evaluate", data.word, data.text, "--json").out)
    assert set(text["metrics"]) >= {"perplexity", "bits_per_char", "nll"}
    assert set(text["baselines"]) >= {"unigram", "ngram_3"}


def test_json_is_json_where_a_number_does_not_exist(elman: "Line", tmp_path: Path) -> None:
    flat = tmp_path / "flat.csv"
    flat.write_text("t,load\n" + "".join(f"{t},5\n" for t in range(60)))
    assert elman("fit", "forecast", flat, "--target", "load", "--time", "t", "--horizon", "2", *FAST,
                 "--out", "run").code == 0  # fmt: skip
    (tmp_path / "more.csv").write_text("t,load\n" + "".join(f"{t},5\n" for t in range(60, 90)))

    def refuse(word: str) -> None:
        raise AssertionError(word)

    shown = json.loads(elman("evaluate", "run", "more.csv", "--json").out, parse_constant=refuse)
    assert shown["metrics"]["mase"]["value"] is None
    assert "nan" not in elman("evaluate", "run", "more.csv").out


@pytest.mark.parametrize("kind", ["load", "several", "char", "word"])
def test_the_table_fits_into_80_columns(elman: "Line", data: "Data", kind: str) -> None:
    file = data.text if kind in ("char", "word") else data.cities_new if kind == "several" else data.new
    done = elman("evaluate", getattr(data, kind), file)
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 80
    assert "…" not in done.out
    assert [name for name in ("model", "last_value", "unigram") if name in done.out]


def test_describe(elman: "Line", data: "Data") -> None:
    shown = json.loads(elman("describe", data.load, "--json").out)
    assert shown["options"]["target"] == ["load"]
    assert shown["encoder"]["hidden"] == 8
    assert shown["training"]["updates"] == 20
    assert shown["parameters"] > 0
    assert "horizon 6" in elman("describe", data.load).out


def test_dry_run_prints_settings_that_config_takes(elman: "Line", data: "Data", tmp_path: Path) -> None:
    done = elman(
        "fit", "forecast", data.old, *SERIES, *FAST, "--quantiles", "0.25,0.5,0.75", "--dry-run", "--seed", "7"
    )
    settings = tomllib.loads(done.out)
    assert settings["training"]["updates"] == 20
    assert settings["training"]["seed"] == 7
    assert settings["options"]["quantiles"] == [0.25, 0.5, 0.75]
    (tmp_path / "s.toml").write_text(done.out)
    again = elman("fit", "forecast", data.old, "--config", "s.toml", "--dry-run")
    assert again.out == done.out
    over = elman("fit", "forecast", data.old, "--config", "s.toml", "--dry-run", "--hidden", "9", "--set",
                 "training.seed=3", "--json")  # fmt: skip
    shown = json.loads(over.out)
    assert (shown["encoder"]["hidden"], shown["training"]["seed"]) == (9, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["s.toml"]


@pytest.mark.parametrize("other", [("--encoder", "tcn"), ("--set", "encoder.name=tcn")])
def test_the_config_of_a_run_suits_another_encoder(
    elman: "Line", data: "Data", tmp_path: Path, other: tuple[str, str]
) -> None:
    (tmp_path / "s.toml").write_text(
        '[encoder]\nname = "lru"\nhidden = 9\nlayers = 2\ncell = {max_radius = 0.9}\n[training]\nupdates = 700\n'
    )
    asked = (*SERIES, "--config", "s.toml", *other, "--epochs", "2", "--dry-run", "--json")
    done = elman("fit", "forecast", data.old, *asked)
    shown = json.loads(done.out)
    assert (shown["encoder"]["name"], shown["encoder"]["hidden"], shown["encoder"]["cell"]) == ("tcn", 9, {})
    assert (shown["training"]["epochs"], shown["training"]["updates"]) == (2, None)
    assert "the settings file is of encoder lru: for tcn, only hidden" in done.err


def test_the_config_of_a_run_fits_again_to_the_same_weights(elman: "Line", data: "Data") -> None:
    assert elman("fit", "language", data.text, "--config", data.char / "config.toml", "--out", "again").code == 0
    assert Path("again/model.safetensors").read_bytes() == (data.char / "model.safetensors").read_bytes()


def test_a_run_without_a_name_gets_the_next_free_one(elman: "Line", data: "Data") -> None:
    for number in (1, 2):
        done = elman("fit", "language", data.text, *FAST, "--set", "training.updates=1", "--json")
        assert json.loads(done.out)["run"] == f"runs/language-lstm-{number}"


def forms(csv: str, folder: Path) -> dict[str, Path]:
    """One table in every format."""
    frame = pl.read_csv(io.StringIO(csv))
    frame.write_csv(folder / "d.csv")
    frame.write_csv(folder / "d.tsv", separator="\t")
    frame.write_ndjson(folder / "d.jsonl")
    frame.write_parquet(folder / "d.parquet")
    (folder / "d.csv.gz").write_bytes(gzip.compress((folder / "d.csv").read_bytes()))
    return {name: folder / f"d.{name}" for name in ("csv", "tsv", "jsonl", "parquet", "csv.gz")}


def test_predictions_come_in_the_format_of_the_data(elman: "Line", data: "Data", tmp_path: Path) -> None:
    expected = None
    for name, path in forms(data.new.read_text(), tmp_path).items():
        kind = name.removesuffix(".gz")
        done = elman("predict", data.load, path)
        assert (done.code, done.err) == (0, "")
        elman("predict", data.load, path, "--out", "p")  # no suffix: that of the data
        written = Path("p").read_bytes()
        if kind == "parquet":
            frame = pl.read_parquet(io.BytesIO(written))
        elif kind == "jsonl":
            frame = pl.read_ndjson(io.BytesIO(written))
        else:
            frame = pl.read_csv(io.BytesIO(written), separator="\t" if kind == "tsv" else ",")
        if kind != "parquet":
            assert done.out.encode() == written
        expected = frame if expected is None else expected
        assert frame.equals(expected)
    assert expected is not None
    assert expected.columns == ["date", "load_0.1", "load_0.5", "load_0.9"]
    assert expected["date"].to_list() == [f"2024-01-{21 + h // 24:02} {h % 24:02}:00" for h in range(40, 46)]


def test_predictions_of_several_series(elman: "Line", data: "Data") -> None:
    done = elman("predict", data.several, data.cities_new, "--out", "p.parquet")
    assert done.code == 0
    assert "4 of 4 rows of hour, kind after the end are not given" in " ".join(done.err.split())
    frame = pl.read_parquet("p.parquet")
    assert frame.columns[:2] == ["city", "date"]
    assert frame["city"].to_list() == ["Ulm"] * 4 + ["Bonn"] * 4
    assert np.abs(frame["load_0.5"].to_numpy() - np.repeat([10, 40], 4)).max() < 6


def test_rows_with_an_empty_target_are_what_is_known_ahead(elman: "Line", data: "Data", tmp_path: Path) -> None:
    lines = data.cities_new.read_text().splitlines()
    known = [line.split(",") for line in lines]
    cut = [",".join([*r[:2], "", "", "", *r[5:]]) if i % 60 >= 56 else ",".join(r) for i, r in enumerate(known[1:])]
    (tmp_path / "ahead.csv").write_text("\n".join([lines[0], *cut]) + "\n")
    done = elman("predict", data.several, "ahead.csv")
    assert done.code == 0
    assert "are not given" not in done.err
    assert done.out.splitlines()[1].startswith("Ulm,2024-01-11 16:00,")


def test_standard_input(elman: "Line", data: "Data") -> None:
    rows = data.new.read_bytes()
    from_file = elman("predict", data.load, data.new).out
    assert elman("predict", data.load, "-", "--format", "csv", stdin=rows).out == from_file
    assert elman("predict", data.load, "-", "--format", "csv", stdin=gzip.compress(rows)).out == from_file
    done = elman("fit", "language", "-", "--format", "txt", *FAST, "--out", "run", stdin=data.text.read_bytes())
    assert done.code == 0
    assert Path("run/model.safetensors").read_bytes() == (data.char / "model.safetensors").read_bytes()


def test_columns_by_number_without_a_header(elman: "Line", data: "Data", tmp_path: Path) -> None:
    (tmp_path / "bare.csv").write_text(data.old.read_text().partition("\n")[2])
    (tmp_path / "bare-new.csv").write_text(data.new.read_text().partition("\n")[2])
    columns = ("--time", "1", "--target", "-2", "--horizon", "6")
    for header in ((), ("--no-header",)):
        assert elman("fit", "forecast", "bare.csv", *columns, *header, *FAST, "--out", f"run{len(header)}").code == 0
        done = elman("predict", f"run{len(header)}", "bare-new.csv")
        rows, expected = done.out.splitlines(), elman("predict", data.load, data.new).out.splitlines()
        assert rows[0] == "1,2_0.1,2_0.5,2_0.9"
        assert rows[1:] == expected[1:]


def test_generate(elman: "Line", data: "Data") -> None:
    def text(*options: object) -> str:
        done = elman("generate", data.char, "--length", "40", *options)
        assert (done.code, done.err) == (0, "")
        return str(done.out)

    assert text("--seed", "3") == text("--seed", "3") != text("--seed", "4")
    assert text("--temperature", "0") == text("--temperature", "0", "--seed", "9") == text("--top-k", "1")
    assert text("--prompt", "The ").startswith("The ")
    assert len(text("--seed", "1", "--prompt", "The ")) == 4 + 40 + 1
    assert text("--beam", "1") == text("--temperature", "0")
    assert len(text("--beam", "4", "--prompt", "The ")) == 4 + 40 + 1
    elman("generate", data.char, "--length", "40", "--seed", "3", "--out", "t.txt")
    assert Path("t.txt").read_text() == text("--seed", "3")
    told = json.loads(text("--seed", "3", "--prompt", "The ", "--json", "--out", "t.txt"))
    assert told["prompt"] + told["text"] + "\n" == text("--seed", "3", "--prompt", "The ") == Path("t.txt").read_text()
    words = elman("generate", data.word, "--length", "5", "--prompt", "The quick", "--seed", "1").out
    assert words.startswith("The quick")
    assert 2 <= len(words.split()) <= 7


def test_scores_of_lines_of_text(elman: "Line", data: "Data", tmp_path: Path) -> None:
    """Lines keep their own text; a file without a line end does not run into the next."""
    (tmp_path / "a.txt").write_text("The quick brown unicorn\n\nfox")
    (tmp_path / "b.txt").write_text("Pack my box")
    done = elman("predict", data.word, "a.txt", "b.txt")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["text"] for row in rows] == ["The quick brown unicorn", "", "fox", "Pack my box"]
    assert [row["symbols"] for row in rows] == [5, 1, 1, 3]
    assert all(np.isclose(row["perplexity"], np.exp(row["nll"])) for row in rows)
    elman("predict", data.word, "a.txt", "b.txt", "--out", "p.csv")
    assert pl.read_csv("p.csv")["text"].fill_null("").to_list() == [row["text"] for row in rows]
