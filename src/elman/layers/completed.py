"""A layer that reads masks and time gaps, where there are none."""

from collections.abc import Sequence

import torch
from torch import Tensor

from elman.errors import ConfigError, UsageError
from elman.layers.layer import SequenceLayer
from elman.state import State

PARTS = (("x",), ("x", "mask"), ("x", "gap"), ("x", "mask", "gap"))
"""What an input may hold, joined on the last axis in this order; see `elman.cells.Cell.inputs`."""


def joined_width(features: int, parts: Sequence[str]) -> int:
    """The width of ``features`` values with what else is in ``parts``: a mask for each value, one time gap.

    >>> joined_width(3, ("x", "mask", "gap"))
    7
    """
    return features * (2 if "mask" in parts else 1) + ("gap" in parts)


def completed_width(input_size: int, reads: Sequence[str], wants: Sequence[str]) -> int:
    """The ``input_size`` of the layer that `Completed` wraps: the width of ``wants``, made from ``reads``.

    >>> completed_width(3, ("x",), ("x", "mask", "gap"))
    7
    >>> completed_width(7, ("x", "mask", "gap"), ("x", "gap"))
    7
    """
    _check_parts(wants)
    widths = _widths(input_size, reads)
    return joined_width(sum(width for part, width in widths.items() if part == "x" or part not in wants), wants)


class Completed(SequenceLayer):
    """Gives a layer the masks and time gaps it wants: all observed, all 1 apart, where the input does not tell.

    A mask or a gap that comes in and is not wanted stays: it is one more feature, observed at every step.

    Args:
        layer: reads ``wants``, so its `input_size` is ``completed_width(input_size, reads, wants)``.
        input_size: the width of what comes in.
        reads: what comes in, in this order: "x", or with "mask" or "gap" or both.
        wants: what the layer reads, likewise; as a rule the `inputs` of its cell.
    Shapes: x (batch, time, input_size); y and state as the layer's. Causal if the layer is.
    Raises: ConfigError if the parts are others or the sizes do not fit; UsageError at a call if the input does not.

    >>> import elman.cells
    >>> from elman.layers import Recurrent
    >>> layer = Completed(Recurrent(elman.cells.CELLS.get("gru_d")(7, 8)), input_size=3)
    >>> layer(torch.zeros(2, 5, 3))[0].shape
    torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        layer: SequenceLayer,
        input_size: int,
        *,
        reads: Sequence[str] = ("x",),
        wants: Sequence[str] = ("x", "mask", "gap"),
    ) -> None:
        super().__init__()
        expected = completed_width(input_size, reads, wants)
        if layer.input_size != expected:
            raise ConfigError(
                f"expected a layer of `input_size` {expected}, the width of {', '.join(wants)} "
                f"made from {input_size} of {', '.join(reads)}; got {layer.input_size}"
            )
        self.layer = layer
        self.reads = tuple(reads)
        self.wants = tuple(wants)
        self.input_size = input_size
        self.output_size = layer.output_size
        self.causal = layer.causal

    def initial_state(self, batch_size: int) -> State:
        return self.layer.initial_state(batch_size)

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        if x.ndim != 3 or x.shape[-1] != self.input_size:
            raise UsageError(
                f"expected inputs (batch, time, {self.input_size}) of {', '.join(self.reads)}, got {tuple(x.shape)}"
            )
        y, state = self.layer(self.complete(x), state, lengths)
        return y, state

    def complete(self, x: Tensor) -> Tensor:
        """What the layer reads: (..., input_size) -> (..., input_size of the layer)."""
        widths = _widths(self.input_size, self.reads)
        given = dict(zip(widths, x.split_with_sizes(list(widths.values()), -1), strict=True))
        values = torch.cat([part for name, part in given.items() if name == "x" or name not in self.wants], -1)
        parts = [values]
        if "mask" in self.wants:
            mask = given.get("mask", x[..., :0])
            parts += [mask, torch.ones_like(values[..., mask.shape[-1] :])]
        if "gap" in self.wants:
            parts.append(given["gap"] if "gap" in given else torch.ones_like(x[..., :1]))
        return torch.cat(parts, -1)  # the ones reach into the padding, which a layer never reads


def _widths(input_size: int, reads: Sequence[str]) -> dict[str, int]:
    """The width of every part of an input."""
    _check_parts(reads)
    features, rest = divmod(input_size - ("gap" in reads), 2 if "mask" in reads else 1)
    if features < 1 or rest:
        raise ConfigError(
            f"expected an input of {', '.join(reads)}: F >= 1 values, as many masks and one gap where there are; "
            f"`input_size` {input_size} cannot be divided so"
        )
    return {part: 1 if part == "gap" else features for part in reads}


def _check_parts(parts: Sequence[str]) -> None:
    if tuple(parts) not in PARTS:
        raise ConfigError(f"expected parts that are one of {', '.join(map(str, PARTS))}, got {tuple(parts)}")
