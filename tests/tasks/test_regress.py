"""Regression: the loss against independent sums, scores against scikit-learn, every form of data; what decided."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

import elman
from elman.data.arrays import Arrays
from elman.data.sequence_codec import SequenceCodec
from elman.data.source import DataInput, Source
from elman.errors import ConfigError, DataError
from elman.models.build import EncoderConfig
from elman.tasks.exhibits import Scatter
from elman.tasks.regress import Regress
from elman.training.settings import Sections, make_task

QUICK: dict[str, Any] = {"hidden": 8, "settings": {"training": {"updates": 30, "batch_size": 8}}}
LONGER: dict[str, Any] = {"hidden": 16, "settings": {"training": {"updates": 300, "batch_size": 16}}}


Labelled = tuple[list[np.ndarray], np.ndarray]


def sums(count: int = 60, seed: int = 0) -> Labelled:
    """Sequences of unequal length; the numbers are 500 and the mean of the first feature, and ten times that of the second."""
    rng = np.random.default_rng(seed)
    x = [rng.normal(rng.normal(size=2), 0.3, (int(rng.integers(3, 7)), 2)) for _ in range(count)]
    return x, np.array([[500 + one[:, 0].mean(), 10 * one[:, 1].mean()] for one in x])


def prepared(data: DataInput, **options: Any) -> Regress:
    task = make_task("regress", options)
    assert isinstance(task, Regress)
    task.prepare([Source.of(data)], None, 0)
    return task


def test_the_loss_is_the_squared_error_in_standard_deviations_of_the_labels() -> None:
    x, labels = sums()
    task = prepared(Arrays(x, labels))
    torch.manual_seed(0)
    model = task.build(EncoderConfig(hidden=4), 0.0)
    scaled = (labels - labels.mean(0)) / labels.std(0)
    of_content = {one.tobytes(): row for one, row in zip(x, scaled, strict=True)}
    total, count, expected = 0.0, 0.0, []
    for split in ("train", "valid"):
        for batch in task.batches(split, 7, 0, 1):
            features, _ = model(batch.inputs, model.begin({}, len(batch.lengths)), batch.lengths)
            loss, number = task.loss(model, features, batch)
            total, count = total + loss.item(), count + float(number)
    assert task.codec.scaler is not None
    for one in x:
        values = (one - task.codec.scaler.mean) / task.codec.scaler.scale
        inputs = {"values": torch.from_numpy(values).float()[None]}
        outputs = model.head(model(inputs, model.begin({}, 1))[0])[0, -1].detach().double().numpy()
        expected.append(np.square(outputs - of_content[one.tobytes()]))
    assert math.isclose(total / count, float(np.mean(expected)), rel_tol=1e-4)


def test_every_part_has_its_share_of_the_range() -> None:
    rng = np.random.default_rng(0)
    labels = rng.permutation(200) ** 2.0
    task = prepared(Arrays(rng.normal(size=(200, 3, 1)), labels))
    held = np.concatenate([task.codec.decode(one) for one in task._valid.labels])[:, 0]
    assert len(held) == 20
    tenths = np.searchsorted(np.quantile(labels, np.linspace(0.1, 0.9, 9)), held)
    assert np.bincount(tenths, minlength=10).tolist() == [2] * 10


def test_scores_are_in_raw_units_as_of_scikit_learn(tmp_path: Path) -> None:
    run = elman.fit("regress", *sums(), out=tmp_path / "run", **QUICK)
    test, truth = sums(25, seed=1)
    evaluation = run.evaluate(test, truth)
    frame = run.predict(test).frame()
    assert frame.columns == ["row", "y", "y2"]
    said = frame.select("y", "y2").to_numpy()
    assert evaluation.count == 25
    assert math.isclose(
        evaluation.metrics["rmse"].value, root_mean_squared_error(truth.ravel(), said.ravel()), rel_tol=1e-6
    )
    assert math.isclose(evaluation.metrics["mae"].value, mean_absolute_error(truth.ravel(), said.ravel()), rel_tol=1e-6)
    assert evaluation.metrics["rmse"].low < evaluation.metrics["rmse"].value < evaluation.metrics["rmse"].high
    assert set(evaluation.baselines) == {"mean", "nearest_dtw", "boosting"}
    about = np.tile(sums()[1].mean(0), (25, 1))
    assert math.isclose(evaluation.baselines["mean"]["mae"], mean_absolute_error(truth, about), rel_tol=1e-6)


def test_learns_several_numbers_of_unlike_size(tmp_path: Path) -> None:
    run = elman.fit("regress", *sums(200), out=tmp_path / "run", **LONGER)
    test, truth = sums(50, seed=1)
    said = run.predict(test).frame().select("y", "y2").to_numpy()
    unexplained = np.square(said - truth).mean(0) / truth.var(0)
    assert (unexplained < 0.1).all()


def test_the_shares_add_up_in_raw_units(tmp_path: Path) -> None:
    x, labels = sums()
    run = elman.fit("regress", x, labels[:, 0], out=tmp_path / "run", pooling="mean", **LONGER)
    codec = run.task.codec
    assert isinstance(codec, SequenceCodec)
    assert codec.scaler is not None
    test, _ = sums(8, seed=1)
    average = [np.tile(codec.scaler.mean, (len(one), 1)) for one in test]
    frame = run.predict(test, explain=True).frame()
    difference = frame["y"] - run.predict(average).frame()["y"]
    assert np.abs(difference.to_numpy()).max() > 0.3
    for told, one, whole in zip(frame["explanation"], test, difference, strict=True):
        assert len(told) == one.size
        assert math.isclose(sum(share["share"] for share in told), whole, abs_tol=0.01)


def marks(count: int, seed: int = 0) -> pl.DataFrame:
    """A text's mark is how many words of praise it has, less those of blame."""
    rng = np.random.default_rng(seed)
    worth = {"great": 1, "awful": -1, "the": 0, "film": 0, "was": 0}
    texts = [rng.choice(list(worth), 6) for _ in range(count)]
    return pl.DataFrame(
        {"text": [" ".join(text) for text in texts], "mark": [sum(worth[word] for word in text) for text in texts]}
    )


def test_learns_from_texts(tmp_path: Path) -> None:
    marks(200).write_csv(tmp_path / "train.tsv", separator="\t")
    marks(40, seed=1).write_csv(tmp_path / "test.tsv", separator="\t")
    run = elman.fit("regress", tmp_path / "train.tsv", out=tmp_path / "run", text="text", label="mark", **LONGER)
    evaluation = run.evaluate(tmp_path / "test.tsv")
    assert evaluation.metrics["rmse"].value < 0.7 * evaluation.baselines["mean"]["rmse"]
    assert set(evaluation.baselines) == {"mean", "ngram_ridge"}
    predictions = run.predict(tmp_path / "test.tsv", explain=True)
    assert predictions.frame().columns == ["row", "mark", "explanation"]
    assert predictions.text().startswith("row\tmark\texplanation\n2\t")
    shares: dict[str, list[float]] = {}
    for told in predictions.frame()["explanation"]:
        for one in told:
            shares.setdefault(one["symbol"], []).append(one["share"])
    worth = {word: float(np.mean(each)) for word, each in shares.items()}
    assert max(worth, key=lambda word: worth[word]) == "great"
    assert min(worth, key=lambda word: worth[word]) == "awful"


def test_numbers_at_every_row(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    walks = [rng.normal(size=int(rng.integers(4, 8))) for _ in range(30)]
    rows = [
        (i, t, x, s) for i, walk in enumerate(walks) for t, (x, s) in enumerate(zip(walk, walk.cumsum(), strict=True))
    ]
    frame = pl.DataFrame(rows, schema=["id", "t", "x", "sum"], orient="row")
    options: dict[str, Any] = {"id": "id", "time": "t", "label": "sum", **QUICK}
    last = elman.fit("regress", frame, out=tmp_path / "last", **options)
    every = elman.fit("regress", frame, out=tmp_path / "all", score="all", **options)
    assert (last.evaluate(frame).count, every.evaluate(frame).count) == (30, len(frame))
    said = every.predict(frame).frame()
    assert said.columns == ["id", "time", "sum"]
    assert math.isclose(
        every.evaluate(frame).metrics["mae"].value, mean_absolute_error(frame["sum"], said["sum"]), rel_tol=1e-6
    )
    ends = frame.group_by("id", maintain_order=True).last()["sum"]
    assert math.isclose(
        last.evaluate(frame).metrics["mae"].value,
        mean_absolute_error(ends, last.predict(frame).frame()["sum"]),
        rel_tol=1e-6,
    )


def test_a_plain_table_of_numbers_and_categories(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    size, red = rng.normal(size=120), rng.random(120) < 0.5
    frame = pl.DataFrame({"size": size, "colour": np.where(red, "red", "blue"), "price": 100 + 5 * size + 8 * red})
    frame.write_csv(tmp_path / "plain.csv")
    run = elman.fit("regress", tmp_path / "plain.csv", out=tmp_path / "run", label="price", **LONGER)
    said = run.predict(frame.drop("price")).frame()["price"]
    assert root_mean_squared_error(frame["price"], said) < 0.3 * frame["price"].std()  # type: ignore[operator]


def test_the_report_shows_said_and_true(tmp_path: Path) -> None:
    x, truth = sums()
    run = elman.fit("regress", x, truth, out=tmp_path / "run", **QUICK)
    shown = run.task.exhibits(run.model, run.task.test([Source(Arrays(x, truth))]))
    said = run.predict(x).frame()
    for k, (one, name) in enumerate(zip(shown, ("y", "y2"), strict=True)):
        assert isinstance(one, Scatter)
        np.testing.assert_allclose(one.x, truth[:, k], rtol=1e-5)
        np.testing.assert_allclose(one.y, said[name], rtol=1e-6)


@pytest.mark.parametrize("label", [7.5, 1e9])
def test_one_number_for_all_is_learned(tmp_path: Path, label: float) -> None:
    x = np.random.default_rng(0).normal(size=(20, 3, 1))
    run = elman.fit("regress", x, [label] * 20, out=tmp_path / "run", **QUICK)
    np.testing.assert_allclose(run.predict(x).frame()["y"], label, atol=1)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["1", "two", "3"], r"x\[1\]: expected a number as label, got 'two'"),
        ([1, 2, np.inf], r"x\[2\]: expected a finite number as label, got 'inf'"),
        ([1, 2, -1e200], r"x\[2\]: expected a number up to 1e\+100 in size as label"),
        ([1, np.nan, 3], r"y\[1\] is missing; leave out what has no label"),
        ([[1, 2], [3], [4, 5]], r"y\[1\] has 1 values, y\[0\] has 2"),
        ([1, 2], "expected 3 labels, as many as there are sequences, got 2"),
    ],
)
def test_labels_that_are_no_numbers_are_refused(y: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepared(Arrays(np.zeros((3, 4, 1)), y))


def late(count: int = 120, seed: int = 0) -> Labelled:
    """Long sequences; the number is the first feature where the second rings, which it does once, near the end."""
    rng = np.random.default_rng(seed)
    x = [np.stack([rng.normal(size=n), np.zeros(n)], 1) for n in rng.integers(30, 60, count)]
    places = [len(one) - int(rng.integers(1, 8)) for one in x]
    for one, place in zip(x, places, strict=True):
        one[place, 1] = 1
    return x, np.array([one[place, 0] for one, place in zip(x, places, strict=True)])


def test_learns_with_truncated_bptt(tmp_path: Path) -> None:
    """Windows of 16 steps, of which the last one or two hold all that matters."""
    x, labels = late()
    settings = {"training": {"updates": 500, "batch_size": 16, "window": 16, "learning_rate": 0.01}}
    run = elman.fit("regress", Arrays(x, labels), out=tmp_path / "run", hidden=16, pooling="last", settings=settings)
    assert not run.settings.encoder.bidirectional
    scores = run.evaluate(Arrays(*late(60, seed=1)))
    assert scores.metrics["mae"].value < 0.6 * np.abs(labels).mean()


def test_windows_need_one_direction() -> None:
    settings: Sections = {"training": {"window": 16}, "encoder": {"bidirectional": True}}
    with pytest.raises(
        ConfigError, match=r"'window': 16 steps at a time are for encoders of one direction.*--no-bidir"
    ):
        elman.fit("regress", Arrays(*late(20)), settings=settings)
