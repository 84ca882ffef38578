"""Classification metrics against scikit-learn, DeLong's variance against resampling, and cases worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, roc_auc_score

from elman.errors import ConfigError
from elman.evaluation.intervals import bootstrap
from elman.metrics.classification import (
    calibration_bins,
    classification_metrics,
    confusion,
    expected_calibration_error,
)

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def computed(probabilities: Floats, labels: Flags, multi: bool = False, parts: int = 1) -> dict[str, float]:
    metrics = classification_metrics(labels.shape[1], multi)
    for rows in np.array_split(np.arange(len(labels)), parts):
        for metric in metrics.values():
            metric.update(probabilities[rows], labels[rows])
    return {name: metric.compute() for name, metric in metrics.items()}


def answers(seed: int, rows: int, classes: int, multi: bool = False) -> tuple[Floats, Flags]:
    """Probabilities with many ties, some of them 0 or 1, and labels."""
    rng = np.random.default_rng(seed)
    if multi:
        return rng.integers(0, 6, size=(rows, classes)) / 5, rng.random((rows, classes)) < 0.4
    counts = rng.integers(0, 5, size=(rows, classes)).astype(np.float64)
    counts[counts.sum(axis=1) == 0] = 1
    labels = np.arange(classes) == rng.integers(0, classes, size=(rows, 1))
    return counts / counts.sum(axis=1, keepdims=True), labels


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(2, 40), classes=st.integers(2, 5), parts=st.integers(1, 3))
def test_one_label_agrees_with_sklearn(seed: int, rows: int, classes: int, parts: int) -> None:
    probabilities, labels = answers(seed, rows, classes)
    values = computed(probabilities, labels, parts=parts)
    truth, guess = labels.argmax(axis=1), probabilities.argmax(axis=1)
    assert values["accuracy"] == pytest.approx(accuracy_score(truth, guess), abs=1e-12)
    assert values["macro_f1"] == pytest.approx(f1_score(truth, guess, average="macro", zero_division=0), abs=1e-12)
    assert values["cross_entropy"] == pytest.approx(log_loss(truth, probabilities, labels=range(classes)), rel=1e-12)
    usable = [k for k in range(classes) if 0 < labels[:, k].sum() < rows]
    usable = usable if classes > 2 else [1] * (1 in usable)
    areas = [roc_auc_score(labels[:, k], probabilities[:, k]) for k in usable]
    assert values["auroc"] == pytest.approx(np.mean(areas) if areas else np.nan, abs=1e-12, nan_ok=True)
    np.testing.assert_array_equal(
        confusion(probabilities, labels), confusion_matrix(truth, guess, labels=range(classes))
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(2, 40), classes=st.integers(2, 5))
def test_several_labels_agree_with_sklearn(seed: int, rows: int, classes: int) -> None:
    probabilities, labels = answers(seed, rows, classes, multi=True)
    values = computed(probabilities, labels, multi=True)
    guess = probabilities >= 0.5
    assert values["accuracy"] == pytest.approx(accuracy_score(labels, guess), abs=1e-12)
    present = np.flatnonzero((labels | guess).any(axis=0))
    f1 = f1_score(labels, guess, average="macro", labels=present, zero_division=0) if len(present) else np.nan
    assert values["macro_f1"] == pytest.approx(f1, abs=1e-12, nan_ok=True)
    losses = [log_loss(labels[:, k], probabilities[:, k], labels=[False, True]) for k in range(classes)]
    assert values["cross_entropy"] == pytest.approx(np.mean(losses), rel=1e-9)
    usable = [k for k in range(classes) if 0 < labels[:, k].sum() < rows]
    areas = [roc_auc_score(labels[:, k], probabilities[:, k]) for k in usable]
    assert values["auroc"] == pytest.approx(np.mean(areas) if areas else np.nan, abs=1e-12, nan_ok=True)


def test_auroc_is_sklearns_one_against_the_rest() -> None:
    probabilities, labels = answers(1, 300, 4)
    expected = roc_auc_score(labels.argmax(axis=1), probabilities, multi_class="ovr", average="macro")
    assert computed(probabilities, labels)["auroc"] == pytest.approx(expected, abs=1e-12)


def test_influence_worked_by_hand() -> None:
    # Positives score 0.8 and 0.4, negatives 0.6, 0.4 and 0.1. On the right side of 0.8: 3 of 3; of 0.4: 1.5 of 3; of
    # the negatives 0.6: 1 of 2, 0.4: 1.5 of 2, 0.1: 2 of 2. The area is 0.75, the shares of the kinds 2/5 and 3/5.
    score = np.array([0.8, 0.6, 0.4, 0.4, 0.1])
    positive = np.array([True, False, True, False, False])
    metric = classification_metrics(2)["auroc"]
    metric.update(np.stack([1 - score, score], axis=-1), np.stack([~positive, positive], axis=-1))
    expected = [0.75 + 0.25 / 0.4, 0.75 - 0.25 / 0.6, 0.75 - 0.25 / 0.4, 0.75, 0.75 + 0.25 / 0.6]
    np.testing.assert_allclose(metric.units(), np.stack([expected, np.ones(5)], axis=-1), rtol=1e-12)
    assert metric.compute() == pytest.approx(0.75, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_interval_is_that_of_resampling_the_area_itself(classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(classes) == rng.integers(0, classes, size=(250, 1))
    strength = np.exp(rng.normal(size=labels.shape) + 0.8 * labels)
    probabilities = strength / strength.sum(axis=1, keepdims=True)
    metric = classification_metrics(classes)["auroc"]
    metric.update(probabilities, labels)
    low, high = bootstrap(metric.units(), metric.value, draws=4000)
    truth, draws = labels.argmax(axis=1), []
    for _ in range(400):
        rows = rng.integers(0, 250, size=250)
        scores = probabilities[rows, 1] if classes == 2 else probabilities[rows]
        draws.append(roc_auc_score(truth[rows], scores, multi_class="ovr"))
    assert (high - low) / 3.92 == pytest.approx(np.std(draws), rel=0.12)
    assert (low + high) / 2 == pytest.approx(np.mean(draws), abs=0.2 * np.std(draws))


def test_a_perfect_classifier_has_an_interval_that_ends_at_one() -> None:
    labels = np.arange(2) == np.array([[0], [1], [1], [0]])
    metric = classification_metrics(2)["auroc"]
    metric.update(np.where(labels, 0.9, 0.1), labels)
    assert bootstrap(metric.units(), metric.value) == (1.0, 1.0)


def test_what_was_called_impossible_costs_much_but_not_everything() -> None:
    labels = np.array([[True, False]])
    assert computed(np.array([[0.0, 1.0]]), labels)["cross_entropy"] == pytest.approx(52 * np.log(2), rel=1e-12)
    assert computed(np.array([[1.0, 0.0]]), labels, multi=True)["cross_entropy"] == pytest.approx(0, abs=1e-12)


def test_nothing_seen_or_a_single_class_gives_nan_where_nothing_can_be_said() -> None:
    for metric in classification_metrics(2).values():
        assert np.isnan(metric.compute())
    values = computed(np.array([[0.7, 0.3], [0.4, 0.6]]), np.array([[True, False], [True, False]]))
    assert np.isnan(values["auroc"])
    assert values["accuracy"] == 0.5


@pytest.mark.parametrize("multi", [False, True])
def test_a_model_that_does_not_answer_has_no_figure(multi: bool) -> None:
    probabilities, labels = answers(0, 20, 3)
    probabilities[4, 1] = np.nan
    assert all(np.isnan(value) for value in computed(probabilities, labels, multi).values())


def test_which_way_is_better() -> None:
    better = {name: metric.higher_is_better for name, metric in classification_metrics(2).items()}
    assert better == {"accuracy": True, "macro_f1": True, "cross_entropy": False, "auroc": True}


def test_calibration_worked_by_hand() -> None:
    # Two answers of 0.55 (one right), one of 0.95 (right), one of 1 (wrong).
    sure = np.array([0.55, 0.55, 0.95, 1.0])
    probabilities = np.stack([sure, 1 - sure], axis=-1)
    labels = np.arange(2) == np.array([[0], [1], [0], [1]])
    confidence, accuracy, count = calibration_bins(probabilities, labels)
    np.testing.assert_array_equal(count, [0, 0, 0, 0, 0, 2, 0, 0, 0, 2])
    np.testing.assert_allclose(confidence[count > 0], [0.55, 0.975])
    np.testing.assert_allclose(accuracy[count > 0], [0.5, 0.5])
    assert np.isnan(confidence[count == 0]).all()
    assert expected_calibration_error(probabilities, labels) == pytest.approx((0.05 * 2 + 0.475 * 2) / 4, rel=1e-12)
    confidence, accuracy, count = calibration_bins(probabilities, labels, bins=2, multi=True)
    np.testing.assert_array_equal(count, [4, 4])
    np.testing.assert_allclose(accuracy, [0.5, 0.5])
    np.testing.assert_allclose(confidence, [(0.45 + 0.45 + 0.05 + 0.0) / 4, 3.05 / 4])


def test_calibration_of_an_honest_model_is_close_and_of_a_boaster_far() -> None:
    rng = np.random.default_rng(0)
    chance = rng.random(20_000)
    came = rng.random(20_000) < chance
    labels = np.stack([~came, came], axis=-1)
    honest = np.stack([1 - chance, chance], axis=-1)
    assert expected_calibration_error(honest, labels) < 0.02
    boaster = np.where(honest > 0.5, 0.99, 0.01)
    assert expected_calibration_error(boaster, labels) == pytest.approx(0.24, abs=0.01)  # right in 3 of 4
    assert np.isnan(expected_calibration_error(honest[:0], labels[:0]))


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="`classes` of at least 1, got 0"):
        classification_metrics(0)
    with pytest.raises(ConfigError, match="`bins` of at least 1, got 0"):
        calibration_bins(np.zeros((1, 2)), np.zeros((1, 2), dtype=bool), bins=0)
