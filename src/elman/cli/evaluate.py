"""`elman evaluate`: score."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elman.cli.common import AsJson, DataFiles, Format, RunFolder, number, print_json, results, tell

if TYPE_CHECKING:
    from rich.table import Table

    from elman.evaluation.evaluate import Evaluation

NAME = "evaluate"
EXAMPLES = """[b]Examples[/b]

elman evaluate runs/load demand-of-june.csv

elman evaluate runs/book other-book.txt --json"""


def command(
    run: RunFolder,
    data: DataFiles,
    scaled: Annotated[
        bool, typer.Option("--scaled", help="forecast: in standard deviations of the training data.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write the JSON to this file.")] = None,
    format: Format = None,
    json: AsJson = False,
) -> None:
    """Every metric of the task with a 95 % interval, and the baselines beside it.

    Rows that were seen in fitting are not scored.
    """
    from json import dumps

    from elman.data.files import write_text
    from elman.run import Run

    evaluation = Run(run).evaluate(*data, format=format, scaled=scaled)
    tell(evaluation.notes)
    values = {"run": str(run), **evaluation.to_json()}
    if out is not None:
        write_text(out, dumps(values, indent=1) + "\n")
    if json:
        print_json(values)
    else:
        results().print(table(evaluation))


def table(evaluation: "Evaluation") -> "Table":
    """Metrics as rows; the model with its interval, and a column per baseline."""
    from rich.table import Table

    shown = Table(title=f"{evaluation.count:,} {evaluation.unit}", title_justify="left")
    shown.add_column("metric")
    shown.add_column("model", justify="right", style="bold")
    shown.add_column("95 % interval", justify="right")
    for name in evaluation.baselines:
        shown.add_column(name, justify="right")
    for name, score in evaluation.metrics.items():
        others = [number(values[name]) if name in values else "" for values in evaluation.baselines.values()]
        shown.add_row(name, number(score.value), f"{number(score.low)} to {number(score.high)}", *others)
    return shown
