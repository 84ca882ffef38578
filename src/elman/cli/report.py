"""`elman report`: a page to show."""

from pathlib import Path
from typing import Annotated

import typer

from elman.cli.common import Format, RunFolder, results

NAME = "report"
EXAMPLES = """[b]Examples[/b]

elman report runs/load demand-of-june.csv

elman report runs/load --watch"""


def command(
    run: RunFolder,
    data: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DATA...]", help="Files to score and to show the model on.", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the page here instead of to RUN/report.html.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Draw the loss in the terminal until training ends.")] = False,
    format: Format = None,
) -> None:
    """One self-contained HTML page: scores with intervals and baselines, plots, examples, the learning curve, settings.

    What DATA showed is remembered, so that a later report without DATA shows it again. Every plot is also a PNG, and its
    numbers a CSV, in RUN/report/.
    """
    from elman.data.files import check_writable
    from elman.errors import UsageError
    from elman.run import Run

    opened = Run(run)
    if watch:
        if data or out is not None:
            raise UsageError("--watch draws in the terminal; leave out DATA and --out")
        from elman.report.watch import watch as follow

        try:
            follow(run, results(), opened.settings.training.updates)
        except KeyboardInterrupt:
            typer.echo()
        return
    if out is not None:
        check_writable(out)
    typer.echo(opened.report(*(data or []), out=out, format=format))
