"""How long a run is: fixed before it starts, within its bounds, without a trace on what is trained."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from elman.data.source import Source
from elman.models.build import EncoderConfig
from elman.models.model import Model
from elman.tasks.language import Language, LanguageOptions
from elman.training.budget import make_plan
from elman.training.config import TrainingConfig
from elman.training.loop import fit
from elman.training.plan import Plan

CONFIG = TrainingConfig(batch_size=4, window=16, epochs=3, validations=5, dropout=0.2)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Language:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(np.random.default_rng(0).choice(list("abc \n"), 4000)), encoding="utf-8")
    made = Language(LanguageOptions())
    made.prepare([Source(path)], None, 0)
    return made


def model(of: Language) -> Model:
    torch.manual_seed(0)
    return of.build(EncoderConfig(name="gru", hidden=8), 0.2)


def plan(of: Language, **settings: float | None) -> Plan:
    return make_plan(model(of), of, CONFIG.model_copy(update=settings), time.perf_counter())


def test_epochs_become_updates(task: Language) -> None:
    made = plan(task)
    updates_of_a_pass = [sum(1 for _ in task.batches("train", 4, 16, seed)) for seed in range(5)]
    assert made.per_epoch == pytest.approx(np.mean(updates_of_a_pass), rel=0.1)
    assert made == Plan(3 * made.per_epoch, -(-3 * made.per_epoch // 5), made.per_epoch)


def test_a_number_of_updates_is_taken_as_it_is_within_the_budget(task: Language) -> None:
    assert plan(task, updates=7).updates == 7
    assert plan(task, updates=7, budget=1e6).updates == 7
    assert plan(task, updates=10**6, budget=1e-6).updates == 1
    assert plan(task, updates=2).validate_every == 1


def test_a_budget_bounds_the_updates_and_is_bounded_by_the_epochs(task: Language) -> None:
    assert plan(task, budget=1e-6).updates == 1
    assert plan(task, budget=1e6).updates == plan(task).updates
    some = plan(task, budget=2.0, epochs=10**6).updates
    assert 1 < some < plan(task, epochs=10**6).updates


def test_what_was_measured_fills_the_budget(task: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    update, validation, budget = 0.01, 0.3, 100.0
    monkeypatch.setattr("elman.training.budget.measure", lambda *_: (update, validation))
    config = CONFIG.model_copy(update={"budget": budget, "epochs": 10**6})
    bounded = make_plan(model(task), task, config, time.perf_counter())
    validations = -(-bounded.updates // bounded.validate_every)
    seconds = bounded.updates * update + validations * validation + bounded.finish * update
    assert 0.85 * budget < seconds < budget


def test_time_that_is_gone_already_counts(task: Language) -> None:
    config = CONFIG.model_copy(update={"budget": 5.0, "epochs": 10**6})
    assert make_plan(model(task), task, config, time.perf_counter() - 100).updates == 1


def test_measuring_leaves_no_trace(task: Language) -> None:
    ours = model(task)
    weights = {name: value.clone() for name, value in ours.state_dict().items()}
    random, training = torch.get_rng_state(), ours.training
    make_plan(ours, task, CONFIG.model_copy(update={"budget": 1.0}), time.perf_counter())
    assert torch.equal(torch.get_rng_state(), random)
    assert ours.training == training
    assert all(torch.equal(value, weights[name]) for name, value in ours.state_dict().items())
    assert all(parameter.grad is None for parameter in ours.parameters())


def test_the_same_seed_and_plan_give_the_same_weights(task: Language) -> None:
    def run(seed: int, *, measured: bool) -> dict[str, torch.Tensor]:
        ours, config = model(task), CONFIG.model_copy(update={"seed": seed, "averaging": 0.9})
        if measured:
            make_plan(ours, task, config.model_copy(update={"budget": 0.2}), time.perf_counter())
        fit(ours, task, config, Plan(12, 4, 6))
        return ours.state_dict()

    first, again, other = run(1, measured=False), run(1, measured=True), run(2, measured=False)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(("updates", "every"), [(1, 1), (5, 1), (10, 3), (7, 100)])
def test_every_plan_ends_with_a_validation(updates: int, every: int) -> None:
    made = Plan(updates, every, 1)
    validated = [update for update in range(1, updates + 1) if made.validates_after(update)]
    assert validated[-1] == updates
    assert validated[:-1] == list(range(every, updates, every))


def test_the_last_phase_is_a_share_of_the_updates(task: Language) -> None:
    assert plan(task, updates=100, finish=0.25).finish == 25
    assert plan(task, updates=100).finish == 0
    assert plan(task, updates=1, finish=0.25).finish == 0


def test_there_is_no_last_phase_where_validation_data_was_given(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("train", "valid"):
        (tmp_path / f"{name}.txt").write_text("".join(rng.choice(list("abc "), 1000)), encoding="utf-8")
    given = Language(LanguageOptions())
    given.prepare([Source(tmp_path / "train.txt")], [Source(tmp_path / "valid.txt")], 0)
    assert plan(given, updates=100, finish=0.25).finish == 0


def test_the_budget_pays_for_the_last_phase(task: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 10 ms an update and 1 ms a validation: 94 % of 100 s, less 40 validations, is 9396 updates in all."""
    monkeypatch.setattr("elman.training.budget.measure", lambda *_: (0.010, 0.001))
    bounds = {"budget": 100.0, "updates": 10**9, "validations": 40}
    for share in (0.0, 0.25, 1.0):
        made = plan(task, finish=share, **bounds)
        assert made.updates + made.finish == pytest.approx(9396, abs=5)
        assert made.finish == round(share * made.updates)
