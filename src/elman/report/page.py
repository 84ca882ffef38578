"""`report.html`: one self-contained page of a run. No network, no script; light and dark, desktop, phone and paper."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from elman.data.files import write_text
from elman.report.files import FOLDER
from elman.report.scorecard import Scorecard
from elman.report.sections import (
    exhibit_part,
    facts,
    kept_row,
    learning_curve,
    pairs,
    score_bars,
    score_table,
    section,
)
from elman.report.style import STYLE
from elman.report.words import headline, label, number
from elman.tasks.exhibits import AnyExhibit

PAGE = "report.html"
NO_TITLES = ("", "run", "runs")
"""Names of folders that do not tell a run from another."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser holds the page to, whatever a text or a label in it says: nothing is fetched, no script is run."""


@dataclass(frozen=True)
class Material:
    """All that a report shows.

    Attributes:
        run: the folder of the run, whose ``report`` folder the files of the figures go into.
        task: its name. facts: a few figures about the model and its training, as text.
        curve: rows of ``metrics.jsonl``. finished: whether training has ended.
        card, exhibits: what data showed; None and empty without any.
        settings: ``config.toml`` as text. environment: of ``environment.json``.
        commands: lines that make the run, and this page, again.
    """

    run: Path
    task: str
    facts: Mapping[str, str]
    curve: Sequence[Mapping[str, Any]]
    finished: bool
    card: Scorecard | None
    exhibits: Sequence[AnyExhibit]
    settings: str
    environment: Mapping[str, Any]
    commands: Sequence[str]


def write_report(material: Material, out: Path | None = None) -> Path:
    """Write the page, into the run folder or to ``out``, and the files of its figures."""
    path = out or material.run / PAGE
    linked = path.absolute().parent == material.run.absolute()
    name = _title(material)
    parts = [
        f'<header><p class="kicker">elman report · {escape(material.task)}</p><h1>{escape(name)}</h1>'
        f'<p class="headline">{_lead(material)}</p>{facts(material.facts)}</header>',
        *_scores(material, linked=linked),
        *(section(one.title, exhibit_part(material.run, one, linked=linked)) for one in material.exhibits),
        *_curve(material, linked=linked),
        _again(material),
        _footer(linked=linked),
    ]
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escape(name)}: {escape(material.task)}</title><style>{STYLE}</style></head>\n"
        f"<body>{''.join(parts)}</body></html>\n"
    )
    write_text(path, text)
    return path


def _title(material: Material) -> str:
    """The name of the run's folder, or of the one around it where that says nothing; else the task."""
    folder = material.run.absolute()
    return next((name for name in (folder.name, folder.parent.name) if name not in NO_TITLES), material.task)


def _lead(material: Material) -> str:
    """The page in one sentence."""
    if material.card:
        figure, rest = headline(material.card)
        return f"<b>{escape(figure)}</b>{escape(rest)}".replace(" %", "&nbsp;%")
    row = kept_row(material.curve)
    if row is None:
        return "Not validated yet." if not material.finished else "Trained; no validation had a finite loss."
    losses = ("valid_loss", "train_loss", "update", "epoch", "seconds", "kept")
    others = [f"{label(name)} {number(value)}" for name, value in row.items() if name not in losses][:3]
    so_far = "" if material.finished else "Training has not finished. "
    shown = ", ".join([f"<b>validation loss {number(row['valid_loss'])}</b>", *map(escape, others)])
    return f"{so_far}{shown[0].upper()}{shown[1:]} on the validation part. Not scored on new data yet."


def _scores(material: Material, *, linked: bool) -> list[str]:
    card = material.card
    if card is None:
        return []
    about = f"{card.count:,} {card.unit} of {', '.join(card.data)}."
    notes = "".join(f'<p class="soft">{escape(note)}</p>' for note in card.notes)
    bars = score_bars(card)
    return [
        section(
            bars.title,
            f"<p>{escape(about)}</p>",
            exhibit_part(material.run, bars, linked=linked),
            score_table(card),
            notes,
        )
    ]


def _curve(material: Material, *, linked: bool) -> list[str]:
    if not material.curve:
        return []
    curve = learning_curve(material.curve)
    return [section(curve.title, exhibit_part(material.run, curve, linked=linked))]


def _again(material: Material) -> str:
    """Settings, environment, and how to do it once more."""
    return section(
        "How to make it again",
        f"<pre>{escape(chr(10).join(material.commands))}</pre>",
        "<h3>Settings</h3>",
        f"<pre>{escape(material.settings)}</pre>",
        "<h3>Environment</h3>",
        pairs(material.environment),
    )


def _footer(*, linked: bool) -> str:
    where = f"beside this page, in {FOLDER}/" if linked else f"in the run folder, in {FOLDER}/"
    works = (
        " The links to them work where the page lies in its run folder; the page itself needs nothing."
        if linked
        else ""
    )
    return f'<footer class="soft">Every plot is also a PNG, and its numbers a CSV, {where}.{works}</footer>'
