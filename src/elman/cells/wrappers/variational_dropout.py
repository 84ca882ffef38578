"""Dropout of the recurrent state, one mask a sequence."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from elman.cells.cell import Cell
from elman.cells.masks import check_probability, keep_mask
from elman.cells.wrappers.twin import twin
from elman.cells.wrappers.wrapper import (
    CellWrapper,
    MaskedState,
    field,
    fields,
    innermost,
    one_row,
    own_state,
    shows_nan,
)
from elman.errors import ConfigError


class VariationalDropout(CellWrapper[MaskedState]):
    """Drops the same units of the recurrent state at every step of a sequence, in training.

        m ~ Bernoulli(1 - p) / (1 - p)             one draw for each row and unit, when its sequence starts
        U (m * h_{t-1}) for U h_{t-1}              in the step of the cell inside, for every recurrent matrix U

    Source: Gal, Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks", 2016,
    arXiv:1512.05287.
    Differs: one mask for all gates (the paper's tied weights), none on the input: drop that before the layer. What a cell
    carries over element by element (c of an LSTM, u * h of a GRU) is not masked: scaled at every step, it would grow
    without bound.

    The mask is part of the state: it lasts over the windows of truncated BPTT, and a row that starts anew gets a new one.
    Outside training () is in its place, and nothing is dropped.

    Args:
        cell: reads its state, a tensor or the field `hidden`, through modules `from_hidden...`.
        p: probability of dropping a unit, 0 <= p < 1.
    Shapes: as of the cell inside; state `MaskedState`, its mask as `hidden`.
    Raises: ConfigError if p is out of range or the cell has no such modules.
    """

    def __init__(self, cell: Cell, p: float) -> None:
        super().__init__(cell)
        self.p = check_probability(p)
        if not _reads_by_modules(cell):
            raise ConfigError(
                f"expected a cell that reads a hidden state through modules `from_hidden...`, which "
                f"{type(innermost(cell)).__name__} does not; `Zoneout` fits any cell with a hidden state"
            )

    @property
    def transparent(self) -> bool:
        return not self.training or self.p == 0

    def initial_state(self, batch_size: int) -> MaskedState:
        inner = self.cell.initial_state(batch_size)
        if self.transparent:
            return MaskedState(inner, ())
        hidden = field(own_state(inner), "hidden")
        return MaskedState(inner, keep_mask(hidden, self.p).div_(1 - self.p))

    def gates(self, z_t: Tensor, state: MaskedState) -> Any:
        return self._masked(state).gates(z_t, state.inner)

    def step(self, z_t: Tensor, state: MaskedState) -> tuple[Tensor, MaskedState]:
        y, inner = self._masked(state).step(z_t, state.inner)
        return y, state._replace(inner=inner)

    def scan(self, x: Tensor, state: MaskedState, lengths: Tensor | None = None) -> tuple[Tensor, MaskedState]:
        if not self.transparent:
            return super().scan(x, state, lengths)
        y, inner = self.cell.scan(x, state.inner, lengths)
        return y, state._replace(inner=inner)

    def _masked(self, state: MaskedState) -> Cell:
        """The cell inside, as this row's mask makes it."""
        if self.transparent or not isinstance(state.mask, Tensor):
            return self.cell
        return _through(state.mask, self.cell)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def _through(mask: Tensor, cell: Cell) -> Cell:
    """The cell, whose recurrent modules read the hidden state through a mask."""
    seen = twin(cell)
    inside = innermost(seen)
    for name, module in inside.named_children():
        if name.startswith("from_hidden"):
            inside.__dict__[name] = _masked(module, mask)  # found before the module, which stays as it is
    return seen


def _masked(module: nn.Module, mask: Tensor) -> Callable[[Tensor], Tensor] | list[Any]:
    if isinstance(module, nn.ModuleList):
        return [_masked(each, mask) for each in module]
    return lambda hidden: module(hidden * mask)


@torch.no_grad()
def _reads_by_modules(cell: Cell) -> bool:
    """Whether a mask of NaN shows after one step."""
    inside = innermost(cell)
    z_t, state = one_row(inside)
    if "hidden" not in fields(state):
        return False
    mask = torch.full_like(field(state, "hidden"), torch.nan)
    return shows_nan(_through(mask, inside).step(z_t, state))
