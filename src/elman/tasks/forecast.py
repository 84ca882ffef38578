"""`forecast`: at every step of a series, quantiles of the next steps. Many-to-many, the state carried along the series."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from elman.data.batch import Batch, tensors
from elman.data.codec import Json, Push, load_codec
from elman.data.continuation import follow, go_on
from elman.data.files import scratch_folder
from elman.data.series import Series, SeriesSet, read_series
from elman.data.series_codec import SeriesCodec
from elman.data.series_store import load_series, save_series
from elman.data.source import Source
from elman.data.splits import refuse_overlap, split_series
from elman.data.streams import Piece, Slot, cut, plan_windows, sample
from elman.data.times import show_time
from elman.errors import ConfigError, DataError, RunError
from elman.metrics.forecast import forecast_metrics, mase_scale
from elman.models.build import EncoderConfig
from elman.models.forecast import ForecastModel
from elman.models.model import Model
from elman.tasks.exhibits import AnyExhibit
from elman.tasks.forecast_data import ForecastBaseline, ForecastOptions, History, Scored, SeriesTest
from elman.tasks.forecast_exhibits import ForecastSummary
from elman.tasks.predictions import Predictions
from elman.tasks.task import Baselines, Facts, Scores, Task, TaskOptions, register

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[np.float32]]

IN_MEMORY = 2 << 30  # bytes of encoded series; above, they live in memory-mapped files
TAIL = 50_000  # rows of all series together that a run keeps: warm-up, and what the baselines are fitted on
RUN_AT_ONCE = 512  # steps per forward call in evaluation; the result does not depend on it
SCORED_WINDOWS = 3  # in a training piece at least: what warms up before them must not be most of the work
LEARNED_ORIGINS = 0.25
"""Share of a window's steps whose forecasts are learned from in one update. Neighbouring forecasts are nearly the same lesson, and
the head costs more than the encoder; which steps is drawn anew each time."""


@register("forecast")
class Forecast(Task[SeriesTest]):
    """Probabilistic forecasts of one or several series, for the whole horizon at every step.

    Loss: pinball over the quantiles, in units of each series' typical deviation. Metrics, in raw units, with the median as the
    point forecast: mae rmse mse smape mase crps coverage.
    """

    name: ClassVar[str] = "forecast"
    Options: ClassVar[type[TaskOptions]] = ForecastOptions
    unit: ClassVar[str] = "origins"
    selection: ClassVar[str] = "mae"
    options: ForecastOptions
    codec: SeriesCodec
    _scaled: bool = False

    def prepare(self, data: Sequence[Source], valid: Sequence[Source] | None, seed: int) -> None:  # noqa: ARG002  (nothing is drawn)
        given = read_series(data, self.options.columns(), header=self.options.header)
        self.notes += given.notes
        self.holds_out = valid is None
        if valid is None:
            train, _ = split_series(given)
            whole = given
        else:
            train, other = given, self._read_again(valid, given)
            refuse_overlap(train, other)
            whole = follow(train, other)
            self.notes += other.notes
        self._check_length(train, whole)
        self.codec = SeriesCodec.fit(train, self.options.horizon, self.options.quantiles)
        scratch = scratch_folder(self) if self._encoded_bytes(whole) > IN_MEMORY else None
        self.tail = whole.spill(scratch) if scratch else whole
        self._train = self.codec.encode_all(train.series, scratch and scratch / "train")
        self._whole = self.codec.encode_all(whole.series, scratch and scratch / "whole")
        self._ids = [one.id for one in whole.series]
        self.notes += self.codec.guard.report(without="missing")  # the reader has told those
        self.codec.guard.reset()
        self.codec.guard.policy = self.options.guard

    def _encoded_bytes(self, whole: SeriesSet) -> int:
        """About what the encoded series take, the training part a second time."""
        shape = self.codec.shape()
        return 2 * 4 * sum(whole.lengths) * (2 * shape.targets + shape.past + shape.known)

    def _read_again(self, sources: Sequence[Source], like: SeriesSet | SeriesCodec) -> SeriesSet:
        """Later data, read as the first was."""
        return read_series(
            sources, like.source, frequency=like.frequency, categories=like.categories, header=self.options.header
        )

    def _check_length(self, train: SeriesSet, whole: SeriesSet) -> None:
        needed = 2 * self.options.horizon + 2
        for one, all_of_it in zip(train.series, whole.series, strict=True):
            if len(one) < needed or len(all_of_it) - len(one) < 1:
                name = f"series {one.id!r}" if one.id else "the series"
                raise DataError(
                    f"{name} has {len(one)} rows to train on; a horizon of {self.options.horizon} needs at least {needed}: "
                    "give more rows or a shorter horizon"
                )
            for c, target in enumerate(train.targets):
                if np.isnan(one.values[:, c]).all():
                    raise DataError(
                        f"column {target!r} has no value at all in the training part of {one.id or 'the series'}"
                    )

    @property
    def context(self) -> int:
        return self.options.context or max(self.codec.half_life, self.options.horizon, 16)

    def facts(self) -> Facts:
        shape = self.codec.shape()
        return Facts(
            steps=sum(len(arrays["target"]) for arrays in self._train),
            sequences=len(self._train),
            horizon=shape.horizon,
            features=shape.targets + shape.known + shape.past,
            season=self.codec.half_life,
        )

    def windows(self, rows: int, window: int) -> int:
        return sum(
            1 for _ in plan_windows(self._pieces(self._train, rows, window, np.random.default_rng(0)), rows, window)
        )

    def _pieces(self, series: Sequence[Arrays], rows: int, window: int, rng: np.random.Generator) -> list[Piece]:
        """Pieces to learn from, of whole windows, the first of which warms up."""
        lengths = [len(one["target"]) - 1 for one in series]
        wanted = max(SCORED_WINDOWS * window, sum(lengths) // rows)
        scored = -(-(self.context + wanted) // window) * window - self.context
        return sample(lengths, rows, self.context, scored, rng)

    def _validation_pieces(self, rows: int) -> list[Piece]:
        """From the last training row on, whose forecasts are the first of held-out rows; what warms up is before that."""
        first = [len(one["target"]) - 1 for one in self._train]
        lengths = [len(one["target"]) - 1 - start for one, start in zip(self._whole, first, strict=True)]
        return [
            Piece(
                piece.series,
                max(0, piece.start + first[piece.series] - self.context),
                piece.stop + first[piece.series],
                piece.score_from + first[piece.series],
            )
            for piece in cut(lengths, rows, self.context)
        ]

    def batches(self, split: str, rows: int, window: int, seed: int) -> Iterator[Batch]:
        series = self._train if split == "train" else self._whole
        valid = split == "valid"
        pieces = (
            self._validation_pieces(rows) if valid else self._pieces(series, rows, window, np.random.default_rng(seed))
        )
        for slots in plan_windows(pieces, rows, window):
            yield self._batch(series, slots, window)

    def _batch(self, series: list[Arrays], slots: Sequence[Slot], window: int) -> Batch:
        shape, count = self.codec.shape(), len(slots)
        sizes = {"target": shape.targets, "observed": shape.targets, "past": shape.past, "known": shape.known}
        inputs = {name: np.zeros((count, window, size), np.float32) for name, size in sizes.items()}
        inputs["future"] = np.zeros((count, window, shape.horizon, shape.known), np.float32)
        values = np.zeros((count, window, shape.horizon, shape.targets), np.float32)
        observed = np.zeros_like(values)
        scales = np.ones((count, 2, shape.targets))
        for row, slot in enumerate(slots):
            steps = slot.stop - slot.start
            if not steps:
                continue
            arrays, span = series[slot.series], slice(slot.start, slot.stop)
            for name in sizes:
                inputs[name][row, :steps] = arrays[name][span]
            inputs["future"][row, :steps] = _ahead(arrays["known"], slot.start, slot.stop, shape.horizon)
            values[row, :steps] = _ahead(arrays["target"], slot.start, slot.stop, shape.horizon)
            observed[row, :steps] = _ahead(arrays["observed"], slot.start, slot.stop, shape.horizon)
            observed[row, : max(0, slot.score_from - slot.start)] = 0
            scale = self.codec.scale_of(self._ids[slot.series])
            scales[row] = scale.scale, scale.mean
        return Batch(
            inputs=tensors(inputs),
            targets=tensors({"values": values, "observed": observed, "scales": scales}),
            lengths=torch.tensor([slot.stop - slot.start for slot in slots]),
            fresh=torch.tensor([slot.fresh for slot in slots]),
        )

    def build(self, encoder: EncoderConfig, dropout: float) -> Model:
        if encoder.bidirectional:
            raise ConfigError(
                "a forecast is made at every step from what is known by then; a bidirectional encoder reads on"
            )
        shape = self.codec.shape()
        return ForecastModel(
            encoder.model_dump(),
            targets=shape.targets,
            known=shape.known,
            past=shape.past,
            horizon=shape.horizon,
            quantiles=list(self.codec.quantiles),
            seasons=list(self.codec.seasons),
            half_life=self.codec.half_life,
            error_scales=len(self.codec.scales) > 1,
            members=self.options.members,
            dropout=dropout,
        )

    def loss(self, model: Model, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        values, observed = batch.targets["values"], batch.targets["observed"]
        anywhere = batch.whole.targets["observed"]
        if model.training and anywhere.any():
            counted = anywhere.flatten(2).any(-1).any(0).nonzero()[:, 0]
            first, last = int(counted[0]), int(counted[-1]) + 1
            kept = max(1, round(LEARNED_ORIGINS * (last - first)))
            start = int(torch.randint(first, last - kept + 1, ()))
            part = slice(start, start + kept)
            features, values, observed, anywhere = (x[:, part] for x in (features, values, observed, anywhere))
        if not anywhere.any():
            return features.sum() * 0.0, observed.sum()
        assert isinstance(model, ForecastModel)
        forecasts = model.each(features) if model.training else model.head(features)[None]
        error = values[..., None] - forecasts
        levels = error.new_tensor(self.codec.quantiles)
        pinball = torch.maximum(levels * error, (levels - 1) * error).mean(-1)
        members, rows = len(forecasts), torch.arange(len(anywhere))[batch.rows]
        # each member learns from rows of its own: what they see apart makes their mean better than one of them
        own = (rows % members == torch.arange(members)[:, None])[..., None, None, None]
        return (pinball * observed * own).sum(), observed.sum()

    def measure(self, scores: Scores, model: Model, features: Tensor, batch: Batch) -> None:
        counted = batch.targets["observed"].flatten(2).any(-1)
        scale, mean = batch.targets["scales"].unbind(1)
        rows = counted.nonzero()[:, 0]
        raw = model.head(features)[counted] * scale[rows][:, None, :, None] + mean[rows][:, None, :, None]
        target = batch.targets["values"][counted] * scale[rows][:, None] + mean[rows][:, None]
        target = target.masked_fill(batch.targets["observed"][counted] == 0, torch.nan)
        none = np.full((len(rows), raw.shape[2]), np.nan)
        for metric in scores.values():
            metric.update(raw.double().numpy(), target.double().numpy(), none)

    def metrics(self) -> Scores:
        return forecast_metrics(self.codec.quantiles)

    def save(self, folder: Path) -> None:
        self.codec.save(folder / "codec.json")
        save_series(self.tail, folder / "tail.safetensors", TAIL)

    def restore(self, folder: Path) -> None:
        codec = load_codec(folder / "codec.json")
        if not isinstance(codec, SeriesCodec):
            raise RunError(f"{folder / 'codec.json'}: expected a codec of series, got {codec.kind!r}")
        self.codec = codec
        self._tails = load_series(folder / "tail.safetensors")

    def score_scaled(self, wanted: bool) -> None:
        """Whether to score in standard deviations of the training data from now on, as the literature does."""
        self._scaled = wanted

    def test(self, sources: Sequence[Source]) -> SeriesTest:
        given = self._read_again(sources, self.codec)
        parts, notes = [], list(given.notes)
        for one in given.series:
            series, new = self._continued(one, notes)
            origins = np.arange(max(new - 1, 0), len(series) - self.codec.horizon)
            if len(origins):
                parts.append(Scored(series, origins))
            else:
                name = f"series {one.id!r}: " if one.id else ""
                notes.append(f"{name}{max(0, len(series) - new)} rows to score, fewer than the horizon; not scored")
        if not parts:
            raise DataError(
                f"{', '.join(source.name for source in sources)}: nothing to score: expected at least {self.codec.horizon} rows "
                "(the horizon) after those that the run was fitted on and those that warm up"
                + "".join(f"; {note}" for note in notes[len(given.notes) :][-2:])
            )
        return SeriesTest(parts, [*notes, *self._met(given)])

    def _met(self, given: SeriesSet) -> list[str]:
        """What the guard meets in data as given; missing values are told by the reader already."""
        self.codec.guard.reset()
        for one in given.series:
            self.codec.guard.apply(one.values)
        return self.codec.guard.report(without="missing")

    def _continued(self, one: Series, notes: list[str]) -> tuple[Series, int]:
        """A series with what the run remembers before it, and the first row that may be scored."""
        tail = self._tails.get(one.id)
        if tail is None:
            notes.append(f"series {one.id!r} was not in training: its own first {self.context} rows warm up")
            return one, self.context
        on = go_on(one, tail, self.codec.frequency, timed=self.codec.timed)
        if on.gap:
            notes.append(
                f"{on.gap} rows are missing between the data the run was fitted on and {show_time(one.times[0])}: "
                f"the first {self.context} rows warm up"
            )
        return on.series, self.context if on.gap else on.new

    def forecasts(self, model: Model, series: Series, ahead: Floats | None = None, first: int = 0) -> Floats:
        """Forecasts (T - first, H, C, Q) in raw units from row ``first`` on; row 0 of the series begins the stream."""
        outputs = [out[max(0, first - span.start) :] for span, out in self._outputs(model, series, ahead, first)]
        return self.codec.decode(np.concatenate(outputs), series.id)

    def _outputs(
        self, model: Model, series: Series, ahead: Floats | None = None, first: int = 0
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """The model's outputs part by part, from the part that holds row ``first`` on; what is before only warms up."""
        arrays, horizon = self.codec.encode(series, ahead), self.codec.horizon
        state = model.begin({}, 1)
        for start in range(0, len(series), RUN_AT_ONCE):
            stop = min(start + RUN_AT_ONCE, len(series))
            inputs = {name: arrays[name][None, start:stop] for name in ("target", "observed", "past", "known")}
            inputs["future"] = _ahead(arrays["known"], start, stop, horizon)[None]
            with torch.inference_mode():
                features, state = model(tensors(inputs), state)
                if stop > first:  # the head costs more than the encoder
                    yield slice(start, stop), model.head(features)[0].numpy()

    def score(self, model: Model, test: SeriesTest) -> Scores:
        scores = self.metrics()
        for part in test.parts:
            self._update(scores, self._from_origins(model, part), part)
        return scores

    def _from_origins(self, model: Model, part: Scored) -> Floats:
        """Forecasts (N, H, C, Q) in raw units from the origins that count."""
        first = int(part.origins[0])
        return self.forecasts(model, part.series, first=first)[part.origins - first]

    def _outcomes(self, part: Scored) -> Floats:
        """What came (N, H, C) after the origins that count, NaN = missing."""
        values = part.series.values[:, : len(self.codec.targets)]
        return _ahead(values, 0, len(values), self.codec.horizon, np.nan)[part.origins]

    def exhibits(self, model: Model, test: SeriesTest) -> list[AnyExhibit]:
        """The best, a typical and the worst window, errors and coverage by steps ahead."""
        shown = ForecastSummary(self.codec.targets, self.codec.quantiles, self.codec.seasons)
        for part in test.parts:
            values = part.series.values[:, : len(self.codec.targets)]
            unit = self.codec.scale_of(part.series.id).scale
            shown.see(values, part.origins, self._from_origins(model, part), self._outcomes(part), unit)
        windows = []
        for place in shown.places():
            part = test.parts[place.part]
            origin = int(part.origins[place.origin])
            forecast = self.forecasts(model, part.series.part(0, origin + 1 + self.codec.horizon), first=origin)[0]
            windows.append(shown.window(place, part.series, origin, forecast))
        return shown.exhibits(windows)

    def _update(self, scores: Scores, forecasts: Floats, part: Scored) -> None:
        target, naive = self._outcomes(part), self._naive_error(part.series)
        if self._scaled:
            mean, deviation = self._standard(part.series.id)
            forecasts = (forecasts - mean[:, None]) / deviation[:, None]
            target, naive = (target - mean) / deviation, naive / deviation
        for metric in scores.values():
            metric.update(forecasts, target, np.tile(naive, (len(target), 1)))

    def _naive_error(self, series: Series) -> Floats:
        """(C,): mean absolute error of the seasonal naive forecast within the data of fitting, the unit of MASE."""
        values = self._tails.get(series.id, series).values[:, : len(self.codec.targets)]
        return mase_scale(values, min(self.codec.seasons, default=1))

    def _standard(self, id: str) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the targets in the data of fitting; of all series together for a new one."""
        tails = [self._tails[id]] if id in self._tails else list(self._tails.values())
        values = np.concatenate([tail.values[:, : len(self.codec.targets)] for tail in tails])
        return np.nanmean(values, axis=0), np.nanstd(values, axis=0)

    def block(self, test: SeriesTest) -> int:  # noqa: ARG002
        return self.codec.horizon

    def baselines(self) -> Baselines:
        settings = {"seasons": self.codec.frequency.seasons(), "horizon": self.codec.horizon, "context": self.context}
        return Baselines("forecast", settings)

    def score_baselines(self, baselines: Iterable[ForecastBaseline], test: SeriesTest) -> Iterator[tuple[str, Scores]]:
        fitted_on = [self._history(tail) for tail in self._tails.values()]
        histories = [self._history(part.series) for part in test.parts]
        for baseline in baselines:
            baseline.fit(fitted_on)
            scores = forecast_metrics((0.5,))
            for part, history in zip(test.parts, histories, strict=True):
                self._update(scores, baseline.predict(history, part.origins)[..., None], part)
            yield baseline.name, scores

    def _history(self, series: Series) -> History:
        known = self.codec.encode(series)["known"]
        return History(np.asarray(series.values[:, : len(self.codec.targets)]), known.astype(np.float64))

    def predict(self, model: Model, sources: Sequence[Source]) -> Predictions:
        """The horizon after the last row of each series that has a target; rows after it give what is known ahead."""
        given = self._read_again(sources, self.codec)
        columns: dict[str, list[Json]] = {}
        notes = [*given.notes, *self._met(given)]
        future = given.positions("future")
        for one in given.series:
            series, _ = self._continued(one, [])
            seen = ~np.isnan(series.values[:, : len(self.codec.targets)]).all(axis=1)
            end = int(np.flatnonzero(seen)[-1]) + 1 if seen.any() else len(series)
            ahead = series.values[end : end + self.codec.horizon, future]
            if self.codec.future and len(ahead) < self.codec.horizon:
                count, names = self.codec.horizon - len(ahead), ", ".join(self.codec.source.future)
                notes.append(
                    f"{count} of {self.codec.horizon} rows of {names} after the end are not given and taken as missing: "
                    "append rows with these columns and an empty target"
                )
            if end < self.context:
                name = f"series {one.id!r}" if one.id else "the series"
                notes.append(f"{name}: {end} rows before the forecast, fewer than the {self.context} that warm up")
            forecast = self.forecasts(model, series.part(0, end), ahead, end - 1)[-1]
            for name, values in self.codec.write_forecast(series.id, series.times[end - 1], forecast).items():
                columns.setdefault(name, []).extend(values)
        suffix = f".{sources[0].kind}" if sources[0].kind in ("csv", "tsv", "jsonl", "parquet") else ".csv"
        return Predictions(columns, suffix, notes)

    def replay(self, model: Model, sources: Sequence[Source]) -> Iterator[tuple[Push, Json]]:
        given = self._read_again(sources, self.codec)
        for series in given.series[:1]:
            rows = [self.codec.write_row(series, t) for t in range(len(series))]
            about = self.codec.write_constants(series)
            for span, outputs in self._outputs(model, series):
                for t in range(span.start, span.stop):
                    if np.isnan(series.values[t]).all():
                        continue  # a row that is not in the file: the stream must find the gap itself
                    future = [
                        {name: row[name] for name in self.codec.source.future}
                        for row in rows[t + 1 : t + 1 + self.codec.horizon]
                    ]
                    x = {**rows[t], **about}
                    time = show_time(series.times[t]) if self.codec.timed else int(series.times[t])
                    answer = self.codec.answer(outputs[t - span.start], {"id": series.id})
                    yield Push(x, time, future if self.codec.source.future else None), answer


def _ahead(values: NDArray[Any], start: int, stop: int, horizon: int, beyond: float = 0.0) -> NDArray[Any]:
    """(T, F) -> (stop - start, horizon, F): the rows t + 1 .. t + horizon of each t; ``beyond`` after the end."""
    span = values[start + 1 : stop + horizon]
    missing = stop - start - 1 + horizon - len(span)
    if missing > 0:
        span = np.concatenate([span, np.full((missing, values.shape[1]), beyond, values.dtype)])
    return sliding_window_view(span, horizon, axis=0).transpose(0, 2, 1)
