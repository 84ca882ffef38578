"""What several verbs share: their arguments, and how results are printed."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

DataFiles = Annotated[
    list[str], typer.Argument(metavar="DATA...", help="Files; [b]-[/b] is standard input.", show_default=False)
]
RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A folder that [b]elman fit[/b] wrote.", show_default=False)
]
Format = Annotated[
    str | None, typer.Option("--format", help="csv, tsv, jsonl, parquet, txt or ts, instead of the suffix.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def errors() -> "Console":
    """Where progress and warnings go."""
    from rich.console import Console

    return Console(stderr=True)


def results() -> "Console":
    """Where results go; as wide as they need when stdout is not a terminal."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=120)


def print_json(values: Any) -> None:
    typer.echo(dumps(values))


def dumps(values: Any, indent: int | None = None) -> str:
    """JSON; a number that does not exist (NaN) is null, which JSON has."""
    return json.dumps(_finite(values), ensure_ascii=False, allow_nan=False, indent=indent)


def _finite(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: _finite(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def number(value: float) -> str:
    """Four significant digits, plain where that is short; a dash where there is none."""
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def tell(notes: list[str]) -> None:
    """What was repaired or left out, on stderr."""
    for note in notes:
        errors().print(note, highlight=False, markup=False, soft_wrap=True)
