"""Layers of Keras itself, run on its torch backend, against what they become."""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from elman.errors import UsageError
from elman.layers import Stack
from elman.layers.convert import from_keras
from elman.state import leaves

# Keras gives its variables an __array__ of NumPy 1, which NumPy 2 complains of.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

BATCH, TIME, FEATURES, UNITS = 3, 6, 4, 5
LENGTHS = torch.tensor([6, 2, 4])

LAYERS: dict[str, tuple[str, dict[str, Any]]] = {
    "rnn": ("SimpleRNN", {}),
    "rnn relu": ("SimpleRNN", {"activation": "relu"}),
    "rnn sigmoid": ("SimpleRNN", {"activation": "sigmoid"}),
    "rnn without bias": ("SimpleRNN", {"use_bias": False}),
    "lstm": ("LSTM", {}),
    "lstm without bias": ("LSTM", {"use_bias": False}),
    "gru, reset after": ("GRU", {}),
    "gru, reset before": ("GRU", {"reset_after": False}),
    "gru without bias, reset after": ("GRU", {"use_bias": False}),
    "gru without bias, reset before": ("GRU", {"use_bias": False, "reset_after": False}),
    "gru, dropped in training only": ("GRU", {"dropout": 0.5, "recurrent_dropout": 0.5}),
}


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """keras.layers, on torch, with a configuration folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        keras = importlib.import_module("keras")
    assert keras.backend.backend() == "torch"
    keras.utils.set_random_seed(0)
    return keras.layers  # type: ignore[no-any-return]


def with_random_weights(layer: Any) -> Any:
    """Built, and no bias zero: a permuted bias must show."""
    if not layer.built:
        layer.build((None, TIME, FEATURES))
    rng = np.random.default_rng(0)
    layer.set_weights([rng.normal(0, 0.5, w.shape).astype(w.dtype) for w in layer.get_weights()])
    return layer


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected.detach(), rtol=0, atol=1e-6)


def check(layer: Any, converted: Stack) -> None:
    """All outputs and the state, whole sequences and padded ones. ``layer`` gives sequences and states."""
    x = torch.randn(BATCH, TIME, FEATURES)
    expected, *last = layer(x)
    y, state = converted(x)
    assert_equal(y, expected)
    for leaf, value in zip(leaves(state), last, strict=True):
        assert_equal(leaf, value)

    mask = torch.arange(TIME) < LENGTHS[:, None]
    expected, *last = layer(x, mask=mask)
    y, state = converted(x, lengths=LENGTHS)
    assert_equal(y, expected.where(mask[..., None], 0))
    for leaf, value in zip(leaves(state), last, strict=True):
        assert_equal(leaf, value)


@pytest.mark.parametrize("name", LAYERS)
def test_one_layer(layers: ModuleType, name: str) -> None:
    kind, options = LAYERS[name]
    layer = with_random_weights(getattr(layers, kind)(UNITS, return_sequences=True, return_state=True, **options))
    check(layer, from_keras(layer))


@pytest.mark.parametrize("name", LAYERS)
def test_both_directions(layers: ModuleType, name: str) -> None:
    kind, options = LAYERS[name]
    one = getattr(layers, kind)(UNITS, return_sequences=True, return_state=True, **options)
    layer = with_random_weights(layers.Bidirectional(one))
    converted = from_keras(layer)
    assert converted.output_size == 2 * UNITS
    check(layer, converted)


@pytest.mark.parametrize("name", LAYERS)
def test_backwards_gives_the_order_of_the_input(layers: ModuleType, name: str) -> None:
    kind, options = LAYERS[name]
    one = getattr(layers, kind)(UNITS, return_sequences=True, return_state=True, go_backwards=True, **options)
    layer = with_random_weights(one)
    converted = from_keras(layer)
    x = torch.randn(BATCH, TIME, FEATURES)
    (expected, *last), (y, state) = layer(x), converted(x)
    assert_equal(y, expected.flip(1))
    for leaf, value in zip(leaves(state), last, strict=True):
        assert_equal(leaf, value)


def test_a_sequential_and_a_list_become_a_stack(layers: ModuleType) -> None:
    keras = importlib.import_module("keras")
    model = keras.Sequential(
        [
            keras.Input((None, FEATURES)),
            layers.Masking(-1.0),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
            layers.Dropout(0.5),
            layers.GRU(4, return_sequences=True),
            layers.SimpleRNN(2, return_sequences=True, go_backwards=True),
        ]
    )
    with_random_weights(model)
    x = torch.randn(BATCH, TIME, FEATURES)
    mask = torch.arange(TIME) < LENGTHS[:, None]
    expected = model(x.where(mask[..., None], -1.0))  # which Masking takes for padding
    y, _ = from_keras(model)(x, lengths=LENGTHS)
    assert_equal(y, expected.flip(1).where(mask[..., None], 0))
    assert torch.equal(from_keras(list(model.layers))(x, lengths=LENGTHS)[0], y)


def test_nested_models_and_layers_for_training_only(layers: ModuleType) -> None:
    keras = importlib.import_module("keras")
    inner = keras.Sequential([layers.GaussianNoise(0.5), layers.LSTM(3, return_sequences=True)])
    model = keras.Sequential(
        [keras.Input((None, FEATURES)), inner, layers.SpatialDropout1D(0.5), layers.GRU(4, return_sequences=True)]
    )
    with_random_weights(model)
    x = torch.randn(BATCH, TIME, FEATURES)
    assert_equal(from_keras(model)(x)[0], model(x))


def test_the_last_step_alone_is_the_hidden_of_the_state(layers: ModuleType) -> None:
    model = with_random_weights(
        importlib.import_module("keras").Sequential(
            [keras_input(), layers.GRU(3, return_sequences=True), layers.Bidirectional(layers.LSTM(2))]
        )
    )
    x = torch.randn(BATCH, TIME, FEATURES)
    _, (_, (ahead, back)) = from_keras(model)(x)
    assert_equal(torch.cat([ahead.hidden, back.hidden], -1), model(x))


def keras_input() -> Any:
    return importlib.import_module("keras").Input((None, FEATURES))


def test_the_copy_shares_nothing_and_keeps_the_type(layers: ModuleType) -> None:
    layer = with_random_weights(layers.GRU(UNITS, return_sequences=True, dtype="float64"))
    x = torch.randn(BATCH, TIME, FEATURES, dtype=torch.float64)
    expected = layer(x).detach()
    converted = from_keras(layer)
    torch.testing.assert_close(converted(x)[0], expected, rtol=0, atol=1e-14)
    for parameter in converted.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(layer(x), expected)


def test_the_result_learns(layers: ModuleType) -> None:
    converted = from_keras(with_random_weights(layers.LSTM(UNITS)))
    y, _ = converted(torch.randn(BATCH, TIME, FEATURES))
    y.sum().backward()
    assert all(parameter.grad is not None for parameter in converted.parameters())


REFUSED: list[tuple[Callable[[ModuleType], Any], str]] = [
    (
        lambda layers: layers.Dense(2),
        "expected Keras layers SimpleRNN, LSTM, GRU or Bidirectional of these, got keras.*Dense",
    ),
    (lambda layers: layers.RNN(layers.LSTMCell(2)), r"got keras.*\.RNN"),
    (lambda layers: layers.Bidirectional(layers.RNN(layers.GRUCell(2))), r"got keras.*\.RNN"),
    (lambda layers: layers.GRU(2), r"the GRU has no weights yet; call it once, or its build\(\)"),
    (lambda _: [], "expected one recurrent layer of Keras or more, got none"),
    (lambda layers: [layers.Masking()], "expected one recurrent layer of Keras or more, got none"),
    (lambda _: nn.GRU(2, 3), r"of these, got torch.nn.modules.rnn.GRU"),
    (
        lambda layers: built(layers.LSTM(2, activation="relu")),
        "expected LSTM with activation 'tanh', got 'relu': no cell here has it",
    ),
    (
        lambda layers: built(layers.LSTM(2, recurrent_activation="hard_sigmoid")),
        "expected LSTM with recurrent_activation 'sigmoid', got 'hard_sigmoid'",
    ),
    (lambda layers: built(layers.GRU(2, activation=None)), "expected GRU with activation 'tanh', got 'linear'"),
    (
        lambda layers: built(layers.SimpleRNN(2, activation="elu")),
        "expected SimpleRNN with activation 'tanh' or 'relu' or 'sigmoid', got 'elu'",
    ),
    (lambda layers: built(layers.SimpleRNN(2, activation=layers.LeakyReLU())), "got 'LeakyReLU'"),
    (
        lambda layers: built(layers.Bidirectional(layers.GRU(2), merge_mode="sum")),
        "expected Bidirectional with merge_mode='concat', got 'sum'",
    ),
    (
        lambda layers: built(layers.Bidirectional(layers.GRU(2, go_backwards=True), backward_layer=layers.GRU(2))),
        "expected Bidirectional whose forward layer reads forward",
    ),
    (
        lambda layers: [built(layers.GRU(FEATURES, go_backwards=True)), built(layers.GRU(2))],
        "expected `go_backwards` in the last layer only",
    ),
    (
        lambda layers: [built(layers.LSTM(FEATURES)), built(layers.GRU(2))],
        "expected `return_sequences` in all layers but the last",
    ),
    (
        lambda layers: [built(layers.Bidirectional(layers.LSTM(FEATURES // 2))), built(layers.GRU(2))],
        "expected `return_sequences` in all layers but the last",
    ),
    (lambda layers: [layers.Embedding(3, 2), built(layers.GRU(2))], "Embedding; pass the recurrent ones of a model"),
    (lambda _: "model.keras", "got builtins.str"),
    (
        lambda layers: built(layers.GRU(2, recurrent_initializer="zeros", dtype="float16")),
        "expected weights in float32 or float64, got float16",
    ),
]


def built(layer: Any) -> Any:
    layer.build((None, TIME, FEATURES))
    return layer


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_has_no_counterpart_is_refused(
    layers: ModuleType, make: Callable[[ModuleType], Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        from_keras(make(layers))
