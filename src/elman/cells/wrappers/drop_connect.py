"""Dropout of recurrent weights."""

from typing import Any, Self

import torch
from torch import Tensor

from elman.cells.cell import Cell
from elman.cells.masks import check_probability
from elman.cells.wrappers.wrapper import CellWrapper, innermost, recurrent_matrices
from elman.errors import ConfigError
from elman.state import State


class DropConnect(CellWrapper):
    """Drops weights of the recurrent matrices, in training; the same for all rows and steps of a call of the layer.

        m ~ Bernoulli(1 - p) / (1 - p)                      one draw for each weight
        m * U for U                                         for every recurrent matrix U

    Source: Wan et al., "Regularization of Neural Networks using DropConnect", 2013; on recurrent weights: Merity, Keskar,
    Socher, "Regularizing and Optimizing LSTM Language Models", 2017, arXiv:1708.02182.
    Differs: as in the second, one mask for all rows of a call, and outside training the weights as they are; the first draws a
    mask for each row, and outside training averages over outputs.

    The steps stay those of the cell inside, so torch's kernels run in training too. Masks are drawn by `prepare`; weights are
    saved and trained under their own names, undropped. Processes that train together drop the same weights.

    Args:
        cell: has matrices in parameters called `from_hidden...`.
        p: probability of dropping a weight, 0 <= p < 1.
    Shapes: as of the cell inside.
    Raises: ConfigError if p is out of range or the cell has no such matrix.
    """

    def __init__(self, cell: Cell, p: float) -> None:
        super().__init__(cell)
        self.p = check_probability(p)
        if not any(recurrent_matrices(cell)):
            raise ConfigError(
                f"expected a cell with recurrent matrices, which {type(innermost(cell)).__name__} has not: "
                "it has no parameters `from_hidden...` of two axes"
            )

    @property
    def transparent(self) -> bool:
        return True

    def prepare(self) -> None:
        self._restore()
        if self.training and self.p > 0:
            self._drop()
        super().prepare()

    def step(self, z_t: Tensor, state: State) -> tuple[Tensor, State]:
        return self.cell.step(z_t, state)

    def _drop(self) -> None:
        """Put each matrix, some of its weights dropped, before the parameter of that name, which stays as it is."""
        for module, name in recurrent_matrices(self.cell):
            weight = getattr(module, name)
            mask = torch.empty_like(weight).bernoulli_(1 - self.p).div_(1 - self.p)
            module.__dict__[name] = weight * mask

    def _restore(self) -> None:
        for module, name in recurrent_matrices(self.cell):
            module.__dict__.pop(name, None)

    def train(self, mode: bool = True) -> Self:
        self._restore()
        return super().train(mode)

    def __getstate__(self) -> Any:
        """For deep copies, which a part of a graph would refuse."""
        self._restore()
        return super().__getstate__()  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        return f"p={self.p}"
