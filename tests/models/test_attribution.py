from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from elman.layers.pooling import MODES, Mode, at_end
from elman.models.attribution import GAP, integrated_gradients
from elman.models.build import EncoderConfig
from elman.models.many_to_one import ManyToOne


def make(pooling: Mode, *, masked: bool = False) -> ManyToOne:
    torch.manual_seed(0)
    encoder = EncoderConfig(name="lstm", hidden=6, bidirectional=True).model_dump()
    return ManyToOne(encoder, 3, pooling=pooling, features=2, masked=masked, dropout=0.5)


def first(outputs: Tensor) -> Tensor:
    return outputs[:, 0]


@pytest.mark.parametrize("pooling", MODES)
def test_the_shares_add_up_to_what_is_explained(pooling: Mode) -> None:
    model, lengths = make(pooling), torch.tensor([7, 3])
    inputs = {"values": torch.randn(2, 7, 2)}
    shares, explained = integrated_gradients(model, inputs, lengths, first, points=[300])
    features, _ = model.eval()(inputs, model.begin({}, 2), lengths)
    nothing, _ = model({"values": torch.zeros(2, 7, 2)}, model.begin({}, 2), lengths)
    difference = (model.head(at_end(features, lengths)) - model.head(at_end(nothing, lengths)))[:, 0]
    torch.testing.assert_close(explained, difference)
    # the maximum has a kink wherever another step becomes the largest: there the sum is exact to one piece of the path
    torch.testing.assert_close(shares.sum((1, 2)), difference, rtol=0, atol=3e-3 if pooling == "max" else 1e-4)
    assert not shares[1, 3:].any()


def test_of_a_linear_model_each_share_is_weight_times_input(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("mean")
    weight = torch.randn(3, 2)
    monkeypatch.setattr(model, "encode", lambda x, state, _: (x.cumsum(1), state))
    monkeypatch.setattr(model, "head", lambda features: features @ weight.T)
    x = torch.randn(1, 4, 2)
    shares, _ = integrated_gradients(model, {"values": x}, torch.tensor([4]), first, points=[3])
    np.testing.assert_allclose(shares[0], x[0] * weight[0], rtol=1e-5)


def test_what_says_whether_a_number_was_there_has_no_share() -> None:
    model = make("last", masked=True)
    inputs = {"values": torch.randn(1, 5, 2), "observed": torch.tensor([[[1.0, 0.0]]]).expand(1, 5, 2)}
    shares, _ = integrated_gradients(model, inputs, torch.tensor([5]), first)
    assert shares[..., :2].any()
    assert not shares[..., 2:].any()


def test_more_points_are_taken_until_the_shares_add_up() -> None:
    model = make("last")
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4)  # a path with sharp turns
    inputs = {"values": 3 * torch.randn(4, 9, 2)}
    lengths = torch.tensor([9, 9, 5, 2])

    def gap(points: Sequence[int]) -> float:
        shares, explained = integrated_gradients(model, inputs, lengths, first, points)
        return float(((shares.sum((1, 2)) - explained).abs() / explained.abs().clamp(min=0.1)).max())

    assert gap([8]) > GAP
    assert gap([8, 32, 128, 512, 2048]) <= GAP
