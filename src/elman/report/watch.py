"""The loss of a running run in the terminal, followed by what training appends to ``metrics.jsonl``."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import RunError
from elman.report.curve import is_finished, read_rows
from elman.report.words import duration, number

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Rows = Sequence[Mapping[str, Any]]
Floats = NDArray[np.float64]

EVERY = 1.0  # seconds between two looks
TALLEST = 20  # lines of a chart
MARGIN = 10  # characters before it, for the values of its axis
DOTS = np.array([[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]])  # of a braille letter: (column, row from the top)
BLANK = 0x2800
STYLES = (("validation", "valid_loss", "bold cyan"), ("training", "train_loss", "bright_black"))


def watch(run: Path, console: "Console", planned: int | None) -> None:
    """Draw training and validation loss until the run is finished; one line per validation where there is no terminal.

    Args:
        planned: updates of the whole training, for the lines.

    Raises: RunError if the run is removed meanwhile, or its log is damaged.
    """
    if console.is_terminal and console.encoding.lower().startswith("utf"):
        _draw(run, console)
        return
    for row in _new_rows(run):
        console.print(line(row, planned), highlight=False, soft_wrap=True, markup=False)


def _draw(run: Path, console: "Console") -> None:
    from rich.live import Live

    with Live(console=console, auto_refresh=False, screen=False) as live:
        for rows, finished in _looks(run):
            height = min(TALLEST, max(4, console.height - 5))
            live.update(chart(rows, console.width, height, finished=finished), refresh=True)


def _new_rows(run: Path) -> Iterator[Mapping[str, Any]]:
    """Each row once, as it comes, until the run is finished. Rows that a resumed run does over come again."""
    last = 0
    for rows, _ in _looks(run):
        last = min(last, len(rows))
        yield from rows[last:]
        last = len(rows)


def _looks(run: Path) -> Iterator[tuple[Rows, bool]]:
    """The rows so far and whether they are all, over and over until they are."""
    while True:
        if not (run / "config.toml").is_file():
            raise RunError(
                f"{run}: its config.toml is gone, there is no run to watch any more; "
                f"train again with `elman fit ... --out {run}`, or watch another"
            )
        finished = is_finished(run)  # before reading: what is written in between comes with the next look
        yield read_rows(run), finished
        if finished:
            return
        time.sleep(EVERY)


def line(row: Mapping[str, Any], planned: int | None) -> str:
    """One validation as text."""
    of = f"/{planned}" if planned else ""
    mark = " *" if row.get("kept") else ""
    losses = f"loss {number(row.get('train_loss'))}  valid {number(row.get('valid_loss'))}"
    return (
        f"update {row['update']}{of}  epoch {row.get('epoch', '?')}  {losses}  {duration(row.get('seconds', 0))}{mark}"
    )


def chart(rows: Rows, width: int, height: int, *, finished: bool) -> "Text":
    """Both losses over updates, drawn with braille dots: two by four in each character."""
    from rich.text import Text

    curves = [_points(rows, key) for _, key, _ in STYLES]
    known = np.concatenate([y for _, y in curves])
    if not len(known):
        return Text("no validation yet" if not finished else "no validation had a finite loss", style="dim")
    updates = np.concatenate([x for x, _ in curves])
    columns = max(10, width - MARGIN - 1)
    limits = (float(updates.min()), float(updates.max())), (float(known.min()), float(known.max()))
    cells = [braille(x, y, columns, height, *limits) for x, y in curves]
    text = Text()
    for i in range(height):
        value = limits[1][1] - (limits[1][1] - limits[1][0]) * i / max(1, height - 1)
        text.append(f"{number(value) if i % 4 == 0 or i == height - 1 else '':>{MARGIN - 2}} ┤", style="dim")
        for j in range(columns):
            front = next((k for k, codes in enumerate(cells) if codes[i, j]), None)
            both = int(np.bitwise_or.reduce([codes[i, j] for codes in cells]))
            text.append(chr(BLANK + both) if both else " ", style=STYLES[front][2] if front is not None else "")
        text.append("\n")
    first, last = f"{limits[0][0]:.0f}", f"update {limits[0][1]:.0f}"
    text.append(f"{'':{MARGIN}}{first}{last:>{columns - len(first)}}\n", style="dim")
    for name, key, style in STYLES:
        text.append(f"{'':{MARGIN}}" if name == "validation" else "   ").append(
            f"{name} {number(rows[-1].get(key))}", style
        )
    text.append(f"   epoch {rows[-1].get('epoch', '?')}, {duration(rows[-1].get('seconds', 0))}", style="dim")
    return text.append(", finished" if finished else "; Ctrl-C stops watching, not training", style="dim")


def _points(rows: Rows, key: str) -> tuple[Floats, Floats]:
    """Updates and values that exist."""
    pairs = [(row["update"], row[key]) for row in rows if row.get(key) is not None]
    points = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return points[:, 0], points[:, 1]


def braille(
    x: Floats, y: Floats, columns: int, rows: int, x_limits: tuple[float, float], y_limits: tuple[float, float]
) -> NDArray[np.int64]:
    """A curve as dots: (rows, columns) codes to be added to U+2800; 0 where nothing is."""
    cells = np.zeros((rows, columns), dtype=np.int64)
    if not len(x):
        return cells
    at = _place(x, x_limits, 2 * columns - 1)
    down = 4 * rows - 1 - _place(y, y_limits, 4 * rows - 1)
    across = np.arange(round(at[0]), round(at[-1]) + 1)
    heights = np.interp(across, at, down).round().astype(np.int64)
    before = heights[0]
    for column, height in zip(across.tolist(), heights.tolist(), strict=True):
        for dot in range(min(before, height), max(before, height) + 1):  # what is steep stays one line
            cells[dot // 4, column // 2] |= DOTS[column % 2, dot % 4]
        before = height
    return cells


def _place(values: Floats, limits: tuple[float, float], last: int) -> Floats:
    """Values between the limits to 0 .. last; all in the middle where the limits are one."""
    low, high = limits
    return np.full(len(values), last / 2) if high == low else (values - low) / (high - low) * last
