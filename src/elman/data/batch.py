"""A batch of sequences as tensors: the one place where data meets torch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """What a model and a task's loss see of B sequences, or of one window of B streams.

    Attributes:
        inputs: name -> (B, T, ...): what is read step by step.
        targets: name -> tensor in the task's own shape.
        lengths: (B,) integers: real steps of each row in this window; 0 for a row with nothing left.
        fresh: (B,) bool: this row starts a new sequence; else its state goes on from the window before.
        context: name -> (B, ...): what is known before the first step.
        rows: where these rows are in the `whole` batch, if they are the part of it that one of several processes works on.
    """

    inputs: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]
    lengths: Tensor
    fresh: Tensor
    context: Mapping[str, Tensor] = field(default_factory=dict)
    rows: slice = field(default_factory=lambda: slice(None))
    part_of: "Batch | None" = None

    @property
    def whole(self) -> "Batch":
        """The batch that all processes share; what is decided for all rows alike must be read from there."""
        return self.part_of or self

    def part(self, rows: slice) -> "Batch":
        """Some of the rows."""

        def take(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor[rows] for name, tensor in tensors.items()}

        return Batch(
            take(self.inputs), take(self.targets), self.lengths[rows], self.fresh[rows], take(self.context), rows, self
        )

    @property
    def steps(self) -> int:
        """Real time steps in the batch, padding not counted."""
        return int(self.lengths.sum())

    def windows(self, steps: int) -> "Iterator[Batch]":
        """The batch cut along time, each part going on where the one before it ended; as it is if it is no longer than that."""
        time = next(iter(self.inputs.values())).shape[1]
        if not 0 < steps < time:
            yield self
            return
        for start in range(0, time, steps):
            part = slice(start, start + steps)
            lengths = (self.lengths - start).clamp(0, steps)
            inputs = {name: tensor[:, part] for name, tensor in self.inputs.items()}
            targets = {name: tensor[:, part] for name, tensor in self.targets.items()}
            yield replace(self, inputs=inputs, targets=targets, lengths=lengths, fresh=self.fresh & (start == 0))

    def to(self, device: torch.device | str) -> "Batch":
        def move(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.to(device) for name, tensor in tensors.items()}

        return Batch(
            move(self.inputs), move(self.targets), self.lengths.to(device), self.fresh.to(device), move(self.context)
        )


def tensors(arrays: Mapping[str, "np.ndarray[Any, Any]"]) -> dict[str, Tensor]:
    """NumPy arrays as tensors: floating point becomes float32, integers int64, bool stays."""

    def convert(array: "np.ndarray[Any, Any]") -> Tensor:
        if array.dtype.kind == "f":
            array = array.astype(np.float32, copy=False)
        elif array.dtype.kind in "iu":
            array = array.astype(np.int64, copy=False)
        return torch.from_numpy(np.require(array, requirements=["C", "W"]))  # PyTorch warns of views that are read only

    return {name: convert(array) for name, array in arrays.items()}
