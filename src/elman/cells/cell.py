"""The interface of a cell: one time step of a recurrence. Everything else is built once, around it."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, Literal, NamedTuple

from torch import Tensor, nn
from typing_extensions import TypeVar

from elman.cells.scan import loop
from elman.errors import ConfigError
from elman.registry import Registry
from elman.state import State

S = TypeVar("S", bound=State, default=Any)


class VendorWeights(NamedTuple):
    """A cell's weights in the layout of torch's own kernels, for a cell that is exactly torch's.

    Shapes: weight_ih (gates*H, I); weight_hh (gates*H, H); bias_ih and bias_hh (gates*H,). Gate order as torch's.
    """

    kind: Literal["lstm", "gru", "rnn_tanh", "rnn_relu"]
    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor


class Cell(nn.Module, ABC, Generic[S]):
    """One time step of a recurrence.

    A cell is `initial_state`, `step` and, where the mathematics splits, `project`: the part that needs no state,
    computed for all time steps in one product. Constructor of every cell: ``(input_size, hidden_size, *, options with
    defaults)``. ``Cell[S]`` names the type of its state: ``Cell[Tensor]``, or ``Cell[...]`` of a named tuple.

    Shapes: x_t (batch, input_size); z_t (batch, p), one step of ``project(x)``; y_t (batch, output_size); every leaf of
    the state (batch, ...).
    """

    inputs: ClassVar[tuple[str, ...]] = ("x",)
    """What the cell reads, joined in this order on the last axis: ("x",), ("x", "gap") or ("x", "mask", "gap").

    x: F features; mask: F ones and zeros, 1 where the feature was observed; gap: one number, the time since the step before.
    ``input_size`` is the width of all of it: F, F + 1 or 2 F + 1.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        if input_size < 1 or hidden_size < 1:
            raise ConfigError(f"expected sizes >= 1, got `input_size`={input_size}, `hidden_size`={hidden_size}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.output_size = hidden_size

    @abstractmethod
    def initial_state(self, batch_size: int) -> S:
        """The state before the first step, on the device and in the dtype of the cell's own weights."""

    def project(self, x: Tensor) -> Tensor:
        """What needs no state: (..., input_size) -> (..., p), for all time steps at once."""
        return x

    @abstractmethod
    def step(self, z_t: Tensor, state: S) -> tuple[Tensor, S]:
        """The recurrence: (batch, p) and a state -> output (batch, output_size) and the next state."""

    def gates(self, z_t: Tensor, state: S) -> Any:  # noqa: ARG002  (a cell without gates ignores both)
        """The gates of this step as a named tuple, for diagnosis; () if the cell has none."""
        return ()

    def forward(self, x_t: Tensor, state: S) -> tuple[Tensor, S]:
        """One whole step from raw input. Final: cells define `project` and `step`."""
        return self.step(self.project(x_t), state)

    def prepare(self) -> None:
        """What depends on weights only, once per call of a layer; kept in attributes of the cell's modules: tensors, or lists,
        tuples and dictionaries of them."""

    def scan(self, x: Tensor, state: S, lengths: Tensor | None = None) -> tuple[Tensor, S]:
        """The cell over time; a faster form may override it, with the same result. See `elman.cells.scan.loop`."""
        return loop(self, x, state, lengths)

    @property
    def parallel(self) -> bool:
        """Whether `scan` is a form that is parallel over time."""
        return type(self).scan is not Cell.scan

    def vendor(self) -> VendorWeights | None:
        """The weights for torch's own kernel, if this cell, with these options, is exactly torch's; else None."""
        return None


CELLS: Registry[Cell] = Registry("cell", "elman.cells", files="ELMAN_CELLS")
register = CELLS.register
