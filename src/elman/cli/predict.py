"""`elman predict`: predictions in the form the data came in."""

from pathlib import Path
from typing import Annotated

import typer

from elman.cli.common import DataFiles, Format, RunFolder, tell

NAME = "predict"
EXAMPLES = """[b]Examples[/b]

elman predict runs/load demand.csv --out next-day.csv

elman predict runs/book sentences.txt

elman predict runs/reviews new.tsv --explain"""


def command(
    run: RunFolder,
    data: DataFiles,
    out: Annotated[
        Path | None, typer.Option(help="Write here instead of to stdout; the suffix tells the format.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="classify, regress: which words or steps decided each answer.")
    ] = False,
    format: Format = None,
) -> None:
    """Predictions for DATA: the horizon after each series, a score for each line of text, an answer for each sequence.

    With --explain, integrated gradients: shares of an answer's log odds, or of a number, against having read nothing.
    """
    from elman.data.files import check_writable
    from elman.run import Run
    from elman.tasks.predictions import check_suffix

    if out is not None:
        check_suffix(out)
        check_writable(out)
    predictions = Run(run).predict(*data, format=format, explain=explain)
    tell(predictions.notes)
    if out is None:
        typer.echo(predictions.text(), nl=False)
    else:
        predictions.write(out)
