"""Dropout of what a step writes, a fresh mask every step."""

from typing import Any

import torch
from torch import Tensor

from elman.cells.cell import Cell
from elman.cells.masks import check_probability, keep_mask
from elman.cells.wrappers.twin import twin
from elman.cells.wrappers.wrapper import CellWrapper, innermost, one_row, shows_nan
from elman.errors import ConfigError
from elman.state import State


class RecurrentDropout(CellWrapper):
    """Drops units of the candidate, in training: such a unit writes nothing at this step, and remembers all it knew.

        m_t ~ Bernoulli(1 - p) / (1 - p)                    one draw for each row, unit and step
        m_t * g_t for the candidate g_t                     in the step of the cell inside, for example
        c_t = f_t * c_{t-1} + i_t * m_t * g_t               LSTM
        h_t = u_t * h_{t-1} + (1 - u_t) * m_t * g_t         GRU

    Source: Semeniuta, Severyn, Barth, "Recurrent Dropout without Memory Loss", 2016, arXiv:1603.05118.
    Differs: nothing. A network without gates has no candidate: all of its state is new at every step, and a mask on that,
    drawn anew each time, is the loss of memory that the paper warns of; `VariationalDropout` and `Zoneout` fit there.

    The masks are columns that `project` adds in training.

    Args:
        cell: its `step` uses `gates`, and these have a `candidate`.
        p: probability of dropping a unit, 0 <= p < 1.
    Shapes: as of the cell inside.
    Raises: ConfigError if p is out of range or the cell has no candidate that could be dropped.
    """

    def __init__(self, cell: Cell, p: float) -> None:
        super().__init__(cell)
        self.p = check_probability(p)
        self._units = _units(innermost(cell))

    @property
    def transparent(self) -> bool:
        return not self.training or self.p == 0

    def project(self, x: Tensor) -> Tensor:
        z = super().project(x)
        if self.transparent:
            return z
        mask = keep_mask(z[..., :1].expand(*z.shape[:-1], self._units), self.p)
        return torch.cat([z, mask.div_(1 - self.p)], -1)

    def gates(self, z_t: Tensor, state: State) -> Any:
        z_t, cell = self._dropping(z_t)
        return cell.gates(z_t, state)

    def step(self, z_t: Tensor, state: State) -> tuple[Tensor, State]:
        z_t, cell = self._dropping(z_t)
        return cell.step(z_t, state)

    def _dropping(self, z_t: Tensor) -> tuple[Tensor, Cell]:
        """What the cell inside reads at this step, and that cell as this step's mask makes it."""
        if self.transparent:
            return z_t, self.cell
        rest = z_t.shape[-1] - self._units
        return z_t[..., :rest], _dropping(z_t[..., rest:], self.cell)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def _dropping(mask: Tensor, cell: Cell) -> Cell:
    """The cell, whose own step finds the candidate masked."""
    seen = twin(cell)
    inside = innermost(seen)
    gates_of = inside.gates

    def gates(z_t: Tensor, state: State) -> Any:
        gates = gates_of(z_t, state)
        return gates._replace(candidate=gates.candidate * mask.reshape(gates.candidate.shape))

    inside.__dict__["gates"] = gates  # found before the method, which stays as it is
    return seen


@torch.no_grad()
def _units(cell: Cell) -> int:
    """The size of a cell's candidate. Raises ConfigError unless a mask of NaN on it shows after one step."""
    z_t, state = one_row(cell)
    candidate = getattr(cell.gates(z_t, state), "candidate", None)
    if isinstance(candidate, Tensor):
        mask = torch.full_like(candidate, torch.nan)
        if shows_nan(_dropping(mask, cell).step(z_t, state)):
            return candidate.numel()
    raise ConfigError(
        f"expected a cell whose `step` uses a `candidate` of its `gates`, which {type(cell).__name__} does not; "
        "`VariationalDropout` and `Zoneout` do without"
    )
