"""Defaults are valid settings, whatever the data is like."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.errors import ConfigError
from elman.models.build import EncoderConfig, build_encoder, check_config, encoder_names
from elman.models.encoder import Encoder
from elman.tasks.task import TASKS, Facts
from elman.training.config import TrainingConfig, parse_duration
from elman.training.defaults import defaults

counts = st.integers(0, 10**12)
facts = st.builds(
    Facts,
    steps=counts,
    sequences=st.integers(1, 10**6),
    symbols=counts,
    horizon=st.integers(0, 10_000),
    features=counts,
    season=counts,
    longest=st.integers(0, 10**6),
    level=st.sampled_from(["", "char", "word"]),
)


@settings(deadline=None)
@given(st.sampled_from(TASKS.names()), facts, st.sampled_from([None, *encoder_names()]))
def test_defaults_are_valid(task: str, about: Facts, encoder: str | None) -> None:
    chosen = defaults(task, about, encoder)
    assert encoder in (None, chosen.encoder.name)
    assert EncoderConfig(**chosen.encoder.model_dump()) == chosen.encoder
    assert TrainingConfig(**chosen.training.model_dump()) == chosen.training
    check_config(chosen.encoder)


@settings(deadline=None)
@given(st.sampled_from(TASKS.names()), facts)
def test_defaults_can_be_run(task: str, about: Facts) -> None:
    """A window that fits into memory, and updates that end."""
    training = defaults(task, about).training
    assert training.window <= 1000
    assert training.budget is None


@settings(deadline=None)
@given(st.sampled_from(TASKS.names()), facts)
def test_rivals_see_what_a_recurrent_network_is_trained_to_see(task: str, about: Facts) -> None:
    wanted = min(defaults(task, about).training.window or about.longest, 512)
    for name in ("tcn", "transformer"):
        shape = defaults(task, about, name).encoder.model_copy(update={"hidden": 2})
        layer = build_encoder(shape.model_copy(update={"bidirectional": False}), 1)
        assert isinstance(layer, Encoder)
        assert layer.reach is not None
        assert layer.reach >= wanted


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172800), ("0.5h", 1800), (" 3m ", 180)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10 minutes", "-3m", "1h30", "ten", "0s", "1.2.3s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a duration"):
        parse_duration(text)
