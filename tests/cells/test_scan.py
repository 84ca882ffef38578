import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from elman.cells.scan import loop, reverse_valid


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
