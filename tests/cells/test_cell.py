import pytest
import torch
from torch import Tensor

from elman.cells import CELLS, GRU, Cell, register
from elman.errors import ConfigError, UsageError


class Sum(Cell[Tensor]):
    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, self.output_size)

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return state + z_t, state + z_t


def test_a_cell_is_two_methods() -> None:
    cell = Sum(2, 2)
    y, state = cell(torch.ones(3, 2), cell.initial_state(3))
    assert torch.equal(y, torch.ones(3, 2))
    assert cell.gates(y, state) == ()
    assert cell.vendor() is None
    scanned, _ = cell.scan(torch.ones(3, 4, 2), state)
    assert torch.equal(scanned[:, -1], torch.full((3, 2), 5.0))


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"`input_size`=0, `hidden_size`=2"):
        Sum(0, 2)


def test_cells_are_found_by_name() -> None:
    assert CELLS.get("gru") is GRU
    assert {"elman", "gru", "lstm"} <= set(CELLS.names())
    with pytest.raises(UsageError, match=r"no cell 'grru'; did you mean 'gru'"):
        CELLS.get("grru")
    with pytest.raises(UsageError, match="two cells are called 'gru'"):
        register("gru")(Sum)
