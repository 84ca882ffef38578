"""Generation reads a prompt as evaluation reads a text, and costs one step a symbol."""

from itertools import product

import numpy as np
import pytest
import torch

from elman.data.series_codec import SeriesCodec
from elman.data.text import Level
from elman.data.text_codec import TextCodec
from elman.data.vocabulary import UNKNOWN, Vocabulary
from elman.decoding import generate
from elman.errors import ConfigError, UsageError
from elman.models.build import EncoderConfig
from elman.models.language import LanguageModel
from elman.models.stepper import TorchStepper
from elman.state import NumpyState
from elman.stepper import Arrays
from elman.tasks.language import Language, LanguageOptions

TEXT = "so it goes\nand so it went on\n"


def codec(level: Level = "char") -> TextCodec:
    counts = dict.fromkeys(TextCodec(level, Vocabulary([UNKNOWN], unknown=UNKNOWN)).split(TEXT), 1)
    return TextCodec(level, Vocabulary.fit(counts, unknown=UNKNOWN))


def model(of: TextCodec) -> LanguageModel:
    torch.manual_seed(0)
    made = LanguageModel(EncoderConfig(name="gru", hidden=8).model_dump(), len(of.vocabulary), 8)
    with torch.no_grad():
        made.output.weight.mul_(8.0)  # decided enough that what is read matters
    return made.eval()


class Counting:
    """A stepper that remembers what it read and answered."""

    def __init__(self, model: LanguageModel) -> None:
        self.inner = TorchStepper(model)
        self.read: list[int] = []
        self.logits: list[np.ndarray] = []

    def begin(self, context: Arrays, batch_size: int) -> NumpyState:
        return self.inner.begin(context, batch_size)

    def step(self, inputs: Arrays, state: NumpyState) -> tuple[np.ndarray, NumpyState]:
        output, state = self.inner.step(inputs, state)
        self.read += inputs["symbols"].tolist()
        self.logits.append(output[0])
        return output, state


@pytest.mark.parametrize("level", ["char", "word"])
def test_the_prompt_is_read_as_in_evaluation(level: Level) -> None:
    ours = codec(level)
    language, prompt = model(ours), "and so it"
    counting = Counting(language)
    list(generate(ours, counting, prompt, 1, temperature=0, top_k=0, seed=None))
    task = Language(LanguageOptions(level=level))
    task.codec = ours
    ids = ours.encode(prompt)
    offline = torch.cat([logits for logits, _ in task._scored(language, np.append(ids, ours.start_id))]).numpy()
    assert counting.read[: len(ids) + 1] == [ours.start_id, *ids.tolist()]
    np.testing.assert_allclose(counting.logits[: len(ids) + 1], offline, rtol=1e-5, atol=1e-5)


def test_greedy_text_is_the_likeliest_symbol_again_and_again() -> None:
    ours = codec()
    language = model(ours)
    text = "".join(generate(ours, TorchStepper(language), "so ", 12, temperature=0, top_k=0, seed=None))
    written = "so "
    for _ in range(12):
        read = torch.tensor([[ours.start_id, *ours.encode(written).tolist()]])
        scores = language.head(language({"symbols": read}, language.begin({}, 1))[0])[0, -1]
        scores[ours.unknown_id] = -torch.inf
        written += ours.decode(np.array([int(scores.argmax())]))
    assert "so " + text == written


def test_one_step_a_symbol() -> None:
    ours = codec()
    for length in (1, 5, 40):
        counting = Counting(model(ours))
        list(generate(ours, counting, "so", length, temperature=1, top_k=0, seed=1))
        assert len(counting.read) == 2 + length  # what is written last is not read


def test_seed_and_length() -> None:
    ours = codec()
    stepper = TorchStepper(model(ours))

    def text(seed: int | None) -> list[str]:
        return list(generate(ours, stepper, "", 50, temperature=1.5, top_k=0, seed=seed))

    assert text(1) == text(1)
    assert text(1) != text(2)
    assert len(text(None)) == 50
    assert UNKNOWN not in "".join(text(3))


def test_a_beam_finds_the_likeliest_text_of_all() -> None:
    ours = codec()
    language, length = model(ours), 3
    symbols = [symbol for symbol in range(len(ours.vocabulary)) if symbol != ours.unknown_id]
    prompt = [ours.start_id, *ours.encode("so ").tolist()]
    texts = torch.tensor([[*prompt, *text] for text in product(symbols, repeat=length)])
    features, _ = language({"symbols": texts[:, :-1]}, language.begin({}, len(texts)))
    told = language.head(features).log_softmax(-1)[:, len(prompt) - 1 :].gather(2, texts[:, len(prompt) :, None])
    likeliest = texts[told.sum((1, 2)).argmax(), len(prompt) :].numpy()
    options = {"temperature": 1.0, "top_k": 0, "seed": None}
    stepper = TorchStepper(language)
    pieces = list(generate(ours, stepper, "so ", length, beam=len(symbols) ** length, **options))  # type: ignore[arg-type]
    assert "".join(pieces) == ours.decode(likeliest)
    greedy = generate(ours, stepper, "so ", 20, temperature=0, top_k=0, seed=None)
    assert list(generate(ours, stepper, "so ", 20, beam=1, **options)) == list(greedy)  # type: ignore[arg-type]


def test_a_beam_writes_words_with_their_blanks_and_no_unknown_one() -> None:
    ours = codec("word")
    language = model(ours)
    with torch.no_grad():
        language.output.bias[ours.unknown_id] = 50.0  # the likeliest of all, were it not refused
    pieces = list(generate(ours, TorchStepper(language), "and so", 30, temperature=1, top_k=0, seed=None, beam=3))
    text = "and so" + "".join(pieces)
    assert len(pieces) == 30
    assert len(ours.split(text)) == 32
    assert UNKNOWN not in text


def test_words_bring_their_blanks() -> None:
    ours = codec("word")
    pieces = list(generate(ours, TorchStepper(model(ours)), "and so", 60, temperature=2.0, top_k=0, seed=0))
    text = "and so" + "".join(pieces)
    assert ours.encode(text).tolist()[:2] == ours.encode("and so").tolist()
    assert len(ours.split(text)) == 62
    assert ours.decode(ours.encode(text)) == text


def test_wrong_use_is_told() -> None:
    ours = codec()
    stepper = TorchStepper(model(ours))
    with pytest.raises(ConfigError, match="expected `length` >= 1, got 0"):
        generate(ours, stepper, "", 0, temperature=1, top_k=0, seed=None)
    with pytest.raises(ConfigError, match="temperature"):
        generate(ours, stepper, "", 1, temperature=-1, top_k=0, seed=None)
    with pytest.raises(ConfigError, match="expected `beam` >= 0, got -1"):
        generate(ours, stepper, "", 1, temperature=1, top_k=0, seed=None, beam=-1)
    for temperature, top_k, seed in ((0.5, 0, None), (1, 3, None), (1, 0, 7)):
        with pytest.raises(UsageError, match="beam search draws nothing: leave out temperature, top-k and seed"):
            generate(ours, stepper, "", 1, temperature=temperature, top_k=top_k, seed=seed, beam=2)
    other = SeriesCodec.__new__(SeriesCodec)  # it is refused for its kind, before anything in it is read
    with pytest.raises(UsageError, match=r"expected a run of a task that generates \(language\), got one over series"):
        generate(other, stepper, "", 1, temperature=1, top_k=0, seed=None)
