"""Reports of real runs, opened in a real browser at the width of a desktop and of a phone."""

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

import elman
from elman.run import Run

if TYPE_CHECKING:
    from tests.report.conftest import Browse

SMALL = {"training": {"updates": 12, "validations": 3, "batch_size": 4}}
TEXT = "The quick brown fox jumps over the lazy dog.\nPack my box with <b>five</b> dozen liquor jugs & more.\n"
SMALLEST = 9.0  # pixels of text in a plot


@pytest.fixture(scope="module")
def forecast(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("forecast") / "run"
    t = np.arange(500)
    rng = np.random.default_rng(1)
    frame = pl.DataFrame({"hour": t, "a": 20 + 5 * np.sin(t / 4) + rng.normal(size=500), "b": rng.normal(size=500)})
    run = elman.fit(
        "forecast", frame[:400], target=["a", "b"], horizon=6, time="hour", hidden=8, settings=SMALL, out=folder
    )
    run.report(frame[400:])
    return run


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("language") / "run"
    (folder.parent / "old.txt").write_text(TEXT * 12)
    (folder.parent / "new.txt").write_text(TEXT * 3)
    run = elman.fit("language", folder.parent / "old.txt", hidden=8, settings=SMALL, out=folder)
    run.report(folder.parent / "new.txt")
    return run


@pytest.fixture(scope="module")
def classification(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("classification") / "run"
    words = [f"a {'fine' if i % 2 else 'poor'} <i>film</i> & number {i}" for i in range(60)]
    frame = pl.DataFrame({"text": words, "mood": ["good" if i % 2 else "bad" for i in range(60)]})
    run = elman.fit("classify", frame[:40], text="text", label="mood", hidden=8, settings=SMALL, out=folder)
    run.report(frame[40:])
    return run


@pytest.mark.parametrize(("kind", "plots"), [("forecast", 6), ("language", 3), ("classification", 4)])
def test_a_browser_shows_the_report(request: pytest.FixtureRequest, browse: "Browse", kind: str, plots: int) -> None:
    run: Run = request.getfixturevalue(kind)
    seen = browse(run.path / "report.html")
    assert seen.console == []
    assert seen.requests == []
    for name, width in (("desktop", 1200), ("phone", 390)):
        look = seen.looks[name]
        assert look.width <= width, f"the page is wider than a {name}"
        assert look.plots == plots
        assert look.smallest >= SMALLEST
    assert seen.looks["phone"].height > seen.looks["desktop"].height


def test_the_check_sees_a_page_that_is_wrong(tmp_path: Path, browse: "Browse") -> None:
    page = tmp_path / "wrong.html"
    page.write_text(
        '<meta charset="utf-8"><img src="http://127.0.0.1:9/pixel.png" alt=""><script>nowhere()</script>'
        '<p style="width: 700px">wide</p><svg viewBox="0 0 1000 10"><text style="font-size: 9px">a</text></svg>'
    )
    seen = browse(page)
    assert any("nowhere is not defined" in line for line in seen.console)
    assert "http://127.0.0.1:9/pixel.png" in seen.requests
    assert seen.looks["phone"].width > 390
    assert seen.looks["phone"].smallest < SMALLEST


def test_a_language_report_shades_what_surprises(language: Run) -> None:
    text = (language.path / "report.html").read_text(encoding="utf-8")
    assert "Lines that surprised it" in text
    assert '<span style="--s:' in text
    assert "five</b>" not in text  # what a text says is no markup
    assert all(
        a < b for a, b in pairwise(text.index(one) for one in ("temperature 0.5", "temperature 0.8", "temperature 1<"))
    )


def test_a_report_without_data_shows_what_was_seen_before(forecast: Run) -> None:
    first = (forecast.path / "report.html").read_text(encoding="utf-8")
    assert Run(forecast.path).report().read_text(encoding="utf-8") == first
    assert "Error by step ahead: b" in first
    assert "of data frame." in first
