"""Figures in words, against sentences written by hand."""

import pytest

from elman.report.scorecard import Figure, Scorecard
from elman.report.words import duration, headline, number

NAN = float("nan")


def card(value: float, low: float, high: float, *, higher: bool = False, **baselines: float) -> Scorecard:
    figure = Figure(value, low, high, "About.", higher)
    others = {name: {"mae": other} for name, other in baselines.items()}
    return Scorecard(["new.csv"], 1234, "origins", "mae", {"mae": figure}, others)


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (card(32.2, 31, 33.4, naive=64.5, linear=70), "half of the best baseline's 64.5 (naive)"),
        (card(34, 31, 36, naive=64.5), "about half of the best baseline's 64.5 (naive)"),
        (card(73, 70, 76, seasonal_naive_24=100), "27 % below the best baseline's 100 (seasonal naive 24)"),
        (card(110, 105, 115, linear=100), "10 % above the best baseline's 100 (linear): a simpler method does better here"),
        (card(300, 290, 310, linear=100), "3.0 times the best baseline's 100 (linear), which is simpler"),
        (card(98, 95, 101, linear=100), "no clear difference from the best baseline's 100 (linear)"),
        (card(0.86, 0.84, 0.88, higher=True, bag=0.74, major=0.5), "0.12 better than the best baseline's 0.74 (bag)"),
        (card(0.5, 0.45, 0.55, higher=True, bag=0.75), "0.25 worse than the best baseline's 0.75 (bag)"),
        (card(1.0, 0.9, 1.1, zero=0.0), "1 worse than the best baseline's 0 (zero)"),
    ],
)  # fmt: skip
def test_headline(scores: Scorecard, words: str) -> None:
    figure, rest = headline(scores)
    assert figure == f"MAE {number(scores.metrics['mae'].value)}"
    assert rest.startswith(f", {words}; 95 % interval ")
    assert rest.endswith(", over 1,234 origins.")


@pytest.mark.parametrize("scores", [card(1, 0.5, 2), card(NAN, NAN, NAN, naive=2.0), card(1, 0.5, 2, naive=NAN)])
def test_headline_without_a_comparison(scores: Scorecard) -> None:
    assert headline(scores)[1].startswith("; 95 % interval")


def test_ranked_puts_the_best_baseline_first() -> None:
    assert [name for name, _ in card(1, 1, 1, a=3, b=NAN, c=2).ranked()] == ["c", "a"]
    assert [name for name, _ in card(1, 1, 1, higher=True, a=3, b=NAN, c=2).ranked()] == ["a", "c"]


def test_numbers() -> None:
    assert [number(x) for x in (1234.5678, 0.000123456, 123456.7, NAN, None)] == [
        "1235",
        "0.0001235",
        "123,457",
        "–",
        "–",
    ]
    assert [duration(x) for x in (0.2, 119.4, 121, 3599, 3600, 90061)] == [
        "0 s",
        "119 s",
        "2 min",
        "1 h 0 min",
        "1 h 0 min",
        "25 h 1 min",
    ]
