"""`elman generate`: text that goes on from a prompt."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from elman.cli.common import AsJson, RunFolder, print_json, tell
from elman.errors import UsageError

NAME = "generate"
EXAMPLES = """[b]Examples[/b]

elman generate runs/book --prompt "It was" --length 400 --temperature 0.8

elman generate runs/book --length 40 --beam 5 --out likeliest.txt"""


def command(
    run: RunFolder,
    prompt: Annotated[str, typer.Option(help="The text to go on from.")] = "",
    length: Annotated[int, typer.Option(help="Symbols.", min=1)] = 200,
    temperature: Annotated[float, typer.Option(help="Below 1 is safer; 0 always takes the likeliest.", min=0)] = 1.0,
    top_k: Annotated[int, typer.Option(help="Draw among that many of the likeliest only; 0: all.", min=0)] = 0,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same text.")] = None,
    beam: Annotated[
        int, typer.Option(help="Draw nothing: search for the likeliest text, so many side by side; 0: draw.", min=0)
    ] = 0,
    out: Annotated[Path | None, typer.Option(help="Write here instead of to stdout.")] = None,
    json: AsJson = False,
) -> None:
    """Text from a trained language model, written as it is made."""
    from elman.data.files import check_writable, write_text
    from elman.run import Run

    if any("\ud800" <= letter <= "\udfff" for letter in prompt):  # what Python makes of bytes that are not UTF-8
        raise UsageError("--prompt: expected UTF-8 text")
    if out is not None:
        check_writable(out)
    opened = Run(run)
    pieces = opened.generate(prompt, length, temperature, top_k, seed, beam)
    tell(opened.task.notes_on(prompt))
    if out is not None or json:
        text = "".join(pieces)
        if out is not None:
            write_text(out, prompt + text + "\n")
        if json:
            print_json({"prompt": prompt, "text": text})
        return
    sys.stdout.write(prompt)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
