"""The forecaster: one computation however it is cut, no look ahead, quantiles in order, and exact where it can be."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from elman.models.build import EncoderConfig
from elman.models.forecast import ForecastModel
from elman.models.load import load_model, save_model
from elman.models.stepper import TorchStepper
from elman.state import State
from elman.training.config import TrainingConfig
from elman.training.settings import Settings

TARGETS, KNOWN, PAST, HORIZON, TIME = 2, 3, 1, 4, 12
QUANTILES = [0.1, 0.5, 0.9]
PER_ROW = ("target", "observed", "known", "past")

Inputs = dict[str, Tensor]


def model(seed: int = 0, name: str = "gru", known: int = KNOWN, past: int = PAST, **options: object) -> ForecastModel:
    """Random weights everywhere: the ones it starts with are too small to show a fault."""
    torch.manual_seed(seed)
    arguments = {"quantiles": QUANTILES, "seasons": [3, 5], "half_life": 5.0, "context_size": 6, **options}
    encoder = EncoderConfig(name=name, hidden=5).model_dump()
    made = ForecastModel(encoder, TARGETS, known, past, HORIZON, **arguments)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made.eval()


def made(batch: int = 2, time: int = TIME, known: int = KNOWN, past: int = PAST, missing: float = 0.3) -> Inputs:
    random = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    observed = (torch.rand(batch, time, TARGETS, generator=random) >= missing).float()
    return {
        "target": normal(batch, time, TARGETS) * observed,
        "observed": observed,
        "known": normal(batch, time, known),
        "past": normal(batch, time, past),
        "future": normal(batch, time, HORIZON, known),
    }


def forecast(of: ForecastModel, inputs: Mapping[str, Tensor], lengths: Tensor | None = None) -> Tensor:
    return of.head(of(inputs, of.begin({}, len(inputs["target"])), lengths)[0])


def part(inputs: Mapping[str, Tensor], start: int, stop: int) -> Inputs:
    return {name: value[:, start:stop] for name, value in inputs.items()}


@pytest.mark.parametrize("name", ["elman", "gru", "lstm"])
def test_chunks_and_steps_give_the_whole(name: str) -> None:
    ours, inputs = model(name=name), made()
    whole = forecast(ours, inputs)
    assert whole.shape == (2, TIME, HORIZON, TARGETS, len(QUANTILES))
    state, parts = ours.begin({}, 2), []
    for start, stop in ((0, 1), (1, 1), (1, 8), (8, TIME)):
        features, state = ours(part(inputs, start, stop), state)
        parts.append(ours.head(features))
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-5)
    stepper = TorchStepper(ours)
    numbers = stepper.begin({}, 2)
    for t in range(TIME):
        output, numbers = stepper.step({n: value[:, t].numpy() for n, value in inputs.items()}, numbers)
        torch.testing.assert_close(torch.from_numpy(output), whole[:, t], rtol=1e-4, atol=1e-5)


def test_a_padded_row_gives_what_it_gives_alone_and_goes_on_from_its_own_end() -> None:
    ours, inputs, later = model(), made(3), made(3, 5)
    lengths = torch.tensor([TIME, 5, 0])
    features, state = ours(inputs, ours.begin({}, 3), lengths)
    outputs, after = ours.head(features), forecast_from(ours, later, state)
    for row, length in enumerate(lengths.tolist()):
        one = {n: torch.cat([inputs[n][row : row + 1, :length], later[n][row : row + 1]], 1) for n in inputs}
        alone = forecast(ours, one)[0]
        torch.testing.assert_close(outputs[row, :length], alone[:length], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(after[row], alone[length:], rtol=1e-4, atol=1e-5)


def forecast_from(of: ForecastModel, inputs: Inputs, state: State) -> Tensor:
    return of.head(of(inputs, state)[0])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.floats(0, 1), st.sampled_from([[0.5], [0.1, 0.9], [0.05, 0.3, 0.5, 0.8, 0.95]]))
def test_quantiles_never_cross(seed: int, missing: float, quantiles: list[float]) -> None:
    outputs = forecast(model(seed, quantiles=quantiles), made(missing=missing))
    assert outputs.isfinite().all()
    assert (outputs.diff(dim=-1) >= 0).all()


def looks_ahead(of: ForecastModel) -> set[str]:
    """Inputs whose values after a step change the forecast made at it."""
    inputs, t = made(), 6
    expected = forecast(of, inputs)[:, : t + 1]
    guilty = set()
    for name, value in inputs.items():
        changed = {**inputs, name: torch.cat([value[:, : t + 1], 1 - value[:, t + 1 :]], 1)}
        if not torch.allclose(forecast(of, changed)[:, : t + 1], expected, rtol=1e-5, atol=1e-6):
            guilty.add(name)
    return guilty


def test_no_forecast_knows_what_comes_after_it() -> None:
    assert looks_ahead(model()) == set()


def test_the_check_sees_a_leak() -> None:
    class Leaky(ForecastModel):
        def forward(
            self, inputs: Mapping[str, Tensor], state: State, lengths: Tensor | None = None
        ) -> tuple[Tensor, State]:
            return super().forward(
                {**inputs, "past": inputs["past"].mean(1, keepdim=True) + inputs["past"]}, state, lengths
            )

    leaky = Leaky(**{k: v for k, v in model().config().items() if k != "kind"})
    leaky.load_state_dict(model().state_dict())
    assert looks_ahead(leaky.eval()) == {"past"}


def test_every_input_is_read() -> None:
    ours, inputs = model(), made()
    before = forecast(ours, inputs)
    for name, value in inputs.items():
        assert not torch.allclose(forecast(ours, {**inputs, name: 1 - value}), before, rtol=1e-4), name


def test_what_stands_where_a_value_is_missing_is_not_read() -> None:
    ours, inputs = model(), made()
    other = {**inputs, "target": torch.where(inputs["observed"] > 0, inputs["target"], 3.0)}
    torch.testing.assert_close(forecast(ours, other), forecast(ours, inputs))


@pytest.mark.parametrize("candidate", [0, 1, 2, 3])
def test_one_candidate_alone_is_its_naive_forecast(candidate: int) -> None:
    """0 the level, 1 the last value, 2 and 3 the value one season (3 and 5 steps) or as many as it takes before."""
    ours, inputs = model(), made(missing=0.0)
    with torch.no_grad():
        for parameter in (p for n, p in ours.named_parameters() if ".output." in n):
            parameter.zero_()
        ours.preference.zero_()
        ours.preference[..., candidate] = 1e4
    median = forecast(ours, inputs)[..., 1]
    values = inputs["target"]
    for t in range(5, TIME):
        for k in range(1, HORIZON + 1):
            if candidate == 0:
                weights = 0.5 ** (torch.arange(t, -1, -1) / 5.0)
                expected = (weights[:, None] * values[:, : t + 1]).sum(1) / weights.sum()
            elif candidate == 1:
                expected = values[:, t]
            else:
                season = (3, 5)[candidate - 2]
                expected = values[:, t + k - season * -(-k // season)]
            torch.testing.assert_close(median[:, t, k - 1], expected, rtol=1e-5, atol=1e-5)


def test_without_covariates_and_seasons() -> None:
    ours = model(known=0, past=0, seasons=[])
    outputs = forecast(ours, made(known=0, past=0))
    assert outputs.shape == (2, TIME, HORIZON, TARGETS, len(QUANTILES))
    assert outputs.isfinite().all()


def test_nothing_observed_and_constant_series_stay_finite() -> None:
    ours, inputs = model(), made()
    for value, observed in ((0.0, 0.0), (7.0, 1.0), (1e6, 1.0)):
        same = torch.full_like(inputs["target"], value)
        outputs = forecast(ours, {**inputs, "target": same, "observed": torch.full_like(same, observed)})
        assert outputs.isfinite().all()


def test_a_series_that_leaves_its_range_is_followed() -> None:
    """The running level moves the forecast: far from where the series was in training it is as good."""
    ours, inputs = model(), made(time=60, missing=0.0)
    near, far = (forecast(ours, {**inputs, "target": inputs["target"] + shift})[:, -1] for shift in (0.0, 1000.0))
    torch.testing.assert_close(far - 1000.0, near, rtol=0, atol=2.0)


def test_saved_and_loaded(tmp_path: Path) -> None:
    ours, inputs = model(), made()
    encoder, training = EncoderConfig(), TrainingConfig()
    Settings(version="0", task="forecast", options={}, encoder=encoder, training=training, model=ours.config()).save(
        tmp_path
    )
    save_model(ours, tmp_path)
    again = load_model(tmp_path)
    assert isinstance(again, ForecastModel)
    assert torch.equal(forecast(again, inputs), forecast(ours, inputs))
