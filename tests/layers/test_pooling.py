from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elman.errors import ConfigError
from elman.layers import Pooling

Mode = Literal["last", "mean", "max", "attention"]
MODES: tuple[Mode, ...] = ("last", "mean", "max", "attention")


def by_hand(mode: Mode, pooling: Pooling, steps: np.ndarray) -> np.ndarray:
    if len(steps) == 0:
        return np.zeros(steps.shape[1])
    if mode == "last":
        return np.asarray(steps[-1])
    if mode == "attention":
        W, b, u = (parameter.detach().numpy() for parameter in pooling.score.parameters())
        scores = np.exp(np.tanh(steps @ W.T + b) @ u[0])
        return np.asarray((scores / scores.sum()) @ steps)
    return np.asarray(steps.mean(0) if mode == "mean" else steps.max(0))


@pytest.mark.parametrize("mode", MODES)
@given(lengths=st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_pools_the_real_steps_of_each_row(mode: Mode, lengths: list[int]) -> None:
    pooling = Pooling(mode, 3).double()
    y = torch.randn(len(lengths), 5, 3).double() - 2  # mostly below 0, where a max over padding would show
    y[torch.arange(5) >= torch.tensor(lengths)[:, None]] = torch.nan
    pooled = pooling(y, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        expected = by_hand(mode, pooling, y[row, :length].numpy())
        np.testing.assert_allclose(pooled[row].detach(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_are_finite_under_nan_padding_and_rows_without_steps(mode: Mode) -> None:
    pooling = Pooling(mode, 3)
    y = torch.randn(2, 4, 3)
    y[0, 2:], y[1] = torch.nan, torch.nan
    y.requires_grad_()
    pooling(y, torch.tensor([2, 0])).sum().backward()
    assert y.grad is not None
    for gradient in [y.grad, *(parameter.grad for parameter in pooling.parameters())]:
        assert gradient is not None
        assert gradient.isfinite().all()
    assert not y.grad[0, 2:].any()
    assert not y.grad[1].any()


@pytest.mark.parametrize("mode", MODES)
def test_without_lengths_all_steps_are_real_and_without_steps_it_is_zero(mode: Mode) -> None:
    pooling, y = Pooling(mode, 3), torch.randn(2, 4, 3)
    torch.testing.assert_close(pooling(y), pooling(y, torch.tensor([4, 4])))
    assert torch.equal(pooling(torch.zeros(2, 0, 3)), torch.zeros(2, 3))


def test_another_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected `mode` among last, mean, max, attention; got 'sum'"):
        Pooling("sum", 3)  # type: ignore[arg-type]
