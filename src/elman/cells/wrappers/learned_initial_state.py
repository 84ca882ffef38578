"""An initial state that is learned."""

import torch
from torch import Tensor, nn

from elman.cells.cell import Cell
from elman.cells.wrappers.wrapper import CellWrapper, own_state, with_own_state
from elman.state import State, leaves, map_leaves


class LearnedInitialState(CellWrapper):
    """Learns the state before the first step: a parameter for each part of it, added to the cell's own initial state.

        s_0 = s_0 of the cell inside + a                    the same for all rows

    Source: Forcada, Carrasco, "Learning the initial state of a second-order recurrent neural network during regular-language
    inference", 1995, doi:10.1162/neco.1995.7.5.923.
    Differs: around any cell. a = 0 at initialization; integer parts of a state are not learned.

    Use it where sequences start at the beginning of something. Rows cut from the middle of a stream do not.

    Args:
        cell: any.
    Shapes: as of the cell inside.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        with torch.no_grad():
            own = own_state(cell.initial_state(1))
        self.first = nn.ParameterList(torch.zeros_like(leaf[0]) for leaf in leaves(own) if leaf.is_floating_point())

    @property
    def transparent(self) -> bool:
        return True

    def initial_state(self, batch_size: int) -> State:
        state = super().initial_state(batch_size)
        learned = iter(self.first)

        def add(leaf: Tensor) -> Tensor:
            return leaf + next(learned) if leaf.is_floating_point() else leaf

        return with_own_state(state, map_leaves(add, own_state(state)))

    def step(self, z_t: Tensor, state: State) -> tuple[Tensor, State]:
        return self.cell.step(z_t, state)
