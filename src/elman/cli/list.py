"""`elman list`: what there is."""

from typing import Annotated, Literal

import typer

from elman.cli.common import AsJson, print_json

NAME = "list"
EXAMPLES = """[b]Examples[/b]

elman list

elman list cells --json"""


def command(
    what: Annotated[Literal["all", "cells", "encoders", "tasks"], typer.Argument(help="Which of them.")] = "all",
    json: AsJson = False,
) -> None:
    """The cells, encoders and tasks, each with its first line of documentation."""
    from elman.cells import CELLS
    from elman.models.build import encoder_class, encoder_names
    from elman.tasks.task import TASKS

    cells = {name: _first_line(CELLS.get(name)) for name in CELLS.names()}
    kinds = {
        "tasks": {name: _first_line(TASKS.get(name)) for name in TASKS.names()},
        "cells": cells,
        "encoders": {name: _first_line(encoder_class(name)) for name in encoder_names()},
    }
    shown = {kind: entries for kind, entries in kinds.items() if what == kind or (what == "all" and kind != "cells")}
    if json:
        print_json(shown)
        return
    for kind, entries in shown.items():
        typer.echo(kind)
        for name, line in entries.items():
            typer.echo(f"  {name:<16} {line}")


def _first_line(entry: type) -> str:
    return (entry.__doc__ or "").strip().splitlines()[0]
