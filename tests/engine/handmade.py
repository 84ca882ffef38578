"""Cells made of one function: odd steps, to try the tracer on."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from elman.cells.cell import Cell
from elman.state import State, map_leaves

Step = Callable[[Any, Tensor, Any], tuple[Tensor, Any]]


class Handmade(Cell):
    """A cell whose step is a function of (cell, x, state); its parameters are drawn, its state is of these shapes.

    Args:
        step: the function.
        input_size: of x.
        state: the shapes of the leaves, nested as the state.
        parameters: name to shape.
    """

    def __init__(self, step: Step, input_size: int, state: Any, parameters: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__(input_size, 1)
        self.function = step
        self.shapes = state
        for name, shape in parameters.items():
            self.register_parameter(name, torch.nn.Parameter(torch.randn(shape, dtype=torch.float64)))
        self.unused = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def initial_state(self, batch_size: int) -> State:
        def zeros(shape: Any) -> Any:
            if shape and all(isinstance(size, int) for size in shape):
                return self.unused.new_zeros(batch_size, *shape)
            parts = [zeros(part) for part in shape]
            return type(shape)(*parts) if hasattr(shape, "_fields") else tuple(parts)

        state: State = zeros(self.shapes)
        return state

    def step(self, z_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.function(self, z_t, state)


def drawn(cell: Cell, batch: int = 3) -> tuple[Tensor, State]:
    """A random input and a random state."""
    dtype = next(cell.parameters()).dtype
    state = map_leaves(lambda leaf: torch.randn(leaf.shape, dtype=dtype), cell.initial_state(batch))
    return torch.randn(batch, cell.input_size, dtype=dtype), state
