"""The forecaster: at every step of a series, quantiles of the next ``horizon`` steps."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.layers.dense import Dense
from elman.layers.dropout import Dropout
from elman.layers.running import Running, RunningStatistics
from elman.models.build import EncoderConfig, build_encoder, wanted
from elman.models.model import Model, Tensors, register
from elman.state import State

LIMIT = 8.0  # spreads from the level beyond which inputs are cut: one wild value must not decide the state


class Member(nn.Module):
    """One network of a forecaster: an encoder over the steps read, and a small network for each step ahead.

    Args:
        encoder: the encoder's configuration; input_size: numbers it reads at each step, each with its mask if the cell wants masks.
        known: columns known ahead; seasonal: numbers known of the past for each step ahead.
        horizon: steps ahead, H. outputs: numbers for each step ahead, O. context_size: width of its network.
        dropout: on the encoder's outputs.
    """

    def __init__(
        self,
        encoder: EncoderConfig,
        input_size: int,
        known: int,
        seasonal: int,
        horizon: int,
        outputs: int,
        context_size: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.horizon = horizon
        masked = "mask" in wanted(encoder)
        self.encoder = build_encoder(encoder, input_size * (1 + masked), reads=("x", "mask") if masked else ("x",))
        self.dropout = Dropout(dropout)
        self.context = Dense(self.encoder.output_size, horizon * context_size)
        self.ahead = nn.Sequential(
            Dense(known, 2 * context_size), nn.GELU(), Dense(2 * context_size, context_size)
        ) if known else None  # fmt: skip
        self.seasonal = Dense(seasonal, context_size, bias=False)
        self.mix = Dense(context_size, context_size)
        self.output = Dense(context_size, outputs)
        nn.init.normal_(self.output.weight, std=0.01)
        nn.init.zeros_(self.output.bias)

    def encode(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        encoded, state = self.encoder(x, state, lengths)
        return self.dropout(encoded), state

    def forward(self, encoded: Tensor, seasonal: Tensor, ahead: Tensor) -> Tensor:
        """(..., width), (..., H, seasonal), (..., H, known) -> (..., H, O)."""
        local = self.context(encoded).unflatten(-1, (self.horizon, -1)) + self.seasonal(seasonal)
        if self.ahead is not None:
            local = local + self.ahead(ahead)
        local = F.gelu(local)
        raw: Tensor = self.output(local + F.gelu(self.mix(local)))
        return raw


@register("forecast")
class ForecastModel(Model):
    """A forked recurrent forecaster with running normalisation and seasonal candidates.

    At step t an encoder reads the targets relative to their running level and spread, with covariates and calendar; for each of
    the next H steps a small network reads a context made from the encoder's state, what is known ahead of that step,
    and the candidates c (last value, the values whole seasons earlier, the level), and answers

        median = level + spread (sum_j softmax(w)_j c_j + d)
        quantiles above and below it at cumulated softplus distances, so that they never cross;

    distances are in spreads, or in the running error of the best seasonal naive forecast, see ``error_scales``. Several such
    networks, the members, run side by side over the same running statistics; the forecast is the mean of theirs.

    Source: forked sequences and global/local decoder as Wen et al., "A Multi-Horizon Quantile Recurrent Forecaster", 2017,
    arXiv:1711.11053; the mean of members as Lakshminarayanan et al., 2017, arXiv:1612.01474. Differs: running level and
    spread, and the blend of candidates, so that a series that leaves the range of the training data is followed.

    Args:
        encoder: of each member, as a mapping of `EncoderConfig`'s fields.
        targets, known, past: columns forecast (C), known ahead (K), known up to now (P).
        horizon: steps ahead, H >= 1.
        quantiles: rising, inside (0, 1), Q of them.
        seasons: lags in steps.
        half_life: of the running statistics, in steps.
        error_scales: read how far values typically are from the last one and from those a season earlier, and measure the band
            in that: needed to tell series apart that differ in how well they repeat; one is learned better without.
        members: networks, M >= 1.
        context_size: width of the network of each step ahead, D.
        dropout: on the encoder's outputs.

    Shapes: inputs "target" and "observed" (batch, time, C), "known" (batch, time, K), "past" (batch, time, P), "future"
    (batch, time, H, K), the known columns of the next H rows. Outputs (batch, time, H, C, Q), in the units of "target".
    """

    kind: ClassVar[str] = "forecast"

    def __init__(
        self,
        encoder: dict[str, Any],
        targets: int,
        known: int,
        past: int,
        horizon: int,
        quantiles: list[float],
        seasons: list[int],
        half_life: float,
        error_scales: bool = False,
        members: int = 1,
        context_size: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self._config = {
            "encoder": encoder,
            "targets": targets,
            "known": known,
            "past": past,
            "horizon": horizon,
            "quantiles": quantiles,
            "seasons": seasons,
            "half_life": half_life,
            "error_scales": error_scales,
            "members": members,
            "context_size": context_size,
            "dropout": dropout,
        }
        self.targets, self.known, self.horizon, self.quantiles = targets, known, horizon, quantiles
        self.candidates = 2 + len(seasons)
        self.masked = "mask" in wanted(EncoderConfig(**encoder))
        self.running = RunningStatistics(targets, seasons, horizon, half_life)
        self.errors = targets * (1 + len(seasons)) if error_scales else 0
        self.members = nn.ModuleList(
            Member(
                EncoderConfig(**encoder),
                input_size=3 * targets + self.errors + known + past,
                known=known,
                seasonal=(self.candidates - 1) * targets + self.errors,
                horizon=horizon,
                outputs=targets * (len(quantiles) + self.candidates),
                context_size=context_size,
                dropout=dropout,
            )
            for _ in range(members)
        )
        self.preference = nn.Parameter(torch.zeros(members, horizon, targets, self.candidates))
        self.causal = all(member.encoder.causal for member in self._members())
        self._width = sum(member.encoder.output_size for member in self._members())

    def begin(self, context: Tensors, batch_size: int) -> State:  # noqa: ARG002  (a series starts from nothing)
        memory = tuple(member.encoder.initial_state(batch_size) for member in self._members())
        return self.running.initial_state(self.preference, batch_size), memory

    def forward(self, inputs: Tensors, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        statistics, memory = state
        running, statistics = self.running(inputs["target"], inputs["observed"], statistics, lengths)
        x = self._read(inputs, running)
        encoded = [m.encode(x, one, lengths) for m, one in zip(self._members(), memory, strict=True)]
        parts = [
            *(one for one, _ in encoded),
            running.level,
            running.spread,
            self._unit(running),
            self._relative(running),
            self._candidates(running).flatten(2),
            inputs["future"].flatten(2),
        ]
        return torch.cat(parts, -1), (statistics, tuple(after for _, after in encoded))

    def head(self, features: Tensor) -> Tensor:
        return self.each(features).mean(0)

    def each(self, features: Tensor) -> Tensor:
        """The forecasts of every member, (M, batch, time, H, C, Q): what each learns from on its own."""
        shape, c = features.shape[:-1], self.targets
        blend = self.horizon * c * self.candidates
        sizes = [self._width, c, c, c, self.errors, blend, self.horizon * self.known]
        encoded, level, spread, unit, errors, flat, ahead = torch.split(features, sizes, -1)
        candidates = flat.view(*shape, self.horizon, c, self.candidates)
        seasonal = candidates[..., 1:].flatten(-2).clamp(-LIMIT, LIMIT)
        seasonal = torch.cat([seasonal, errors[..., None, :].expand(*shape, self.horizon, -1)], -1)
        ahead = ahead.view(*shape, self.horizon, self.known)
        own = encoded.chunk(len(self.members), -1)
        raw = torch.stack([member(one, seasonal, ahead) for member, one in zip(self._members(), own, strict=True)])
        raw = raw.view(*raw.shape[:-1], c, raw.shape[-1] // c)
        preference = self.preference.view(-1, *[1] * len(shape), *self.preference.shape[1:])
        weights = torch.softmax(raw[..., len(self.quantiles) :] + preference, -1)
        blended = (weights * candidates).sum(-1, keepdim=True)
        middle = min(range(len(self.quantiles)), key=lambda i: abs(self.quantiles[i] - 0.5))
        centre = _wide(level) + _wide(spread) * (blended + raw[..., middle : middle + 1])
        return self._around(centre, _wide(unit), raw[..., :middle], raw[..., middle + 1 : len(self.quantiles)])

    def _members(self) -> list[Member]:
        return [member for member in self.members if isinstance(member, Member)]

    def _read(self, inputs: Tensors, running: Running) -> Tensor:
        """What the encoder sees of a step: the value against the level before it, whether there was one, and the rest.

        For a cell that wants masks, a mask for each of these follows: what is made of a value was observed if the value was.
        """
        observed = inputs["observed"]
        surprise = (inputs["target"] - running.level_before) / running.spread * observed
        change = (running.last - running.last_before) / running.spread
        x = torch.cat([surprise, change], -1).clamp(-LIMIT, LIMIT)
        x = torch.cat([x, observed, self._relative(running), inputs["known"], inputs["past"]], -1)
        if not self.masked:
            return x
        return torch.cat([x, observed, observed, torch.ones_like(x[..., 2 * self.targets :])], -1)

    def _unit(self, running: Running) -> Tensor:
        """(batch, time, C): what the band is measured in; the error of the best seasonal naive forecast so far, or the spread."""
        if not self.errors:
            return running.spread
        seasonal = running.errors[..., 1:] if running.errors.shape[-1] > 1 else running.errors
        return seasonal.min(-1).values

    def _relative(self, running: Running) -> Tensor:
        """(batch, time, C (1 + seasons)): running errors against the spread, as logarithms: how well repeating the past works."""
        if not self.errors:
            return running.level[..., :0]
        return (running.errors / running.spread[..., None]).log().clamp(-4, 4).flatten(2)

    def _candidates(self, running: Running) -> Tensor:
        """(batch, time, H, C, candidates) in spreads from the level; the level itself, 0, is the first."""
        level, spread = running.level[:, :, None, :, None], running.spread[:, :, None, :, None]
        last = running.last[:, :, None, :, None].expand(-1, -1, self.horizon, -1, -1)
        values = torch.cat([last, running.lags.transpose(-1, -2)], -1)
        return F.pad((values - level) / spread, (1, 0))

    @staticmethod
    def _around(centre: Tensor, unit: Tensor, below: Tensor, above: Tensor) -> Tensor:
        """The middle quantile with the others at cumulated positive distances from it."""
        down = F.softplus(below).flip(-1).cumsum(-1).flip(-1)
        up = F.softplus(above).cumsum(-1)
        return torch.cat([centre - unit * down, centre, centre + unit * up], -1)

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, **self._config}


def _wide(statistic: Tensor) -> Tensor:
    """(batch, time, C) against (batch, time, H, C, Q)."""
    return statistic[..., None, :, None]
