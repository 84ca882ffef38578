from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import lfilter
from torch import Tensor

from elman.cells.scan import final, linear_scan, loop, reverse_valid

Array = NDArray[np.float64]


class RunningSum:
    """y_t = h_t = h_{t-1} + sum of x_t: known without any arithmetic of ours."""

    output_size = 1

    def project(self, x: Tensor) -> Tensor:
        return x.sum(-1, keepdim=True)

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return state + z_t, state + z_t


def test_a_running_sum() -> None:
    x = torch.arange(12.0).reshape(2, 3, 2)
    y, state = loop(RunningSum(), x, torch.tensor([[0.0], [100.0]]))
    np.testing.assert_array_equal(y[..., 0], [[1, 6, 15], [113, 130, 151]])
    np.testing.assert_array_equal(state, [[15], [151]])


def test_state_stops_and_outputs_are_zero_at_the_length() -> None:
    x = torch.ones(3, 3, 1)
    y, state = loop(RunningSum(), x, torch.full((3, 1), 10.0), torch.tensor([3, 1, 0]))
    np.testing.assert_array_equal(y[..., 0], [[11, 12, 13], [11, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(state, [[13], [11], [10]])


def test_no_time_steps_give_an_empty_output_and_the_same_state() -> None:
    state = torch.ones(2, 1)
    y, last = loop(RunningSum(), torch.zeros(2, 0, 4), state)
    assert y.shape == (2, 0, 1)
    assert last is state


@given(st.lists(st.integers(0, 7), min_size=1, max_size=5), st.integers(0, 3))
def test_reverse_valid_reverses_each_row_by_itself(lengths: list[int], features: int) -> None:
    x = torch.arange(len(lengths) * 7 * features).reshape(len(lengths), 7, features)
    expected = x.numpy().copy()
    for row, length in enumerate(lengths):
        expected[row, :length] = expected[row, :length][::-1]
    reversed_x = reverse_valid(x, torch.tensor(lengths))
    np.testing.assert_array_equal(reversed_x, expected)
    np.testing.assert_array_equal(reverse_valid(reversed_x, torch.tensor(lengths)), x)


def test_reverse_valid_without_lengths_reverses_all() -> None:
    x = torch.randn(2, 5)
    np.testing.assert_array_equal(reverse_valid(x), x.numpy()[:, ::-1])


def recurrence(decay: Array, values: Array, initial: Array) -> Array:
    """h_t = a_t h_{t-1} + b_t in NumPy; (batch, time, D)."""
    hidden, state = np.empty_like(values), initial
    for t in range(values.shape[1]):
        state = decay[:, t] * state + values[:, t]
        hidden[:, t] = state
    return hidden


def adjoint(decay: Array, hidden: Array, initial: Array, weights: Array) -> tuple[Array, Array, Array]:
    """The gradients of (weights * hidden).sum() by decay, values and initial."""
    following = np.concatenate([decay[:, 1:], decay[:, :1]], 1)
    by_values = recurrence(following[:, ::-1], weights[:, ::-1], np.zeros_like(initial))[:, ::-1]
    before = np.concatenate([initial[:, None], hidden[:, :-1]], 1)
    return before * by_values, by_values, decay[:, 0] * by_values[:, 0]


@given(st.integers(0, 40), st.sampled_from([(2, 0, 3), (1, 0, 3), (2, 1, 3), (1, 1, 3), (3,), ()]), st.integers(0, 99))
def test_linear_scan_is_the_recurrence(time: int, shape: tuple[int, ...], seed: int) -> None:
    generator = np.random.default_rng(seed)
    decay = generator.normal(size=[time if size == 0 else size for size in shape])  # 0 stands for time
    values, initial = generator.normal(size=(2, time, 3)), generator.normal(size=(2, 3))
    expected = recurrence(np.broadcast_to(decay, values.shape), values, initial)
    actual = linear_scan(*(torch.from_numpy(np.asarray(array)) for array in (decay, values, initial)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-10 * np.abs(expected).max(initial=1))


def test_linear_scan_of_a_constant_decay_is_a_filter_of_scipy() -> None:
    decay = 0.98 * np.exp(0.3j)
    values = np.random.default_rng(0).normal(size=500) + 0j
    expected = lfilter([1], [1, -decay], values)
    actual = linear_scan(torch.tensor([decay]), torch.from_numpy(values)[None, :, None], torch.zeros(1))
    np.testing.assert_allclose(actual[0, :, 0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", [(2, 5, 2), (1, 5, 2), (2, 1, 2), (2,), (2, 5, 1)])
def test_linear_scan_has_first_and_second_derivatives(kind: torch.dtype, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    shapes = (shape, (2, 5, 2), (2, 2))
    arguments = [torch.randn(size, dtype=kind, requires_grad=True) for size in shapes]
    assert torch.autograd.gradcheck(linear_scan, arguments)
    assert torch.autograd.gradgradcheck(linear_scan, arguments)


def test_linear_scan_takes_more_axes_and_mixed_types() -> None:
    torch.manual_seed(0)
    decay, values, initial = torch.rand(2, 9, 3, 4), torch.randn(2, 9, 3, 4, dtype=torch.float64), torch.randn(2, 3, 4)
    flat = (decay.flatten(2).double(), values.flatten(2), initial.flatten(1).double())
    expected = recurrence(*(tensor.numpy() for tensor in flat))
    actual = linear_scan(decay, values, initial)
    assert actual.dtype == torch.float64
    np.testing.assert_allclose(actual.flatten(2), expected, rtol=0, atol=1e-13)


STEPS = 65_536
DECAYS: dict[str, Callable[[np.random.Generator], Array]] = {
    "one": lambda _: np.ones(STEPS),
    "zero": lambda _: np.zeros(STEPS),
    "tiny": lambda _: np.full(STEPS, 1e-30),
    "constant": lambda _: np.full(STEPS, 0.9999),
    "near one": lambda generator: 1 - 1e-3 * generator.random(STEPS),
    "minus one": lambda generator: 1e-3 * generator.random(STEPS) - 1,
    "any": lambda generator: generator.random(STEPS),
    "resets": lambda generator: (generator.random(STEPS) > 1e-3).astype(float),
}


def test_linear_scan_keeps_its_digits_over_65536_steps() -> None:
    """In float32, against the recurrence and its adjoint in float64: values and gradients within 1e-5 of the largest."""
    generator = np.random.default_rng(0)
    numbers = [
        np.stack([make(generator) for make in DECAYS.values()], -1)[None],
        generator.normal(size=(1, STEPS, len(DECAYS))),
        generator.normal(size=(1, len(DECAYS))),
    ]
    arguments = [torch.tensor(array, dtype=torch.float32, requires_grad=True) for array in numbers]
    decay, values, initial = (tensor.detach().double().numpy() for tensor in arguments)
    weights = generator.normal(size=values.shape)
    hidden = recurrence(decay, values, initial)
    expected = (hidden, *adjoint(decay, hidden, initial, weights))

    y = linear_scan(*arguments)
    gradients = torch.autograd.grad((y * torch.tensor(weights, dtype=torch.float32)).sum(), arguments)
    for name, actual, wanted in zip(("h", "da", "db", "dh_0"), (y.detach(), *gradients), expected, strict=True):
        error = np.abs(actual.double().numpy() - wanted)
        for channel, kind in enumerate(DECAYS):
            largest = np.abs(wanted[..., channel]).max()
            assert error[..., channel].max() <= 1e-5 * largest, (name, kind, error[..., channel].max() / largest)


def test_the_state_and_the_zeros_after_each_length() -> None:
    hidden = torch.arange(1.0, 13.0).reshape(3, 4, 1)
    initial = torch.full((3, 1), -1.0)
    lengths = torch.tensor([0, 1, 4])
    np.testing.assert_array_equal(final(hidden, initial, lengths), [[-1], [5], [12]])
    np.testing.assert_array_equal(final(hidden, initial, None), [[4], [8], [12]])
    assert final(hidden[:, :0], initial, lengths * 0) is initial
