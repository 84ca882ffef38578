"""The pyramid: half the steps at each level, none lost."""

import pytest
import torch
from torch import Tensor, nn

from elman.cells import GRU
from elman.errors import ConfigError, UsageError
from elman.layers import Bidirectional, PerStep, Recurrent
from elman.layers.pyramid import Pyramid


def identity(size: int) -> PerStep:
    return PerStep(nn.Identity(), size, size)


def bidirectional(inputs: int, hidden: int) -> Bidirectional:
    return Bidirectional(Recurrent(GRU(inputs, hidden)), Recurrent(GRU(inputs, hidden), direction="backward"))


def pyramid() -> Pyramid:
    torch.manual_seed(0)
    return Pyramid([bidirectional(2 * 3, 2), bidirectional(2 * 4, 2)]).double()


def test_steps_are_read_two_by_two_and_none_is_lost() -> None:
    x = torch.arange(1.0, 6.0)[None, :, None]
    y, lengths = Pyramid([identity(2)])(x, torch.tensor([5]))
    assert y.tolist() == [[[1, 2], [3, 4], [5, 0]]]
    assert lengths.tolist() == [3]
    y, lengths = Pyramid([identity(2), identity(4)])(x)
    assert y.tolist() == [[[1, 2, 3, 4], [5, 0, 0, 0]]]
    assert lengths is None


@pytest.mark.parametrize(("time", "expected"), [(0, 0), (1, 1), (2, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_lengths(time: int, expected: int) -> None:
    y, lengths = pyramid()(torch.zeros(1, 9, 3, dtype=torch.float64), torch.tensor([time]))
    assert y.shape == (1, 3, 4)
    assert lengths.tolist() == [expected]
    assert not y[0, expected:].any()


def test_a_row_in_a_padded_batch_is_the_row_alone_and_nan_in_the_padding_does_no_harm() -> None:
    ours, lengths = pyramid(), torch.tensor([7, 4, 1, 0])
    x = torch.randn(4, 7, 3, dtype=torch.float64)
    x = x.masked_fill((torch.arange(7) >= lengths[:, None])[..., None], torch.nan).requires_grad_()
    y, shorter = ours(x, lengths)
    for row, (length, short) in enumerate(zip(lengths.tolist(), shorter.tolist(), strict=True)):
        alone, _ = ours(x[row : row + 1, :length])
        torch.testing.assert_close(y[row : row + 1, :short], alone)
    gradients = torch.autograd.grad(y.sum(), [x, *ours.parameters()])
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_gradients() -> None:
    ours, x = pyramid(), torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)

    def top(x: Tensor, *_: Tensor) -> Tensor:
        y: Tensor = ours(x, torch.tensor([5, 2]))[0]
        return y

    torch.autograd.gradcheck(top, (x, *ours.parameters()), fast_mode=True)


def test_wrong_levels_and_lengths_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected one level or more"):
        Pyramid([])
    with pytest.raises(ConfigError, match="expected a level that reads pairs of steps, got `input_size` 3"):
        Pyramid([identity(3)])
    with pytest.raises(ConfigError, match=r"level 1 reads 2 features, a pair of steps has 2 \* 2"):
        Pyramid([identity(2), identity(2)])
    with pytest.raises(UsageError, match=r"expected inputs \(batch, time, 1\), got \(1, 4, 2\)"):
        Pyramid([identity(2)])(torch.zeros(1, 4, 2))
    with pytest.raises(UsageError, match=r"expected inputs \(batch, time, 1\), got \(4, 1\)"):
        Pyramid([identity(2)])(torch.zeros(4, 1))
    with pytest.raises(UsageError, match=r"expected `lengths` in 0\.\.4"):
        Pyramid([identity(2)])(torch.zeros(1, 4, 1), torch.tensor([5]))
