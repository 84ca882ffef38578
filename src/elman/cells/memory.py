"""Tensors in the core's memory, which is used again: the system would hand out every page of a large one anew."""

import ctypes
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from elman import core

LARGE = 1 << 20  # bytes, from which on faulting in fresh pages takes long beside what is computed


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A contiguous tensor on the CPU, not filled, whatever the default device is; a large one in the core's memory."""
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE or not core.available():
        return torch.empty(shape, dtype=dtype, device="cpu")
    return in_core(size, dtype).resize_(tuple(shape))  # not a view, which could not be changed in place


def in_core(size: int, dtype: torch.dtype) -> Tensor:
    """As many bytes of the core's memory, flat; they go back to the core with the tensor."""
    memory = core.Memory(size)
    array = (ctypes.c_byte * size).from_address(memory.address)
    array.memory = memory  # type: ignore[attr-defined]  # lives as long as the array, which lives as long as the tensor
    return torch.frombuffer(array, dtype=dtype)
