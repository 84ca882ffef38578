"""Exhibits drawn with matplotlib, in the palette of the page; each at two sizes, so that a phone shows legible text."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elman.report.style import LIGHT
from elman.report.words import number
from elman.tasks.exhibits import Bars, Confusion, Forecasts, Lines, Reliability, Scatter, Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Plotted = Lines | Bars | Scatter | Forecasts | Confusion | Reliability

INK, SOFT, LINE, PAPER, ACCENT, SECOND = (LIGHT[n] for n in ("ink", "soft", "line", "paper", "accent", "second"))
COLOURS = (ACCENT, SOFT, SECOND, LIGHT["third"], LIGHT["fourth"], INK)
NUMBERED = 20  # labels of a confusion matrix whose cells carry their counts
LOG_FROM = 20  # largest over smallest value of a curve, from which its axis is logarithmic
FEW_TICKS_FROM = 1000  # largest over smallest, from which only powers of ten are ticks
MANY_POINTS = 500  # of a scatter plot; from there they are one picture, not as many shapes
LONGEST = 28  # characters of a label


@dataclass(frozen=True)
class Size:
    """What a plot has room for.

    Attributes:
        width, row: of the plot, and the usual height, in inches of 96 pixels.
        ticks, legend: of an axis of times, and entries of a legend side by side.
        numbered: labels of a confusion matrix whose cells carry their counts.
        named, letters: labels side by side on an axis of a confusion matrix, of more every nth is named; and
            characters of each.
    """

    name: str
    width: float
    row: float
    ticks: int
    legend: int
    numbered: int
    named: int
    letters: int


WIDE = Size("wide", 7.6, 3.0, 5, 3, NUMBERED, 30, 20)
NARROW = Size("narrow", 3.7, 2.6, 2, 2, 9, 12, 14)


def draw(exhibit: Plotted, size: Size = WIDE) -> "Figure":
    """The figure of an exhibit."""
    with settings():
        return _DRAWN[type(exhibit)](exhibit, size)


@contextmanager
def settings(salt: str = "") -> Iterator[None]:
    """How plots are drawn and saved: quiet axes without a box, text as it is, dollars included, and as text in an SVG.

    ``salt`` keeps the names inside several SVG of one page apart. What the font of a PNG lacks is a blank box there.
    """
    import matplotlib
    from cycler import cycler

    wanted: Any = {
        "font.size": 9.5, "axes.labelsize": 9.5, "xtick.labelsize": 9, "ytick.labelsize": 9, "legend.fontsize": 9,
        "text.parse_math": False, "svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False,
        "axes.edgecolor": LINE, "axes.labelcolor": SOFT, "xtick.color": SOFT, "ytick.color": SOFT, "text.color": INK,
        "xtick.major.size": 0, "ytick.major.size": 0, "xtick.minor.size": 0, "ytick.minor.size": 0,
        "axes.grid": True, "axes.grid.axis": "y", "grid.color": LINE, "grid.linewidth": 0.6, "axes.axisbelow": True,
        "legend.frameon": False, "lines.linewidth": 1.8, "axes.titlesize": 9.5, "axes.titlelocation": "left",
        "axes.prop_cycle": cycler(color=COLOURS), "svg.hashsalt": salt,
    }  # fmt: skip
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcParams.update(wanted)
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _figure(size: Size, height: float, rows: int = 1) -> "tuple[Figure, NDArray[np.object_]]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size.width, height), layout="constrained")
    return figure, figure.subplots(rows, 1, squeeze=False)[:, 0]


def _lines(exhibit: Lines, size: Size) -> "Figure":
    figure, (axes,) = _figure(size, size.row)
    x = np.asarray(exhibit.x, dtype=np.float64)
    for i, (name, values) in enumerate(exhibit.lines.items()):
        y = np.asarray(values, dtype=np.float64)
        single = np.count_nonzero(np.isfinite(y)) == 1
        style = {"marker": "o", "markersize": 7, "linestyle": ""} if single else {"marker": ""}
        axes.plot(
            x, y, label=short(name), color=COLOURS[i % len(COLOURS)], zorder=3 if i == 0 or single else 2, **style
        )
    axes.set_xlabel(short(exhibit.x_label))
    axes.set_ylabel(short(exhibit.y_label))
    known = np.concatenate([np.asarray(values, dtype=np.float64) for values in exhibit.lines.values()])
    known = known[np.isfinite(known)]
    if len(known) and known.min() > 0 and known.max() > LOG_FROM * known.min():
        _log(axes, known.max() / known.min())
    _whole_ticks(axes, x)
    figure.legend(loc="outside upper left", ncols=size.legend, borderaxespad=0.1)
    return figure


def _log(axes: "Axes", ratio: float) -> None:
    """A logarithmic axis of values up to ``ratio`` apart, in plain figures: matplotlib's own are mathematical markup."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < FEW_TICKS_FROM else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _whole_ticks(axes: "Axes", x: Floats) -> None:
    """Steps and updates are whole numbers, and so are their ticks."""
    from matplotlib.ticker import MaxNLocator

    if len(x) and np.isfinite(x).all() and (x == np.round(x)).all():
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _bars(exhibit: Bars, size: Size) -> "Figure":
    count = len(exhibit.labels)
    figure, (axes,) = _figure(size, 0.75 + 0.34 * count)
    values = np.asarray(exhibit.values, dtype=np.float64)
    colours = [ACCENT if name in exhibit.highlighted else LINE for name in exhibit.labels]
    rows = np.arange(count)[::-1]
    axes.barh(rows, values, color=colours, height=0.68)
    tops = values.copy()
    if exhibit.low and exhibit.high:
        low, high = (np.asarray(ends, dtype=np.float64) for ends in (exhibit.low, exhibit.high))
        around = np.maximum(np.array([values - low, high - values]), 0)
        axes.errorbar(values, rows, xerr=around, fmt="none", ecolor=INK, elinewidth=1.2, capsize=2.5)
        tops = np.fmax(values, high)
    for row, value, top in zip(rows, values, tops, strict=True):
        if np.isfinite(value):
            axes.annotate(number(value), (top, row), (5, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(rows, [short(name) for name in exhibit.labels], color=INK)
    axes.set_xlabel(short(exhibit.x_label))
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.margins(x=0.12)
    axes.axvline(0, color=LINE, linewidth=1)
    return figure


def _scatter(exhibit: Scatter, size: Size) -> "Figure":
    figure, (axes,) = _figure(size, min(size.width, 4.6))
    x, y = np.asarray(exhibit.x, dtype=np.float64), np.asarray(exhibit.y, dtype=np.float64)
    faint = {"alpha": 0.35, "linewidths": 0, "rasterized": len(x) > MANY_POINTS}
    axes.scatter(x, y, s=12, color=ACCENT, **faint)
    both = np.concatenate([x, y])
    both = both[np.isfinite(both)]
    if len(both):
        ends = [both.min(), both.max()]
        axes.plot(ends, ends, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xlabel(short(exhibit.x_label))
    axes.set_ylabel(short(exhibit.y_label))
    return figure


def _forecasts(exhibit: Forecasts, size: Size) -> "Figure":
    count = len(exhibit.windows)
    figure, rows = _figure(size, 0.4 + 2.1 * count, count)
    for axes, window in zip(rows, exhibit.windows, strict=True):
        _window(axes, window, size, exhibit.band)
        axes.set_ylabel(short(exhibit.y_label))
    handles, names = rows[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=size.legend, borderaxespad=0.1)
    return figure


def _window(axes: "Axes", window: Window, size: Size, band: str) -> None:
    rows = np.arange(len(window.times))
    ahead = rows[len(rows) - len(window.median) :]
    axes.plot(rows, np.asarray(window.observed, dtype=np.float64), color=INK, linewidth=1.2, label="observed")
    axes.plot(ahead, np.asarray(window.median, dtype=np.float64), color=ACCENT, label="forecast")
    if window.low and window.high:
        low, high = (np.asarray(ends, dtype=np.float64) for ends in (window.low, window.high))
        axes.fill_between(ahead, low, high, color=ACCENT, alpha=0.22, linewidth=0, label=short(band) or None)
    if len(ahead):
        axes.axvline(ahead[0] - 0.5, color=SOFT, linewidth=0.8, linestyle=(0, (4, 3)))
    at = sorted({round(place) for place in np.linspace(0, len(rows) - 1, size.ticks).tolist()}) if len(rows) else []
    axes.set_xticks(at, [short(window.times[i]) for i in at])
    axes.set_title(short(window.heading, 64 if size is WIDE else 44), color=SOFT)
    axes.margins(x=0.02)


def _confusion(exhibit: Confusion, size: Size) -> "Figure":
    counts = np.asarray(exhibit.counts, dtype=np.float64)
    shares = shares_of_rows(counts)
    classes = len(exhibit.labels)
    figure, (axes,) = _figure(size, size.width * 0.92 if size is NARROW else min(2.0 + 0.42 * classes, 6.8))
    if classes <= NUMBERED:
        _cells(axes, counts, shares, numbered=classes <= size.numbered)
    else:
        blue = np.array([int(ACCENT[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        picture = np.concatenate([np.broadcast_to(blue, (*shares.shape, 3)), shares[..., None] ** 0.5], axis=-1)
        axes.imshow(picture, interpolation="none", aspect="auto")
    every = max(1, math.ceil(classes / size.named))
    places = range(0, classes, every)
    names = [ends(exhibit.labels[place], size.letters) for place in places]
    axes.set_xticks(places, names, rotation=90 if classes > 4 else 0, color=INK)
    axes.set_yticks(places, names, color=INK)
    some = f"; one label in {every} is named" if every > 1 else ""
    axes.set_xlabel(f"predicted{some}")
    axes.set_ylabel("true")
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    return figure


def _cells(axes: "Axes", counts: Floats, shares: Floats, *, numbered: bool) -> None:
    """A square for each pair, as strong as its share of the row."""
    from matplotlib.patches import Rectangle

    for row, column in np.ndindex(*counts.shape):
        share = float(shares[row, column])
        if share > 0:
            axes.add_patch(Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, color=ACCENT, alpha=share, linewidth=0))
        if numbered and counts[row, column]:
            colour = PAPER if share > 0.55 else INK
            axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=colour, fontsize=8)
    axes.set_xlim(-0.5, counts.shape[1] - 0.5)
    axes.set_ylim(counts.shape[0] - 0.5, -0.5)


def shares_of_rows(counts: Floats) -> Floats:
    """Each row over its sum; 0 in a row without anything."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.asarray(counts / np.where(totals == 0, 1, totals))


def _reliability(exhibit: Reliability, size: Size) -> "Figure":
    figure, (axes,) = _figure(size, min(size.width, 3.8))
    count = np.asarray(exhibit.count, dtype=np.float64)
    full = count > 0
    x, y = np.asarray(exhibit.confidence, dtype=np.float64)[full], np.asarray(exhibit.accuracy, dtype=np.float64)[full]
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (4, 3)), label="as sure as right")
    axes.plot(x, y, color=ACCENT, linewidth=1.4, zorder=2)
    share = count[full] / max(count.sum(), 1)
    marks = {"color": ACCENT, "linewidths": 0, "clip_on": False}  # one at 0 or 1 is seen whole
    axes.scatter(x, y, s=18 + 400 * share, zorder=3, label="model; larger: more often", **marks)
    axes.set_xlabel("probability given")
    axes.set_ylabel("share that was right")
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    figure.legend(loc="outside upper left", ncols=size.legend, borderaxespad=0.1)
    return figure


def short(text: str, most: int = LONGEST) -> str:
    """A label that fits: one line of printable characters."""
    line = _printable(text)
    return line if len(line) <= most else f"{line[: most - 1]}…"


def ends(text: str, most: int) -> str:
    """A label that fits, as `short`, with both of its ends: names of one family often differ in the last part.

    >>> ends("card_payment_not_recognised", 15)
    'card_pa…ognised'
    """
    line = _printable(text)
    last = (most - 1) // 2
    return line if len(line) <= most else f"{line[: most - 1 - last]}…{line[-last:]}"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


_DRAWN: dict[type, Callable[..., "Figure"]] = {
    Lines: _lines,
    Bars: _bars,
    Scatter: _scatter,
    Forecasts: _forecasts,
    Confusion: _confusion,
    Reliability: _reliability,
}


def is_plot(exhibit: object) -> bool:
    return type(exhibit) in _DRAWN


def confused_pairs(exhibit: Confusion, most: int) -> Sequence[tuple[str, str, int]]:
    """(true, predicted, count) of the most frequent mistakes."""
    counts = np.asarray(exhibit.counts, dtype=np.int64).copy()
    np.fill_diagonal(counts, 0)
    order = np.argsort(counts, axis=None, kind="stable")[::-1][:most]
    places = zip(*np.unravel_index(order, counts.shape), strict=True)
    return [(exhibit.labels[i], exhibit.labels[j], int(counts[i, j])) for i, j in places if counts[i, j]]
