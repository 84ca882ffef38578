"""Exhibits as JSON and back, and what the tasks put into them, against numbers worked out by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest

from elman.data.series import Series
from elman.data.text_codec import TextCodec
from elman.data.vocabulary import UNKNOWN, Vocabulary
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
    from_json,
    to_json,
)
from elman.tasks.forecast_exhibits import ForecastSummary
from elman.tasks.language_exhibits import Read, binned, first_symbols, language_exhibits

NAN = math.nan
TITLE, CAPTION = "A title", "What it is."
EVERY: list[AnyExhibit] = [
    Lines(
        name="a", title=TITLE, caption=CAPTION, x_label="x", y_label="y", x=[1, 2], lines={"model": [1.0, 0.1 + 0.2]}
    ),
    Bars(
        name="b",
        title=TITLE,
        caption=CAPTION,
        x_label="x",
        labels=["é"],
        values=[1.5],
        low=[1.0],
        high=[2.0],
        highlighted=["é"],
    ),
    Scatter(name="c", title=TITLE, caption=CAPTION, x_label="x", y_label="y", x=[1.0], y=[2.0]),
    Forecasts(
        name="d",
        title=TITLE,
        caption=CAPTION,
        y_label="y",
        windows=[Window("one", ["1", "2"], [1.0, 2.0], [2.5], [2.0], [3.0])],
    ),
    Confusion(name="e", title=TITLE, caption=CAPTION, labels=["a", "b"], counts=[[3, 1], [0, 2]]),
    Reliability(name="f", title=TITLE, caption=CAPTION, confidence=[0.1, 0.9], accuracy=[0.2, 0.8], count=[3, 4]),
    Passages(name="g", title=TITLE, caption=CAPTION, passages=[Passage("one", ["a", "\x00<b>"], [0.5, 1.0])]),
    Listing(name="h", title=TITLE, caption=CAPTION, columns=["text", "count", "score"], rows=[["a", 3, 0.5]]),
]


def test_json_brings_every_kind_back() -> None:
    assert from_json(to_json(EVERY)) == EVERY


def test_what_does_not_exist_is_null_in_json() -> None:
    text = to_json(
        [Lines(name="a", title=TITLE, caption=CAPTION, x_label="", y_label="", x=[1], lines={"model": [NAN]})]
    )
    assert "null" in text
    assert "NaN" not in text
    (back,) = from_json(text)
    assert isinstance(back, Lines)
    assert math.isnan(back.lines["model"][0])


@pytest.mark.parametrize("text", ["", "[{}]", '[{"kind": "film"}]', '[{"kind": "confusion", "name": "a"}]', "{}"])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_json(text)


class TestForecast:
    """One series 0 1 2 ... 9 with a hole at 6, two steps ahead, quantiles 0.1 0.5 0.9."""

    values = np.array([[0.0], [1], [2], [3], [4], [5], [NAN], [7], [8], [9]])
    origins = np.array([1, 3, 5, 7])

    def summary(self, seasons: tuple[int, ...] = ()) -> ForecastSummary:
        shown = ForecastSummary(["load"], [0.1, 0.5, 0.9], seasons)
        target = np.stack([self.values[origin + 1 : origin + 3] for origin in self.origins])
        # off by 0, 1, 2 and 3 at both steps; the band reaches 1.5 to either side
        median = target + np.arange(4)[:, None, None]
        median = np.nan_to_num(median, nan=6.0)
        forecasts = np.stack([median - 1.5, median, median + 1.5], axis=-1)
        shown.see(self.values, self.origins, forecasts, target, np.array([2.0]))
        return shown

    def test_places_are_the_smallest_the_median_and_the_largest_error(self) -> None:
        # origin 5 looks at the hole: only half of its outcomes are known, so it is not shown
        places = self.summary().places()
        assert [(p.which, p.part, p.origin, p.error) for p in places] == [
            ("best", 0, 0, 0.0), ("typical", 0, 1, 0.5), ("worst", 0, 3, 1.5)
        ]  # fmt: skip

    def test_errors_by_step(self) -> None:
        error = self.summary().exhibits([])[0]
        assert isinstance(error, Lines)
        assert error.x == [1, 2]
        # step 1: errors 0 1 3 (the hole is no outcome); step 2: 0 1 2 3
        assert error.lines["model"] == pytest.approx([4 / 3, 6 / 4])
        # the last value is off by 1 and 2; it is known for each of these outcomes
        assert error.lines["last value"] == pytest.approx([1.0, 2.0])

    def test_a_seasonal_naive_where_there_is_a_season(self) -> None:
        error = self.summary(seasons=(2, 8)).exhibits([])[0]
        assert isinstance(error, Lines)
        # two steps before each outcome, which rises by 2: rows 0 2 4 6 are asked for; 6 is the hole, and 4's outcome is too
        assert error.lines["seasonal naive 2"] == pytest.approx([2.0, 2.0])

    def test_coverage_by_step(self) -> None:
        coverage = self.summary().exhibits([])[1]
        assert isinstance(coverage, Lines)
        assert coverage.lines["model"] == pytest.approx([2 / 3, 2 / 4])  # errors up to 1.5 are inside
        assert coverage.lines["nominal"] == pytest.approx([0.8, 0.8])

    def test_window(self) -> None:
        times = np.arange(10)
        series = Series("Ulm", times, self.values, np.zeros(0))
        shown = self.summary()
        place = shown.places()[0]
        forecast = np.array([[[1.0, 2.0, 3.0]], [[2.0, 3.0, 4.0]]])
        window = shown.window(place, series, 1, forecast)
        assert window.times == ["0", "1", "2", "3"]
        assert window.observed == [0, 1, 2, 3]
        assert (window.median, window.low, window.high) == ([2, 3], [1, 2], [3, 4])
        assert window.heading == "Best of Ulm: mean absolute error 0"

    def test_nothing_known_shows_no_window(self) -> None:
        shown = ForecastSummary(["load"], [0.5], ())
        shown.see(self.values, np.array([1]), np.zeros((1, 2, 1, 1)), np.full((1, 2, 1), NAN), np.ones(1))
        assert shown.places() == []
        (error,) = shown.exhibits([])  # no band, so that there is nothing to say about it
        assert isinstance(error, Lines)
        assert all(map(math.isnan, error.lines["model"]))


class TestLanguage:
    codec = TextCodec("char", Vocabulary.fit({"a": 3, "b": 2, "\n": 1}, unknown=UNKNOWN))

    def read(self, text: str, bits: list[float]) -> Read:
        count = len(text)
        return Read(
            self.codec.encode(text), np.array(bits) * math.log(2), np.full(count, 0.95), np.arange(count) % 2 == 0
        )

    def exhibits(self, text: str, bits: list[float]) -> dict[str, AnyExhibit]:
        shown = language_exhibits(
            self.codec, self.read(text, bits), lambda temperature, length: iter([str(temperature), str(length)])
        )
        return {one.name: one for one in shown}

    def test_samples_at_rising_temperatures(self) -> None:
        samples = self.exhibits("a", [1.0])["samples"]
        assert isinstance(samples, Passages)
        texts = ["".join(one.pieces) for one in samples.passages]
        assert texts == ["0.5400", "0.8400", "1.0400"]

    def test_lines_from_the_easiest_to_the_hardest(self) -> None:
        lines = ["a" * 24 + "\n", "b" * 24 + "\n", "ab" * 12 + "\n", "short\n"]
        bits = [4.0] * 25 + [1.0] * 25 + [16.0] * 25 + [99.0] * 6
        shown = self.exhibits("".join(lines), bits)
        easiest, hardest = shown["easiest-lines"], shown["hardest-lines"]
        assert isinstance(easiest, Passages)
        assert isinstance(hardest, Passages)
        assert ["".join(one.pieces) for one in easiest.passages] == [lines[1]]  # half of three lines, rounded down
        assert ["".join(one.pieces) for one in hardest.passages] == [lines[2]]
        assert easiest.passages[0].heading == "1.00 bits per symbol"
        assert list(easiest.passages[0].shades) == [0.125] * 25
        assert list(hardest.passages[0].shades) == [1.0] * 25

    def test_short_lines_only_are_not_shown(self) -> None:
        assert set(self.exhibits("ab\nab\n", [1.0] * 6)) == {"samples", "reliability"}

    def test_bins(self) -> None:
        confidence, accuracy, count = binned(np.array([0.05, 0.15, 0.25, 1.0]), np.array([True, False, True, True]), 4)
        assert count == [2, 1, 0, 1]
        assert confidence[:2] == pytest.approx([0.1, 0.25])
        assert accuracy[:2] == pytest.approx([0.5, 1.0])
        assert math.isnan(confidence[2])
        assert accuracy[3] == 1.0

    def test_long_texts_are_cut(self) -> None:
        assert first_symbols([0, 10, 20]) == list(pairwise([0, 10, 20]))
        assert first_symbols([0, 150_000, 300_000, 400_000]) == [(0, 150_000), (150_000, 200_000)]
