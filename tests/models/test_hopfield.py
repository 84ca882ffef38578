"""The rules and the dynamics again in NumPy, the theorems, and digits."""

import gzip
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor

from elman.errors import ConfigError, UsageError
from elman.models.hopfield import HopfieldNetwork, Rule, Update

PAGE = Path(__file__).parents[2] / "docs" / "hopfield.md"
DATA = Path(os.environ.get("ELMAN_DATA", Path(__file__).parents[3] / "shared" / "data"))
DIGITS = DATA / "mnist" / "train-images-idx3-ubyte.gz"
RULES: tuple[Rule, ...] = ("hebbian", "storkey", "pseudo_inverse")
UPDATES: tuple[Update, ...] = ("asynchronous", "synchronous")
Floats = NDArray[np.float64]


def signs(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).choice([-1.0, 1.0], shape))


def trained(patterns: Tensor, rule: Rule = "hebbian") -> HopfieldNetwork:
    network = HopfieldNetwork(patterns.shape[1])
    network.learn(patterns, rule)
    return network


def stable(patterns: Tensor, rule: Rule) -> float:
    """The share of patterns that are resting states, by their definition."""
    W, x = trained(patterns, rule).weights.numpy(), patterns.numpy()
    return float((x * (x @ W) >= -1e-12).all(1).mean())


def test_hebbian_weights_by_hand() -> None:
    weights = trained(torch.tensor([[1, 1, -1], [1, -1, -1]])).weights
    expected = np.array([[0, 0, -2], [0, 0, 0], [-2, 0, 0]]) / 3
    np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-15)


def test_storkeys_rule_term_by_term() -> None:
    patterns, N = signs(0, 4, 6), 6
    W = np.zeros((N, N))
    for x in patterns.numpy():
        new = W.copy()
        for i in range(N):
            for j in range(N):
                h_ij = sum(W[i, k] * x[k] for k in range(N) if k not in (i, j))
                h_ji = sum(W[j, k] * x[k] for k in range(N) if k not in (i, j))
                new[i, j] += (x[i] * x[j] - x[i] * h_ji - h_ij * x[j]) / N
        W = new * (1 - np.eye(N))
    np.testing.assert_allclose(trained(patterns, "storkey").weights, W, rtol=0, atol=1e-14)


def test_pseudo_inverse_is_the_projection_without_its_diagonal() -> None:
    patterns = torch.cat([signs(0, 5, 12), signs(0, 1, 12)])  # one of them twice
    W = np.linalg.pinv(patterns.numpy()) @ patterns.numpy()
    np.testing.assert_allclose(trained(patterns, "pseudo_inverse").weights, W * (1 - np.eye(12)), rtol=0, atol=1e-13)


@pytest.mark.parametrize("rule", ["hebbian", "storkey"])
def test_kept_patterns_and_new_ones_are_as_if_learned_together(rule: Rule) -> None:
    patterns = signs(0, 5, 8)
    network = trained(patterns[:2], rule)
    network.learn(patterns[2:], rule, keep=True)
    torch.testing.assert_close(network.weights, trained(patterns, rule).weights, rtol=0, atol=1e-15)
    network.learn(patterns[2:], rule)
    assert torch.equal(network.weights, trained(patterns[2:], rule).weights)


def test_energy_is_the_sum_over_pairs() -> None:
    network, states = trained(signs(0, 3, 5)), signs(1, 4, 5)
    W, s = network.weights.numpy(), states.numpy()
    expected = [-0.5 * sum(W[i, j] * row[i] * row[j] for i in range(5) for j in range(5)) for row in s]
    np.testing.assert_allclose(network.energy(states), expected, rtol=0, atol=1e-14)


def relaxed(W: Floats, state: Floats, free: NDArray[np.bool_], orders: list[list[int]]) -> Floats:
    """Unit after unit."""
    state = state.copy()
    for unit in (unit for order in orders for unit in order if free[unit]):
        field = sum(W[unit, k] * state[k] for k in range(len(state)))
        if abs(field) > 1e-12:
            state[unit] = np.sign(field)
    return state


@pytest.mark.parametrize("sweeps", [1, 2, 20])
@pytest.mark.parametrize("rule", RULES)
def test_asynchronous_recall_is_the_loop_over_units(rule: Rule, sweeps: int) -> None:
    network, states = trained(signs(0, 6, 15), rule), signs(1, 8, 15)
    known = torch.from_numpy(np.random.default_rng(2).random((8, 15)) < 0.2)
    generator = torch.Generator().manual_seed(7)
    orders = [torch.randperm(15, generator=generator).tolist() for _ in range(sweeps)]
    recall = network.recall(states, sweeps=sweeps, seed=7, known=known)
    for row in range(8):
        expected = relaxed(network.weights.numpy(), states[row].numpy(), ~known[row].numpy(), orders)
        np.testing.assert_array_equal(recall.states[row], expected)


@given(size=st.integers(1, 24), count=st.integers(1, 24), rule=st.sampled_from(RULES), seed=st.integers(0, 9999))
def test_energy_never_rises_and_ends_where_no_unit_would_change(size: int, count: int, rule: Rule, seed: int) -> None:
    network = trained(signs(seed, count, size), rule)
    recall = network.recall(signs(seed + 1, 5, size), seed=seed, trace=True)
    assert recall.energies is not None
    assert recall.energies.shape == (1 + int(recall.sweeps.max()), 5)
    assert (recall.energies.diff(dim=0) <= 1e-12).all()
    torch.testing.assert_close(recall.energies[-1], network.energy(recall.states), rtol=0, atol=0)
    assert recall.converged.all()
    assert not recall.cycling.any()
    s = recall.states.numpy()
    assert (s * (s @ network.weights.numpy()) >= -1e-10).all()


@given(size=st.integers(2, 24), data=st.data())
def test_the_pseudo_inverse_keeps_any_patterns(size: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, size - 1))
    patterns = signs(data.draw(st.integers(0, 9999)), count, size)
    for update in UPDATES:
        recall = trained(patterns, "pseudo_inverse").recall(patterns, update=update)
        assert recall.converged.all()
        assert torch.equal(recall.states, patterns)
        assert not recall.sweeps.any()


def test_the_pseudo_inverse_keeps_one_pattern_less_than_units() -> None:
    patterns = signs(3, 99, 100)
    assert np.linalg.matrix_rank(patterns.numpy()) == 99
    assert stable(patterns, "pseudo_inverse") == 1
    assert stable(patterns, "storkey") < 1


def test_storkeys_rule_stores_more_than_hebbs() -> None:
    patterns = signs(0, 30, 100)
    assert stable(patterns, "storkey") > 0.9
    assert stable(patterns, "hebbian") < 0.4


@pytest.mark.parametrize("rule", RULES)
def test_damaged_patterns_are_found_again(rule: Rule) -> None:
    patterns = signs(0, 8, 200)
    damaged = patterns * (1 - 2.0 * torch.from_numpy(np.random.default_rng(1).random(patterns.shape) < 0.15))
    for dtype in (torch.float64, torch.float32):
        recall = trained(patterns, rule).to(dtype).recall(damaged)
        assert recall.states.dtype == dtype
        assert torch.equal(recall.states.double(), patterns)
        assert recall.converged.all()


def test_two_units_cycle_when_both_change_at_once() -> None:
    network = trained(torch.tensor([[1, 1]]))  # w_12 = 1/2: each wants to be what the other is
    states = torch.tensor([[1, -1], [1, 1]])
    recall = network.recall(states, update="synchronous", trace=True)
    assert recall.cycling.tolist() == [True, False]
    assert recall.converged.tolist() == [False, True]
    assert recall.sweeps.tolist() == [2, 0]
    assert recall.states[1].tolist() == [1, 1]
    assert recall.energies is not None
    assert recall.energies.tolist() == [[0.5, -0.5]] * 3
    rested = network.recall(states)
    assert rested.converged.all()
    assert rested.states[0].tolist() in ([1, 1], [-1, -1])


def test_a_field_of_zero_keeps_the_unit() -> None:
    network = trained(torch.tensor([[1, 1, 1], [1, 1, -1]]))  # the third unit hangs on no other
    for update in UPDATES:
        for third in (1, -1):
            recall = network.recall(torch.tensor([[1, 1, third]]), update=update)
            assert recall.states.tolist() == [[1, 1, third]]
            assert recall.converged.all()


@pytest.mark.parametrize("update", UPDATES)
def test_known_units_keep_their_value(update: Update) -> None:
    pattern = signs(0, 1, 30)
    network = trained(pattern)
    for count in (10, 20):
        held = torch.arange(30) < count
        start = pattern.where(~held, -pattern)
        expected = start if count == 10 else -pattern  # ten stay against the others; twenty take the others along
        for known in (held, held[None]):
            recall = network.recall(start, update=update, known=known)
            assert torch.equal(recall.states, expected)
            assert recall.converged.all()
        assert count == 20 or torch.equal(network.recall(start, update=update).states, pattern)
    assert torch.equal(network.recall(start, update=update, known=torch.ones(30, dtype=torch.bool)).states, start)


@pytest.mark.parametrize("update", UPDATES)
def test_a_row_in_a_batch_is_the_row_alone(update: Update) -> None:
    network, states = trained(signs(0, 9, 14)), signs(1, 40, 14)
    whole = network.recall(states, update=update)
    assert update == "asynchronous" or (whole.cycling.any() and whole.converged.any())
    assert torch.equal(whole.cycling, ~whole.converged)
    for row in range(40):
        alone = network.recall(states[row : row + 1], update=update)
        for name in ("states", "converged", "cycling", "sweeps"):
            assert torch.equal(getattr(alone, name)[0], getattr(whole, name)[row])


def test_too_few_sweeps_are_told_and_arguments_stay() -> None:
    network, states = trained(signs(0, 9, 40)), signs(1, 6, 40)
    before = states.clone()
    none = network.recall(states, sweeps=0)
    assert torch.equal(none.states, states)
    assert not none.converged.any()
    assert not none.cycling.any()
    assert torch.equal(network.recall(states, seed=1).states, network.recall(states, seed=1).states)
    assert torch.equal(states, before)
    assert len(network.recall(states[:0]).states) == 0


def test_saved_is_loaded() -> None:
    network, other = trained(signs(0, 4, 9), "storkey"), HopfieldNetwork(9)
    other.load_state_dict(load(save(network.state_dict())))
    assert torch.equal(other.weights, network.weights)


@pytest.mark.skipif(not DIGITS.exists(), reason=f"needs MNIST at {DIGITS}; ELMAN_DATA names the folder of data sets")
def test_digits_with_a_tenth_of_the_pixels_flipped() -> None:
    with gzip.open(DIGITS) as file:
        pixels = np.frombuffer(file.read(16 + 10 * 784), np.uint8, offset=16).reshape(10, 784)
    digits = torch.from_numpy(np.where(pixels >= 128, 1.0, -1.0))
    flipped = torch.from_numpy(np.random.default_rng(0).random((10, 784)) < 0.1)
    recalled = {rule: trained(digits, rule).recall(digits.where(~flipped, -digits)).states for rule in RULES}
    exact = {rule: int((states == digits).all(1).sum()) for rule, states in recalled.items()}
    assert exact["pseudo_inverse"] == 10
    assert exact["hebbian"] <= 2  # digits resemble each other, Hebb's rule mixes them


def test_the_examples_of_the_page_run(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    network, modern = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    exec(network, {})
    assert "False" not in capsys.readouterr().out
    exec(modern, {})
    found, noisy = (float(number) for number in re.findall(r"tensor\((.*?)\)", capsys.readouterr().out))
    assert found < 0.01 * noisy


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (torch.ones(2, 3), r"expected `patterns` \(rows, 4\), got \(2, 3\): the network has 4 units"),
        (torch.ones(4), r"expected `patterns` \(rows, 4\), got \(4,\)"),
        (
            torch.tensor([[0, 1, 1, 0]]),
            r"expected `patterns` of \+1 and -1, got 2 other values, such as 0; 0 and 1 become",
        ),
        (torch.tensor([[True, False, True, True]]), r"got 1 other values, such as 0"),
        (torch.full((1, 4), torch.nan), "got 4 other values, such as nan"),
        (torch.ones(0, 4), "expected one pattern or more in `patterns`, got none"),
    ],
)
def test_wrong_patterns_are_refused(patterns: Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        HopfieldNetwork(4).learn(patterns)


def test_wrong_requests_are_refused() -> None:
    network, states = HopfieldNetwork(4), torch.ones(2, 4)
    with pytest.raises(ConfigError, match="expected `size` of 1 unit or more, got 0"):
        HopfieldNetwork(0)
    with pytest.raises(ConfigError, match="expected `rule` among hebbian, storkey, pseudo_inverse; got 'hebb'"):
        network.learn(states, "hebb")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="learn old and new ones in one call"):
        network.learn(states, "pseudo_inverse", keep=True)
    with pytest.raises(ConfigError, match="expected `update` among asynchronous, synchronous; got 'both'"):
        network.recall(states, update="both")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected `sweeps` of 0 or more, got -1"):
        network.recall(states, sweeps=-1)
    with pytest.raises(UsageError, match=r"expected `states` of \+1 and -1, got 8 other values, such as 2"):
        network.energy(2 * states)
    for known in (torch.ones(4), torch.ones(3, dtype=torch.bool)):
        with pytest.raises(UsageError, match=r"expected `known` as bool \(4,\) or \(2, 4\), got"):
            network.recall(states, known=known)


def test_no_gradient_is_kept_with_the_weights() -> None:
    network = HopfieldNetwork(3)
    network.learn(torch.tensor([[1.0, -1.0, 1.0]], requires_grad=True))
    assert not network.weights.requires_grad
