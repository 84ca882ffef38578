"""Options and data of `forecast`: what a user says, series as scored, and as baselines read them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from elman.data.guard import Policy
from elman.data.series import Series, SeriesColumns
from elman.tasks.task import TaskOptions

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[np.float32]]


class ForecastOptions(TaskOptions):
    """Options of `forecast`: which column plays which part, and what is forecast."""

    target: tuple[str, ...]
    """Columns to forecast."""
    horizon: int = Field(ge=1, le=10_000)
    """Steps ahead."""
    time: tuple[str, ...] = ()
    """Columns that make the time stamp together; found where exactly one column holds times."""
    time_format: str | None = None
    context: int | None = Field(None, ge=1)
    """Steps that warm up the state before anything is learned or scored. Default: the season of the running level, at
    least the horizon and at least 16."""
    id: str | None = None
    """The column that tells several series apart."""
    past: tuple[str, ...] = ()
    """Covariates known up to now."""
    future: tuple[str, ...] = ()
    """Covariates known ahead."""
    static: tuple[str, ...] = ()
    """Covariates constant within a series."""
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    members: int = Field(2, ge=1, le=64)
    """Networks side by side whose forecasts are averaged: two are worth about 2 % of the error and cost twice the arithmetic."""
    guard: Policy = "clip"
    """What happens to later values far outside the range of the training data: "error", "clip", or "impute" as missing."""
    header: bool | None = None
    """Whether tables have a header; recognised by default."""

    @field_validator("target", "time", "past", "future", "static", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return (str(value),) if isinstance(value, str | int) else tuple(str(one) for one in value)

    @field_validator("quantiles")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or tuple(sorted(set(value))) != value or not (value[0] > 0 and value[-1] < 1):
            raise ValueError("expected rising numbers between 0 and 1")
        return value

    def columns(self) -> SeriesColumns:
        return SeriesColumns(
            targets=self.target,
            time=self.time,
            past=self.past,
            future=self.future,
            static=self.static,
            id=self.id,
            time_format=self.time_format,
        )


@dataclass(frozen=True)
class Scored:
    """One series to score: its rows, with what the run remembers of it before them, and the origins that count."""

    series: Series
    origins: NDArray[np.int64]


@dataclass(frozen=True)
class SeriesTest:
    """Series to score."""

    parts: list[Scored]
    notes: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(len(part.origins) for part in self.parts)


class ForecastBaseline(Protocol):
    """A simpler forecaster; see `elman.evaluation.forecast_baselines`."""

    name: str

    def fit(self, histories: Sequence[Any]) -> None: ...

    def predict(self, history: Any, origins: NDArray[np.int64]) -> Floats: ...


@dataclass(frozen=True)
class History:
    """A series as baselines read it: raw targets (T, C), and what is known ahead (T + H, K)."""

    targets: Floats
    future: Floats
