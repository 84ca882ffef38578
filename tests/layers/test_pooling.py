import math
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elman.errors import ConfigError
from elman.layers import Pooling, at_end

Mode = Literal["last", "mean", "max", "attention"]
MODES: tuple[Mode, ...] = ("last", "mean", "max", "attention")


def by_hand(mode: Mode, pooling: Pooling, steps: np.ndarray) -> np.ndarray:
    if len(steps) == 0:
        return np.zeros(steps.shape[1])
    if mode == "last":
        return np.asarray(steps[-1])
    if mode == "attention":
        W, b, u = (parameter.detach().numpy() for parameter in pooling.score.parameters())
        scores = np.exp(15 * np.tanh(np.tanh(steps @ W.T + b) @ u[0] / 15))
        return np.asarray((scores / scores.sum()) @ steps)
    return np.asarray(steps.mean(0) if mode == "mean" else steps.max(0))


@pytest.mark.parametrize("mode", MODES)
@given(lengths=st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_pools_what_each_row_has_read_so_far(mode: Mode, lengths: list[int]) -> None:
    pooling = Pooling(mode, 3).double()
    y = torch.randn(len(lengths), 5, 3).double() - 2  # mostly below 0, where a max over padding would show
    y[torch.arange(5) >= torch.tensor(lengths)[:, None]] = torch.nan
    pooled, _ = pooling(y, None, torch.tensor(lengths))
    whole = at_end(pooled, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        for stop in range(1, length + 1):
            expected = by_hand(mode, pooling, y[row, :stop].numpy())
            np.testing.assert_allclose(pooled[row, stop - 1].detach(), expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(whole[row].detach(), by_hand(mode, pooling, y[row, :length].numpy()), atol=1e-12)


def test_attention_stays_exact_in_float32_when_scores_lie_far_apart() -> None:
    pooling = Pooling("attention", 2)
    with torch.no_grad():
        for parameter in pooling.parameters():
            parameter.fill_(60.0)
    y = torch.randn(1, 3000, 2)
    single, double = (pooling.to(kind)(y.to(kind))[0] for kind in (torch.float32, torch.float64))
    torch.testing.assert_close(single.double(), double, rtol=0, atol=2e-5 * math.sqrt(2))


def test_the_end_of_a_row() -> None:
    y = torch.arange(6.0).reshape(2, 3, 1)
    assert at_end(y).flatten().tolist() == [2, 5]
    assert at_end(y, torch.tensor([2, 0])).flatten().tolist() == [1, 0]
    assert at_end(y[:, :0]).shape == (2, 1)


def test_another_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected `mode` among last, mean, max, attention; got 'sum'"):
        Pooling("sum", 3)  # type: ignore[arg-type]
