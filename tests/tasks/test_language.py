"""The language task: every symbol once, nothing read before its time, and known answers."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data.source import Source
from elman.data.text import Level, join, split
from elman.data.text_codec import TextCodec
from elman.data.vocabulary import UNKNOWN, Vocabulary
from elman.errors import ConfigError, DataError
from elman.evaluation.baselines import make_baselines
from elman.models.build import EncoderConfig
from elman.models.language import LanguageModel
from elman.models.model import Model
from elman.tasks.language import Language, LanguageOptions
from elman.training.config import TrainingConfig
from elman.training.loop import fit
from elman.training.plan import Plan


class Texts:
    """Files of text in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def source(self, text: str) -> Source:
        self.count += 1
        path = self.folder / f"{self.count}.txt"
        path.write_text(text, encoding="utf-8", newline="")
        return Source(path)

    def task(self, train: str, valid: str | None = None, **options: Any) -> Language:
        made = Language(LanguageOptions(**options))
        made.prepare([self.source(train)], None if valid is None else [self.source(valid)], 0)
        return made

    def restored(self, prepared: Language) -> Language:
        prepared.save(self.folder)
        made = Language(prepared.options)
        made.restore(self.folder)
        return made


@pytest.fixture
def texts(tmp_path: Path) -> Texts:
    return Texts(tmp_path)


def untrained(of: Language) -> LanguageModel:
    torch.manual_seed(0)
    model = of.build(EncoderConfig(name="gru", hidden=8), 0.0)
    assert isinstance(model, LanguageModel)
    with torch.no_grad():
        model.output.weight.mul_(5.0)
    return model.eval()


def trained(of: Language, updates: int, hidden: int = 32) -> Model:
    torch.manual_seed(0)
    model = of.build(EncoderConfig(name="lstm", hidden=hidden), 0.0)
    config = TrainingConfig(batch_size=16, window=30, learning_rate=1e-2)
    fit(model, of, config, Plan(updates, max(1, updates // 4), updates))
    return model.eval()


def nats(of: Language, model: Model, source: Source) -> dict[str, float]:
    """Of the model and of every baseline."""
    test = of.test([source])
    scores = {"model": of.score(model, test)} | dict(of.score_baselines(make_baselines(of.baselines()), test))
    return {name: metrics["nll"].compute() for name, metrics in scores.items()}


def goes(seed: int) -> str:
    """Lines of a few words."""
    rng = np.random.default_rng(seed)
    return "".join(" ".join(rng.choice(["so", "it", "goes", "on"], rng.integers(1, 7))) + "\n" for _ in range(60))


# --- what is scored ---------------------------------------------------------------------------------------------------

ALPHABET = "".join(chr(0x4E00 + i) for i in range(900))
"""Every symbol once, so that a symbol tells its position."""


def read(of: Language, part: str, rows: int = 4, window: int = 7) -> Iterator[tuple[str, str]]:
    """(symbol read, symbol predicted) of every step."""
    for batch in of.batches(part, rows, window, seed=5):
        for row, steps in enumerate(batch.lengths.tolist()):
            before, after = (x[row, :steps].numpy() for x in (batch.inputs["symbols"], batch.targets["symbols"]))
            yield from zip(of.codec.vocabulary.decode(before), of.codec.vocabulary.decode(after), strict=True)


@pytest.mark.parametrize("part", ["train", "valid"])
def test_every_symbol_is_predicted_once_from_the_one_before(texts: Texts, part: str) -> None:
    of = texts.task(ALPHABET, ALPHABET[::-1])
    text = ALPHABET if part == "train" else ALPHABET[::-1]
    before = dict(zip(text, "\n" + text, strict=False))
    pairs = list(read(of, part))
    assert Counter(after for _, after in pairs) == Counter(ALPHABET)
    assert all(b == before[a] for b, a in pairs)


def test_all_is_every_symbol_the_held_out_ones_included(texts: Texts) -> None:
    of = texts.task(ALPHABET)
    assert Counter(after for _, after in read(of, "all")) == Counter({**Counter(ALPHABET[:810]), UNKNOWN: 90})


def test_baselines_are_counted_on_what_was_learned_from(texts: Texts) -> None:
    """A validation file that is scored later must be as new to them as it is to the model."""
    held_out, given = texts.restored(of := texts.task(ALPHABET)), texts.restored(texts.task(ALPHABET, ALPHABET[::-1]))
    assert held_out.codec.vocabulary.decode(held_out.tail) == [*ALPHABET[:810], *[UNKNOWN] * 90]
    assert of.holds_out
    assert given.codec.vocabulary.decode(given.tail) == list(ALPHABET)


def test_files_do_not_run_into_each_other(texts: Texts) -> None:
    made = Language(LanguageOptions(level="word", min_count=1))
    made.prepare(
        [texts.source("so it\n" * 60 + "goes"), texts.source("on\n" * 60), texts.source("and on\n" * 60)], None, 0
    )
    words = made.codec.vocabulary.decode(made.all)
    assert " ".join(words).count("goes \n on") == 1
    assert "goeson" not in made.codec.vocabulary
    assert Counter(words)["\n"] == 60 + 1 + 60 + 60


def test_the_last_tenth_is_held_out(texts: Texts) -> None:
    of = texts.task(ALPHABET)
    assert Counter(after for _, after in read(of, "train")) == Counter(ALPHABET[:810])
    assert [after for _, after in read(of, "valid")] == [UNKNOWN] * 90  # no symbol of it is in training


def test_a_file_is_scored_as_one_stream_and_each_anew(texts: Texts) -> None:
    of = texts.restored(texts.task(goes(0)))
    model = untrained(of)
    files = [texts.source(text) for text in ("it goes on and on\n" * 300, "goes\n")]
    both = of.score(model, of.test(files))["nll"].units()[:, 0].sum()
    alone = [of.score(model, of.test([file]))["nll"].units()[:, 0].sum() for file in files]
    assert both == pytest.approx(sum(alone), rel=1e-9)
    ids = torch.from_numpy(of.codec.encode("\n" + "it goes on and on\n" * 300).astype(np.int64))  # longer than one call
    logits = model.head(model({"symbols": ids[None, :-1]}, model.begin({}, 1))[0])[0]
    expected = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="sum")
    assert alone[0] == pytest.approx(expected.item(), rel=1e-5)


def test_validation_counts_as_evaluation_does(texts: Texts) -> None:
    text = goes(1)
    of = texts.task(goes(0), text)
    model = untrained(of)
    total, count, state = 0.0, 0, model.begin({}, 1)
    for batch in of.batches("valid", 1, 13, 0):
        features, state = model(batch.inputs, state, batch.lengths)
        loss, number = of.loss(model, features, batch)
        total, count = total + loss.item(), count + int(number)
    assert count == len(text)
    of = texts.restored(of)
    evaluated = of.score(model, of.test([texts.source(text)]))["nll"].compute()
    assert total / count == pytest.approx(evaluated, rel=1e-5)


# --- what is fitted ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["char", "word"])
def test_held_out_text_changes_nothing_that_is_fitted(texts: Texts, level: Level) -> None:
    words = [f"w{i % 37}" for i in range(1000)]
    one, other = (texts.task(" ".join([*words, *[new] * 100]), level=level) for new in ("w1", "zz"))
    if level == "char":  # the same number of characters is held out
        assert len(one.valid) == len(other.valid)
    assert one.codec.to_json() == other.codec.to_json()
    np.testing.assert_array_equal(one.train, other.train)
    assert "z" not in one.codec.vocabulary
    assert texts.task(" ".join([*words, "zz", *words])).codec.to_json() != one.codec.to_json()


def test_a_validation_file_changes_nothing_that_is_fitted(texts: Texts) -> None:
    one, other = (texts.task(goes(0), valid) for valid in (goes(1), "entirely different words " * 30))
    assert one.codec.to_json() == other.codec.to_json()
    np.testing.assert_array_equal(one.train, other.train)


def test_rare_words_become_unknown_unless_the_text_marks_them(texts: Texts) -> None:
    common, later = goes(0), goes(1)
    size = len(split(common, "word")) + 1
    of = texts.task("once " + common, later, level="word")
    assert "once" not in of.codec.vocabulary
    assert of.notes == [f"1 of {size} training symbols are rare and became {UNKNOWN}"]
    assert "once" in texts.task(f"once {UNKNOWN} " + common, later, level="word").codec.vocabulary
    assert "once" in texts.task("once " + common, later, level="word", min_count=1).codec.vocabulary
    assert len(texts.task(common, later, level="word", max_vocabulary=3).codec.vocabulary) == 3


def test_unknown_symbols_are_told(texts: Texts) -> None:
    of = texts.restored(texts.task(goes(0)))
    test = of.test([texts.source("so it goes éé\n")])
    assert test.notes == [f"2 of 14 symbols were not seen in training and count as {UNKNOWN}"]


# --- characters -------------------------------------------------------------------------------------------------------

lines = st.lists(st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=1, max_size=6), max_size=6)


@settings(deadline=None)
@given(st.lists(lines, max_size=6), st.booleans(), st.sampled_from(["char", "word"]))
def test_widths_add_up_to_the_length_of_the_text(words: list[list[str]], ended: bool, level: Level) -> None:
    """Words with one blank between them, and any characters in them: bits per character count every character."""
    text = "\n".join(" ".join(split(" ".join(line), "word")) for line in words) + "\n" * ended
    symbols = split(text, level)
    codec = TextCodec(level, Vocabulary(sorted({UNKNOWN, "\n", *symbols}), unknown=UNKNOWN))
    widths = codec.widths(symbols)
    assert len(widths) == len(symbols)
    assert widths.sum() == len(text) == len(join(symbols, level))


def test_bits_per_character_from_nats(texts: Texts) -> None:
    text = "so it goes\nand so it went on\n"
    for level in ("char", "word"):
        of = texts.restored(texts.task(text * 40, level=level))
        scores = {
            name: metric.compute() for name, metric in of.score(untrained(of), of.test([texts.source(text)])).items()
        }
        symbols = len(split(text, level))
        assert scores["bits_per_char"] == pytest.approx(scores["nll"] * symbols / np.log(2) / len(text))
        assert scores["perplexity"] == pytest.approx(np.exp(scores["nll"]))


# --- known answers ----------------------------------------------------------------------------------------------------


def test_a_text_that_repeats_is_learned_by_heart(texts: Texts) -> None:
    prepared = texts.task("abcdefg\n" * 150)
    values = nats(texts.restored(prepared), trained(prepared, 150), texts.source("abcdefg\n" * 20))
    assert values["model"] == pytest.approx(0, abs=0.03)


def far(seed: int, count: int) -> str:
    """Lines whose last letter is their first, five symbols before: a trigram can only guess it."""
    letters = np.random.default_rng(seed).choice(list("abcdefgh"), count)
    return "".join(f"{letter}....{letter}\n" for letter in letters)


def test_a_trained_model_remembers_what_a_trigram_forgets(texts: Texts) -> None:
    prepared = texts.task(far(0, 900))
    values = nats(texts.restored(prepared), trained(prepared, 900), texts.source(far(1, 100)))
    guess = np.log(8)
    # after two dots another follows two times in three, as far as a trigram knows
    dots = -3 * (2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3))
    assert values["ngram_3"] == pytest.approx((2 * guess + dots) / 7, rel=0.05)
    assert 0.95 * guess / 7 < values["model"] < 1.2 * guess / 7


def test_on_shuffled_text_nothing_is_learned(texts: Texts) -> None:
    letters = np.random.default_rng(0).permutation(list(far(0, 900)))
    text = "".join(letters)
    prepared = texts.task(text[:5000])
    values = nats(texts.restored(prepared), trained(prepared, 100, hidden=8), texts.source(text[5000:]))
    assert values["model"] > 0.98 * values["unigram"]


def test_a_line_in_a_row_out(texts: Texts) -> None:
    text = "so it goes\n\nand so on"
    of = texts.restored(texts.task((text + "\n") * 20))
    frame = of.predict(untrained(of), [texts.source(text)]).frame()
    assert frame["text"].to_list() == ["so it goes", "", "and so on"]
    assert frame["symbols"].to_list() == [11, 1, 9]
    total = of.score(untrained(of), of.test([texts.source(text)]))["nll"].units()[:, 0].sum()
    assert (frame["nll"] * frame["symbols"]).sum() == pytest.approx(total)


# --- refused ----------------------------------------------------------------------------------------------------------


def test_a_bidirectional_encoder_is_refused(texts: Texts) -> None:
    with pytest.raises(ConfigError, match="a bidirectional encoder has read it already"):
        texts.task(ALPHABET).build(EncoderConfig(bidirectional=True), 0.0)


def test_a_short_text_is_refused(texts: Texts) -> None:
    with pytest.raises(
        DataError, match=r"at least 200 symbols \(chars\) to train on and 20 to validate on, got 90 and 10"
    ):
        texts.task("0123456789" * 10)


def test_a_text_of_blanks_is_refused(texts: Texts) -> None:
    of = texts.restored(texts.task(goes(0), level="word"))
    with pytest.raises(DataError, match=r"2\.txt: expected text, got only blanks"):
        of.test([texts.source("  \t ")])


def test_text_larger_than_memory_is_the_same(texts: Texts, monkeypatch: pytest.MonkeyPatch) -> None:
    text, later = far(0, 60), far(1, 60)
    expected = texts.task(text, later)
    monkeypatch.setattr("elman.tasks.language.IN_MEMORY", 100)
    mapped = texts.task(text, later)
    assert isinstance(mapped.train, np.memmap)
    np.testing.assert_array_equal(mapped.train, expected.train)
    np.testing.assert_array_equal(mapped.valid, expected.valid)
    assert mapped.codec.to_json() == expected.codec.to_json()
    folder = Path(str(mapped.train.filename)).parents[1]
    assert folder.is_dir()
    del mapped
    assert not folder.exists()
