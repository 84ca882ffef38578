"""Classification quality with defaults: ``python benchmarks/classify.py SET [--budget 5m] [--seeds 1,2,3] [--inner]``.

sst2 is trained on its train file and scored on its dev file; japanesevowels by five-fold cross-validation within its train file;
the others, which come with scikit-learn, on a held-out fifth. ``--inner`` takes the training part of that and does the same within
it by five folds: what choices are made on, the scored part never seen.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean

import numpy as np
from common import data, elman
from numpy.typing import NDArray

FOLDS = 5
Rows = NDArray[np.int64]
Cases = tuple[str, list[str], list[str], str]
"""What goes before the cases, the lines of each case, the label of each, and the options of `elman fit`."""


def sst2() -> Cases:
    """6,920 sentences of film reviews, two labels."""
    return _sentences("sst2/train.tsv")


def _sentences(name: str) -> Cases:
    lines = data(name).read_text(encoding="utf-8").splitlines()
    return "", lines, [line.rsplit("\t", 1)[1] for line in lines], "--text 1 --label 2 --no-header"


def _series(name: str) -> Cases:
    head, _, body = data(name).read_text(encoding="utf-8").partition("@data\n")
    lines = body.splitlines()
    return f"{head}@data\n", lines, [line.rsplit(":", 1)[1] for line in lines], ""


def japanesevowels() -> Cases:
    """270 utterances of nine speakers, 12 coefficients, 7 to 26 steps."""
    return _series("japanesevowels/JapaneseVowels_TRAIN.ts")


def basicmotions() -> Cases:
    """40 movements of four kinds, 6 sensors, 100 steps."""
    return _series("basicmotions/BasicMotions_TRAIN.ts")


def digits() -> Cases:
    """1,797 handwritten digits as sequences of 8 rows of 8 pixels."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    lines = [
        "\n".join(",".join([str(number), str(row), *map(str, pixels), str(label)]) for row, pixels in enumerate(image))
        for number, (image, label) in enumerate(zip(images.reshape(-1, 8, 8), labels, strict=True))
    ]
    names = ",".join(["image", "row", *(f"x{k}" for k in range(8)), "digit"])
    return names + "\n", lines, [str(label) for label in labels], "--id image --time row --label digit"


def _plain(load: str) -> Cases:
    from sklearn import datasets

    rows, labels = getattr(datasets, load)(return_X_y=True)
    lines = [",".join([*map(str, row), str(label)]) for row, label in zip(rows, labels, strict=True)]
    names = ",".join([*(f"x{k}" for k in range(rows.shape[1])), "label"])
    return names + "\n", lines, [str(label) for label in labels], "--label label"


def wine() -> Cases:
    """178 wines of three growers, 13 measurements, plain rows."""
    return _plain("load_wine")


def cancer() -> Cases:
    """569 tumours, 30 measurements, plain rows."""
    return _plain("load_breast_cancer")


SETS: dict[str, Callable[[], Cases]] = {
    set.__name__: set for set in (sst2, japanesevowels, basicmotions, digits, wine, cancer)
}
SUFFIXES = {sst2: ".tsv", japanesevowels: ".ts", basicmotions: ".ts"}


def folds(labels: Sequence[str]) -> Iterator[tuple[Rows, Rows]]:
    from sklearn.model_selection import StratifiedKFold

    yield from StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(labels, labels)


def splits(set: str, labels: Sequence[str], *, inner: bool) -> Iterator[tuple[Rows, Rows]]:
    """Training and scored cases; within the training part of the first if `inner`."""
    if set == "japanesevowels" or (inner and set == "sst2"):
        outer = [(np.arange(len(labels)), np.arange(0))] if set == "sst2" else list(folds(labels))
    else:
        outer = [next(folds(labels))]
    if not inner:
        yield from outer
        return
    known = outer[0][0]
    for train, test in folds([labels[i] for i in known]):
        yield known[train], known[test]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--inner", action="store_true")
    options, more = parser.parse_known_args()
    load = SETS[options.set]
    head, lines, labels, columns = load()
    suffix = SUFFIXES.get(load, ".csv")
    scored: list[dict[str, float]] = []
    beside: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def write(part: str, cases: Sequence[str]) -> Path:
            path = folder / f"{part}{suffix}"
            path.write_text(head + "\n".join(cases) + "\n", encoding="utf-8")
            return path

        parts: list[tuple[Path, Path]] = []
        if options.set == "sst2" and not options.inner:
            parts.append((data("sst2/train.tsv"), data("sst2/dev.tsv")))
        else:
            for number, (train, test) in enumerate(splits(options.set, labels, inner=options.inner)):
                files = (
                    write(f"train{number}", [lines[i] for i in train]),
                    write(f"test{number}", [lines[i] for i in test]),
                )
                parts.append(files)
        for seed in options.seeds.split(","):
            for number, (train, test) in enumerate(parts):
                run = folder / f"run-{seed}-{number}"
                fit = ["fit", "classify", train, *columns.split(), "--budget", options.budget, "--seed", seed]
                fitted = elman(*fit, "--out", run, *more)
                found = elman("evaluate", run, test)
                values = {name: score["value"] for name, score in found["metrics"].items()}
                scored.append(values)
                print(f"  seed {seed}, part {number}: {found['count']} sequences, {fitted['parameters']:,} parameters, "
                      f"{fitted['seconds']:.0f} s, " + ", ".join(f"{k} {v:.4f}" for k, v in values.items()))  # fmt: skip
                for baseline, metrics in found["baselines"].items():
                    beside.setdefault(baseline, []).append(metrics["accuracy"])
    print(f"\n{options.set}{', inner' if options.inner else ''}: mean of {len(scored)} fits")
    for key in scored[0]:
        print(f"  {key:<14} {mean(one[key] for one in scored):.4f}")
    print("  accuracy of    " + "  ".join(f"{name} {mean(values):.4f}" for name, values in beside.items()))


if __name__ == "__main__":
    main()
