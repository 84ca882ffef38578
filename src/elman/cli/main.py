"""The command line: one file per verb; each parses and prints, the library does the work."""

import inspect
import os
import re
import sys
import traceback
from typing import Annotated

import typer

from elman.cli import bench, describe, evaluate, fit, generate, predict, report, stream
from elman.cli import demo as demo_verb
from elman.cli import list as list_verb
from elman.errors import ElmanError

SETTING = re.compile(r"--(options|encoder|training)\.\w[\w.]*=")

app = typer.Typer(
    name="elman",
    help="The recurrent-network toolkit: from raw sequences to a trained model to a stream.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def flowing(documentation: str) -> str:
    """A docstring as help: the lines of a paragraph joined, so that the terminal's width decides where they break."""
    paragraphs = inspect.cleandoc(documentation).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


for verb in (demo_verb, fit, evaluate, predict, generate, stream, report, bench, list_verb, describe):
    app.command(verb.NAME, help=flowing(verb.command.__doc__ or ""), epilog=verb.EXAMPLES)(verb.command)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"elman {version('elman')}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """What goes before the verb; `main` reads ``--debug`` itself."""


def with_settings(arguments: list[str]) -> list[str]:
    """``--training.learning_rate=0.01``, as sweeps of Weights & Biases write it, is ``--set training.learning_rate=0.01``."""
    return [
        part for argument in arguments for part in (["--set", argument[2:]] if SETTING.match(argument) else [argument])
    ]


def main() -> None:
    """Exit 0: done. 1: the work failed. 2: wrong use or bad input. One message on stderr, no traceback."""
    if "TORCHELASTIC_RUN_ID" in os.environ and os.environ["RANK"] != "0":
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123  (of torchrun's processes the first one speaks)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; its exit code."""
    try:
        app(with_settings(arguments), prog_name="elman")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  (whoever read the output is gone; Python flushes at exit)
        return 1
    except (ElmanError, OSError, MemoryError) as error:
        if "--debug" in arguments:
            traceback.print_exc()
        print(f"elman: {str(error) or type(error).__name__}", file=sys.stderr)
        return error.exit_code if isinstance(error, ElmanError) else 1
    return 0
