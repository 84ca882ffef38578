"""From settings to layers, and what is said when they do not fit."""

import pytest
from pydantic import ValidationError

from elman.cells import GRU
from elman.errors import ConfigError, UsageError
from elman.layers import Bidirectional, Recurrent
from elman.layers.stack import Stack
from elman.models.build import EncoderConfig, build_encoder, build_model, check_cell_options
from elman.models.describe import describe_model
from elman.models.language import LanguageModel
from elman.models.model import count_parameters


def test_layers_and_sizes() -> None:
    stack = build_encoder(EncoderConfig(name="gru", hidden=4, layers=3), 7)
    assert isinstance(stack, Stack)
    recurrent = [layer for layer in stack.modules() if isinstance(layer, Recurrent)]
    assert [(layer.input_size, layer.output_size) for layer in recurrent] == [(7, 4), (4, 4), (4, 4)]
    assert all(isinstance(layer.cell, GRU) for layer in recurrent)
    assert stack.causal


def test_bidirectional_layers_read_both_ways() -> None:
    stack = build_encoder(EncoderConfig(name="gru", hidden=4, layers=2, bidirectional=True), 7)
    both = [layer for layer in stack.modules() if isinstance(layer, Bidirectional)]
    assert [(layer.input_size, layer.output_size) for layer in both] == [(7, 8), (8, 8)]
    assert not stack.causal


def test_cell_options_reach_the_cell() -> None:
    stack = build_encoder(EncoderConfig(name="elman", cell={"nonlinearity": "relu"}), 2)
    assert [m.cell.nonlinearity for m in stack.modules() if isinstance(m, Recurrent)] == ["relu"]


def test_unknown_cells_and_options_are_told_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"no cell 'gru2'; did you mean 'gru'\? Valid: elman, gru, lstm"):
        build_encoder(EncoderConfig(name="gru2"), 3)
    with pytest.raises(ConfigError, match=r"cell 'elman' has no option 'nonlinear'; did you mean 'nonlinearity'\?"):
        check_cell_options("elman", {"nonlinear": "relu"})
    with pytest.raises(ConfigError, match="expected `nonlinearity` 'tanh' or 'relu', got 'sine'"):
        build_encoder(EncoderConfig(name="elman", cell={"nonlinearity": "sine"}), 3)


def test_a_cell_without_options_says_so() -> None:
    with pytest.raises(ConfigError, match=r"cell 'gru' has no option 'x'; "):
        check_cell_options("gru", {"x": 1})


@pytest.mark.parametrize(
    "wrong", [{"hidden": 0}, {"layers": 0}, {"dropout": 1.0}, {"layer_norm": "both"}, {"width": 3}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EncoderConfig.model_validate(wrong)


def test_unknown_kind_of_model() -> None:
    with pytest.raises(UsageError, match="there is no model 'languag'; did you mean 'language'"):
        build_model({"kind": "languag"})


def test_describe_counts_and_names_backends() -> None:
    model = LanguageModel(EncoderConfig(name="gru", hidden=4).model_dump(), 10, 5)
    about = describe_model(model)
    # embedding, three gates of (5 + 4 + bias) each, with torch's extra bias of the candidate or not, and the head
    assert about["parameters"] == count_parameters(model) == sum(p.numel() for p in model.parameters())
    assert about["state_numbers"] == 4
    assert about["streams"] == "yes"
    assert [layer["cell"] for layer in about["layers"]] == ["GRU"]
    assert about["layers"][0]["step"].startswith("loop")
