"""The language model, judged against torch's own modules with the same weights."""

from pathlib import Path

import pytest
import torch
from torch import nn

from elman.errors import RunError
from elman.layers.convert import to_torch
from elman.models.build import EncoderConfig, build_model
from elman.models.language import LanguageModel
from elman.models.load import load_model, save_model
from elman.models.stepper import TorchStepper
from elman.state import leaves
from elman.training.config import TrainingConfig
from elman.training.settings import Settings

VOCABULARY, SIZE = 11, 6


def model(name: str = "lstm", layers: int = 1, **options: bool | float) -> LanguageModel:
    torch.manual_seed(0)
    encoder = EncoderConfig(name=name, hidden=SIZE, layers=layers).model_dump()
    return LanguageModel(encoder, VOCABULARY, SIZE, **options).eval()  # type: ignore[arg-type]


def symbols(batch: int = 3, time: int = 7) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (batch, time), generator=torch.Generator().manual_seed(1))


def logits(of: LanguageModel, read: torch.Tensor) -> torch.Tensor:
    features, _ = of({"symbols": read}, of.begin({}, len(read)))
    return of.head(features)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_equal_to_embedding_rnn_and_linear_of_torch(name: str) -> None:
    ours = model(name)
    embedding, output = nn.Embedding(VOCABULARY, SIZE), nn.Linear(SIZE, VOCABULARY)
    embedding.load_state_dict(ours.embedding.state_dict())
    output.load_state_dict(ours.output.state_dict())
    recurrent = to_torch(ours.encoder)
    expected = output(recurrent(embedding(symbols()))[0])
    torch.testing.assert_close(logits(ours, symbols()), expected, rtol=1e-5, atol=1e-6)


def test_tied_weights_are_one_parameter_and_both_uses_learn_it() -> None:
    tied, free = model(tied=True), model()
    assert tied.output.weight is tied.embedding.weight
    difference = sum(p.numel() for p in free.parameters()) - sum(p.numel() for p in tied.parameters())
    assert difference == VOCABULARY * SIZE
    read = torch.full((1, 3), 2)
    torch.autograd.backward(logits(tied, read)[..., 5].sum())
    gradient = tied.embedding.weight.grad
    assert gradient is not None
    assert gradient[2].any()  # read
    assert gradient[5].any()  # scored
    assert not gradient[7].any()


@pytest.mark.parametrize("name", ["elman", "gru", "lstm"])
def test_chunks_and_steps_give_the_whole(name: str) -> None:
    ours, read = model(name, layers=2), symbols()
    whole = logits(ours, read)
    state, parts = ours.begin({}, 3), []
    for start, stop in ((0, 2), (2, 2), (2, 7)):
        features, state = ours({"symbols": read[:, start:stop]}, state)
        parts.append(ours.head(features))
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-5, atol=1e-6)
    stepper = TorchStepper(ours)
    numbers = stepper.begin({}, 3)
    for t in range(7):
        output, numbers = stepper.step({"symbols": read[:, t].numpy()}, numbers)
        torch.testing.assert_close(torch.from_numpy(output), whole[:, t], rtol=1e-5, atol=1e-6)
    for got, expected in zip(leaves(numbers), leaves(state), strict=True):
        torch.testing.assert_close(torch.from_numpy(got), expected, rtol=1e-5, atol=1e-6)


def test_a_padded_row_gives_what_it_gives_alone() -> None:
    ours, read = model(), symbols()
    features, state = ours({"symbols": read}, ours.begin({}, 3), torch.tensor([7, 3, 0]))
    alone, last = ours({"symbols": read[1:2, :3]}, ours.begin({}, 1))
    torch.testing.assert_close(features[1, :3], alone[0])
    for got, expected, initial in zip(leaves(state), leaves(last), leaves(ours.begin({}, 1)), strict=True):
        torch.testing.assert_close(got[1], expected[0])
        torch.testing.assert_close(got[2], initial[0])


@pytest.mark.parametrize("tied", [False, True])
def test_saved_and_loaded(tmp_path: Path, tied: bool) -> None:
    ours = model(layers=2, tied=tied)
    Settings(
        version="0",
        task="language",
        options={},
        encoder=EncoderConfig(),
        training=TrainingConfig(),
        model=ours.config(),
    ).save(tmp_path)
    save_model(ours, tmp_path)
    again = load_model(tmp_path)
    assert isinstance(again, LanguageModel)
    assert not again.training
    assert (again.output.weight is again.embedding.weight) == tied
    assert torch.equal(logits(again, symbols()), logits(ours, symbols()))


def test_dropout_only_in_training() -> None:
    ours = model(dropout=0.5)
    assert torch.equal(logits(ours, symbols()), logits(ours, symbols()))
    ours.train()
    assert not torch.equal(logits(ours, symbols()), logits(ours, symbols()))


def test_config_builds_the_same_model() -> None:
    ours = model("gru", layers=2, tied=True, dropout=0.1)
    again = build_model(ours.config())
    again.load_state_dict(ours.state_dict())
    assert again.config() == ours.config()
    assert isinstance(again, LanguageModel)
    assert torch.equal(logits(again.eval(), symbols()), logits(ours, symbols()))


@pytest.mark.parametrize("tied", [False, True])
def test_a_flipped_bit_among_the_weights_is_told(tmp_path: Path, tied: bool) -> None:
    ours = model(tied=tied)
    about = {"task": "language", "options": {}, "model": ours.config()}
    Settings(version="0", encoder=EncoderConfig(), training=TrainingConfig(), **about).save(tmp_path)
    save_model(ours, tmp_path)
    path = tmp_path / "model.safetensors"
    content = bytearray(path.read_bytes())
    assert torch.equal(logits(load_model(tmp_path), symbols()), logits(ours, symbols()))  # type: ignore[arg-type]
    content[-10] ^= 4
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"model\.safetensors: damaged, .*the weights differ from what was written"):
        load_model(tmp_path)
