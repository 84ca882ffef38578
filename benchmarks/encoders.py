"""Every encoder on three tasks, with its defaults: ``python benchmarks/encoders.py [--encoders gru,tcn] [--updates 200]``.

Not a contest but a check that what `elman fit` chooses for an encoder lets it learn: each has the same few updates on weekly CO2
(mean absolute error of 8 weeks, ppm), on 150,000 characters of Python's help topics (nats per character) and on handwritten digits
read row by row (accuracy). Only inner parts of the training data are read: the scored parts of the other benchmarks stay unseen.
Every result is a line of DIR/results.jsonl; a command that was interrupted goes on from there.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from classify import digits, folds
from common import elman
from forecast import co2
from language import python_topics
from rich.console import Console
from rich.table import Table

from elman.models.build import encoder_names

METRICS = {"forecast": "mae", "language": "nll", "classify": "accuracy"}
CHARACTERS = 150_000


def forecast(folder: Path) -> tuple[Path, Path, list[str]]:
    """Training file, scored file and options: the first 80 % of CO2, divided again."""
    frame = co2()
    inner = frame[: len(frame) * 4 // 5]
    cut = len(inner) * 4 // 5
    train, test = folder / "co2.csv", folder / "later.csv"
    inner[:cut].write_csv(train)
    inner[cut:].write_csv(test)
    return train, test, ["--time", "date", "--target", "co2", "--horizon", "8"]


def language(folder: Path) -> tuple[Path, Path, list[str]]:
    text = python_topics()[:CHARACTERS]
    cut = len(text) * 9 // 10
    train, test = folder / "topics.txt", folder / "more.txt"
    train.write_text(text[:cut], encoding="utf-8")
    test.write_text(text[cut:], encoding="utf-8")
    return train, test, ["--level", "char"]


def classify(folder: Path) -> tuple[Path, Path, list[str]]:
    head, lines, labels, columns = digits()
    known, _ = next(folds(labels))
    fitted, scored = next(folds([labels[i] for i in known]))
    train, test = folder / "digits.csv", folder / "others.csv"
    for path, rows in ((train, known[fitted]), (test, known[scored])):
        path.write_text(head + "\n".join(lines[i] for i in rows) + "\n", encoding="utf-8")
    return train, test, columns.split()


def run(task: str, encoder: str, updates: int, more: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train, test, columns = {"forecast": forecast, "language": language, "classify": classify}[task](folder)
        out = folder / "run"
        length = ["--set", f"training.updates={updates}", "--out", str(out)]
        fitted = elman("fit", task, train, *columns, "--encoder", encoder, *length, *more)
        found = elman("evaluate", out, test)
    return {
        "encoder": encoder, "task": task, METRICS[task]: found["metrics"][METRICS[task]]["value"],
        "baselines": {name: values[METRICS[task]] for name, values in found["baselines"].items()},
        "parameters": fitted["parameters"], "seconds": fitted["seconds"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", default=",".join(encoder_names()))
    parser.add_argument("--tasks", default=",".join(METRICS))
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("runs/encoders"))
    options, more = parser.parse_known_args()
    options.out.mkdir(parents=True, exist_ok=True)
    log, tasks = options.out / "results.jsonl", options.tasks.split(",")
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    for encoder in options.encoders.split(","):
        for task in tasks:
            if not any((one["encoder"], one["task"]) == (encoder, task) for one in done):
                done.append(run(task, encoder, options.updates, more))
                with log.open("a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
    table = Table("encoder", *(f"{task}, {METRICS[task]}" for task in tasks), "parameters")
    for encoder in dict.fromkeys(one["encoder"] for one in done):
        own = {one["task"]: one for one in done if one["encoder"] == encoder}
        cells = [f"{own[task][METRICS[task]]:.4g}" if task in own else "" for task in tasks]
        table.add_row(encoder, *cells, ", ".join(f"{one['parameters']:,}" for one in own.values()))
    for task in tasks:
        beside = next((one["baselines"] for one in done if one["task"] == task), {})
        table.caption = f"{table.caption or ''}{task}: " + ", ".join(f"{k} {v:.4g}" for k, v in beside.items()) + "\n"
    Console().print(table)


if __name__ == "__main__":
    main()
