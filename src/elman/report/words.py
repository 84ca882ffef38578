"""Figures in words and digits, as people read them."""

import math

from elman.report.scorecard import Scorecard

ABBREVIATIONS = {"mae", "rmse", "mse", "mase", "crps", "nll", "auroc", "cer", "wer"}
HALF = 0.04  # so close to a half that it is called one


def number(value: float | None) -> str:
    """Four significant digits, plain where that is short; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def label(name: str) -> str:
    """The name of a metric or a baseline as it is written in text.

    >>> label("mae"), label("seasonal_naive_24"), label("smape")
    ('MAE', 'seasonal naive 24', 'sMAPE')
    """
    if name in ABBREVIATIONS:
        return name.upper()
    return "sMAPE" if name == "smape" else name.replace("_", " ")


def duration(seconds: float) -> str:
    """
    >>> duration(42.4), duration(3700)
    ('42 s', '1 h 2 min')
    """
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def headline(card: Scorecard) -> tuple[str, str]:
    """What the scores say: the figure, and the sentence that goes on from it."""
    figure = card.metrics[card.selection]
    name = label(card.selection)
    value = f"{name[0].upper()}{name[1:]} {number(figure.value)}"
    sure = f"95 % interval {number(figure.low)} to {number(figure.high)}, over {card.count:,} {card.unit}."
    ranked = card.ranked()
    if not ranked or not math.isfinite(figure.value):
        return value, f"; {sure}"
    return value, f", {_against(card, *ranked[0])}; {sure}"


def _against(card: Scorecard, name: str, baseline: float) -> str:
    """The model beside the best baseline; a difference inside the interval is called none."""
    figure = card.metrics[card.selection]
    whose = f"the best baseline's {number(baseline)} ({label(name)})"
    if figure.low <= baseline <= figure.high:
        return f"no clear difference from {whose}"
    better = (figure.value > baseline) == figure.higher_is_better
    if figure.higher_is_better or baseline <= 0:
        size = number(abs(figure.value - baseline))
        return f"{size} {'better' if better else 'worse'} than {whose}"
    ratio = figure.value / baseline
    if abs(ratio - 0.5) < HALF:
        return f"{'about ' if abs(ratio - 0.5) > 0.01 else ''}half of {whose}"
    size = f"{100 * abs(1 - ratio):.0f} %" if ratio < 2 else f"{ratio:.1f} times"
    if better:
        return f"{size} below {whose}"
    return (
        f"{size} above {whose}: a simpler method does better here" if ratio < 2 else f"{size} {whose}, which is simpler"
    )
