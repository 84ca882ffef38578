import pytest
import torch

from elman.cells import CELLS, GRU, LSTM
from elman.errors import ConfigError, UsageError
from elman.layers import Recurrent
from elman.state import leaves


@pytest.mark.parametrize("name", CELLS.names())
def test_backward_on_unequal_lengths_is_forward_on_the_reversed_rows(name: str) -> None:
    torch.manual_seed(0)
    cell = CELLS.get(name)(3, 4)
    x, lengths = torch.randn(4, 5, 3), [5, 3, 1, 0]
    y, state = Recurrent(cell, direction="backward")(x, None, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        backward = x[row : row + 1, :length].flip(1)
        if "gap" in cell.inputs and length:  # between two steps there is the same time in both directions
            times = x[row, :length, -1].cumsum(0).flip(0)
            backward[0, :, -1] = torch.cat([torch.ones(1), times[:-1] - times[1:]])
        expected, last = Recurrent(cell)(backward)
        torch.testing.assert_close(y[row, :length], expected[0].flip(0))
        assert not y[row, length:].any()
        for leaf, expected_leaf in zip(leaves(state), leaves(last), strict=True):
            torch.testing.assert_close(leaf[row], expected_leaf[0])


def test_only_forward_is_causal() -> None:
    assert Recurrent(GRU(2, 3)).causal
    assert not Recurrent(GRU(2, 3), direction="backward").causal


def test_state_is_the_cells_named_tuple() -> None:
    layer = Recurrent(LSTM(2, 3))
    for time in (1, 4):
        _, state = layer(torch.zeros(2, time, 2))
        assert state.hidden.shape == state.cell.shape == (2, 3)


@pytest.mark.parametrize("shape", [(2, 5, 3), (5, 2)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"expected inputs \(batch, time, 2\), got .*: the layer was built for 2 feat"):
        Recurrent(GRU(2, 3))(torch.zeros(shape))


def test_wrong_direction_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected `direction` 'forward' or 'backward', got 'both'"):
        Recurrent(GRU(2, 3), direction="both")  # type: ignore[arg-type]
