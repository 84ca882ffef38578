"""A residual connection around a cell."""

from typing import Any

import torch
from torch import Tensor

from elman.cells.cell import Cell, VendorWeights
from elman.cells.padding import zero_padding
from elman.cells.wrappers.wrapper import CellWrapper
from elman.errors import ConfigError
from elman.state import State


class Residual(CellWrapper):
    """Adds the input of a step to its output; the state is left alone.

        y_t = output of the cell inside + x_t

    Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2016, arXiv:1512.03385; between recurrent
    layers: Wu et al., "Google's Neural Machine Translation System", 2016, arXiv:1609.08144.
    Differs: around any cell. Between the layers of a `Stack`, its own `connections` do the same and keep torch's kernels.

    Args:
        cell: reads x only, and gives as many features as it reads.
    Shapes: as of the cell inside.
    Raises: ConfigError if input and output differ in size, or the cell reads a mask or time gaps.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        if cell.input_size != cell.output_size or cell.inputs != ("x",):
            raise ConfigError(
                f"expected a cell that gives as many features as it reads, got `inputs`={cell.inputs}, "
                f"`input_size`={cell.input_size}, `output_size`={cell.output_size}"
            )

    def project(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., p + I): what the cell inside reads, and x."""
        return torch.cat([super().project(x), x], -1)

    def gates(self, z_t: Tensor, state: State) -> Any:
        return super().gates(z_t[..., : -self.input_size], state)

    def step(self, z_t: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = self.cell.step(z_t[..., : -self.input_size], state)
        return y + z_t[..., -self.input_size :], state

    def scan(self, x: Tensor, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        y, state = self.cell.scan(x, state, lengths)
        return y + zero_padding(x, lengths), state

    @property
    def parallel(self) -> bool:
        return self.cell.parallel

    def vendor(self) -> VendorWeights | None:
        return None
