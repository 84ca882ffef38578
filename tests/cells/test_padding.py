import pytest
import torch

from elman.cells.padding import check_lengths, real_steps, zero_padding
from elman.errors import UsageError


def test_mask_is_true_on_real_steps() -> None:
    assert real_steps(torch.tensor([2, 0, 3]), 3).tolist() == [[True, True, False], [False] * 3, [True] * 3]


def test_padding_becomes_zero_in_any_shape() -> None:
    x = torch.full((2, 2, 3, 4), torch.nan)
    x[0, 0] = 1.0
    zeroed = zero_padding(x, torch.tensor([1, 0]))
    assert torch.equal(zeroed[0, 0], torch.ones(3, 4))
    assert not zeroed[0, 1].any()
    assert not zeroed[1].any()
    assert zero_padding(x, None) is x


def test_full_lengths_are_none() -> None:
    x = torch.zeros(2, 3, 1)
    assert check_lengths(torch.tensor([3, 3]), x) is None
    assert check_lengths(None, x) is None
    assert check_lengths(torch.tensor([], dtype=torch.int64), torch.zeros(0, 3, 1)) is None
    lengths = check_lengths(torch.tensor([3, 2]), x)
    assert lengths is not None
    assert lengths.tolist() == [3, 2]


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (torch.tensor([4, 1]), r"expected `lengths` in 0\.\.3, the time steps of the input, got 1\.\.4"),
        (torch.tensor([-1, 3]), r"got -1\.\.3"),
        (torch.tensor([1.0, 0.5]), r"integers \(batch,\) = \(2,\), got \(2,\) of torch.float32"),
        (torch.tensor([1, 2, 3]), r"got \(3,\) of torch.int64"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(lengths: torch.Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_lengths(lengths, torch.zeros(2, 3, 1))
