"""Dropout against torch's, and shares of a batch against the whole."""

import pytest
import torch
from torch import nn

from elman.cells.masks import share_of_rows
from elman.errors import ConfigError
from elman.layers.dropout import Dropout


@pytest.mark.parametrize("p", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("shape", [(4,), (3, 5), (2, 7, 3)])
def test_equal_to_torch_from_the_same_seed(p: float, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    results = []
    for layer in (Dropout(p), nn.Dropout(p)):
        torch.manual_seed(1)
        y = layer(x)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        results.append((y, gradient))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*results, strict=True))


def test_nothing_happens_outside_training() -> None:
    x = torch.ones(3, 2)
    assert Dropout(0.9).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_shares_of_a_batch_are_parts_of_the_whole() -> None:
    x, layer = torch.ones(7, 5, 3), Dropout(0.5)

    def draws(rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """The share's values, and the next number that is drawn: as many were drawn by each."""
        torch.manual_seed(3)
        with share_of_rows(rows, 7):
            return layer(x[rows]), torch.rand(1)

    whole, after = draws(slice(None))
    for rows in (slice(0, 3), slice(3, 7), slice(0, 1)):
        part, then = draws(rows)
        assert torch.equal(part, whole[rows])
        assert torch.equal(then, after)
    assert 0.3 < (whole == 0).float().mean() < 0.7
    torch.manual_seed(3)
    assert torch.equal(layer(x), whole)  # and afterwards a batch is whole again


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_out_of_range(p: float) -> None:
    with pytest.raises(ConfigError, match="expected a probability of dropout"):
        Dropout(p)
