"""Classification: the loss, the weights and the temperature against independent sums; every form of data; predictions."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.utils.class_weight import compute_class_weight

import elman
from elman.data.arrays import Arrays
from elman.data.source import DataInput, Source
from elman.errors import ConfigError, DataError, UsageError
from elman.models.build import EncoderConfig
from elman.models.many_to_one import ManyToOne
from elman.tasks.classify import DOUBT, Classify
from elman.training.settings import make_task

QUICK: dict[str, Any] = {"hidden": 8, "settings": {"training": {"updates": 30, "batch_size": 8}}}


def rising(count: int = 40, seed: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Sequences of unequal length that rise or fall."""
    rng = np.random.default_rng(seed)
    x = [np.cumsum(rng.normal((-1) ** i, 0.5, (int(rng.integers(3, 9)), 1)), axis=0) for i in range(count)]
    return x, ["up" if i % 2 == 0 else "down" for i in range(count)]


def prepared(data: DataInput, **options: Any) -> Classify:
    task = make_task("classify", options)
    assert isinstance(task, Classify)
    task.prepare([Source.of(data)], None, 0)
    return task


def small(task: Classify) -> ManyToOne:
    torch.manual_seed(0)
    model = task.build(EncoderConfig(hidden=4), 0.0)
    assert isinstance(model, ManyToOne)
    return model


def outputs_and_labels(task: Classify, model: ManyToOne) -> tuple[np.ndarray, np.ndarray]:
    """By hand: the sequences of the training part one after the other."""
    outputs = []
    for one in task._train.inputs:
        inputs = {name: torch.from_numpy(np.asarray(x))[None] for name, x in one.items()}
        features, _ = model(inputs, model.begin({}, 1))
        outputs.append(model.head(features)[0, -1].detach().double().numpy())
    return np.stack(outputs), np.concatenate(task._train.labels)


def total_loss(task: Classify, model: ManyToOne) -> float:
    total, count = 0.0, 0.0
    for batch in task.batches("train", 7, 0, 1):
        features, _ = model(batch.inputs, model.begin({}, len(batch.lengths)), batch.lengths)
        loss, number = task.loss(model, features, batch)
        total, count = total + loss.item(), count + float(number)
    return total / count


@pytest.mark.parametrize("weights", ["none", "balanced", {"up": 3.0}])
def test_the_loss_is_weighted_cross_entropy(weights: Any) -> None:
    x, _ = rising(40)
    task = prepared(Arrays(x, ["up" if i % 5 == 0 else "down" for i in range(40)]), class_weights=weights)
    model = small(task)
    outputs, labels = outputs_and_labels(task, model)
    assert task.codec.outputs == ("down", "up")
    if weights == "balanced":
        each = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)[labels]
    else:
        each = np.where(labels == 1, 3.0, 1.0) if isinstance(weights, dict) else np.ones(len(labels))
    nll = -log_softmax(outputs, axis=1)[np.arange(len(labels)), labels]
    assert math.isclose(total_loss(task, model), float((each * nll).sum() / each.sum()), rel_tol=1e-5)


def test_with_several_labels_the_loss_is_binary_cross_entropy() -> None:
    x = np.random.default_rng(0).normal(size=(30, 4, 2))
    labels = [[name for k, name in enumerate("abc") if row[0, 0] > k - 1] for row in x]
    task = prepared(Arrays(x, labels), multi=True)
    model = small(task)
    outputs, truth = outputs_and_labels(task, model)
    p = 1 / (1 + np.exp(-outputs))
    expected = -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean()
    assert math.isclose(total_loss(task, model), float(expected), rel_tol=1e-5)


def test_the_temperature_is_the_likeliest() -> None:
    task = prepared(Arrays(*rising(200)))
    model = small(task)
    with torch.no_grad():
        for member in model.members:
            member.output.weight.mul_(3)  # type: ignore[union-attr, operator]
    task._train, task._valid = task._valid, task._train  # more to calibrate on
    task.calibrate(model)
    found = float(model.temperature)
    model.temperature.fill_(1.0)
    task._train, task._valid = task._valid, task._train
    outputs, labels = outputs_and_labels(task, model)

    def posterior(log_t: float) -> float:
        each = -log_softmax(outputs / np.exp(log_t), axis=1)[np.arange(len(labels)), labels]
        return float(each.sum() + 0.5 * (log_t / DOUBT) ** 2)

    assert math.isclose(found, math.exp(minimize_scalar(posterior, bounds=(-3, 3), method="bounded").x), rel_tol=1e-3)
    assert found > 1.2


def test_every_part_has_its_share_of_each_label_and_no_group_is_divided() -> None:
    frame = pl.DataFrame(
        {"x": [float(i // 4) for i in range(200)], "y": ["a", "b"] * 100, "who": [f"g{i // 4}" for i in range(200)]}
    )
    task = prepared(frame, label="y", features="x", group="who")
    held = np.concatenate(task._valid.labels)
    assert 16 <= len(held) <= 24
    assert abs(int(held.sum()) - len(held) / 2) <= 1
    values = [{float(i["values"][0, 0]) for i in part.inputs} for part in (task._train, task._valid)]
    assert not values[0] & values[1]


def test_learns_and_predicts_from_arrays(tmp_path: Path) -> None:
    data = rising(80)
    run = elman.fit("classify", *data, out=tmp_path / "run", **QUICK)
    test = rising(30, seed=1)
    evaluation = run.evaluate(*test)
    assert evaluation.count == 30
    assert evaluation.metrics["accuracy"].value > 0.9
    assert set(evaluation.baselines) == {"majority", "nearest_dtw", "boosting"}
    frame = run.predict(test[0]).frame()
    assert frame.columns == ["row", "label", "probability", "p_down", "p_up"]
    assert (frame["label"] == pl.Series(test[1])).mean() == evaluation.metrics["accuracy"].value
    np.testing.assert_allclose(frame["p_down"] + frame["p_up"], 1)


GOOD, BAD = ["great", "fine", "lovely"], ["awful", "dull", "poor"]


def reviews(count: int = 120, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    rest = ["the", "film", "was", "so", "it"]
    rows = [
        " ".join(rng.permutation([*rng.choice(rest, 6), *rng.choice(BAD if i % 2 else GOOD, 2)])) for i in range(count)
    ]
    return pl.DataFrame({"text": rows, "stars": ["1" if i % 2 else "5" for i in range(count)]})


def test_learns_from_texts_and_tells_which_words_decided(tmp_path: Path) -> None:
    reviews().write_csv(tmp_path / "train.tsv", separator="\t")
    reviews(20, seed=1).write_csv(tmp_path / "test.tsv", separator="\t")
    longer: dict[str, Any] = {"hidden": 16, "settings": {"training": {"updates": 150, "batch_size": 16}}}
    run = elman.fit("classify", tmp_path / "train.tsv", out=tmp_path / "run", text="text", label="stars", **longer)
    assert run.evaluate(tmp_path / "test.tsv").metrics["accuracy"].value > 0.9
    predictions = run.predict(tmp_path / "test.tsv", explain=True)
    row = predictions.frame().row(0, named=True)
    shares = {one["symbol"]: one["share"] for one in row["explanation"]}
    assert [one["symbol"] for one in row["explanation"]] == reviews(20, seed=1)["text"][0].split()
    assert max(shares, key=lambda word: shares[word]) in GOOD
    lines = predictions.text().splitlines()
    assert lines[0].split("\t")[:2] == ["row", "stars"]
    shown = run.task.exhibits(run.model, run.task.test([Source(tmp_path / "test.tsv")]))
    assert [one.name for one in shown] == ["confusion", "reliability", "worst", "best", "decided"]
    passage = shown[-1].passages[-1]  # type: ignore[union-attr]
    darkest = passage.pieces[int(np.argmax(passage.shades))].strip()
    assert darkest in (GOOD if passage.heading == "said 5, is 5" else BAD)
    written = pl.read_csv(predictions.text().encode(), separator="\t")
    assert json.loads(written["explanation"][0])[0]["symbol"] == row["explanation"][0]["symbol"]


def test_the_shares_of_a_series_are_told_by_step_and_feature(tmp_path: Path) -> None:
    data = rising(30)
    run = elman.fit("classify", *data, out=tmp_path / "run", **QUICK)
    told = run.predict(data[0], explain=True).frame()["explanation"][0]
    assert set(told[0]) == {"step", "feature", "share"}
    sizes = [abs(one["share"]) for one in told if one["step"]]
    assert sizes == sorted(sizes, reverse=True)


def test_the_shares_of_a_long_series_add_up_with_the_rest(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(30, 20, 3))
    run = elman.fit("classify", x, ["a", "b"] * 15, out=tmp_path / "run", **QUICK)
    told = run.predict(x, explain=True).frame()
    assert isinstance(run.task, Classify)
    encoded = run.task._encode(run.task._read([Source(Arrays(x))], labels="optional"))
    for row, shares in zip(told["explanation"].to_list(), run.task.shares(run.model, encoded), strict=True):
        assert (row[-1]["step"], row[-1]["feature"], len(row)) == (None, "all others", 21)
        assert math.isclose(sum(one["share"] for one in row), float(shares.sum()), abs_tol=1e-4)


def test_data_frames_and_lists_with_labels_beside_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"a": rng.normal(size=30), "b": rng.normal(size=30)})
    labels = ["x", "y"] * 15
    series = elman.fit("classify", frame, pl.Series(labels), out=tmp_path / "series", **QUICK)
    arrays = elman.fit("classify", frame.to_numpy(), labels, out=tmp_path / "arrays", **QUICK)
    assert series.predict(frame.to_numpy()).frame().equals(arrays.predict(frame.to_numpy()).frame())
    texts = elman.fit("classify", ["so good", "so bad"] * 15, labels, out=tmp_path / "texts", **QUICK)
    assert texts.task.codec.to_json()["vocabulary"] is not None


def aligned(count: int = 24) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    rows = []
    for i in range(count):
        x = rng.normal(size=int(rng.integers(4, 8)))
        rows += [(i, t, v, "high" if s > 0 else "low") for t, (v, s) in enumerate(zip(x, np.cumsum(x), strict=True))]
    return pl.DataFrame(rows, schema=["id", "t", "x", "state"], orient="row")


def test_labels_at_every_row(tmp_path: Path) -> None:
    frame = aligned()
    options: dict[str, Any] = {"id": "id", "time": "t", "label": "state", **QUICK}
    last = elman.fit("classify", frame, out=tmp_path / "last", **options)
    every = elman.fit("classify", frame, out=tmp_path / "all", score="all", **options)
    assert last.evaluate(frame).count == 24
    assert every.evaluate(frame).count == len(frame)
    predictions = every.predict(frame).frame()
    assert predictions.columns[:3] == ["id", "time", "state"]
    assert len(predictions) == len(frame)
    assert len(last.predict(frame).frame()) == 24
    told = every.predict(frame, explain=True).frame()
    ends = told.with_row_index().group_by("id").agg(pl.col("index").max())["index"]
    assert sorted(ends) == [i for i, one in enumerate(told["explanation"]) if one is not None]
    assert every.evaluate(frame).unit == "rows"
    exhibits = every.task.exhibits(every.model, every.task.test([Source(frame)]))
    assert [one.name for one in exhibits] == ["confusion", "reliability"]


def test_selection_looks_at_what_is_scored(tmp_path: Path) -> None:
    """Every row is `on` but the last, which tells: all are learned from, the last is what counts."""
    rng = np.random.default_rng(3)
    rows = [(i, t, rng.normal(), ("on" if t < 5 else "ab"[i % 2])) for i in range(40) for t in range(6)]
    frame = pl.DataFrame(rows, schema=["id", "t", "x", "s"], orient="row")
    longer = {"training": {"updates": 100, "batch_size": 8}}
    options: dict[str, Any] = {"id": "id", "time": "t", "label": "s", "hidden": 8, "settings": longer}
    run = elman.fit("classify", frame, out=tmp_path / "run", **options)
    assert run.fitted.best["accuracy"] < 0.7
    every = elman.fit("classify", frame, out=tmp_path / "all", score="all", **options)
    assert every.fitted.best["accuracy"] > 0.8
    assert every.evaluate(frame).baselines["majority"]["accuracy"] == pytest.approx(5 / 6)


def test_held_out_sequences_that_training_has_too_are_told() -> None:
    x = np.repeat(np.random.default_rng(0).normal(size=(10, 4, 1)), 8, axis=0)
    task = prepared(Arrays(x, ["a", "b"] * 40))
    assert any("held-out sequences stand in the training part too" in note for note in task.notes)


def test_the_report_shows_what_went_wrong(tmp_path: Path) -> None:
    data = rising(60)
    run = elman.fit("classify", *data, out=tmp_path / "run", **QUICK)
    test = run.task.test([Source(Arrays(*data))])
    shown = {one.name: one for one in run.task.exhibits(run.model, test)}
    assert list(shown) == ["confusion", "reliability", "worst", "best"]
    counts = np.array(shown["confusion"].counts)  # type: ignore[union-attr]
    assert counts.sum() == 60
    assert counts.trace() / 60 == run.evaluate(*data).metrics["accuracy"].value
    worst, best = ([row[-1] for row in shown[name].rows] for name in ("worst", "best"))  # type: ignore[union-attr]
    assert worst == sorted(worst)
    assert best == sorted(best, reverse=True)


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        (Arrays(np.zeros((9, 3, 1)), ["a"] * 9), {}, DataError, "expected at least 2 different labels, got \\['a'\\]"),
        (Arrays(np.zeros((1, 3, 1)), ["a"]), {}, DataError, "expected at least 2 different labels"),
        (Arrays(np.zeros((9, 3, 1)), [0, 1] * 4 + [0]), {"class_weights": {"7": 2}}, ConfigError, "has the label '7'"),
        (Arrays(np.zeros((9, 3, 1)), [0, 1] * 4 + [0]), {"class_weights": {"1": 0}}, ConfigError, "a number above 0"),
        (Arrays(np.zeros((9, 3, 1)), [0, 1] * 4 + [0]), {"pooling": "sum"}, ConfigError, "pooling"),
    ],
)
def test_what_cannot_be_learned_is_refused(
    data: Arrays, options: dict[str, Any], error: type[UsageError], message: str
) -> None:
    with pytest.raises(error, match=message):
        prepared(data, **options)


def test_a_label_that_training_has_not_seen_is_named(tmp_path: Path) -> None:
    data = rising(30)
    run = elman.fit("classify", *data, out=tmp_path / "run", **QUICK)
    with pytest.raises(DataError, match="label 'sideways' was not seen in training; known: 'down', 'up'"):
        run.evaluate(data[0], ["sideways"] * 30)


def test_training_data_given_as_validation_is_refused(tmp_path: Path) -> None:
    data = rising(30)
    with pytest.raises(DataError, match="30 of 30 validation sequences are in the training data"):
        elman.fit("classify", *data, valid=data, out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()
