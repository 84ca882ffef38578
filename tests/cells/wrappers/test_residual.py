import pytest
import torch

from elman.cells import GRU, LSTM, Elman
from elman.cells.scan import loop
from elman.cells.wrappers import Residual
from elman.errors import ConfigError
from elman.layers import Recurrent


def test_the_input_is_added_to_the_output_and_nothing_else_changes() -> None:
    cell, x, lengths = LSTM(3, 3).double(), torch.randn(3, 5, 3, dtype=torch.float64), torch.tensor([5, 2, 0])
    y, state = Recurrent(Residual(cell))(x, None, lengths)
    expected, last = Recurrent(cell)(x, None, lengths)
    is_real = (torch.arange(5) < lengths[:, None])[..., None]
    torch.testing.assert_close(y, expected + x * is_real, rtol=0, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=0, atol=1e-12)


def test_a_scan_leaves_the_padding_at_zero() -> None:
    wrapped, x, lengths = Residual(GRU(3, 3)), torch.randn(3, 5, 3), torch.tensor([5, 2, 0])
    y, _ = wrapped.scan(x, wrapped.initial_state(3), lengths)
    torch.testing.assert_close(y, loop(wrapped, x, wrapped.initial_state(3), lengths)[0])


def test_gates_are_those_of_the_cell_inside() -> None:
    cell, x, h = GRU(3, 3), torch.randn(2, 3), torch.randn(2, 3)
    wrapped = Residual(cell)
    for gate, expected in zip(wrapped.gates(wrapped.project(x), h), cell.gates(cell.project(x), h), strict=True):
        assert torch.equal(gate, expected)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"as many features as it reads, got .*`input_size`=3, `output_size`=4"):
        Residual(GRU(3, 4))


def test_a_cell_that_reads_time_gaps_is_refused() -> None:
    class Timed(Elman):
        inputs = ("x", "gap")

    with pytest.raises(ConfigError, match=r"got `inputs`=\('x', 'gap'\)"):
        Residual(Timed(3, 3))
