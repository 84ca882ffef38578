"""The weights that are kept: the average against its closed form, the best against a list of losses."""

import math

import pytest
import torch
from torch import nn

from elman.training.best import Average, Best


def model(value: float = 0.0) -> nn.Linear:
    made = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(made.weight, value)
    return made


def put(into: nn.Linear, value: float) -> None:
    with torch.no_grad():
        into.weight.fill_(value)


@pytest.mark.parametrize("repeats", [1, 60])
def test_the_average_is_the_weighted_sum_of_all_weights(repeats: int) -> None:
    ours, values = model(5.0), [1.0, -2.0, 4.0, 0.5, 3.0] * repeats
    average = Average(ours, 0.9)
    decays = [min(0.9, (1 + n) / (10 + n)) for n in range(1, len(values) + 1)]
    for value in values:
        put(ours, value)
        average.take_in()
    shares = [(1 - d) * math.prod(decays[n + 1 :]) for n, d in enumerate(decays)]
    expected = 5.0 * math.prod(decays) + sum(share * value for share, value in zip(shares, values, strict=True))
    with average.applied():
        assert ours.weight.item() == pytest.approx(expected, rel=1e-12)
    assert ours.weight.item() == values[-1]


def test_the_first_weights_are_soon_forgotten() -> None:
    ours = model(1000.0)
    average = Average(ours, 0.999)
    for _ in range(20):
        put(ours, 1.0)
        average.take_in()
    with average.applied():
        assert ours.weight.item() == pytest.approx(1.0, abs=0.01)


def test_own_weights_come_back_after_a_failure() -> None:
    ours = model(5.0)
    average = Average(ours, 0.9)
    put(ours, 1.0)
    with pytest.raises(KeyError), average.applied():
        raise KeyError
    assert ours.weight.item() == 1.0


def kept(losses: list[float], tolerance: float) -> tuple[list[int], float]:
    """Which of the losses were kept, and the weight, its number, that is left in the end."""
    ours = model(-1.0)
    best = Best(ours, tolerance=tolerance)
    chosen = []
    for number, loss in enumerate(losses):
        put(ours, float(number))
        if best.keep(loss):
            chosen.append(number)
    best.restore()
    return chosen, ours.weight.item()


def test_the_lowest_loss_is_kept() -> None:
    assert kept([3.0, 2.0, 2.5, 1.9, 1.95, math.nan, 4.0], 0.0) == ([0, 1, 3], 3.0)


def test_the_latest_within_the_tolerance_is_kept_measured_from_the_lowest() -> None:
    assert kept([2.0, 1.00, 1.04, 1.06, 1.05, 1.08], 0.05) == ([0, 1, 2, 4], 4.0)
    assert kept([1.0, 1.04, 1.08, 1.12], 0.05) == ([0, 1], 1.0)  # it does not creep upwards


def test_without_a_finite_loss_the_first_weights_stay() -> None:
    assert kept([math.nan, math.nan], 0.5) == ([], -1.0)
    assert kept([], 0.0) == ([], -1.0)


def test_what_is_averaged_is_what_is_kept() -> None:
    ours = model(0.0)
    best, average = Best(ours), Average(ours, 0.5)
    put(ours, 1.0)
    average.take_in()
    with average.applied():
        mean = ours.weight.item()
        assert best.keep(1.0)
    best.restore()
    assert ours.weight.item() == mean != 1.0


def test_counters_are_copied_and_not_averaged() -> None:
    norm = nn.BatchNorm1d(2)
    average = Average(norm, 0.9)
    norm(torch.randn(4, 2))
    average.take_in()
    with average.applied():
        assert norm.num_batches_tracked.item() == 1  # type: ignore[union-attr]
