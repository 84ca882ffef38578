"""`elman stream`: one JSON line in, one out."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elman.cli.common import RunFolder, dumps
from elman.errors import DataError, ElmanError

if TYPE_CHECKING:
    from elman.streaming import StreamSession

NAME = "stream"
EXAMPLES = """[b]Examples[/b]

echo '{"x": {"load": 31.5}, "time": "2026-07-01"}' | elman stream runs/load

elman stream runs/load --state load.state < new-rows.jsonl"""

KEYS = ("x", "time", "future", "n")


def command(
    run: RunFolder,
    state: Annotated[
        Path | None, typer.Option(help="Go on from this file if it exists, and save the state there at the end.")
    ] = None,
    top: Annotated[int, typer.Option(help="How many of the likeliest symbols an answer lists.", min=1)] = 5,
) -> None:
    r"""One JSON line in, one out, flushed.

    In: {"x": \[values] or {name: value} or a symbol, "time"?, "future"?: \[the next rows of the columns known ahead],
    "n"?: which stream}. Out: {"y": ..., "n"?, "flags"?}.

    A line that cannot be used is answered by {"error": ...} and changes nothing; the exit code is then 2. A new stream starts
    from nothing: send the last rows of the data first, and it is warm.
    """
    from elman.data.files import check_writable
    from elman.streaming import load

    if state is not None:
        check_writable(state)
    session = load(run)
    session.codec.top = top
    if state is not None and state.exists():
        session.restore(state)
    failed = False
    try:
        for number, line in enumerate(sys.stdin.buffer, 1):
            if line.strip():
                answer = answer_line(session, line, number)
                failed = failed or "error" in answer
                sys.stdout.write(dumps(answer) + "\n")
                sys.stdout.flush()
    finally:
        if state is not None:
            session.snapshot(state)
    if failed:
        raise typer.Exit(2)


def answer_line(session: "StreamSession", line: bytes, number: int) -> dict[str, Any]:
    """The answer to one line; an error is an answer too."""
    from elman.data.codec import Push
    from elman.streaming.session import ONE

    try:
        row = _parse(line)
        key = row.get("n", ONE)
        answer = session.push_many({key: Push(row["x"], row.get("time"), row.get("future"))})[key]
    except ElmanError as error:
        return {"error": f"line {number}: {error}"}
    named = {"n": row["n"]} if "n" in row else {}
    flags = {"flags": answer.flags} if answer.flags else {}
    return {"y": answer.y, **named, **flags}


def _parse(line: bytes) -> dict[str, Any]:
    try:
        text = line.decode("utf-8").strip()
        row = json.loads(text)
    except UnicodeDecodeError as error:
        raise DataError(f"expected UTF-8 text, got byte {line[error.start]:#04x} at byte {error.start}") from None
    except ValueError as error:
        raise DataError(f"expected a JSON object, got {text[:60]!r}: {error}") from None
    if not isinstance(row, dict) or "x" not in row:
        raise DataError(f'expected a JSON object with "x", got {text[:60]!r}')
    unknown = sorted(set(row) - set(KEYS))
    if unknown:
        raise DataError(f"unknown key {unknown[0]!r}; valid: {', '.join(KEYS)}")
    if not isinstance(row.get("n", 0), int | str) or isinstance(row.get("n"), bool):
        raise DataError(f'expected "n" to be a number or text, got {row["n"]!r}')
    return row
