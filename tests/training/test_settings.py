"""Settings: read back as written, and every problem told at once, with the nearest name."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from elman.errors import ConfigError, RunError
from elman.models.build import EncoderConfig
from elman.tasks.forecast import Forecast
from elman.tasks.forecast_data import ForecastOptions
from elman.tasks.task import Facts, Task
from elman.training.config import TrainingConfig
from elman.training.settings import (
    SECTIONS,
    Sections,
    Settings,
    checked,
    load_config,
    load_settings,
    make_task,
    over,
    parse_set,
    put,
    resolve,
)

OPTIONS = {"target": ["a", "ü 'q\""], "horizon": 7, "past": ["b"], "quantiles": [0.1, 0.5, 0.9]}


def settings(**training: Any) -> Settings:
    task = make_task("forecast", OPTIONS)
    return Settings(
        version="1.2.3",
        task="forecast",
        options=task.options.model_dump(mode="json"),
        encoder=EncoderConfig(name="elman", layers=2, cell={"nonlinearity": "relu"}),
        training=TrainingConfig(**training),
        model={"kind": "forecast", "seasons": [24, 168], "half_life": 168.0},
    )


@hypothesis_settings(deadline=None)
@given(
    st.floats(1e-9, 10, allow_subnormal=False),
    st.none() | st.integers(1, 10**9),
    st.none() | st.floats(0.1, 1e6),
    st.integers(-(2**31), 2**31),
)
def test_toml_gives_back_what_was_written(rate: float, updates: int | None, budget: float | None, seed: int) -> None:
    ours = settings(learning_rate=rate, updates=updates, budget=budget, seed=seed)
    again = Settings(**tomllib.loads(ours.to_toml()))
    assert (again.training, again.encoder, again.model) == (ours.training, ours.encoder, ours.model)
    # what is None is left out, and is None again in the options that are made from it
    assert ForecastOptions(**again.options) == ForecastOptions(**ours.options)


def test_saved_and_loaded(tmp_path: Path) -> None:
    ours = settings(updates=3)
    ours.save(tmp_path)
    again = load_settings(tmp_path)
    assert again.to_toml() == ours.to_toml()
    task = make_task(again.task, again.options)
    assert isinstance(task, Forecast)
    assert task.options.target == ("a", "ü 'q\"")


def test_a_runs_settings_are_a_config_file(tmp_path: Path) -> None:
    settings(updates=3).save(tmp_path)
    said = load_config(tmp_path / "config.toml", "forecast")
    assert set(said) == set(SECTIONS)
    assert said["training"]["updates"] == 3
    assert said["encoder"]["cell"] == {"nonlinearity": "relu"}


OLD: Sections = {
    "encoder": {"name": "lstm", "hidden": 16, "layers": 3, "zoneout": 0.1, "cell": {"forget_bias": 2.0}},
    "training": {"epochs": 20, "updates": 700, "learning_rate": 0.01},
}


def test_another_encoder_has_nothing_of_the_one_in_the_file() -> None:
    told: list[str] = []
    said = over(OLD, {"encoder": {"name": "tcn", "cell": {"kernel": 5}}}, told.append)
    assert said["encoder"] == {"name": "tcn", "hidden": 16, "cell": {"kernel": 5}}
    assert said["training"] == OLD["training"]
    assert told == [
        "the settings file is of encoder lstm: for tcn, only hidden, bidirectional and dropout are taken from its section [encoder]"
    ]


@pytest.mark.parametrize("name", [{}, {"name": "lstm"}])
def test_the_same_encoder_has_all_of_it(name: dict[str, Any]) -> None:
    told: list[str] = []
    said = over(OLD, {"encoder": {**name, "layers": 1, "cell": {"peephole": True}}}, told.append)
    assert said["encoder"] == {**OLD["encoder"], "layers": 1, "cell": {"forget_bias": 2.0, "peephole": True}}
    assert not told


def test_a_file_that_names_no_encoder_is_for_any() -> None:
    assert over({"encoder": {"layers": 2}}, {"encoder": {"name": "tcn"}}, pytest.fail)["encoder"]["layers"] == 2


@pytest.mark.parametrize("said", [{"epochs": 2}, {"budget": 60.0}, {"updates": 5}])
def test_how_long_a_file_says_does_not_count_where_it_is_said(said: dict[str, Any]) -> None:
    assert over(OLD, {"training": said}, pytest.fail)["training"] == {"learning_rate": 0.01, **said}


def read_task(longest: int) -> Task:
    """A task as it is once it has read sequences of that many steps."""
    task = make_task("classify", {"label": "kind"})
    task.facts = lambda: Facts(steps=60 * longest, sequences=60, features=2, longest=longest, outputs=2)  # type: ignore[method-assign]
    return task


def test_an_option_of_the_encoder_leaves_the_other_defaults() -> None:
    encoder = resolve(
        "classify", read_task(50), {"encoder": {"name": "transformer", "cell": {"heads": 2}}}, "1"
    ).encoder
    assert encoder.cell == {"window": 50, "heads": 2}


def test_another_encoder_has_no_defaults_of_the_usual_one() -> None:
    for name in ("gru", "tcn", "ssm"):
        assert resolve("classify", read_task(50), {"encoder": {"name": name}}, "1").encoder.cell == {}


def test_settings_go_by_their_names_of_earlier_versions_too() -> None:
    assert resolve("classify", read_task(9), {"encoder": {"residual": True}}, "1").encoder.connections == "residual"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = [", "config.toml"),
        ("format = 1\n", "config.toml"),
        ("", "config.toml"),
        ("format = 99\nversion = '7'", "format"),
    ],
)
def test_a_damaged_or_newer_run_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=message):
        load_settings(tmp_path)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"expected a run folder written by `elman fit`, found no config.toml in it"):
        load_settings(tmp_path)


# --- problems ---------------------------------------------------------------------------------------------------------


def test_every_problem_is_in_one_message() -> None:
    with pytest.raises(ConfigError) as told:
        checked(TrainingConfig, {"lerning_rate": 0.1, "clip": -1, "batch_size": "many", "epochs": 3}, "training")
    message = str(told.value)
    assert "training has no setting 'lerning_rate'; did you mean 'learning_rate'?" in message
    assert "training, 'clip': " in message
    assert "got -1" in message
    assert "training, 'batch_size': " in message
    assert "got 'many'" in message
    assert "epochs'" not in message.partition("Valid: ")[0]


def test_options_of_a_task() -> None:
    with pytest.raises(ConfigError, match=r"task forecast needs 'target' \(--target\)"):
        make_task("forecast", {"horizon": 3})
    with pytest.raises(ConfigError, match=r"task forecast has no setting 'horizn'; did you mean 'horizon'\?"):
        make_task("forecast", {"target": "y", "horizon": 3, "horizn": 3})
    with pytest.raises(ConfigError, match=r"'quantiles': expected rising numbers between 0 and 1, got "):
        make_task("forecast", {"target": "y", "horizon": 3, "quantiles": [0.9, 0.1]})


# --- --set ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("training.batch_size=8", 8),
        ("training.batch_size = 8", 8),
        ("training.learning_rate=1e-3", 0.001),
        ("training.x=true", True),
        ("training.x=gru", "gru"),
        ('training.x="8"', "8"),
        ("training.x=[1, 2]", [1, 2]),
        ("training.x=a=b", "a=b"),
        ("training.x=", ""),
        ("training.x={a = 1}", {"a": 1}),
    ],
)
def test_values_are_toml_or_else_text(text: str, value: Any) -> None:
    section, _, parsed = parse_set(text)
    assert section == "training"
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("text", ["batch_size=8", "training.batch_size", "training.=8", "=", "training", ""])
def test_what_is_no_setting(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected `--set section.key=value`, got"):
        parse_set(text)


def test_an_unknown_section_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no section 'trainig' in the settings; did you mean 'training'\?"):
        parse_set("trainig.batch_size=8")


def test_dotted_names_go_into_tables() -> None:
    said: Sections = {"encoder": {"name": "gru"}}
    put(said, *parse_set("encoder.cell.nonlinearity=relu"))
    put(said, *parse_set("encoder.layers=2"))
    put(said, *parse_set("training.batch_size=8"))
    assert said == {
        "encoder": {"name": "gru", "cell": {"nonlinearity": "relu"}, "layers": 2},
        "training": {"batch_size": 8},
    }
