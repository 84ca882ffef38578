"""What a task has to show of a trained model, as plain data that `elman.report` draws, keeps as JSON and writes as CSV.

Numbers are Python's own (``array.tolist()``); NaN is a value that does not exist and is drawn as a gap. Text may hold anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, TypeAdapter

Number = Annotated[float, BeforeValidator(lambda value: nan if value is None else value)]
"""JSON has no NaN: it is written as null, and read back."""


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """One thing to show.

    Attributes:
        name: of its files: lower case with hyphens, unique among the exhibits of a run.
        title: a heading of a few words.
        caption: what it shows and what to look for, in sentences.
    """

    name: str
    title: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Lines(Exhibit):
    """Curves over one axis. ``lines``: label -> values, each as long as ``x``; the first is the model's."""

    kind: Literal["lines"] = "lines"
    x_label: str
    y_label: str
    x: Sequence[Number]
    lines: dict[str, list[Number]]


@dataclass(frozen=True, kw_only=True)
class Bars(Exhibit):
    """One value for each label, with an interval where it is known; ``highlighted``: the labels that are the model's."""

    kind: Literal["bars"] = "bars"
    x_label: str
    labels: Sequence[str]
    values: Sequence[Number]
    low: Sequence[Number] = ()
    high: Sequence[Number] = ()
    highlighted: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Scatter(Exhibit):
    """Points (x, y): predicted over observed, where the diagonal is right. More than some thousand are better drawn at random."""

    kind: Literal["scatter"] = "scatter"
    x_label: str
    y_label: str
    x: Sequence[Number]
    y: Sequence[Number]


@dataclass(frozen=True)
class Window:
    """One forecast with what was before it and what came.

    Attributes:
        heading: which one it is.
        times: (context + horizon) labels of the rows. observed: (context + horizon).
        median, low, high: (horizon): for the last rows of ``times``; low and high may be empty.
    """

    heading: str
    times: Sequence[str]
    observed: Sequence[Number]
    median: Sequence[Number]
    low: Sequence[Number] = ()
    high: Sequence[Number] = ()


@dataclass(frozen=True, kw_only=True)
class Forecasts(Exhibit):
    """Forecasts in windows of their own. ``band``: what low to high is, such as "80 % interval"."""

    kind: Literal["forecasts"] = "forecasts"
    y_label: str
    windows: Sequence[Window]
    band: str = ""


@dataclass(frozen=True, kw_only=True)
class Confusion(Exhibit):
    """How often each label (row) was predicted as each (column): ``counts`` (K, K), for two or hundreds of labels."""

    kind: Literal["confusion"] = "confusion"
    labels: Sequence[str]
    counts: Sequence[Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class Reliability(Exhibit):
    """How often the model is right against how sure it was, one value per bin; an empty bin has a count of 0."""

    kind: Literal["reliability"] = "reliability"
    confidence: Sequence[Number]
    accuracy: Sequence[Number]
    count: Sequence[int]


@dataclass(frozen=True)
class Passage:
    """A piece of text. ``pieces`` joined are the text; ``shades``, one each or none, 0 to 1, say how strongly each is marked."""

    heading: str
    pieces: Sequence[str]
    shades: Sequence[Number] = ()


@dataclass(frozen=True, kw_only=True)
class Passages(Exhibit):
    """Texts: what a model wrote, or what it read with the places that surprised it."""

    kind: Literal["passages"] = "passages"
    passages: Sequence[Passage]


@dataclass(frozen=True, kw_only=True)
class Listing(Exhibit):
    """A table of examples: the best and the worst, the most confused. A dozen rows are read, a hundred are not."""

    kind: Literal["listing"] = "listing"
    columns: Sequence[str]
    rows: Sequence[Sequence[str | int | Number]] = field(default_factory=list)


AnyExhibit = Lines | Bars | Scatter | Forecasts | Confusion | Reliability | Passages | Listing
_ADAPTER: TypeAdapter[list[AnyExhibit]] = TypeAdapter(list[Annotated[AnyExhibit, Discriminator("kind")]])


def to_json(exhibits: Sequence[AnyExhibit]) -> str:
    return _ADAPTER.dump_json(list(exhibits), indent=1).decode("utf-8")


def from_json(text: str) -> list[AnyExhibit]:
    """Raises ValueError if the text is not what `to_json` wrote."""
    return _ADAPTER.validate_json(text)
