from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from elman.cells import GRU, LSTM, Elman
from elman.cells.projected_lstm import ProjectedLSTM
from elman.cells.wrappers import DropConnect, LearnedInitialState
from elman.errors import UsageError
from elman.layers import Bidirectional, PerStep, Recurrent, SequenceLayer, Stack, from_torch, to_torch
from elman.state import leaves

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")

MODULES: dict[str, Any] = {
    "rnn": nn.RNN,
    "relu": partial(nn.RNN, nonlinearity="relu"),
    "lstm": nn.LSTM,
    "projected": partial(nn.LSTM, proj_size=2),
    "gru": nn.GRU,
}


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(MODULES)),
    size=st.tuples(st.integers(1, 5), st.integers(3, 5), st.integers(1, 3)),
    batch=st.integers(1, 4),
    time=st.integers(1, 6),
    bidirectional=st.booleans(),
    bias=st.booleans(),
    batch_first=st.booleans(),
    seed=st.integers(0, 9),
)
def test_equal_outputs_and_states_both_ways(
    name: str,
    size: tuple[int, int, int],
    batch: int,
    time: int,
    bidirectional: bool,
    bias: bool,
    batch_first: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    module = MODULES[name](*size, bias=bias, batch_first=batch_first, bidirectional=bidirectional)
    x = torch.randn(batch, time, size[0])
    expected, last = module(x if batch_first else x.transpose(0, 1))
    if not batch_first:
        expected = expected.transpose(0, 1)

    layer = from_torch(module)
    y, state = layer(x)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-6)
    lasts = last if isinstance(last, tuple) else (last,)
    for kind, expected_leaf in enumerate(lasts):  # hidden, then cell, each (layers * directions, batch, ...)
        actual_leaf = torch.stack(list(leaves(state))[kind :: len(lasts)])
        torch.testing.assert_close(actual_leaf, expected_leaf, rtol=0, atol=1e-6)

    back = to_torch(layer)
    assert type(back) is type(module)
    assert (back.proj_size, back.mode, back.batch_first) == (module.proj_size, module.mode, True)
    torch.testing.assert_close(back(x)[0], expected, rtol=0, atol=1e-6)


def test_the_copy_shares_nothing_and_keeps_type_mode_and_dropout() -> None:
    module = nn.LSTM(2, 3, 2, dropout=0.25).double().eval()
    layer = from_torch(module)
    assert {p.dtype for p in layer.parameters()} == {torch.float64}
    assert not layer.training
    assert layer.dropout.p == 0.25
    assert to_torch(layer).dropout == 0.25
    before = module.state_dict()["weight_ih_l0"].clone()
    nn.init.zeros_(next(layer.parameters()))
    assert torch.equal(module.state_dict()["weight_ih_l0"], before)


def test_any_layer_that_is_torchs_converts() -> None:
    x = torch.randn(2, 4, 3)
    both = Bidirectional(Recurrent(GRU(3, 2)), Recurrent(GRU(3, 2), direction="backward"))
    for layer in (
        Recurrent(LSTM(3, 5)),
        Recurrent(ProjectedLSTM(3, 5, projection_size=2)),
        both,
        Stack([both, Recurrent(GRU(4, 4))]).layers[0],
    ):
        assert isinstance(layer, SequenceLayer)
        torch.testing.assert_close(to_torch(layer)(x)[0], layer(x)[0], rtol=0, atol=1e-6)


def test_what_has_no_counterpart_is_refused() -> None:
    with pytest.raises(UsageError, match=r"expected torch's nn.RNN, nn.LSTM or nn.GRU, got Linear"):
        from_torch(nn.Linear(2, 3))  # type: ignore[arg-type]
    one = Recurrent(GRU(3, 3))
    refused: list[tuple[SequenceLayer, str]] = [
        (Stack([one], connections="residual"), "this Stack has `connections`='residual' and `layer_norm`='none'"),
        (Stack([one], layer_norm="before"), "`connections`='none' and `layer_norm`='before'"),
        (PerStep(nn.Linear(2, 2)), "no module for PerStep"),
        (Recurrent(GRU(2, 2), direction="backward"), "expected Recurrent with direction 'forward'"),
        (Bidirectional(one, one), "expected Recurrent with direction 'backward'"),
        (Stack([one, Recurrent(LSTM(3, 3))]), "one kind only, got gru and lstm"),
        (Stack([Recurrent(LSTM(3, 3)), Recurrent(ProjectedLSTM(3, 4))]), "got lstm and lstm with a projection"),
        (Recurrent(ProjectedLSTM(3, 3, projection_size=3)), "proj_size has to be smaller than hidden_size"),
        (Recurrent(GRU(3, 3, reset="before")), "the cell GRU is not exactly one of torch's"),
        (Recurrent(Elman(3, 3, nonlinearity="sigmoid")), "the cell Elman is not exactly one of torch's"),
        (Stack([Recurrent(Elman(3, 3)), Recurrent(Elman(3, 3, nonlinearity="relu"))]), "one kind only"),
        (Recurrent(LearnedInitialState(LSTM(3, 3))), "torch has no LearnedInitialState around a cell"),
        (Recurrent(DropConnect(LSTM(3, 3), p=0.5)), "torch has no DropConnect around a cell; convert a Recurrent of"),
        (Stack([one, Recurrent(GRU(3, 4))]), "one hidden size.*expected bias_hh_l1 \\(9,\\), got \\(12,\\)"),
        (
            Stack([one, Bidirectional(one, Recurrent(GRU(3, 3), direction="backward"))]),
            "all in both; expected bias_hh_l1_reverse none, got",
        ),
    ]
    for layer, message in refused:
        with pytest.raises(UsageError, match=message):
            to_torch(layer)
