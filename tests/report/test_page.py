"""Pages of made-up runs: what is on them, what lies beside them, and that they need nothing else."""

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.patches import Rectangle

from elman.errors import RunError
from elman.report.files import keep, kept, svg
from elman.report.page import Material, write_report
from elman.report.plots import NARROW, WIDE, Plotted, Size, draw, is_plot
from elman.report.scorecard import Figure, Scorecard
from elman.report.sections import learning_curve
from elman.tasks.exhibits import (
    AnyExhibit,
    Bars,
    Confusion,
    Forecasts,
    Lines,
    Listing,
    Passage,
    Passages,
    Reliability,
    Scatter,
    Window,
)

NAN = math.nan
NASTY = '<script>alert("1")</script> $\\frac{$ 日本 \n "&amp;'
CAPTION = f"Anything may stand in a caption: {NASTY}"


def confusion(labels: int) -> Confusion:
    rng = np.random.default_rng(labels)
    counts = rng.integers(0, 5, (labels, labels)) + 40 * np.eye(labels, dtype=np.int64)
    names = [NASTY, *(f"label {i}" for i in range(1, labels))]
    return Confusion(
        name=f"confusion-{labels}", title="Confusion", caption=CAPTION, labels=names, counts=counts.tolist()
    )


def scatter(points: int) -> Scatter:
    x, y = np.random.default_rng(1).normal(size=(2, points)).tolist()
    return Scatter(name="scatter", title="Scatter", caption=CAPTION, x_label="observed", y_label="predicted", x=x, y=y)


LINES = Lines(
    name="lines", title="Lines", caption=CAPTION, x_label=NASTY, y_label=NASTY,
    x=[1, 2, 3], lines={"model": [0.1, NAN, 0.30000000000000004], NASTY: [1.0, 2.0, 100.0]},
)  # fmt: skip
BARS = Bars(
    name="bars", title="Bars", caption=CAPTION, x_label="mae",
    labels=["model", NASTY, "none"], values=[1.5, 2.0, NAN], low=[1.0, NAN, NAN], high=[2.0, NAN, NAN], highlighted=["model"],
)  # fmt: skip
FORECASTS = Forecasts(
    name="forecasts", title="Forecasts", caption=CAPTION, y_label="load", band="80 %",
    windows=[
        Window("best", ["mon", "tue", NASTY, "thu"], [1.0, NAN, 3.0, 4.0], [3.5, 4.5], [3.0, 4.0], [4.0, NAN]),
        Window(NASTY, ["1", "2"], [1.0, 2.0], [2.5]),
    ],
)  # fmt: skip
RELIABILITY = Reliability(
    name="reliability", title="Reliability", caption=CAPTION,
    confidence=[0.1, NAN, 0.9], accuracy=[0.2, NAN, 0.7], count=[10, 0, 30],
)  # fmt: skip
PASSAGES = Passages(
    name="texts", title="Texts", caption=CAPTION, passages=[Passage(NASTY, ["a", NASTY, "b\x00"], [0.5, 1.0, NAN])]
)
LISTING = Listing(name="rows", title="Rows", caption=CAPTION, columns=["text", "n"], rows=[[NASTY, 3], ["b", NAN]])
PLOTS: list[Plotted] = [LINES, BARS, scatter(60), FORECASTS, confusion(3), confusion(20), confusion(40), RELIABILITY]
EVERY: list[AnyExhibit] = [*PLOTS, PASSAGES, LISTING]

CARD = Scorecard(
    ["new.csv"], 120, "origins", "mae",
    {"mae": Figure(1.0, 0.9, 1.1, NASTY, False), "coverage": Figure(NAN, NAN, NAN, "Share.", False)},
    {"linear": {"mae": 2.0}, NASTY: {"mae": NAN}}, [NASTY],
)  # fmt: skip
CURVE: list[dict[str, Any]] = [
    {"update": 10, "epoch": 1, "seconds": 1.0, "train_loss": 3.0, "valid_loss": 2.0, "kept": True, "mae": 5.0},
    {"update": 20, "epoch": 2, "seconds": 2.0, "train_loss": None, "valid_loss": None, "kept": False, "mae": None},
]


def everything(folder: Path) -> Material:
    """All that a page can show, with the worst of texts wherever there is text."""
    run = folder / "a <b> run"
    run.mkdir()
    return Material(
        run=run, task="forecast", facts={"encoder": NASTY, "empty": ""}, curve=CURVE, finished=True, card=CARD,
        exhibits=EVERY, settings=f'text = "{NASTY}"', environment={"a": NASTY, "b": [{"c": 1}], "d": None}, commands=[NASTY],
    )  # fmt: skip


@pytest.fixture
def material(tmp_path: Path) -> Material:
    """Little to draw."""
    return replace(everything(tmp_path), exhibits=[LINES])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose page shows everything; read only."""
    material = everything(tmp_path_factory.mktemp("pages"))
    write_report(material)
    return material.run


class Reader(HTMLParser):
    """Elements by name, their attributes, and whether every one is closed."""

    void = ("meta", "br", "hr", "img", "link", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def values(self, *names: str) -> list[str]:
        return [value for name, value in self.attributes if name in names]


def numbers(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def column(rows: list[list[str]], index: int) -> list[float]:
    return [float(row[index] or "nan") for row in rows[1:]]


def same(first: Sequence[float], second: Sequence[float]) -> bool:
    return bool(np.array_equal(np.asarray(first, float), np.asarray(second, float), equal_nan=True))


def test_the_page_stands_alone(made: Path) -> None:
    text = (made / "report.html").read_text(encoding="utf-8")
    read = Reader(text)
    assert not read.open
    assert read.names["script"] == 0
    assert read.names["h1"] == 1
    assert read.names["svg"] == 2 * (
        len(PLOTS) + 2
    )  # each at two sizes; the scores and the learning curve are plots too
    addresses = read.values("src", "href", "xlink:href")
    assert all(re.match(r"#|data:image/png;base64,|report/[\w.-]+$", address) for address in addresses)
    assert {address for address in addresses if address.startswith("report/")} == {
        f"report/{path.name}" for path in (made / "report").iterdir()
    }
    assert not re.search(r"url\((?!#)|@import|https?:", text)
    identifiers = read.values("id")
    assert len(identifiers) == len(set(identifiers))
    references = re.findall(r"url\(#([^)]+)\)", text) + [one[1:] for one in addresses if one.startswith("#")]
    assert set(references) <= set(identifiers)
    assert len(text.encode()) < 5_000_000
    assert "default-src 'none'" in text


def test_every_svg_has_a_name_and_the_colours_of_the_page(made: Path) -> None:
    text = (made / "report.html").read_text(encoding="utf-8")
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert all('role="img" aria-label="' in one and "<title>" in one for one in drawings)
    assert all("var(--" in one for one in drawings)
    assert not any(re.search(r"#[0-9a-f]{6}\b", re.sub(r'base64,[^"]*|(url\(|")#\w+', "", one)) for one in drawings)


def test_every_plot_lies_beside_the_page(made: Path) -> None:
    names = {path.name for path in (made / "report").iterdir()}
    plots = {one.name for one in PLOTS} | {"scores", "learning-curve"}
    assert names == {f"{name}.{kind}" for name in plots for kind in ("png", "csv")} | {"rows.csv"}
    for name in plots:
        assert (made / "report" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def drawn(exhibit: Plotted) -> list[Axes]:
    return list(draw(exhibit).axes)


def lines_of(axes: Axes) -> list[list[float]]:
    return [np.asarray(line.get_ydata(), float).tolist() for line in axes.lines]


def check_lines(rows: list[list[str]]) -> None:
    (axes,) = drawn(LINES)
    assert rows[0] == [NASTY, "model", NASTY]
    assert same(column(rows, 0), np.asarray(axes.lines[0].get_xdata(), float).tolist())
    for i, values in enumerate(lines_of(axes)):
        assert same(column(rows, 1 + i), values)


def check_bars(rows: list[list[str]]) -> None:
    (axes,) = drawn(BARS)
    widths = [patch.get_width() for patch in axes.patches if isinstance(patch, Rectangle)]
    assert same(column(rows, 1), widths)
    assert [row[0] for row in rows[1:]] == list(BARS.labels)
    (interval,) = (one for one in axes.collections if isinstance(one, LineCollection))
    first, *others = (np.asarray(segment) for segment in interval.get_segments())
    assert first[:, 0].tolist() == [column(rows, 2)[0], column(rows, 3)[0]]
    assert not any(map(len, others))


def check_scatter(rows: list[list[str]]) -> None:
    (axes,) = drawn(scatter(60))
    (points,) = (one for one in axes.collections if isinstance(one, PathCollection))
    assert same(np.asarray(points.get_offsets())[:, 0].tolist(), column(rows, 0))
    assert same(np.asarray(points.get_offsets())[:, 1].tolist(), column(rows, 1))


def check_forecasts(rows: list[list[str]]) -> None:
    first, second = drawn(FORECASTS)
    observed, median = lines_of(first)[:2]
    assert same(column(rows, 2)[:4], observed)
    assert same(column(rows, 3)[:4], [NAN, NAN, *median])
    assert same(column(rows, 4)[:4], [NAN, NAN, 3.0, 4.0])
    assert same(column(rows, 5)[:4], [NAN, NAN, 4.0, NAN])
    assert same(column(rows, 3)[4:], [NAN, *lines_of(second)[1]])
    assert same(np.asarray(first.lines[1].get_xdata(), float).tolist(), [2.0, 3.0])


def check_confusion(rows: list[list[str]]) -> None:
    (axes,) = drawn(confusion(3))
    written = {(round(y), round(x)): one.get_text() for one in axes.texts for x, y in [one.get_position()]}
    counted = {(i, j): row[1 + j] for i, row in enumerate(rows[1:]) for j in range(3) if row[1 + j] != "0"}
    assert written == counted


def check_reliability(rows: list[list[str]]) -> None:
    (axes,) = drawn(RELIABILITY)
    assert same(lines_of(axes)[1], [value for value in column(rows, 1) if value == value])
    assert [row[2] for row in rows[1:]] == ["10", "0", "30"]


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("lines", check_lines), ("bars", check_bars), ("scatter", check_scatter), ("forecasts", check_forecasts),
        ("confusion-3", check_confusion), ("reliability", check_reliability),
    ],
)  # fmt: skip
def test_the_csv_holds_what_is_drawn(made: Path, name: str, check: Callable[[list[list[str]]], None]) -> None:
    check(numbers(made / "report" / f"{name}.csv"))


def test_the_large_confusion_matrix_is_in_its_csv(made: Path) -> None:
    rows = numbers(made / "report" / "confusion-40.csv")
    assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == [list(row) for row in confusion(40).counts]


@pytest.mark.parametrize(("size", "name"), [(WIDE, "{:02} is a na…nd for {:02}"), (NARROW, "{:02} is a…for {:02}")])
@pytest.mark.parametrize("labels", [3, 20, 30, 77])
def test_a_confusion_matrix_names_its_own_labels(labels: int, size: Size, name: str) -> None:
    names = [f"{i:02d} is a name too long to stand for {i:02d}" for i in range(labels)]
    matrix = Confusion(name="c", title="C", caption="", labels=names, counts=np.eye(labels, dtype=np.int64).tolist())
    (axes,) = draw(matrix, size).axes
    for axis in (axes.xaxis, axes.yaxis):
        places, shown = axis.get_majorticklocs().tolist(), [text.get_text() for text in axis.get_majorticklabels()]
        assert shown == [name.format(round(place), round(place)) for place in places]
        assert places == list(range(0, labels, round(places[1])))
        assert len(places) <= size.named
        assert len(places) >= 10 or labels == 3
    assert ("is named" in axes.get_xlabel()) == (labels > size.named)


@pytest.mark.parametrize("best", [0.5, 1e-3, 1e-12])
def test_a_falling_loss_has_plain_figures(best: float) -> None:
    rows = [{"update": i, "train_loss": loss, "valid_loss": loss} for i, loss in enumerate(np.geomspace(20, best, 30))]
    curve = learning_curve(rows)
    (axes,) = draw(curve).axes
    assert axes.get_yscale() == "log"
    low, high = axes.get_ylim()
    labels = [text.get_text() for text in axes.yaxis.get_majorticklabels()]
    seen = [text for text, at in zip(labels, axes.get_yticks(), strict=True) if low <= at <= high]
    assert len(seen) >= 2
    assert [float(text) for text in seen] == [pytest.approx(at) for at in axes.get_yticks() if low <= at <= high]
    assert not any(text.get_text() for text in axes.yaxis.get_minorticklabels())
    drawing = svg(curve)
    assert "$\\" not in drawing
    assert f">{seen[0]}<" in drawing


def test_the_surest_mark_is_seen_whole() -> None:
    sure = Reliability(name="r", title="R", caption="", confidence=[1.0], accuracy=[1.0], count=[5])
    (axes,) = draw(sure).axes
    (marks,) = (one for one in axes.collections if isinstance(one, PathCollection))
    assert not marks.get_clip_on()


@pytest.mark.parametrize(
    ("folder", "title"), [("demo/run", "demo"), ("run/runs", "forecast"), ("runs/load", "load"), ("demo/runs", "demo")]
)
def test_a_page_is_called_after_what_tells_it_from_others(material: Material, folder: str, title: str) -> None:
    run = material.run / folder
    run.mkdir(parents=True)
    text = write_report(replace(material, run=run, exhibits=[])).read_text(encoding="utf-8")
    assert f"<h1>{title}</h1>" in text
    assert f"<title>{title}: forecast</title>" in text


def test_scores_and_learning_curve_are_in_their_csv(made: Path) -> None:
    scores = numbers(made / "report" / "scores.csv")
    assert scores[1:] == [["model", "1.0", "0.9", "1.1"], ["linear", "2.0", "", ""]]
    curve = numbers(made / "report" / "learning-curve.csv")
    assert curve[1:] == [["10", "2.0", "3.0", "2.0"], ["20", "", "", ""]]


def test_confused_pairs_are_listed_where_cells_are_many(material: Material) -> None:
    counts = np.eye(9, dtype=np.int64)
    counts[2, 7] = 5
    matrix = Confusion(name="c", title="C", caption="", labels=list("abcdefghi"), counts=counts.tolist())
    text = write_report(replace(material, exhibits=[matrix])).read_text(encoding="utf-8")
    assert '<td class="text">c</td><td class="text">h</td><td>5</td>' in text


def test_a_large_run_stays_small(material: Material) -> None:
    rows: list[list[str | int | float]] = [[f"row {i} " * 20, i] for i in range(5000)]
    listing = Listing(name="many", title="Many", caption="", columns=["text", "n"], rows=rows)
    curve = [{**CURVE[0], "update": i, "kept": False} for i in range(2000)]
    large: list[AnyExhibit] = [confusion(400), scatter(20_000), listing]
    page = write_report(replace(material, exhibits=large, curve=curve))
    assert page.stat().st_size < 2_000_000
    assert len(numbers(material.run / "report" / "many.csv")) == 5001


def test_both_sizes_have_text_of_one_size() -> None:
    for exhibit in PLOTS:
        for size in (WIDE, NARROW):
            figure = draw(exhibit, size)
            assert figure.get_figwidth() == size.width
    assert not is_plot(LISTING)


def test_a_page_without_anything(material: Material) -> None:
    bare = replace(material, curve=[], card=None, exhibits=[], finished=False, environment={}, commands=[])
    text = write_report(bare).read_text(encoding="utf-8")
    assert "Not validated yet." in text
    assert not list(material.run.glob("report/*"))


def test_an_unfinished_run_says_so(material: Material) -> None:
    text = write_report(replace(material, card=None, exhibits=[], finished=False)).read_text(encoding="utf-8")
    assert "Training has not finished." in text
    assert "<b>validation loss 2</b>, MAE 5" in text


def test_a_run_of_an_older_version_has_no_marks_of_what_was_kept() -> None:
    rows = [{"update": i, "train_loss": 1.0, "valid_loss": loss} for i, loss in enumerate([3.0, 1.0, 2.0])]
    assert same(learning_curve(rows).lines["kept"], [NAN, 1.0, NAN])


def test_out_writes_elsewhere_and_links_nothing(material: Material, tmp_path: Path) -> None:
    page = write_report(material, tmp_path / "page.html")
    assert page == tmp_path / "page.html"
    assert 'href="report/' not in page.read_text(encoding="utf-8")
    assert not (material.run / "report.html").exists()
    assert (material.run / "report" / "lines.png").exists()


def test_scores_and_exhibits_are_kept(tmp_path: Path) -> None:
    assert kept(tmp_path) == (None, [])
    plain = [one for one in EVERY if "nan" not in repr(one)]
    keep(tmp_path, replace(CARD, metrics={"mae": CARD.metrics["mae"]}, baselines={"linear": {"mae": 2.0}}), plain)
    card, exhibits = kept(tmp_path)
    assert card is not None
    assert card.metrics == {"mae": CARD.metrics["mae"]}
    assert exhibits == plain
    assert all(json.loads(path.read_text()) for path in (tmp_path / "report").glob("*.json"))


@pytest.mark.parametrize("name", ["scores.json", "exhibits.json"])
@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[1]", b'{"metrics": 1}'])
def test_a_damaged_memory_is_told(tmp_path: Path, name: str, content: bytes) -> None:
    keep(tmp_path, CARD, [])
    (tmp_path / "report" / name).write_bytes(content)
    with pytest.raises(RunError, match=f"{name}: damaged .* remove it"):
        kept(tmp_path)
