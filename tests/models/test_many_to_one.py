from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from elman.cells import Cell
from elman.layers import at_end, to_torch
from elman.layers.pooling import MODES, Mode
from elman.models.build import EncoderConfig, build_model
from elman.models.many_to_one import ManyToOne, Member, SymbolEmbedding


def make(*, text: bool = False, bidirectional: bool = False, pooling: Mode = "mean", **options: Any) -> ManyToOne:
    torch.manual_seed(0)
    encoder = EncoderConfig(name="gru", hidden=5, bidirectional=bidirectional).model_dump()
    if text:
        return ManyToOne(encoder, 3, pooling=pooling, vocabulary_size=7, embedding_size=4, **options)
    return ManyToOne(encoder, 3, pooling=pooling, features=2, masked=True, **options)


def some_inputs() -> dict[str, Tensor]:
    return {"values": torch.randn(3, 6, 2), "observed": (torch.rand(3, 6, 2) < 0.7).float()}


def test_equals_the_same_network_of_torch() -> None:
    model, lengths = make(text=True, bidirectional=True, pooling="max").eval(), [4, 2]
    symbols = torch.randint(0, 7, (2, 4))
    features, _ = model({"symbols": symbols}, model.begin({}, 2), torch.tensor(lengths))
    outputs = model.head(at_end(features, torch.tensor(lengths)))
    member = model.members[0]
    assert isinstance(member, Member)
    weights, vendor = dict(member.named_parameters()), to_torch(member.encoder)
    for row, length in enumerate(lengths):
        encoded, _ = vendor(F.embedding(symbols[row : row + 1, :length], weights["embedding.symbols.weight"]))
        expected = F.linear(encoded.max(1).values, weights["output.weight"], weights["output.bias"])
        torch.testing.assert_close(outputs[row : row + 1], expected)


@pytest.mark.parametrize("pooling", MODES)
def test_step_by_step_equals_the_whole(pooling: Mode) -> None:
    model, inputs = make(pooling=pooling).eval(), some_inputs()
    whole, _ = model(inputs, model.begin({}, 3))
    state, steps = model.begin({}, 3), []
    for t in range(6):
        features, state = model({name: x[:, t : t + 1] for name, x in inputs.items()}, state)
        steps.append(features)
    torch.testing.assert_close(torch.cat(steps, 1), whole)


def test_the_temperature_divides_in_eval_and_is_not_learned() -> None:
    model = make()
    features = torch.randn(2, 5)
    plain = model.head(features)
    model.temperature.fill_(2.0)
    torch.testing.assert_close(model.head(features), plain)
    torch.testing.assert_close(model.eval().head(features), plain / 2)
    assert "temperature" not in dict(model.named_parameters())
    assert "temperature" in model.state_dict()


def test_a_dropped_symbol_is_dropped_whole() -> None:
    model = make(text=True, symbol_dropout=0.5).train()
    embedded = model.embed({"symbols": torch.randint(0, 7, (20, 50))})
    gone = (embedded == 0).all(-1)
    assert 0.4 < gone.float().mean() < 0.6
    assert not (embedded[~gone] == 0).any()


@pytest.mark.parametrize("text", [False, True])
def test_its_configuration_builds_it_again(text: bool) -> None:
    model = make(text=text, bidirectional=True, dropout=0.1)
    again = build_model(model.config())
    again.load_state_dict(model.state_dict())
    assert again.config() == model.config()
    assert not again.causal


def test_a_symbol_is_its_own_vector_and_the_mean_of_its_parts() -> None:
    embedding = SymbolEmbedding(5, 9, 4)
    symbols = torch.tensor([[1, 2, 3], [4, 0, 0]])
    parts = torch.tensor([[[3, 8, 0], [0, 0, 0], [5, 5, 5]], [[0, 0, 0], [7, 0, 0], [1, 2, 3]]])
    embedded = embedding(symbols, parts)
    assert embedding.parts is not None
    own, table = embedding.symbols.weight, embedding.parts.weight
    for row in range(2):
        for t in range(3):
            real = [int(part) for part in parts[row, t] if part > 0]
            mean = torch.stack([table[part] for part in real]).mean(0) if real else torch.zeros(4)
            torch.testing.assert_close(embedded[row, t], own[symbols[row, t]] + mean)


def timed_inputs() -> dict[str, Tensor]:
    return {**some_inputs(), "gap": torch.rand(3, 6, 1)}


@pytest.mark.parametrize("masked", [False, True])
def test_the_gap_stands_after_values_and_masks(masked: bool) -> None:
    encoder, inputs = EncoderConfig(hidden=5).model_dump(), timed_inputs()
    model = ManyToOne(encoder, 3, features=2, masked=masked, timed=True).eval()
    parts = [inputs["values"], *([inputs["observed"]] if masked else []), inputs["gap"]]
    torch.testing.assert_close(model.embed(inputs), torch.cat(parts, -1))
    assert model.embed(inputs).shape[-1] == (5 if masked else 3)
    again = build_model(model.config())
    again.load_state_dict(model.state_dict())
    older = {name: value for name, value in make().config().items() if name != "timed"}
    assert build_model(older).config() == make().config()


@pytest.mark.parametrize(("name", "masked"), [("gru_d", True), ("cfc", False)])
def test_a_cell_for_irregular_time_reads_the_gap_as_one(name: str, masked: bool) -> None:
    """Its input is no wider than its own parts: what it wants is there and is not made up."""
    encoder, inputs = EncoderConfig(name=name, hidden=5).model_dump(), timed_inputs()
    model = ManyToOne(encoder, 3, features=2, masked=masked, timed=True).eval()
    cells = [module for module in model.modules() if isinstance(module, Cell)]
    assert [cell.input_size for cell in cells] == [5 if masked else 3]
    features, _ = model(inputs, model.begin({}, 3))
    other, _ = model({**inputs, "gap": inputs["gap"] + 1}, model.begin({}, 3))
    assert not torch.allclose(features[:, 1:], other[:, 1:], rtol=1e-3)


def test_dropout_leaves_the_gap_alone() -> None:
    encoder, inputs = EncoderConfig(hidden=5).model_dump(), timed_inputs()
    read: list[Tensor] = []
    model = ManyToOne(encoder, 3, features=2, timed=True, dropout=0.5).train()
    member = model.members[0]
    assert isinstance(member, Member)
    member.encoder.register_forward_pre_hook(lambda _, arguments: read.append(arguments[0]))
    model(inputs, model.begin({}, 3))
    torch.testing.assert_close(read[0][..., 2:], inputs["gap"])
    assert (read[0][..., :2] == 0).any()


def test_members_learn_on_their_own_and_answer_together() -> None:
    model = make(members=3)
    inputs = some_inputs()
    features, _ = model(inputs, model.begin({}, 3))
    each = model.each(features)
    assert each.shape == (3, 3, 6, 3)
    assert not torch.equal(each[0], each[1])
    torch.testing.assert_close(model.head(features), each.mean(0))
    torch.autograd.backward(each[1].sum())
    learned = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert learned == {"1"}


def test_the_parts_of_symbols_are_read() -> None:
    torch.manual_seed(0)
    encoder = EncoderConfig(name="gru", hidden=5).model_dump()
    model = ManyToOne(encoder, 2, vocabulary_size=7, parts=9, embedding_size=4, members=2).eval()
    symbols, parts = torch.zeros(2, 3, dtype=torch.int64), torch.randint(0, 9, (2, 3, 5))
    features, _ = model({"symbols": symbols, "parts": parts}, model.begin({}, 2))
    others, _ = model({"symbols": symbols, "parts": parts.flip(0)}, model.begin({}, 2))
    torch.testing.assert_close(features, others.flip(0))
    assert not torch.equal(features, others)
