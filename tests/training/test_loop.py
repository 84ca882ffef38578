"""The loop, judged against truncated back-propagation written out by hand."""

import math
import signal
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from elman.data.batch import Batch
from elman.errors import TrainingError
from elman.metrics.metric import Floats, Metric
from elman.models.model import Model
from elman.state import State
from elman.tasks.task import Facts, Scores
from elman.training.callbacks import Callback
from elman.training.config import TrainingConfig
from elman.training.history import History
from elman.training.loop import fit, validate
from elman.training.phase import carry, clip_gradients, endless, make_optimiser
from elman.training.plan import Plan

ROWS, WINDOW, WINDOWS = 3, 4, 5


class Sums(Model):
    """h_t = tanh(a x_t + b h_{t-1}), y_t = c h_t: three weights, so that everything can be worked out by hand."""

    kind: ClassVar[str] = "sums"

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in (0.7, 0.9, 0.5))

    def begin(self, context: Mapping[str, Tensor], batch_size: int) -> State:  # noqa: ARG002
        return self.a.new_zeros(batch_size)

    def forward(self, inputs: Mapping[str, Tensor], state: Any, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        outputs = []
        for t in range(inputs["x"].shape[1]):
            new = torch.tanh(self.a * inputs["x"][:, t] + self.b * state)
            state = new if lengths is None else new.where(t < lengths, state)
            outputs.append(state)
        return torch.stack(outputs, 1), state

    def head(self, features: Tensor) -> Tensor:
        return self.c * features

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind}


class MeanError(Metric):
    name = "error"

    def statistics(self, errors: Tensor) -> Floats:
        return torch.stack([errors, torch.ones_like(errors)], -1).numpy()

    def value(self, totals: Floats) -> Floats:
        return totals[..., 0] / totals[..., 1]


class Streams:
    """The part of a task that the loop sees: squared error over streams that go on from window to window."""

    def __init__(
        self, batches: list[Batch], valid: list[Batch] | None = None, whole: list[Batch] | None = None
    ) -> None:
        self._parts = {"train": batches, "valid": valid or batches, "all": whole}

    def batches(self, split: str, rows: int, window: int, seed: int) -> Iterator[Batch]:  # noqa: ARG002
        part = self._parts[split]
        assert part is not None, f"nobody may ask for {split!r} here"
        yield from part

    def loss(self, model: Model, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        real = torch.arange(features.shape[1]) < batch.lengths[:, None]
        errors = (model.head(features) - batch.targets["y"]) ** 2
        return errors[real].sum(), real.sum()

    def calibrate(self, model: Model) -> None:
        self.calibrated = weights(model)

    def measure(self, scores: Scores, model: Model, features: Tensor, batch: Batch) -> None:
        scores["error"].update(((model.head(features) - batch.targets["y"]) ** 2).flatten())

    def metrics(self) -> Scores:
        return {"error": MeanError()}

    def facts(self) -> Facts:
        return Facts(steps=ROWS * WINDOW * WINDOWS)


def stream(
    seed: int = 0, fresh: Mapping[int, list[int]] | None = None, lengths: Mapping[int, list[int]] | None = None
) -> list[Batch]:
    """Windows in a row: the first one fresh, later rows where told."""
    random = torch.Generator().manual_seed(seed)
    batches = []
    for number in range(WINDOWS):
        x, y = torch.randn(2, ROWS, WINDOW, generator=random, dtype=torch.float64)
        begins = torch.zeros(ROWS, dtype=torch.bool)
        begins[range(ROWS) if number == 0 else (fresh or {}).get(number, [])] = True
        real = torch.tensor((lengths or {}).get(number, [WINDOW] * ROWS))
        batches.append(Batch({"x": x}, {"y": y}, real, begins))
    return batches


def weights(model: Model) -> list[float]:
    return [parameter.item() for parameter in model.parameters()]


def by_hand(batches: list[Batch], updates: int, config: TrainingConfig) -> list[float]:
    """The same training with the states of the rows as plain numbers between windows."""
    model = Sums()
    go_by_hand(model, batches, updates, config, *make_optimiser(model, config, config.learning_rate, updates))
    return weights(model)


def go_by_hand(
    model: Sums, batches: list[Batch], updates: int, config: TrainingConfig, optimiser: Any, schedule: Any
) -> None:
    states, done = [0.0] * ROWS, 0
    while done < updates:
        for batch in batches[: updates - done]:
            losses, count = [], 0
            for row in range(ROWS):
                h = torch.tensor(0.0 if batch.fresh[row] else states[row], dtype=torch.float64)
                for t in range(int(batch.lengths[row])):
                    h = torch.tanh(model.a * batch.inputs["x"][row, t] + model.b * h)
                    losses.append((model.c * h - batch.targets["y"][row, t]) ** 2)
                    count += 1
                states[row] = h.item()  # a number: no gradient passes the border of a window
            optimiser.zero_grad()
            torch.autograd.backward(torch.stack(losses).sum() / count)
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimiser.step()
            schedule.step()
            done += 1


CONFIG = TrainingConfig(learning_rate=0.05, batch_size=ROWS, window=WINDOW, warm_up=0.2)


@pytest.mark.parametrize("updates", [1, WINDOWS, 2 * WINDOWS + 2])
@pytest.mark.parametrize(
    "batches",
    [
        stream(),
        stream(fresh={2: [1], 3: [0, 2]}),
        stream(lengths={1: [4, 2, 0], 3: [0, 1, 4]}, fresh={2: [2]}),
    ],
    ids=["whole", "fresh rows", "unequal lengths"],
)
def test_equal_to_truncated_bptt_by_hand(batches: list[Batch], updates: int) -> None:
    model = Sums()
    history = fit(model, Streams(batches), CONFIG, Plan(updates, 10**6, WINDOWS), [])  # type: ignore[arg-type]
    assert history.updates == updates
    assert weights(model) == pytest.approx(by_hand(batches, updates, CONFIG), rel=1e-12)


def test_the_gradient_stops_at_the_border_of_a_window_and_the_value_does_not() -> None:
    model, (first, second, *_) = Sums(), stream()
    _, state = model(first.inputs, carry(model, first, None))
    carried = carry(model, second, state)
    assert torch.equal(carried, state)  # type: ignore[arg-type]
    assert isinstance(carried, Tensor)
    assert state.requires_grad
    assert not carried.requires_grad


def test_only_fresh_rows_begin_anew() -> None:
    model, batch = Sums(), stream(fresh={1: [1]})[1]
    assert carry(model, batch, torch.tensor([1.0, 2.0, 3.0]).double()).tolist() == [1.0, 0.0, 3.0]  # type: ignore[union-attr]


def test_epochs_begin_anew() -> None:
    task = Streams(stream())
    numbered = endless(task, "train", CONFIG)  # type: ignore[arg-type]
    epochs = [next(numbered) for _ in range(2 * WINDOWS + 1)]
    assert [epoch for epoch, _, _ in epochs] == [1] * WINDOWS + [2] * WINDOWS + [3]
    assert [read for _, read, _ in epochs] == [*range(1, WINDOWS + 1)] * 2 + [1]
    assert all(bool(batch.fresh.all()) == (number % WINDOWS == 0) for number, (_, _, batch) in enumerate(epochs))


@pytest.mark.parametrize(("epoch", "read"), [(1, 0), (1, 3), (2, WINDOWS - 1), (2, WINDOWS)])
def test_what_was_read_is_passed_over(epoch: int, read: int) -> None:
    task = Streams(stream())
    whole, rest = endless(task, "train", CONFIG), endless(task, "train", CONFIG, epoch, read)  # type: ignore[arg-type]
    expected = [next(whole) for _ in range(3 * WINDOWS)][(epoch - 1) * WINDOWS + read :]
    assert [next(rest) for _ in expected] == expected


def test_a_window_that_only_warms_up_moves_the_state_and_no_weight() -> None:
    silent = stream(lengths={1: [0, 0, 0]})
    with_a_pause, without = Sums(), Sums()
    plan = Plan(2, 10**6, 2)
    fit(with_a_pause, Streams(silent[:3]), CONFIG, plan)  # type: ignore[arg-type]
    fit(without, Streams([silent[0], silent[2]]), CONFIG, plan)  # type: ignore[arg-type]
    assert weights(with_a_pause) == weights(without)


def test_gradients_are_clipped_to_a_global_norm() -> None:
    model = Sums()
    for parameter, gradient in zip(model.parameters(), (3.0, 4.0, 12.0), strict=True):
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
    clip_gradients(model, 26.0, torch.tensor(1.0), 1)
    assert [p.grad.item() for p in model.parameters()] == pytest.approx([3, 4, 12])  # type: ignore[union-attr]
    clip_gradients(model, 1.3, torch.tensor(1.0), 1)
    assert [p.grad.item() for p in model.parameters()] == pytest.approx([0.3, 0.4, 1.2], rel=1e-5)  # type: ignore[union-attr]


class Remembers(Callback):
    """The weights at the best validation, and the losses."""

    def __init__(self, model: Model) -> None:
        self.model, self.losses, self.seen = model, [math.inf], weights(model)

    def updated(self, history: History) -> None:  # noqa: ARG002
        self.now = weights(self.model)

    def validated(self, history: History) -> None:
        if history.curve[-1][2].loss < min(self.losses):
            self.seen = self.now
        self.losses.append(history.curve[-1][2].loss)


def with_value(batches: list[Batch], number: int, value: float) -> list[Batch]:
    batches[number].targets["y"][1, 2] = value
    return batches


def test_a_loss_that_is_not_finite_is_told_and_the_best_weights_are_kept() -> None:
    model = Sums()
    best = Remembers(model)
    task = Streams(with_value(stream(), 3, math.nan), stream(1))
    with pytest.raises(TrainingError, match="update 4: the loss is nan; the best weights so far are kept"):
        fit(model, task, CONFIG, Plan(50, 1, WINDOWS), [best])  # type: ignore[arg-type]
    assert weights(model) == best.seen
    assert all(math.isfinite(weight) for weight in weights(model))


def test_a_gradient_that_is_not_finite_is_told_by_name() -> None:
    class Root(Sums):
        def head(self, features: Tensor) -> Tensor:
            return features + (self.c - self.c.detach()).abs().sqrt()  # 0, with an infinite slope

    model = Root()
    with pytest.raises(
        TrainingError, match="update 1: the gradient of `c` is not finite; the best weights so far are kept"
    ):
        fit(model, Streams(stream()), CONFIG, Plan(5, 5, 5))  # type: ignore[arg-type]
    assert weights(model) == weights(Sums())


def test_the_best_weights_are_left_in_the_model() -> None:
    model = Sums()
    best = Remembers(model)
    config = CONFIG.model_copy(update={"learning_rate": 0.5})  # it overshoots: the last are not the best
    history = fit(model, Streams(stream(), stream(1)), config, Plan(40, 1, WINDOWS), [best])  # type: ignore[arg-type]
    assert weights(model) == best.seen != best.now
    assert history.best is not None
    assert history.best.loss == min(best.losses)
    assert len(history.curve) == 40


def test_the_same_seed_gives_the_same_weights() -> None:
    class Noisy(Sums):
        def head(self, features: Tensor) -> Tensor:
            return self.c * nn.functional.dropout(features, 0.5, self.training)

    def run(seed: int) -> list[float]:
        model = Noisy()
        fit(model, Streams(stream()), CONFIG.model_copy(update={"seed": seed}), Plan(6, 6, 6))  # type: ignore[arg-type]
        return weights(model)

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_validation_is_the_mean_over_all_targets_with_states_carried() -> None:
    model, batches = Sums(), stream(2)
    validation = validate(model, Streams([], batches), CONFIG)  # type: ignore[arg-type]
    x = torch.cat([batch.inputs["x"] for batch in batches], 1)
    y = torch.cat([batch.targets["y"] for batch in batches], 1)
    features, _ = model({"x": x}, model.begin({}, ROWS))
    expected = ((model.head(features) - y) ** 2).mean().item()
    assert validation.loss == pytest.approx(expected, rel=1e-12)
    assert validation.metrics == {"error": pytest.approx(expected, rel=1e-12)}


def test_the_learning_rate_rises_and_falls_along_a_cosine() -> None:
    config = TrainingConfig(learning_rate=1.0, warm_up=0.2, final_rate=0.1)
    optimiser, schedule = make_optimiser(Sums(), config, 1.0, 50)
    rates = []
    for _ in range(50):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10:] == pytest.approx([0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * i / 40)) for i in range(40)])


def test_only_matrices_decay() -> None:
    model = nn.Linear(2, 2)
    optimiser, _ = make_optimiser(model, TrainingConfig(weight_decay=0.3), 1e-3, 5)  # type: ignore[arg-type]
    decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert decays == {id(model.weight): 0.3, id(model.bias): 0.0}


def test_callbacks_are_told_and_the_end_comes_even_after_a_failure() -> None:
    class Log(Callback):
        def __init__(self) -> None:
            self.said: list[str] = []

        def start(self, history: History) -> None:  # noqa: ARG002
            self.said.append("start")

        def updated(self, history: History) -> None:  # noqa: ARG002
            self.said.append("updated")

        def validated(self, history: History) -> None:
            self.said.append(f"validated {history.updates}")

        def end(self, history: History) -> None:  # noqa: ARG002
            self.said.append("end")

    class Stops(Callback):
        def updated(self, history: History) -> None:
            history.stop = "enough" if history.updates == 3 else ""

    log = Log()
    fit(Sums(), Streams(stream()), CONFIG, Plan(9, 2, 5), [log, Stops()])  # type: ignore[arg-type]
    assert log.said == ["start", "updated", "updated", "validated 2", "updated", "validated 3", "end"]
    failing = Log()
    with pytest.raises(TrainingError):
        fit(Sums(), Streams(with_value(stream(), 0, math.inf)), CONFIG, Plan(9, 2, 5), [failing])  # type: ignore[arg-type]
    assert failing.said == ["start", "end"]


class Ends(Callback):
    """Remembers how far training came, and fails to end well."""

    complete: bool | None = None

    def end(self, history: History) -> None:
        self.complete = history.complete
        raise OSError("full")


def test_a_callback_that_fails_to_end_keeps_no_other_from_it() -> None:
    both = Ends(), Ends()
    with pytest.raises(OSError, match="full"):
        fit(Sums(), Streams(stream()), CONFIG, Plan(4, 2, 5), both)  # type: ignore[arg-type]
    assert [one.complete for one in both] == [True, True]


def test_the_reason_why_training_ended_is_told_and_the_best_weights_are_calibrated() -> None:
    model, both = Sums(), (Ends(), Ends())
    task = Streams(with_value(stream(), 2, math.inf))
    with pytest.raises(TrainingError, match="update 3: the loss is inf"):
        fit(model, task, CONFIG, Plan(9, 2, 5), both)  # type: ignore[arg-type]
    assert [one.complete for one in both] == [False, False]
    assert task.calibrated == weights(model)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_end_of_the_update(number: signal.Signals) -> None:
    class Signals(Callback):
        said: ClassVar[list[str]] = []

        def updated(self, history: History) -> None:
            self.said.append(f"updated {history.updates}")
            if history.updates == 2:
                signal.raise_signal(number)

        def validated(self, history: History) -> None:
            self.said.append(f"validated {history.updates}")

    Signals.said.clear()
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        fit(Sums(), Streams(stream()), CONFIG, Plan(9, 2, 5), [Signals()])  # type: ignore[arg-type]
    assert Signals.said == ["updated 1", "updated 2", "validated 2"]
    assert signal.getsignal(number) is before


# --- the last phase ---------------------------------------------------------------------------------------------------

FINISHED = CONFIG.model_copy(update={"finish_rate": 0.5})


def test_the_last_phase_goes_on_from_the_best_weights_over_all_data_at_a_falling_rate() -> None:
    """Seven updates of plain training, of which the last are the best, then six over all data from fresh states."""
    everything = stream(5, fresh={2: [1]})
    model, expected = Sums(), Sums()
    plan = Plan(7, 10**6, WINDOWS, finish=6)
    fit(model, Streams(stream(), whole=everything), FINISHED, plan)  # type: ignore[arg-type]
    go_by_hand(expected, stream(), 7, CONFIG, *make_optimiser(expected, CONFIG, 0.05, 7))
    before = weights(expected)
    optimiser = torch.optim.AdamW(expected.parameters(), lr=0.5 * 0.05, weight_decay=0.0)
    falls = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda update: 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * update / 6))
    )
    go_by_hand(expected, everything, 6, CONFIG, optimiser, falls)
    assert weights(model) == pytest.approx(weights(expected), rel=1e-12)
    assert weights(model) != pytest.approx(before, rel=1e-4)


def test_the_last_phase_begins_at_the_best_validation_not_at_the_last() -> None:
    """One update at a rate of nearly nothing leaves in place what it began with."""
    model = Sums()
    best = Remembers(model)
    config = CONFIG.model_copy(update={"learning_rate": 0.5, "finish_rate": 1e-9})
    task = Streams(stream(), stream(1), stream(2))
    fit(model, task, config, Plan(40, 1, WINDOWS, finish=1), [best])  # type: ignore[arg-type]
    assert weights(model) == pytest.approx(best.seen, rel=1e-6)
    assert weights(model) != pytest.approx(best.now, rel=1e-3)


def test_the_weights_of_the_last_phase_are_averaged_too() -> None:
    config = FINISHED.model_copy(update={"averaging": 0.9})
    seen: list[list[float]] = []

    class Watches(Callback):
        def finishing(self, history: History, done: int) -> None:  # noqa: ARG002
            seen.append(weights(model))

    model = Sums()
    fit(model, Streams(stream(), whole=stream(1)), config, Plan(1, 1, 5, finish=0))  # type: ignore[arg-type]
    mean = weights(model)
    model = Sums()
    fit(model, Streams(stream(), whole=stream(1)), config, Plan(1, 1, 5, finish=4), [Watches()])  # type: ignore[arg-type]
    for update, now in enumerate(seen, 1):
        decay = min(0.9, (1 + update) / (10 + update))
        mean = [decay * a + (1 - decay) * b for a, b in zip(mean, now, strict=True)]
    assert len(seen) == 4
    assert weights(model) == pytest.approx(mean, rel=1e-9)


def test_without_a_last_phase_nobody_reads_all_data() -> None:
    fit(Sums(), Streams(stream()), FINISHED, Plan(3, 3, 5))  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="nobody may ask for 'all'"):
        fit(Sums(), Streams(stream()), FINISHED, Plan(3, 3, 5, finish=1))  # type: ignore[arg-type]


def test_a_run_that_stopped_early_has_a_shorter_last_phase() -> None:
    class Stops(Callback):
        done = 0

        def updated(self, history: History) -> None:
            history.stop = "enough" if history.updates == 5 else ""

        def finishing(self, history: History, done: int) -> None:
            assert (history.updates, done) == (5, self.done + 1)
            self.done = done

    stops = Stops()
    fit(Sums(), Streams(stream(), whole=stream(1)), FINISHED, Plan(20, 20, 5, finish=8), [stops])  # type: ignore[arg-type]
    assert stops.done == 2


def test_a_failure_in_the_last_phase_leaves_the_best_weights() -> None:
    model, expected = Sums(), Sums()
    task = Streams(stream(), whole=with_value(stream(1), 2, math.nan))
    with pytest.raises(TrainingError, match="update 6: the loss is nan"):  # the third of the last phase
        fit(model, task, FINISHED, Plan(3, 3, 5, finish=9))  # type: ignore[arg-type]
    fit(expected, Streams(stream()), FINISHED, Plan(3, 3, 5))  # type: ignore[arg-type]
    assert weights(model) == weights(expected)
