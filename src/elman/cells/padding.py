"""Lengths and padding of a batch of sequences."""

import torch
from torch import Tensor

from elman.errors import UsageError


def real_steps(lengths: Tensor, time: int) -> Tensor:
    """The mask (batch, time): True where a step is real, False where it is padding."""
    return torch.arange(time, device=lengths.device) < lengths[:, None]


def zero_padding(x: Tensor, lengths: Tensor | None) -> Tensor:
    """x (batch, time, ...) with zeros from ``lengths[b]`` on; NaN there reaches neither values nor gradients."""
    if lengths is None:
        return x
    mask = real_steps(lengths, x.shape[1])
    return x.where(mask.reshape(mask.shape + (1,) * (x.ndim - 2)), 0)


def check_lengths(lengths: Tensor | None, x: Tensor) -> Tensor | None:
    """The lengths on the device of x (batch, time, ...); None if no row has padding.

    Raises: UsageError if they are not integers (batch,) in 0..time.
    """
    if lengths is None:
        return None
    batch, time = x.shape[:2]
    if lengths.shape != (batch,) or lengths.is_floating_point():
        raise UsageError(
            f"expected `lengths` as integers (batch,) = ({batch},), got {tuple(lengths.shape)} of {lengths.dtype}"
        )
    if batch == 0:
        return None
    shortest, longest = (int(bound) for bound in lengths.aminmax())
    if shortest < 0 or longest > time:
        raise UsageError(
            f"expected `lengths` in 0..{time}, the time steps of the input, got {shortest}..{longest}; "
            "lengths count steps, they are not fractions or positions in a longer sequence"
        )
    return None if shortest == time else lengths.to(x.device)
