"""The interface of a wrapper: a cell around a cell."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn

from elman.cells.cell import Cell, S, VendorWeights
from elman.cells.scan import loop
from elman.state import State, leaves


class MaskedState(NamedTuple):
    """The state of the cell inside, and a mask (batch, ...) that stays from step to step, or () for none."""

    inner: State
    mask: State


class CellWrapper(Cell[S]):
    """A cell that changes one thing about another cell, whatever that is, and is a cell itself: wrappers nest.

    Args:
        cell: what it wraps; sizes and `inputs` are taken from it.
    Shapes: as of the cell inside.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell.input_size, cell.hidden_size)
        self.output_size = cell.output_size
        self.inputs = cell.inputs  # type: ignore[misc]  # which a wrapper's class cannot know
        self.cell = cell

    @property
    def transparent(self) -> bool:
        """Whether, in the mode it is in, it leaves the steps as they are: then faster forms of them stay possible."""
        return False

    def initial_state(self, batch_size: int) -> S:
        state: S = self.cell.initial_state(batch_size)
        return state

    def project(self, x: Tensor) -> Tensor:
        return self.cell.project(x)

    def gates(self, z_t: Tensor, state: S) -> Any:
        return self.cell.gates(z_t, state)

    def prepare(self) -> None:
        self.cell.prepare()

    def scan(self, x: Tensor, state: S, lengths: Tensor | None = None) -> tuple[Tensor, S]:
        return self.cell.scan(x, state, lengths) if self.transparent else loop(self, x, state, lengths)

    @property
    def parallel(self) -> bool:
        return self.transparent and self.cell.parallel

    def vendor(self) -> VendorWeights | None:
        return self.cell.vendor() if self.transparent else None


def innermost(cell: Cell) -> Cell:
    """The cell in all the wrappers."""
    return innermost(cell.cell) if isinstance(cell, CellWrapper) else cell


def own_state(state: State) -> Any:
    """The innermost cell's part of a state."""
    return own_state(state.inner) if isinstance(state, MaskedState) else state


def with_own_state(state: State, own: State) -> State:
    """The state with another innermost part."""
    return state._replace(inner=with_own_state(state.inner, own)) if isinstance(state, MaskedState) else own


def fields(own: Any) -> tuple[str, ...]:
    """The names of the parts of a cell's own state; a state that is one tensor is all "hidden"."""
    return ("hidden",) if isinstance(own, Tensor) else getattr(own, "_fields", ())


def field(own: Any, name: str) -> Tensor:
    """The part of that name."""
    part: Tensor = own if isinstance(own, Tensor) else getattr(own, name)
    return part


def with_fields(own: Any, **values: Tensor) -> Any:
    """A cell's own state with other tensors in those parts."""
    return values.get("hidden", own) if isinstance(own, Tensor) else own._replace(**values)


def recurrent_matrices(cell: Cell) -> Iterator[tuple[nn.Module, str]]:
    """Where a cell keeps the matrices that multiply its state: modules, and the parameter's name in each."""
    for path, module in cell.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim >= 2 and any(word.startswith("from_hidden") for word in (*path.split("."), name)):
                yield module, name


def one_row(cell: Cell) -> tuple[Tensor, Any]:
    """What a cell's first step reads, z_t and the state, for one row of zeros: constructors try the cell on it."""
    weight = next(cell.parameters())
    return cell.project(weight.new_zeros(1, cell.input_size)), cell.initial_state(1)


def shows_nan(stepped: tuple[Tensor, State]) -> bool:
    """Whether a step, to which a part was given as NaN, has used it."""
    return any(bool(leaf.isnan().any()) for leaf in leaves(stepped) if leaf.is_floating_point())
