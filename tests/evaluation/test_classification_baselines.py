"""Baselines of classification: what they learn, that they answer whatever the data, and quickly."""

import time

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from elman.data.examples import Examples
from elman.errors import ConfigError, DataError
from elman.evaluation.baselines import make_baselines
from elman.evaluation.classification_baselines import ClassificationBaseline, classification_baselines
from elman.evaluation.ngrams import NgramBag
from elman.tasks.task import Baselines

Flags = NDArray[np.bool_]
WORDS = ["good", "bad", "not", "film", "plot", "very"]


def one_hot(labels: NDArray[np.int64], classes: int) -> Flags:
    return np.asarray(np.arange(classes) == labels[:, None])


def named(name: str, *args: object, **kwargs: object) -> ClassificationBaseline:
    return next(baseline for baseline in classification_baselines(*args, **kwargs) if baseline.name == name)  # type: ignore[arg-type]


def reviews(count: int, seed: int) -> tuple[Examples, Flags]:
    """The sentiment is that of "good" or "bad", turned round where "not" stands right before it."""
    rng = np.random.default_rng(seed)
    texts, positive = [], []
    for _ in range(count):
        words = [str(word) for word in rng.choice(WORDS[2:], size=6)]
        place = rng.integers(1, 6)
        words[place] = str(rng.choice(WORDS[:2]))
        texts.append(words)
        positive.append((words[place] == "good") != (words[place - 1] == "not"))
    return Examples(texts=texts), one_hot(np.array(positive, dtype=np.int64), 2)


def waves(count: int, seed: int) -> tuple[Examples, Flags]:
    """Three shapes on noise, of unequal length, shifted, with gaps."""
    rng = np.random.default_rng(seed)
    kinds, values = rng.integers(0, 3, size=count), []
    for kind in kinds:
        phase = np.linspace(0, 1, rng.integers(15, 30))
        shape = (np.sin(2 * np.pi * phase), np.sin(4 * np.pi * phase), np.abs(phase - 0.5))[kind]
        series = np.stack([shape + 0.1 * rng.normal(size=len(phase)), rng.normal(size=len(phase))], axis=-1)
        series[rng.random(series.shape) < 0.05] = np.nan
        values.append(series)
    return Examples(values=values), one_hot(kinds, 3)


def test_majority_is_the_smoothed_share() -> None:
    targets = one_hot(np.array([0, 0, 0, 1]), 3)
    majority = named("majority", "text", 3)
    majority.fit(Examples(texts=[["a"]] * 4), targets)
    np.testing.assert_allclose(majority.predict(Examples(texts=[["b"]] * 2)), np.tile([4 / 7, 2 / 7, 1 / 7], (2, 1)))
    several = named("majority", "text", 3, multi=True)
    several.fit(Examples(texts=[["a"]] * 4), targets)
    np.testing.assert_allclose(several.predict(Examples(texts=[["b"]])), [[4 / 6, 2 / 6, 1 / 6]])


def test_pairs_of_words_turn_a_word_round() -> None:
    baseline = named("ngram_logistic", "text", 2)
    baseline.fit(*reviews(600, seed=0))
    test, truth = reviews(300, seed=1)
    assert (baseline.predict(test).argmax(axis=1) == truth.argmax(axis=1)).mean() > 0.97


def test_probabilities_are_sklearns_smoothed() -> None:
    train, targets = reviews(80, seed=2)
    baseline = named("ngram_logistic", "text", 2)
    baseline.fit(train, targets)
    bag = NgramBag(train.require_texts(), 2)
    model = LogisticRegression(C=30, max_iter=100).fit(bag(train.require_texts()), targets[:, 1])
    test, _ = reviews(20, seed=3)
    expected = (80 * model.predict_proba(bag(test.require_texts())) + 1) / 82
    np.testing.assert_allclose(baseline.predict(test), expected, rtol=1e-9)


@pytest.mark.parametrize(("name", "least"), [("nearest_dtw", 0.95), ("boosting", 0.9)])
def test_shapes_are_told_apart(name: str, least: float) -> None:
    baseline = named(name, "values", 3)
    baseline.fit(*waves(200, seed=0))
    test, truth = waves(100, seed=1)
    assert (baseline.predict(test).argmax(axis=1) == truth.argmax(axis=1)).mean() >= least


def test_shuffled_labels_teach_nothing() -> None:
    (train, targets), (test, truth) = waves(200, seed=0), waves(200, seed=1)
    shuffled = np.random.default_rng(0).permutation(targets)
    for baseline in classification_baselines("values", 3):
        baseline.fit(train, shuffled)
        assert (baseline.predict(test).argmax(axis=1) == truth.argmax(axis=1)).mean() < 0.5


def test_the_neighbour_is_as_sure_as_it_was_right() -> None:
    # Pairs of equal sequences: in three of five pairs both have the same label, so 6 of 10 are right when left out.
    values = np.repeat(np.arange(5.0) * 10, 2)
    labels = np.array([0, 0, 1, 1, 0, 0, 0, 1, 1, 0])
    baseline = named("nearest_neighbour", "values", 2, steps=False)
    baseline.fit(Examples(values=[np.array([[value]]) for value in values]), one_hot(labels, 2))
    probabilities = baseline.predict(Examples(values=[np.array([[0.1]]), np.array([[9.0]])]))
    np.testing.assert_allclose(probabilities, [[7 / 12, 5 / 12], [5 / 12, 7 / 12]])


def test_several_labels_are_learned_each() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    labels = np.stack([x[:, 0] > 0, x[:, 1] > 0.5, np.zeros(400, dtype=bool)], axis=-1)
    train, test = (Examples(values=[row[None] for row in part]) for part in (x[:300], x[300:]))
    for name in ("nearest_neighbour", "boosting"):
        baseline = named(name, "values", 3, multi=True, steps=False)
        baseline.fit(train, labels[:300])
        assert ((baseline.predict(test) >= 0.5) == labels[300:]).mean() > 0.85
    texts = Examples(texts=[[word for word, has in zip(WORDS, row > 0, strict=False) if has] for row in x])
    baseline = named("ngram_logistic", "text", 3, multi=True)
    baseline.fit(texts, labels)
    assert (baseline.predict(texts)[:, 0] >= 0.5).astype(bool).tolist() == labels[:, 0].tolist()


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("labels", [[0], [1, 1, 1], [0, 1], [0, 0, 0, 2], [0, 1, 2, 3]])
@pytest.mark.parametrize("kind", ["text", "sequences", "plain"])
def test_any_data_are_answered_with_probabilities(kind: str, labels: list[int], multi: bool) -> None:
    targets = one_hot(np.array(labels), 4)
    if kind == "text":
        train, test = Examples(texts=[[]] * len(labels)), Examples(texts=[["new"], []])
        baselines = classification_baselines("text", 4, multi)
    else:
        length = 3 if kind == "sequences" else 1
        # Unknown in training, constant, and different each time; the last unknown afterwards.
        columns = [np.array([[np.nan, 7.0, float(i)]] * length) for i in range(len(labels))]
        train = Examples(values=columns)
        test = Examples(values=[np.array([[1e300, 8.0, np.nan]] * length), np.array([[np.nan] * 3])])
        baselines = classification_baselines("values", 4, multi, steps=kind == "sequences")
    for baseline in baselines:
        baseline.fit(train, targets)
        probabilities = baseline.predict(test)
        assert probabilities.shape == (2, 4)
        assert (probabilities > 0).all()
        assert (probabilities < 1).all()
        if not multi:
            np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)


def test_one_class_alone_is_certain() -> None:
    for baseline in classification_baselines("values", 1):
        baseline.fit(Examples(values=[np.zeros((2, 1)), np.ones((2, 1))]), np.ones((2, 1), dtype=bool))
        np.testing.assert_allclose(baseline.predict(Examples(values=[np.zeros((3, 1))])), [[1.0]])


def test_digits_as_rows_of_pixels_are_read() -> None:
    digits = load_digits()
    targets = one_hot(digits.target, 10)
    held_out = np.arange(len(targets)) % 5 == 0
    nearest = named("nearest_dtw", "values", 10)
    nearest.fit(Examples(values=list(digits.images[~held_out])), targets[~held_out])
    probabilities = nearest.predict(Examples(values=list(digits.images[held_out])))
    assert (probabilities.argmax(axis=1) == digits.target[held_out]).mean() > 0.96


@pytest.mark.parametrize("name", ["nearest_neighbour", "boosting"])
def test_a_class_that_training_did_not_show_keeps_its_place(name: str) -> None:
    x = np.repeat([0.0, 1.0], 50)
    baseline = named(name, "values", 4, steps=False)
    baseline.fit(Examples(values=[np.array([[value]]) for value in x]), one_hot(np.repeat([1, 3], 50), 4))
    probabilities = baseline.predict(Examples(values=[np.array([[0.0]]), np.array([[1.0]])]))
    assert probabilities.argmax(axis=1).tolist() == [1, 3]
    assert (probabilities[:, [0, 2]] < 0.02).all()


def test_many_long_sequences_are_compared_in_bounded_time() -> None:
    rng = np.random.default_rng(0)
    train = Examples(values=list(rng.normal(size=(1500, 200, 12))))
    baseline = named("nearest_dtw", "values", 3)
    baseline.fit(train, one_hot(rng.integers(0, 3, size=1500), 3))
    test = Examples(values=list(rng.normal(size=(100, 200, 12))))
    start = time.process_time()  # of this process alone: other work on the machine does not count
    baseline.predict(test)
    assert time.process_time() - start < 2  # under half a second where nothing else runs


def test_the_factory_names_what_it_makes() -> None:
    names = [b.name for b in make_baselines(Baselines("classification", {"kind": "values", "classes": 2}))]
    assert names == ["majority", "nearest_dtw", "boosting"]
    assert [b.name for b in classification_baselines("values", 2, steps=False)][1] == "nearest_neighbour"
    with pytest.raises(ConfigError, match="text or values, got 'sound'"):
        classification_baselines("sound", 2)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="`classes` of at least 1"):
        classification_baselines("text", 0)


def test_no_examples_are_told() -> None:
    for baseline in [*classification_baselines("values", 2), *classification_baselines("text", 2)]:
        with pytest.raises(DataError, match="at least one example"):
            baseline.fit(Examples(texts=[]), np.zeros((0, 2), dtype=bool))
