"""The parts of a report as HTML."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from elman.report.files import FOLDER, svg, write_figure
from elman.report.plots import confused_pairs, is_plot
from elman.report.scorecard import Scorecard
from elman.report.words import label, number
from elman.tasks.exhibits import AnyExhibit, Bars, Confusion, Lines, Listing, Passage, Passages

MOST_PAIRS = 12  # of confused labels in a table
PAIRS_FROM = 7  # labels, from which the most frequent mistakes are also listed
MOST_ROWS = 40  # of a listing on the page; its CSV has all
FAINT = 0.04  # shades below are not worth a mark


def section(heading: str, *parts: str) -> str:
    return f"<section><h2>{escape(heading)}</h2>{''.join(parts)}</section>"


def facts(values: Mapping[str, str]) -> str:
    """A few figures side by side."""
    tiles = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in values.items() if value
    )
    return f'<dl class="facts">{tiles}</dl>'


def pairs(values: Mapping[str, Any]) -> str:
    """Names and values below each other."""
    rows = "".join(
        f"<dt>{escape(str(name))}</dt><dd>{escape(_plain(value))}</dd>"
        for name, value in values.items()
        if value not in (None, [], {})
    )
    return f'<dl class="pairs">{rows}</dl>'


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items())
    if isinstance(value, list):
        return "; ".join(_plain(one) for one in value)
    return value if isinstance(value, str) else json.dumps(value)


def exhibit_part(run: Path, exhibit: AnyExhibit, *, linked: bool) -> str:
    """One exhibit with its caption; its files are written into the run folder."""
    names = write_figure(run, exhibit)
    caption = f"<figcaption>{escape(exhibit.caption)}{_links(names) if linked else ''}</figcaption>"
    return f"<figure>{caption}{_body(exhibit)}</figure>"


def _links(names: Sequence[str]) -> str:
    shown = " · ".join(f'<a href="{FOLDER}/{escape(name)}">{name.rpartition(".")[2].upper()}</a>' for name in names)
    return f' <span class="files">{shown}</span>' if shown else ""


def _body(exhibit: AnyExhibit) -> str:
    if isinstance(exhibit, Passages):
        return "".join(map(_passage, exhibit.passages))
    if isinstance(exhibit, Listing):
        return listing(exhibit.columns, exhibit.rows)
    pairs = mistakes(exhibit) if isinstance(exhibit, Confusion) and len(exhibit.labels) >= PAIRS_FROM else ""
    return svg(exhibit) + pairs if is_plot(exhibit) else ""


def mistakes(exhibit: Confusion) -> str:
    rows = confused_pairs(exhibit, MOST_PAIRS)
    return f"<h3>Most frequent mistakes</h3>{listing(('true', 'predicted', 'times'), rows)}" if rows else ""


def listing(columns: Sequence[str], rows: Sequence[Sequence[str | int | float]]) -> str:
    """A table; columns of text to the left, of numbers to the right."""
    kinds = [' class="text"' if any(isinstance(row[i], str) for row in rows) else "" for i in range(len(columns))]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(columns, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{_cell(value)}</td>" for value, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows[:MOST_ROWS]
    )
    more = f'<p class="soft">{len(rows) - MOST_ROWS:,} more rows in the CSV file.</p>' if len(rows) > MOST_ROWS else ""
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{more}'


def _cell(value: str | int | float) -> str:
    return escape(value) if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else number(value)


def _passage(passage: Passage) -> str:
    shades = passage.shades or [0.0] * len(passage.pieces)
    text = "".join(
        f'<span style="--s:{shade:.2f}">{escape(piece)}</span>' if shade > FAINT and piece.strip() else escape(piece)
        for piece, shade in zip(passage.pieces, shades, strict=True)
    )
    return f'<h3>{escape(passage.heading)}</h3><div class="passage">{text.rstrip()}</div>'


def score_bars(card: Scorecard) -> Bars:
    """The selected metric of the model and every baseline, the best first."""
    figure = card.metrics[card.selection]
    sign = -1 if figure.higher_is_better else 1
    rows = [("model", figure.value, figure.low, figure.high)]
    rows += [(label(name), value, float("nan"), float("nan")) for name, value in card.ranked()]
    rows.sort(key=lambda row: sign * row[1])
    names, values, low, high = (list(column) for column in zip(*rows, strict=True))
    better = "more is better" if figure.higher_is_better else "less is better"
    return Bars(
        name="scores", title="The model beside simpler methods",
        caption=f"{figure.about.rstrip('.')}; {better}. The line on the model's bar is its 95 % interval.",
        x_label=label(card.selection), labels=names, values=values, low=low, high=high, highlighted=["model"],
    )  # fmt: skip


def score_table(card: Scorecard) -> str:
    """A row per metric: the model with its interval, and every baseline; the best of each row is bold."""
    baselines = [name for name, _ in card.ranked()]
    baselines += [name for name in card.baselines if name not in baselines]
    head = "".join(f"<th>{escape(label(name))}</th>" for name in ("", "model", *baselines))
    body = "".join(_score_row(card, name, baselines) for name in card.metrics)
    return f'<table class="scores"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _score_row(card: Scorecard, name: str, baselines: Sequence[str]) -> str:
    figure = card.metrics[name]
    others = {baseline: card.baselines[baseline].get(name, float("nan")) for baseline in baselines}
    known = [value for value in (figure.value, *others.values()) if value == value]
    best = (max if figure.higher_is_better else min)(known, default=float("nan")) if len(known) > 1 else float("nan")
    cells = [
        f"<td>{escape(label(name))}<small>{escape(figure.about)}</small></td>",
        f'<td data-label="model" class="model{" best" if figure.value == best else ""}">{number(figure.value)}'
        f"<small>{number(figure.low)} to {number(figure.high)}</small></td>",
    ]
    for baseline, value in others.items():
        kind = ' class="best"' if value == best else ' class="none"' if value != value else ""
        cells.append(f'<td data-label="{escape(label(baseline))}"{kind}>{number(value)}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def learning_curve(rows: Sequence[Mapping[str, Any]]) -> Lines:
    """Training and validation loss over updates; the validation whose weights are kept as a line of one point."""
    at = kept_row(rows)
    return Lines(
        name="learning-curve",
        title="Learning curve",
        caption=(
            f"Kept: the weights after {at['update']:,} updates, with validation loss {number(at['valid_loss'])}."
            if at
            else "No validation had a finite loss."
        ),
        x_label="update",
        y_label="loss",
        x=[row["update"] for row in rows],
        lines={
            "validation": [_or_nan(row.get("valid_loss")) for row in rows],
            "training": [_or_nan(row.get("train_loss")) for row in rows],
            "kept": [_or_nan(row.get("valid_loss")) if row is at else float("nan") for row in rows],
        },
    )


def kept_row(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The last validation that was marked as kept; in a run of an older version, the one of the lowest loss."""
    marked = next((row for row in reversed(rows) if row.get("kept")), None)
    known = [row for row in rows if row.get("valid_loss") is not None]
    return marked or min(known, key=lambda row: float(row["valid_loss"]), default=None)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)
