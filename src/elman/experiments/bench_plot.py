"""A picture of a benchmark: how many times as fast as torch's module, a panel for each shape."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from elman.data.files import replacing
from elman.experiments.bench import Bench, Row
from elman.report.plots import INK, PAPER, settings
from elman.report.style import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, MARGIN, BAR = 7.6, 0.9, 0.24  # inches
DOTS = 150  # per inch
COLOURS = {
    "native": "accent",
    "torch.nn": "second",
    "torch": "second",
    "lax.scan": "third",
    "scan": "fourth",
    "loop": "soft",
}


def draw(bench: Bench, path: Path) -> None:
    """Write a PNG. Raises ElmanError if it cannot be written."""
    from matplotlib.figure import Figure

    panels = [(str(shape), list(rows)) for shape, rows in groupby(bench.rows, lambda row: row.shape)]
    heights = [MARGIN + BAR * len(rows) for _, rows in panels]
    with settings():
        figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
        drawn = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (title, rows) in zip(drawn, panels, strict=True):
            _panel(axes, title, rows)
        threads = "one thread" if bench.threads == 1 else f"{bench.threads} threads"
        drawn[-1].set_xlabel(
            f"times as fast as torch's module, forward and backward, {threads}, {bench.machine['cpu']}"
        )
        with replacing(path) as beside:
            figure.savefig(beside, format="png", dpi=DOTS)


def _colour(row: Row) -> str:
    return LIGHT[COLOURS.get("torch.nn" if row.backend.startswith("nn.") else row.backend, "soft")]


def _panel(axes: "Axes", title: str, rows: Sequence[Row]) -> None:
    places = range(len(rows))[::-1]
    axes.barh(places, [row.ratio for row in rows], color=[_colour(row) for row in rows], height=0.7)
    for place, row in zip(places, rows, strict=True):
        text = f"{row.ratio:.2f}   {row.milliseconds:.3g} ms, {row.share_of_peak:.0%} of the peak"
        # on paper of its own: where the bar is short the line at 1 would run through it
        paper = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.8}
        axes.annotate(
            text, (row.ratio, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, bbox=paper
        )
    axes.axvline(1, color=INK, linewidth=0.8, zorder=0)
    axes.set_yticks(places, [f"{row.cell}, {row.backend}" for row in rows], color=INK)
    axes.set_title(f"{title} (batch x time x inputs x hidden, layers)")
    axes.grid(visible=False)
    axes.margins(y=0.5 / len(rows))
    axes.set_xlim(0, 1.55 * max(row.ratio for row in rows))  # room for the figures beside the bars
