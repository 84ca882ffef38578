"""Rows of series to arrays and forecasts back to physical units: the codec of the series tasks."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from elman.data.calendar import calendar_features
from elman.data.codec import CODECS, Array, Codec, Json, Memory, Push, Steps
from elman.data.guard import InputGuard
from elman.data.scaling import Scaler
from elman.data.series import Series, SeriesColumns, SeriesSet
from elman.data.times import Frequency, TimeArray, parse_time, show_time
from elman.errors import DataError

Floats = NDArray[np.float64]

LIMIT = 5.0  # standard deviations at which covariates are cut
LONGEST_LAG = 1000  # steps of the longest season that is kept as lags: a week of quarters of an hour, a year of days
LONGEST_HALF_LIFE = 200  # steps: a level must follow a trend, whatever the longest season is
CYCLES = 3  # a season counts if the training part has seen it that often
NO_SEASON = 10  # half-life where the data has no season
LONGEST_GAP = 100_000  # rows left out of a stream at once; more is surely a wrong time stamp
SUSPICIOUS = {"range": "outside the range of the training data", "unknown": "not seen in training, taken as missing"}
"""What the guard meets in a row of a stream that its answer tells."""
ENCODED_AT_ONCE = 1 << 18  # rows encoded at a time where the arrays lie on disk


@dataclass(frozen=True)
class Shape:
    """Sizes a forecaster is built for: columns forecast, known ahead, known up to now, and steps ahead."""

    targets: int
    known: int
    past: int
    horizon: int


@CODECS.register("series")
class SeriesCodec(Codec):
    """Scales, categories, clock and guard of series on a regular grid.

    Targets are scaled per series, by constants fitted on the training part: the mean, and the typical deviation from the running
    level, so that `RunningStatistics` starts at a spread of 1. A series that was not in training uses the constants of all
    together, and its running statistics do the rest. Covariates are scaled over all series. A missing value becomes 0,
    and a column of 0 and 1 beside each group of covariates says that something is missing.
    """

    kind: ClassVar[str] = "series"

    def __init__(
        self,
        *,
        targets: Sequence[str],
        past: Sequence[str],
        future: Sequence[str],
        static: Sequence[str],
        source: SeriesColumns,
        categories: Mapping[str, Sequence[str]],
        frequency: Frequency,
        timed: bool,
        annual: bool,
        horizon: int,
        quantiles: Sequence[float],
        seasons: Sequence[int],
        scales: Mapping[str, Scaler],
        pooled: Scaler,
        covariates: Scaler,
        guard: InputGuard,
    ) -> None:
        self.targets, self.past, self.future, self.static = tuple(targets), tuple(past), tuple(future), tuple(static)
        self.source, self.categories = source, {name: tuple(values) for name, values in categories.items()}
        self.frequency, self.timed, self.annual = frequency, timed, annual
        self.horizon, self.quantiles, self.seasons = horizon, tuple(quantiles), tuple(seasons)
        self.scales, self.pooled, self.covariates, self.guard = dict(scales), pooled, covariates, guard
        self._shape: Shape | None = None

    @classmethod
    def fit(cls, train: SeriesSet, horizon: int, quantiles: Sequence[float]) -> "SeriesCodec":
        """Everything that is fitted, from the training part only."""
        longest = max(train.lengths)
        seasons = [s for s in train.frequency.seasons() if s <= LONGEST_LAG and CYCLES * s <= longest]
        half_life = _half_life(seasons)
        targets = train.positions("targets")
        scales = {one.id: _running_scale(one.values[:, targets], half_life) for one in train.series}
        pooled = Scaler(
            np.median([scale.mean for scale in scales.values()], axis=0),
            np.median([scale.scale for scale in scales.values()], axis=0),
        )
        rest = slice(len(train.targets), len(train.columns))
        statics = np.stack([one.static for one in train.series])
        moving = Scaler.fit([one.values[:, rest] for one in train.series], rest.stop - rest.start)
        fixed = Scaler.fit([statics], statics.shape[1])
        return cls(
            targets=train.targets,
            past=train.past,
            future=train.future,
            static=train.static,
            source=train.source,
            categories=train.categories,
            frequency=train.frequency,
            timed=train.timed,
            annual=any(_years(one.times) >= 2 for one in train.series),
            horizon=horizon,
            quantiles=quantiles,
            seasons=seasons,
            scales=scales,
            pooled=pooled,
            covariates=Scaler(np.append(moving.mean, fixed.mean), np.append(moving.scale, fixed.scale)),
            guard=InputGuard.fit([one.values for one in train.series], train.columns),
        )

    @property
    def half_life(self) -> int:
        """Of the running statistics, in steps: a whole season, so that they do not move within one."""
        return _half_life(self.seasons)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a row's values, categories spread out."""
        return self.targets + self.past + self.future

    def shape(self) -> Shape:
        """The sizes of the arrays `encode` makes."""
        if self._shape is None:
            self._shape = self._measured()
        return self._shape

    def _measured(self) -> Shape:
        counts = self.guard.counts.copy()
        empty = np.full((1, len(self.columns)), np.nan)
        time = np.zeros(1, "datetime64[us]" if self.timed and self.frequency.unit != "step" else np.int64)
        arrays = self.encode(Series("", time, empty, np.full(len(self.static), np.nan)))
        self.guard.counts = counts  # the row that was measured is nobody's data
        return Shape(len(self.targets), arrays["known"].shape[1], arrays["past"].shape[1], self.horizon)

    def scale_of(self, id: str) -> Scaler:
        """The constants of one series; for one that was not in training, those of all together."""
        return self.scales.get(id, self.pooled)

    def encode(self, series: Series, ahead: Floats | None = None) -> dict[str, NDArray[np.float32]]:
        """The arrays of a series of T rows.

        Args:
            series: in raw units; values (T, columns).
            ahead: (up to H, future columns), what is known of the rows after the end, in raw units.

        Returns: "target" and "observed" (T, C), "past" (T, P), and "known" (T + H, K), which goes on for the horizon after
        the end.
        """
        values = self.guard.apply(series.values)
        c, p = len(self.targets), len(self.past)
        target = self.scale_of(series.id).transform(values[:, :c])
        after = np.full((self.horizon, len(self.future)), np.nan)
        if ahead is not None:
            after[: len(ahead)] = self.guard.select(slice(c + p, None)).apply(ahead)
        future = np.concatenate([values[:, c + p :], after])
        times = self._times(series.times)
        known: list[Array] = [
            _covariates(self.covariates.select(slice(p, p + len(self.future))), future),
            calendar_features(times, self.frequency, annual=self.annual),
            np.tile(self._static(series.static), (len(times), 1)),
        ]
        return {
            "target": np.nan_to_num(target).astype(np.float32),
            "observed": (~np.isnan(target)).astype(np.float32),
            "past": _covariates(self.covariates.select(slice(0, p)), values[:, c : c + p]),
            "known": np.concatenate(known, axis=1).astype(np.float32),
        }

    def encode_all(self, series: Sequence[Series], folder: Path | None) -> list[dict[str, NDArray[np.float32]]]:
        """The arrays of each series, as `encode`; in ``folder``, memory-mapped and written part by part, if one is given."""
        if folder is None:
            return [self.encode(one) for one in series]
        folder.mkdir(parents=True, exist_ok=True)
        shape = self.shape()
        sizes = {"target": shape.targets, "observed": shape.targets, "past": shape.past, "known": shape.known}
        beyond = {name: self.horizon * (name == "known") for name in sizes}
        files = {}
        for name, size in sizes.items():
            rows = sum(len(one) + beyond[name] for one in series)
            files[name] = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, (rows, size))
        encoded, begin = [], dict.fromkeys(files, 0)
        for one in series:
            arrays = {name: file[begin[name] : begin[name] + len(one) + beyond[name]] for name, file in files.items()}
            for start in range(0, len(one), ENCODED_AT_ONCE):
                part = self.encode(one.part(start, min(start + ENCODED_AT_ONCE, len(one))))
                for name, values in part.items():  # what is known after a part is written over by the next
                    arrays[name][start : start + len(values)] = values
            begin = {name: begin[name] + len(one) + beyond[name] for name in files}
            encoded.append(arrays)
        return encoded

    def decode(self, outputs: Array, id: str) -> Floats:
        """Forecasts (..., C, Q) in the model's units to raw units."""
        scale = self.scale_of(id)
        raw: Floats = outputs.astype(np.float64) * scale.scale[:, None] + scale.mean[:, None]
        return raw

    def start(self) -> Memory:
        return {"time": None, "id": "", "static": None}

    def push(self, row: Push, memory: Memory) -> Steps:
        counted = Counter(self.guard.counts)
        values, static, id = self._values(row.x, memory)
        last = self._last(memory)
        if last is not None and id != memory["id"]:
            raise DataError(
                f"expected a row of series {memory['id']!r}, got {id!r}: give each series a stream of its own"
            )
        time = self._clock(row.time, last)
        gap = 0 if last is None else self._steps_since(time, last) - 1
        flags = [f"{gap} rows left out, taken as missing"] if gap else []
        if last is None and id and id not in self.scales:
            flags.append(f"series {id!r} was not in training")
        rows = np.full((gap + 1, len(self.columns)), np.nan)
        rows[-1] = values
        times = np.atleast_1d(self.frequency.add(time, np.arange(-gap, 1)))
        ahead = self._ahead(row.future, flags)
        arrays = self.encode(Series(id, times, rows, static), ahead)
        met = self.guard.counts - counted
        flags += [f"{name}: {SUSPICIOUS[reason]}" for name, reason in met if reason in SUSPICIOUS]
        future = np.lib.stride_tricks.sliding_window_view(arrays.pop("known"), self.horizon + 1, axis=0)
        future = future.transpose(0, 2, 1)  # (gap + 1, 1 + H, K): each row and the rows after it
        inputs = {**arrays, "known": future[:, 0], "future": future[:, 1:]}
        after = {"time": int(time) if self.frequency.unit == "step" else str(time), "id": id, "static": static.tolist()}
        return Steps(inputs, after, flags)

    def answer(self, output: Array, memory: Memory) -> Json:
        raw = self.decode(output, memory["id"])
        return {
            target: {f"{q:g}": raw[:, c, i].tolist() for i, q in enumerate(self.quantiles)}
            for c, target in enumerate(self.targets)
        }

    def write_row(self, series: Series, t: int) -> dict[str, Json]:
        """A row as it stood in the file: categories by name, None where a value is missing."""
        return self._as_written(self.columns, series.values[t])

    def write_constants(self, series: Series) -> dict[str, Json]:
        """What is the same in every row of a series, as it stood in the file: its id and static columns."""
        id = {self.source.id: series.id} if self.source.id else {}
        return {**self._as_written(self.static, series.static), **id}

    def write_forecast(self, id: str, last: Any, forecast: Floats) -> dict[str, list[Json]]:
        """Columns for a forecast (H, C, Q) in raw units after the time ``last``: id, time, one per target and quantile."""
        times = self.frequency.add(last, np.arange(1, self.horizon + 1))
        columns: dict[str, list[Json]] = {self.source.id: [id] * self.horizon} if self.source.id else {}
        name = self.source.time[0] if len(self.source.time) == 1 else "time"
        columns[name] = [show_time(time) if self.timed else int(time) for time in times]
        for c, target in enumerate(self.targets):
            for q, level in enumerate(self.quantiles):
                columns[f"{target}_{level:g}"] = forecast[:, c, q].tolist()
        return columns

    def to_json(self) -> dict[str, Any]:
        return {
            "targets": self.targets,
            "past": self.past,
            "future": self.future,
            "static": self.static,
            "source": asdict(self.source),
            "categories": self.categories,
            "frequency": self.frequency.to_json(),
            "timed": self.timed,
            "annual": self.annual,
            "horizon": self.horizon,
            "quantiles": self.quantiles,
            "seasons": self.seasons,
            "scales": {id: scale.to_json() for id, scale in self.scales.items()},
            "pooled": self.pooled.to_json(),
            "covariates": self.covariates.to_json(),
            "guard": self.guard.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "SeriesCodec":
        source: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values["source"].items()
        }
        fitted = {
            "source": SeriesColumns(**source),
            "frequency": Frequency.from_json(values["frequency"]),
            "scales": {id: Scaler.from_json(scale) for id, scale in values["scales"].items()},
            "pooled": Scaler.from_json(values["pooled"]),
            "covariates": Scaler.from_json(values["covariates"]),
            "guard": InputGuard.from_json(values["guard"]),
        }
        return cls(**{**values, **fitted})

    def _as_written(self, names: Sequence[str], values: Floats) -> dict[str, Json]:
        raw: dict[str, Json] = {
            name: value if value == value else None for name, value in zip(names, values.tolist(), strict=True)
        }
        for name, known in self.categories.items():
            spread = {one: raw.pop(f"{name}={one}") for one in known if f"{name}={one}" in raw}
            if spread:
                raw[name] = next((one for one, chosen in spread.items() if chosen), None)
        return raw

    def _times(self, times: TimeArray) -> TimeArray:
        """The times of the rows and of the horizon after them."""
        after = self.frequency.add(times[-1], np.arange(1, self.horizon + 1))
        extended: TimeArray = np.concatenate([times, after])
        return extended

    def _static(self, static: Floats) -> Floats:
        return np.nan_to_num(self.covariates.select(slice(len(self.past) + len(self.future), None)).transform(static))

    def _values(self, x: Json, memory: Memory) -> tuple[Floats, Floats, str]:
        """A raw row as (columns,), with what it says, or an earlier one said, of the series it belongs to."""
        names = [*self.source.targets, *self.source.past, *self.source.future]
        if isinstance(x, Sequence) and not isinstance(x, str):
            if len(x) != len(names):
                raise DataError(f"expected {len(names)} values ({', '.join(names)}), got {len(x)}")
            x = dict(zip(names, x, strict=True))
        if not isinstance(x, Mapping):
            raise DataError(f'expected "x" to be a list of values or {{name: value}}, got {x!r}')
        about = [*self.source.static, *([self.source.id] if self.source.id else [])]
        unknown = sorted(set(map(str, x)) - {*names, *about})
        if unknown:
            raise DataError(f"unknown column {unknown[0]!r}; expected {', '.join([*names, *about])}")
        if not set(x) & set(self.source.targets):
            raise DataError(f"expected a value of {' or '.join(self.source.targets)} (null where it is missing)")
        static = memory["static"] or [np.nan] * len(self.static)
        if any(name in x for name in self.source.static):
            static = self._spread_out(self.source.static, x)
        id = str(x[self.source.id]) if self.source.id and self.source.id in x else memory["id"]
        return self._spread_out(names, x), np.array(static, np.float64), id

    def _spread_out(self, names: Sequence[str], x: Mapping[str, Json]) -> Floats:
        """Values by name to numbers, a category to its 0/1 columns."""
        numbers: list[float] = []
        for name in names:
            value = x.get(name)
            if name in self.categories:
                known = self.categories[name]
                if value not in known and value not in (None, ""):
                    self.guard.count_unknown(name)
                numbers += [float(value == one) if value in known else np.nan for one in known]
            else:
                numbers.append(_number(name, value))
        return np.array(numbers, np.float64)

    def _ahead(self, future: Sequence[Json] | None, flags: list[str]) -> Floats | None:
        """The next rows of the columns known ahead, (up to H, future columns)."""
        if not self.future:
            if future:
                raise DataError('got "future", but the model was fitted without columns that are known ahead')
            return None
        names = self.source.future
        if future is not None and (isinstance(future, str) or not isinstance(future, Sequence)):
            raise DataError(f'expected "future" to be a list of rows, each with {", ".join(names)}, got {future!r}')
        rows = list(future or ())[: self.horizon]
        if len(rows) < self.horizon:
            flags.append(
                f"{self.horizon - len(rows)} of the next {self.horizon} rows of {', '.join(names)} are missing"
            )
        parsed = []
        for row in rows:
            if isinstance(row, Sequence) and not isinstance(row, str) and len(row) == len(names):
                row = dict(zip(names, row, strict=True))
            if not isinstance(row, Mapping):
                raise DataError(f'expected each row of "future" to hold {", ".join(names)}, got {row!r}')
            parsed.append(self._spread_out(names, row))
        return np.stack(parsed) if parsed else None

    def _clock(self, time: str | float | None, last: Any) -> Any:
        """The row's time: as given, else one step after the last."""
        if time is None and last is None:
            if self.timed:
                raise DataError('the first row of a stream needs its "time"')
            return np.int64(0)
        if time is None:
            return self.frequency.add(last, 1)
        return self._parsed(time)

    def _parsed(self, time: str | float) -> Any:
        """A time stamp in the form of the training data, or in ISO form."""
        return parse_time(str(time), steps=self.frequency.unit == "step", format=self.source.time_format)

    def _last(self, memory: Memory) -> Any:
        """The time of the row before, as this codec wrote it down; None at the start of a stream."""
        last = memory["time"]
        return np.int64(last) if isinstance(last, int) else last and np.datetime64(last, "us")

    def _steps_since(self, time: Any, last: Any) -> int:
        steps = int(self.frequency.index(np.atleast_1d(time), last)[0])
        if steps < 1:
            self.guard.check_time(1, steps)
            raise DataError(
                f"time {show_time(time)} is not later than that of the row before, {show_time(last)}: send rows in order"
            )
        if steps > LONGEST_GAP:
            raise DataError(
                f"time {show_time(time)} is {steps} steps after the row before, {show_time(last)}: is it right?"
            )
        return steps


def _half_life(seasons: Sequence[int]) -> int:
    return max((season for season in seasons if season <= LONGEST_HALF_LIFE), default=NO_SEASON)


def _running_scale(values: Floats, half_life: float) -> Scaler:
    """Mean, and mean absolute deviation from the exponentially weighted level of the steps before, of (T, C)."""
    from scipy.signal import lfilter

    observed = ~np.isnan(values)
    decay = 0.5 ** (1 / half_life)
    mean = np.array(
        [column[seen].mean() if seen.any() else 0.0 for column, seen in zip(values.T, observed.T, strict=True)]
    )
    centred = np.where(observed, values - mean, 0.0)
    total = lfilter([1.0], [1.0, -decay], centred, axis=0)
    count = lfilter([1.0], [1.0, -decay], observed.astype(np.float64), axis=0)
    level = total / np.maximum(count, 1e-6)
    known = observed[1:] & (count[:-1] > 0)
    deviation = np.where(known, np.abs(centred[1:] - level[:-1]), 0.0).sum(0) / np.maximum(known.sum(0), 1)
    spread = np.where(deviation > 1e-9 * np.abs(mean), deviation, 1.0)  # a constant series: any scale will do
    return Scaler(mean, spread)


def _covariates(scaler: Scaler, values: Floats) -> NDArray[np.float32]:
    """Scaled and cut covariates with 0 for missing, and a last column that says whether something in the row is missing."""
    if not values.shape[1]:
        return np.zeros((len(values), 0), np.float32)
    scaled = np.clip(np.nan_to_num(scaler.transform(values)), -LIMIT, LIMIT)
    missing = np.isnan(values).any(axis=1, keepdims=True)
    return np.concatenate([scaled, missing], axis=1).astype(np.float32)


def _years(times: TimeArray) -> float:
    return float((times[-1] - times[0]) / np.timedelta64(365, "D")) if times.dtype.kind == "M" else 0.0


def _number(name: str, value: Json) -> float:
    if value is None:
        return np.nan
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise DataError(f"expected a number for {name!r}, got {value!r} (null where it is missing)") from None
    if np.isinf(number):
        raise DataError(f"expected a finite number for {name!r}, got {value!r}")
    return number
