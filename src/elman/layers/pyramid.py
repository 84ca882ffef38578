"""Layers over ever fewer steps: half as many at each level."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from elman.cells.padding import check_lengths, zero_padding
from elman.errors import ConfigError, UsageError
from elman.layers.layer import SequenceLayer


class Pyramid(nn.Module):
    """Each level reads the steps of the level below two by two, so that what attends to the top has 2^levels times fewer.

        x'_s = [x_{2s}; x_{2s+1}]        h = layer(x')        then the same again with h for x

    Source: Chan et al., "Listen, Attend and Spell", 2016, arXiv:1508.01211, eq. 5.
    Differs: no step is lost: the last of an odd number is joined with zeros, so a length T becomes ceil(T / 2).

    Args:
        levels: from the input up, one or more, as a rule bidirectional; each reads twice what the one below gives.
    Shapes: x (batch, time, input_size); lengths (batch,) integers in 0..time. Returns y (batch, ceil(time / 2^levels),
    output_size), zero in the padding, and the lengths there, None if none were given. No `SequenceLayer`: time changes, no state.
    Raises: ConfigError if there is no level or sizes do not follow on each other; UsageError at a call if shapes or
        lengths do not fit.
    """

    def __init__(self, levels: Sequence[SequenceLayer]) -> None:
        super().__init__()
        if not levels:
            raise ConfigError("expected one level or more in `levels`, got none")
        if levels[0].input_size % 2:
            raise ConfigError(f"expected a level that reads pairs of steps, got `input_size` {levels[0].input_size}")
        self.input_size = levels[0].input_size // 2
        self.output_size = levels[-1].output_size
        below = self.input_size
        for number, level in enumerate(levels):
            if level.input_size != 2 * below:
                raise ConfigError(f"level {number} reads {level.input_size} features, a pair of steps has 2 * {below}")
            below = level.output_size
        self.levels = nn.ModuleList(levels)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        if x.ndim != 3 or x.shape[-1] != self.input_size:
            raise UsageError(f"expected inputs (batch, time, {self.input_size}), got {tuple(x.shape)}")
        checked = check_lengths(lengths, x)
        x = zero_padding(x, checked)
        for level in self.levels:
            x = _pairs(x)
            checked = None if checked is None else (checked + 1) // 2
            lengths = None if lengths is None else (lengths + 1) // 2
            x, _ = level(x, None, checked)
        return x, lengths


def _pairs(x: Tensor) -> Tensor:
    """(batch, time, D) -> (batch, ceil(time / 2), 2 D)."""
    batch, time, size = x.shape
    return F.pad(x, (0, 0, 0, time % 2)).reshape(batch, (time + 1) // 2, 2 * size)
