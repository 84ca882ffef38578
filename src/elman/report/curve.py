"""The learning curve as training logs it, in ``metrics.jsonl``; read while a run is trained and afterwards."""

import json
from pathlib import Path
from typing import Any

from elman.errors import RunError


def is_finished(run: Path) -> bool:
    """Whether training has come to its end."""
    return (run / "result.json").is_file()


def read_rows(run: Path) -> list[dict[str, Any]]:
    """One row per validation so far; none where none is logged yet.

    The last line of an unfinished run is left out where it is not complete: it is being written, or its writer was killed.

    Raises: RunError if any other line is damaged.
    """
    complete = is_finished(run)  # before reading: what is written in between is no damage
    path = run / "metrics.jsonl"
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    rows = []
    for place, text in enumerate(lines, start=1):
        row = _row(text)
        if row is not None:
            rows.append(row)
        elif complete or place < len(lines):
            raise RunError(
                f"{path}: damaged: expected a JSON object in line {place}, got {_start(text)}; remove that line"
            )
    return rows


def _row(text: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(text)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _start(text: bytes, most: int = 30) -> str:
    start = text[:most].decode("utf-8", errors="replace")
    return repr(start if len(text) <= most else f"{start}...")
