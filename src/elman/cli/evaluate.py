"""`elman evaluate`: score."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elman.cli.common import AsJson, DataFiles, Format, RunFolder, dumps, number, print_json, results, tell

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

    Rows of a series that were seen in fitting are not scored.
    """
    from elman.data.files import check_writable, write_text
    from elman.run import Run

    if out is not None:
        check_writable(out)
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
    """A column per metric, so that it fits into 80 characters: the model, its interval, and a row per baseline."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = Table(title=f"{evaluation.count:,} {evaluation.unit}", title_justify="left", box=SIMPLE_HEAD, padding=0)
    shown.pad_edge, shown.padding = False, (0, 1, 0, 0)
    shown.add_column("")
    for name in evaluation.metrics:
        shown.add_column(name, justify="right", no_wrap=True)
    scores = evaluation.metrics.values()
    shown.add_row("model", *(number(score.value) for score in scores), style="bold")
    shown.add_row("  95 % from", *(number(score.low) for score in scores), style="dim")
    shown.add_row("       to", *(number(score.high) for score in scores), style="dim", end_section=True)
    for name, values in evaluation.baselines.items():
        shown.add_row(name, *(number(values[metric]) if metric in values else "" for metric in evaluation.metrics))
    return shown
