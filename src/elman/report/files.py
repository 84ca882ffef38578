"""What lies beside a report, in ``RUN/report/``: each plot as PNG, its numbers as CSV, and what is shown as JSON."""

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from elman.data.files import replacing, write_text
from elman.errors import ElmanError, RunError
from elman.report.plots import NARROW, WIDE, Plotted, Size, draw, is_plot, settings
from elman.report.scorecard import Scorecard
from elman.report.style import LIGHT
from elman.tasks.exhibits import (
    AnyExhibit,
    Bars,
    Confusion,
    Forecasts,
    Lines,
    Listing,
    Passages,
    Reliability,
    Scatter,
    from_json,
    to_json,
)

FOLDER = "report"
SCORES, EXHIBITS = "scores.json", "exhibits.json"
Cell = str | int | float

_UNUSED_IDS = re.compile(r' id="[A-Za-z][A-Za-z2.]*_\d+"')  # matplotlib names every group; twice on a page is not HTML
_OWN_STYLE = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|<title>.*?</title>", re.DOTALL)
_NAMESPACES = re.compile(r' xmlns(:\w+)?="[^"]*"')
_FAMILY = re.compile(r"'DejaVu Sans'[^;\"]*")
_COLOURS = re.compile("|".join(LIGHT.values()))
_NAMES = {value: name for name, value in LIGHT.items()}


def keep(run: Path, card: Scorecard, exhibits: Sequence[AnyExhibit]) -> None:
    """Remember scores and exhibits for later reports."""
    folder = _made(run)
    write_text(folder / SCORES, card.to_json() + "\n")
    write_text(folder / EXHIBITS, to_json(exhibits) + "\n")


def kept(run: Path) -> tuple[Scorecard | None, list[AnyExhibit]]:
    """What `keep` remembered; nothing if it never was. Raises RunError if a file is damaged."""
    texts = []
    for name in (SCORES, EXHIBITS):
        path = run / FOLDER / name
        try:
            texts.append(path.read_text(encoding="utf-8") if path.is_file() else None)
        except UnicodeDecodeError as error:
            raise _damaged(path, error) from error
    try:
        card = Scorecard.from_json(texts[0]) if texts[0] else None
    except ValueError as error:
        raise _damaged(run / FOLDER / SCORES, error) from error
    try:
        return card, from_json(texts[1]) if texts[1] else []
    except ValueError as error:
        raise _damaged(run / FOLDER / EXHIBITS, error) from error


def _damaged(path: Path, error: ValueError) -> RunError:
    reason = str(error).splitlines()[0]
    return RunError(f"{path}: damaged ({reason}); remove it, and give `elman report` the data to score once more")


def _made(run: Path) -> Path:
    folder = run / FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ElmanError(f"{folder}: the folder cannot be made: {error.strerror or error}") from error
    return folder


def write_figure(run: Path, exhibit: AnyExhibit) -> list[str]:
    """Write PNG and CSV of an exhibit, as far as it has them; the names of the files."""
    written = []
    if is_plot(exhibit):
        with replacing(_made(run) / f"{exhibit.name}.png") as beside, settings():
            draw(_plotted(exhibit)).savefig(beside, format="png", dpi=160, facecolor="white")
        written.append(f"{exhibit.name}.png")
    if not isinstance(exhibit, Passages):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([_written(cell) for cell in row] for row in table(exhibit))
        write_text(_made(run) / f"{exhibit.name}.csv", text.getvalue())
        written.append(f"{exhibit.name}.csv")
    return written


def svg(exhibit: AnyExhibit) -> str:
    """Both sizes of a plot as inline SVG; the style of the page shows the one that fits."""
    return "".join(f'<div class="{size.name}">{_inline(exhibit, size)}</div>' for size in (WIDE, NARROW))


def _inline(exhibit: AnyExhibit, size: Size) -> str:
    """An SVG in the colours of the page, whichever they are, with a name for those who do not see it."""
    buffer = io.StringIO()
    with settings(salt=f"{exhibit.name}-{size.name}"):
        draw(_plotted(exhibit), size).savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for pattern in (_OWN_STYLE, _NAMESPACES, _UNUSED_IDS):
        text = pattern.sub("", text)
    text = _FAMILY.sub("inherit", text)
    text = _COLOURS.sub(lambda found: f"var(--{_NAMES[found[0]]})", text)
    name = escape(f"{exhibit.title}. {exhibit.caption}")
    start, rest = text.split(">", 1)
    return f'{start} role="img" aria-label="{name}"><title>{escape(exhibit.title)}</title>{rest}'


def _plotted(exhibit: AnyExhibit) -> Plotted:
    assert not isinstance(exhibit, Listing | Passages)
    return exhibit


def table(exhibit: AnyExhibit) -> Iterator[Sequence[Cell]]:
    """The numbers of an exhibit: a header and rows."""
    match exhibit:
        case Lines():
            yield [exhibit.x_label, *exhibit.lines]
            yield from zip(exhibit.x, *exhibit.lines.values(), strict=True)
        case Bars():
            yield ["label", exhibit.x_label, "low", "high"]
            none = [math.nan] * len(exhibit.labels)
            yield from zip(exhibit.labels, exhibit.values, exhibit.low or none, exhibit.high or none, strict=True)
        case Scatter():
            yield [exhibit.x_label, exhibit.y_label]
            yield from zip(exhibit.x, exhibit.y, strict=True)
        case Forecasts():
            yield ["window", "time", "observed", "median", "low", "high"]
            for window in exhibit.windows:
                before = [math.nan] * (len(window.times) - len(window.median))
                none = [math.nan] * len(window.median)
                median, low, high = window.median, window.low or none, window.high or none
                ahead = [*zip(before, before, before, strict=True), *zip(median, low, high, strict=True)]
                for time, observed, band in zip(window.times, window.observed, ahead, strict=True):
                    yield [window.heading, time, observed, *band]
        case Confusion():
            yield ["true \\ predicted", *exhibit.labels]
            for name, counts in zip(exhibit.labels, exhibit.counts, strict=True):
                yield [name, *counts]
        case Reliability():
            yield ["confidence", "accuracy", "count"]
            yield from zip(exhibit.confidence, exhibit.accuracy, exhibit.count, strict=True)
        case Listing():
            yield list(exhibit.columns)
            yield from exhibit.rows
        case Passages():
            yield ["heading", "text"]
            yield from ([one.heading, "".join(one.pieces)] for one in exhibit.passages)


def _written(cell: Cell) -> Cell:
    """A value that does not exist is an empty cell."""
    return "" if isinstance(cell, float) and math.isnan(cell) else cell
