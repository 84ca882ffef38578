"""From settings to layers, and what is said when they do not fit."""

import re
from functools import partial

import pytest
import torch
from pydantic import ValidationError

from elman.cells import CELLS, GRU
from elman.cells.wrappers import CellWrapper
from elman.errors import ConfigError, UsageError
from elman.layers import Bidirectional, Recurrent
from elman.layers.stack import Stack
from elman.models.build import EncoderConfig, build_encoder, build_model, check_config, encoder_names
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
    with pytest.raises(UsageError, match=r"no encoder 'gru2'; did you mean 'gru'\? Valid: .*lstm.*transformer"):
        build_encoder(EncoderConfig(name="gru2"), 3)
    with pytest.raises(ConfigError, match=r"cell 'elman' has no option 'nonlinear'; did you mean 'nonlinearity'\?"):
        check_config(EncoderConfig(name="elman", cell={"nonlinear": "relu"}))


@pytest.mark.parametrize(
    ("name", "option", "value", "words"),
    [
        ("elman", "nonlinearity", "sine", "'cell.nonlinearity': expected 'tanh', 'relu' or 'sigmoid', got 'sine'"),
        ("lstm", "forget_bias", "high", "'cell.forget_bias': expected a valid number, got 'high'"),
        ("lstm", "forget_bias", float("nan"), "'cell.forget_bias': expected a finite number, got nan"),
        ("mlstm", "heads", 1.5, "'cell.heads': expected a valid integer, got 1.5"),
        ("mlstm", "heads", True, "'cell.heads': expected a valid integer, got True"),
        ("sru", "rescale", 1, "'cell.rescale': expected a valid boolean, got 1"),
        ("tcn", "kernel", "wide", "'cell.kernel': expected a valid integer, got 'wide'"),
    ],
)
def test_a_cell_option_of_another_type_is_one_sentence(
    name: str, option: str, value: bool | int | float | str, words: str
) -> None:
    config = EncoderConfig(name=name, hidden=4, cell={option: value})
    for refuse in (check_config, partial(build_encoder, input_size=3)):
        with pytest.raises(ConfigError, match=re.escape(words)):
            refuse(config)


def test_a_whole_number_is_a_number() -> None:
    check_config(EncoderConfig(name="lstm", cell={"forget_bias": 2}))


def test_a_cell_without_annotations_takes_any_option(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare(GRU):
        def __init__(self, input_size, hidden_size, *, a=1, b: "Unknown" = 2):  # type: ignore[no-untyped-def, name-defined]  # noqa: ARG002, F821
            super().__init__(input_size, hidden_size)

    monkeypatch.setitem(CELLS._entries, "bare", Bare)
    assert build_encoder(EncoderConfig(name="bare", cell={"a": "x", "b": "y"}), 3).output_size == 64


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "indrnn", "weight_drop": 0.2}, "encoder, 'weight_drop': expected a cell with recurrent matrices"),
        ({"name": "indrnn", "variational_dropout": 0.2}, "encoder, 'variational_dropout': expected a cell that reads"),
        ({"name": "elman", "recurrent_dropout": 0.2}, "encoder, 'recurrent_dropout': expected a cell whose `step`"),
        ({"name": "lru", "zoneout": 0.2}, "encoder, 'zoneout': expected a cell whose state is a tensor"),
        ({"name": "gru", "zoneout_cell": 0.2}, "encoder, 'zoneout_cell': expected `p_cell`=0"),
    ],
)
def test_a_wrapper_that_the_cell_cannot_bear_is_told_before_there_is_an_input(
    settings: dict[str, object], words: str
) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    for refuse in (check_config, partial(build_encoder, input_size=3)):
        with pytest.raises(ConfigError, match=words):
            refuse(EncoderConfig.model_validate(settings))
        torch.manual_seed(0)
    for name in CELLS.names():
        check_config(EncoderConfig(name=name, learned_state=True))
    assert torch.equal(torch.rand(1), expected)  # trying has drawn nothing


def test_sizes_that_come_with_the_data_are_not_judged_before() -> None:
    image = EncoderConfig(name="conv_lstm", hidden=4, weight_drop=0.2, cell={"height": 5, "width": 3})
    check_config(image)  # 4 features, as many as units, are no image of 5 x 3
    assert build_encoder(image, 30).output_size == 4 * 5 * 3
    default = EncoderConfig(name="mlstm", zoneout=0.0, learned_state=True, cell={"heads": 48})
    check_config(default)  # of 64 units 48 heads are no divisor, but the task may have another default


def test_a_cell_without_options_says_so() -> None:
    with pytest.raises(ConfigError, match=r"cell 'coupled_lstm' has no option 'x'; "):
        check_config(EncoderConfig(name="coupled_lstm", cell={"x": 1}))


def test_every_name_builds_in_one_direction_and_in_both() -> None:
    for name in encoder_names():
        for both in (False, True):
            layer = build_encoder(EncoderConfig(name=name, hidden=4, layers=2, bidirectional=both), 6)
            y, _ = layer(torch.zeros(2, 5, 6), lengths=torch.tensor([5, 0]))
            assert y.shape == (2, 5, layer.output_size)
            assert layer.causal is not both


def test_no_cell_is_called_as_another_encoder() -> None:
    assert len(set(encoder_names())) == len(encoder_names())


def test_what_is_for_cells_is_refused_elsewhere() -> None:
    with pytest.raises(ConfigError, match=r"'zoneout': it is for layers of cells, and 'tcn' is no cell"):
        check_config(EncoderConfig(name="tcn", zoneout=0.1))
    with pytest.raises(ConfigError, match=r"encoder 'tcn' has no option 'kernels'; did you mean 'kernel'"):
        check_config(EncoderConfig(name="tcn", cell={"kernels": 3}))
    with pytest.raises(ConfigError, match="none, residual or highway with it, got dense"):
        check_config(EncoderConfig(connections="dense", feedforward=True))


def test_dense_connections_and_feed_forward_layers() -> None:
    dense = build_encoder(EncoderConfig(hidden=4, layers=3, connections="dense"), 7)
    sizes = [layer.input_size for layer in dense.modules() if isinstance(layer, Recurrent)]
    assert sizes == [7, 11, 15]
    assert dense.output_size == 4
    mixed = build_encoder(EncoderConfig(hidden=4, layers=2, feedforward=True, connections="residual"), 7)
    assert isinstance(mixed, Stack)
    assert [type(layer).__name__ for layer in mixed.layers] == ["Recurrent", "FeedForward"] * 2


def test_a_run_of_format_2_says_residual() -> None:
    assert EncoderConfig.model_validate({"residual": True}).connections == "residual"
    assert EncoderConfig.model_validate({"residual": False}).connections == "none"
    assert EncoderConfig.model_validate({"residual": False, "connections": "highway"}).connections == "highway"


def test_every_wrapper_is_there_in_its_order() -> None:
    config = EncoderConfig(
        weight_drop=0.1,
        variational_dropout=0.2,
        recurrent_dropout=0.3,
        zoneout=0.4,
        learned_state=True,
        checkpoint=True,
    )
    (layer,) = (layer for layer in build_encoder(config, 3).modules() if isinstance(layer, Recurrent))
    names, cell = [], layer.cell
    while isinstance(cell, CellWrapper):
        names.append(type(cell).__name__)
        cell = cell.cell
    assert names == ["Zoneout", "DropConnect", "RecurrentDropout", "VariationalDropout", "LearnedInitialState"]
    assert layer.checkpoint


def test_masks_that_come_in_reach_the_cell_that_wants_them() -> None:
    layer = build_encoder(EncoderConfig(name="gru_d", hidden=4), 6, reads=("x", "mask"))
    x = torch.randn(2, 5, 3)
    none = torch.cat([x, torch.zeros_like(x)], -1)
    other = torch.cat([x + 1, torch.zeros_like(x)], -1)
    assert torch.equal(layer(none)[0], layer(other)[0])  # nothing was observed: the values do not matter


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


def test_describe_names_the_cell_inside_its_wrappers() -> None:
    config = EncoderConfig(name="lstm", hidden=4, zoneout=0.1, weight_drop=0.2, learned_state=True)
    (layer,) = describe_model(LanguageModel(config.model_dump(), 10, 5))["layers"]
    assert layer["cell"] == "LSTM"
    assert layer["sequence"] == "native: Zoneout is compiled: a program of its step runs in elman's core"


def test_describe_names_the_cell_and_what_is_around_it() -> None:
    encoder = EncoderConfig(name="lstm", hidden=4, zoneout=0.1, weight_drop=0.2).model_dump()
    (layer,) = describe_model(LanguageModel(encoder, 10, 5))["layers"]
    assert (layer["cell"], layer["wrappers"]) == ("LSTM", "Zoneout, DropConnect")
