"""`report.html`: one self-contained page of a run: scores, the learning curve, settings. No network, no script."""

import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.data.files import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d1d9e0; --paper: #fff; --accent: #0b6bcb; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --paper: #14181d; --accent: #6cb6ff; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem; }
body { margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; }
h2 { font-size: 1.15rem; margin-top: 2.2rem; } p.lead { color: var(--soft); margin-top: .2rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .8rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td.model { font-weight: 600; color: var(--accent); } td.soft { color: var(--soft); }
figure { margin: 1rem 0; } figure svg { width: 100%; height: auto; color: var(--ink); }
figcaption { color: var(--soft); font-size: .9rem; }
pre { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; padding: .8rem; font-size: .85rem; }
"""


GREY = "#7d8590"  # of text in plots: readable on light and on dark paper


def write_report(
    folder: Path,
    title: str,
    lead: str,
    evaluation: dict[str, Any] | None,
    curve: Sequence[dict[str, Any]],
    settings: str,
) -> Path:
    """Write ``report.html`` into a run folder.

    Args:
        evaluation: as `Evaluation.to_json`; None leaves the scores out.
        curve: rows of ``metrics.jsonl``.
        settings: ``config.toml`` as text.
    """
    parts = [f"<h1>{html.escape(title)}</h1><p class=lead>{html.escape(lead)}</p>"]
    if evaluation:
        parts.append(
            f"<h2>Scores on {evaluation['count']:,} {html.escape(evaluation['unit'])}</h2>{score_table(evaluation)}"
        )
    if curve:
        parts.append(f"<h2>Learning curve</h2><figure>{svg(learning_curve(curve))}{_caption(curve)}</figure>")
    parts.append(f"<h2>Settings</h2><pre>{html.escape(settings)}</pre>")
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    path = folder / "report.html"
    write_text(path, page)
    return path


def score_table(evaluation: dict[str, Any]) -> str:
    """The model with its interval, and a column per baseline."""
    baselines = evaluation["baselines"]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("metric", "model", "95 % interval", *baselines))
    rows = []
    for name, score in evaluation["metrics"].items():
        others = "".join(f"<td>{_number(values.get(name))}</td>" for values in baselines.values())
        interval = f"{_number(score['low'])} to {_number(score['high'])}"
        cells = (
            f"<td>{html.escape(name)}</td><td class=model>{_number(score['value'])}</td><td class=soft>{interval}</td>"
        )
        rows.append(f"<tr>{cells}{others}</tr>")
    return f"<div class=wide><table><tr>{head}</tr>{''.join(rows)}</table></div>"


def learning_curve(curve: Sequence[dict[str, Any]]) -> "Figure":
    """Training and validation loss over updates, the best validation marked."""
    figure, axes = _figure()
    updates = [row["update"] for row in curve]
    axes.plot(updates, [row["train_loss"] for row in curve], color="#8b949e", label="training")
    axes.plot(
        updates, [row["valid_loss"] for row in curve], color="#0b6bcb", label="validation", marker=".", markersize=4
    )
    best = _best(curve)
    axes.plot(best["update"], best["valid_loss"], "o", color="#d4351c", label="kept")
    axes.set_xlabel("update")
    axes.set_ylabel("loss")
    axes.legend(frameon=False, labelcolor=GREY)
    return figure


def svg(figure: "Figure") -> str:
    """A figure as inline SVG, without the XML declaration that HTML does not take."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _figure() -> tuple["Figure", "Axes"]:
    """Axes without the box."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=GREY)
    axes.xaxis.label.set_color(GREY)
    axes.yaxis.label.set_color(GREY)
    return figure, axes


def _best(curve: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The validation whose weights are kept: the last one that was marked so."""
    return next((row for row in reversed(curve) if row["kept"]), curve[-1])


def _caption(curve: Sequence[dict[str, Any]]) -> str:
    best = _best(curve)
    when = f"{best['update']:,} updates, {best['seconds']:.0f} s"
    return (
        f"<figcaption>Kept: the weights after {when}, with validation loss {_number(best['valid_loss'])}.</figcaption>"
    )


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
