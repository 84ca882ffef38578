"""Language-model quality with defaults: ``python benchmarks/language.py SET [--budget 10m] [--seed 1]``.

The first 90 % of the text is trained on, the last 10 % is the validation part that `elman fit` keeps the best weights by, as the
published figures for tiny-shakespeare have it; it is then scored with the state carried from its first symbol to its last.
``--strict`` scores it without ever choosing by it: `elman fit` holds out a part of the first 90 % instead.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from common import data, elman


def tiny_shakespeare() -> str:
    """Forty thousand lines of Shakespeare."""
    return data("tiny-shakespeare/input.txt").read_text(encoding="utf-8")


def python_topics() -> str:
    """The help topics of Python itself, from its standard library: 700 kB of technical prose with code."""
    from pydoc_data.topics import topics

    return "\n\n".join(text for _, text in sorted(topics.items()))


SETS: dict[str, Callable[[], str]] = {"tiny-shakespeare": tiny_shakespeare, "python-topics": python_topics}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--level", default="char")
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--strict", action="store_true", help="hold the validation part out of the first 90 %%")
    options, more = parser.parse_known_args()
    text = SETS[options.set]()
    cut = len(text) * 9 // 10
    with tempfile.TemporaryDirectory() as folder:
        train, test, run = (Path(folder) / name for name in ("train.txt", "test.txt", "run"))
        train.write_text(text[:cut], encoding="utf-8")
        test.write_text(text[cut:], encoding="utf-8")
        level = ["--level", options.level, "--budget", options.budget, "--seed", options.seed]
        valid = [] if options.strict else ["--valid", str(test)]
        fitted = elman("fit", "language", train, *valid, *level, "--out", run, *more)
        scored = elman("evaluate", run, test)
    print(
        f"\n{options.set}: {scored['count']:,} symbols, {fitted['parameters']:,} parameters, {fitted['seconds']:.0f} s"
    )
    for name, score in scored["metrics"].items():
        others = "  ".join(f"{baseline} {values[name]:.4g}" for baseline, values in scored["baselines"].items())
        print(f"  {name:<14} {score['value']:.4g}  ({score['low']:.4g} to {score['high']:.4g})   {others}")


if __name__ == "__main__":
    main()
