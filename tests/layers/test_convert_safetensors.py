"""What a file of a torch module's weights becomes, and what is said of files that do not fit."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from elman.errors import DataError, UsageError
from elman.layers.convert import from_safetensors

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")


class Tagger(nn.Module):
    """A model with two recurrent networks and weights of another kind."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 3)
        self.encoder = nn.LSTM(3, 4, 2, bidirectional=True)
        self.decoder = nn.ModuleDict({"rnn": nn.GRU(8, 5)})
        self.head = nn.Linear(5, 2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from([nn.RNN, nn.LSTM, partial(nn.LSTM, proj_size=1), nn.GRU]),
    size=st.tuples(st.integers(1, 4), st.integers(2, 5), st.integers(1, 3)),
    bidirectional=st.booleans(),
    bias=st.booleans(),
)
def test_kind_and_sizes_are_read_off_the_file(
    path: Path, kind: Callable[..., nn.RNNBase], size: tuple[int, int, int], bidirectional: bool, bias: bool
) -> None:
    module = kind(*size, bidirectional=bidirectional, bias=bias, batch_first=True)
    save_file(module.state_dict(), path)
    x = torch.randn(2, 5, size[0])
    torch.testing.assert_close(from_safetensors(path)(x)[0], module(x)[0], rtol=0, atol=1e-6)


def test_the_nonlinearity_is_told(path: Path) -> None:
    module = nn.RNN(2, 3, nonlinearity="relu", batch_first=True).double()
    save_file(module.state_dict(), path)
    x = torch.randn(2, 5, 2, dtype=torch.float64)
    torch.testing.assert_close(from_safetensors(path, nonlinearity="relu")(x)[0], module(x)[0], rtol=0, atol=1e-14)
    assert not torch.allclose(from_safetensors(path)(x)[0], module(x)[0])
    with pytest.raises(UsageError, match="expected `nonlinearity` 'tanh' or 'relu', got 'selu'"):
        from_safetensors(path, nonlinearity="selu")  # type: ignore[arg-type]


def test_a_network_is_found_in_a_larger_model(path: Path) -> None:
    model = Tagger()
    save_file(model.state_dict(), path)
    x = torch.randn(2, 5, 3)
    expected = model.encoder(x.transpose(0, 1))[0].transpose(0, 1)
    for prefix in ("encoder", "encoder."):
        torch.testing.assert_close(from_safetensors(path, prefix=prefix)(x)[0], expected, rtol=0, atol=1e-6)
    assert from_safetensors(path, prefix="decoder.rnn").output_size == 5
    with pytest.raises(
        UsageError, match=r"2 recurrent networks; choose one by its `prefix`: 'decoder.rnn.', 'encoder.'"
    ):
        from_safetensors(path)
    with pytest.raises(UsageError, match=r"no recurrent network at the `prefix` 'rnn'; there is 'decoder.rnn.', 'enc"):
        from_safetensors(path, prefix="rnn")
    del model.encoder
    save_file(model.state_dict(), path)
    assert from_safetensors(path).input_size == 8  # the only one needs no prefix
    del model.decoder
    save_file(model.state_dict(), path)
    with pytest.raises(UsageError, match=r"found none among 3: embedding.weight, head.bias, head.weight"):
        from_safetensors(path)


LSTM = nn.LSTM(2, 3, 2).state_dict()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({name: LSTM[name] for name in LSTM if name != "weight_hh_l0"}, "expected a matrix weight_hh_l0, got none"),
        (LSTM | {"weight_ih_l0": torch.zeros(12)}, r"expected a matrix weight_ih_l0, got \(12,\)"),
        (
            LSTM | {"weight_hh_l0": torch.zeros(6, 3)},
            "expected 1, 3 or 4 rows of weight_hh_l0 for each of 3 units, got 6",
        ),
        (LSTM | {"weight_hh_l1": torch.zeros(12, 4)}, r"expected weight_hh_l1 \(12, 3\), got \(12, 4\)"),
        ({name: LSTM[name] for name in LSTM if name != "bias_hh_l1"}, r"expected bias_hh_l1 \(12,\), got none"),
        (LSTM | {"bias_hh_l7": torch.zeros(12)}, r"expected bias_hh_l7 none, got \(12,\)"),
        (LSTM | {"bias_hh_l1": torch.zeros(12).half()}, "of one floating-point type, got torch.float16, torch.float32"),
        (
            {name: LSTM[name].to(torch.float8_e4m3fn) for name in LSTM},
            "of one floating-point type, got torch.float8_e4m3fn",
        ),
        ({name: LSTM[name].to(torch.int8) for name in LSTM}, "of one floating-point type, got torch.int8"),
        (LSTM | {"weight_hr_l0": torch.tensor(1.0)}, r"expected a matrix weight_hr_l0, got \(\)"),
        (LSTM | {"weight_hr_l0": torch.zeros(3, 3)}, "proj_size has to be smaller than hidden_size"),
    ],
)
def test_weights_that_do_not_fit_together(path: Path, weights: dict[str, Tensor], message: str) -> None:
    save_file(weights, path)
    with pytest.raises(DataError, match=f"weights.safetensors: .*{message}"):
        from_safetensors(path)


def test_any_prefix_will_do(path: Path) -> None:
    for prefix in ("_orig_mod.rnn.", "rnn_", "a\nb.", "weight_ih_l0."):
        save_file({prefix + name: weight.clone() for name, weight in LSTM.items()}, path)
        assert from_safetensors(path).output_size == from_safetensors(path, prefix=prefix).output_size == 3


def test_a_damaged_or_missing_file_is_one_sentence(path: Path) -> None:
    with pytest.raises(DataError, match=r"weights.safetensors: expected a whole safetensors file: No such file"):
        from_safetensors(path)
    with pytest.raises(DataError, match=r"expected a whole safetensors file: "):
        from_safetensors(path.parent)
    save_file(LSTM, path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:5], whole[:200], whole[:-1], b"\xff" * 64, whole[:8] + b"!" + whole[9:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="expected a whole safetensors file") as told:
            from_safetensors(path)
        assert "\n" not in str(told.value)
