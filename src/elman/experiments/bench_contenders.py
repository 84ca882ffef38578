"""Who runs in a round: cells on their backends, and the rivals that compute the same."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from elman.cells.cell import CELLS, Cell
from elman.experiments.bench_rivals import has_jax, scan_call, torch_call, torch_module
from elman.experiments.bench_timing import Call, Shape, training_call
from elman.layers.backends import backend, possible_backends
from elman.layers.completed import Completed, joined_width
from elman.layers.layer import SequenceLayer
from elman.layers.recurrent import Recurrent
from elman.layers.stack import Stack

RIVALS = {"lstm": ("lstm", "nn.LSTM"), "gru": ("gru", "nn.GRU"), "rnn": ("elman", "nn.RNN")}
"""By the first word of the kind of `elman.cells.VendorWeights`: the cell that it is, and torch's name of it."""

Kinds = Mapping[str, type[Cell]]


class Contender(NamedTuple):
    """One call to time. gflop: of its matrix products; yardstick: the name of the contender it is compared with."""

    cell: str
    backend: str
    call: Call
    gflop: float
    yardstick: str

    @property
    def name(self) -> str:
        return f"{self.cell} on {self.backend}"


def contenders(kinds: Kinds, backends: Sequence[str], shape: Shape, notes: dict[str, None]) -> Iterator[Contender]:
    """The cells, on those of the backends that they have, and then their rivals, each once.

    Args:
        kinds: the cells by name.
        backends: none named: all that a cell has.
        notes: gets a sentence for each cell that is left out.
    """
    yardsticks = dict[str, None]()
    for name, kind in kinds.items():
        layer = build_layer(kind, shape, kind.inputs)
        cell = innermost_cell(layer)
        has = possible_backends(cell)
        chosen = [one for one in backends if one in ("auto", *has)] if backends else has
        if not chosen:
            notes[f"{name} is left out: it runs on {', '.join(has)}, not on {', '.join(backends)}"] = None
            continue
        vendor = cell.vendor()
        yardstick = "lstm" if vendor is None else vendor.kind.split("_")[0]
        yardsticks[yardstick] = None
        work = gigaflop(kind, shape)
        x, slope = sample_input(shape, kind.inputs), torch.randn(shape.batch, shape.time, layer.output_size)
        for one in chosen:
            call = training_call(layer, partial(forward, layer, x, one), slope)
            yield Contender(name, one, call, work, "{} on {}".format(*RIVALS[yardstick]))
    for kind_name in yardsticks:
        yield from _rivals(kind_name, shape)


def _rivals(kind: str, shape: Shape) -> Iterator[Contender]:
    cell, name = RIVALS[kind]
    module, work = torch_module(kind, shape), gigaflop(CELLS.get(cell), shape)
    x, slope = torch.randn(shape.batch, shape.time, shape.inputs), torch.randn(shape.batch, shape.time, shape.hidden)
    yardstick = f"{cell} on {name}"
    yield Contender(cell, name, torch_call(module, x, slope), work, yardstick)
    if has_jax():
        yield Contender(cell, "lax.scan", scan_call(module, x, slope), work, yardstick)


def build_layer(make: Callable[[int, int], Cell], shape: Shape, reads: Sequence[str] = ("x",)) -> Stack:
    """Cells on top of each other, each read by the next.

    Args:
        make: a cell of (input_size, hidden_size).
        reads: the cell's `inputs`. Masks and gaps come to the shape's inputs; layers above see all observed, 1 apart.
    """
    layers: list[SequenceLayer] = [Recurrent(make(joined_width(shape.inputs, reads), shape.hidden))]
    for _ in range(shape.layers - 1):
        size = layers[-1].output_size
        layer = Recurrent(make(joined_width(size, reads), shape.hidden))
        layers.append(layer if reads == ("x",) else Completed(layer, size, wants=reads))
    return Stack(layers)


def innermost_cell(layer: Stack) -> Cell:
    first = layer.layers[0]
    assert isinstance(first, Recurrent)
    return first.cell


def sample_input(shape: Shape, reads: Sequence[str] = ("x",)) -> Tensor:
    """Random features; masks are 0 or 1, gaps above 0."""
    size = (shape.batch, shape.time)
    parts = {
        "x": torch.randn(*size, shape.inputs),
        "mask": torch.randint(2, (*size, shape.inputs)).float(),
        "gap": torch.rand(*size, 1) + 0.5,
    }
    return torch.cat([parts[part] for part in reads], -1)


def forward(layer: Stack, x: Tensor, on: str, lengths: Tensor | None = None) -> Tensor:
    """The layer's output on a backend."""
    with backend(on):
        y: Tensor = layer(x, lengths=lengths)[0]
    return y


def gigaflop(kind: type[Cell], shape: Shape) -> float:
    """10^9 multiplications and additions of the matrix products of one call, forward and backward.

    Counted by torch as the loop runs; what one step more takes is what every step takes.
    """
    rows, few = 2, (2, 3)
    layer = build_layer(kind, shape, kind.inputs)
    counts: list[int] = []
    for time in few:
        with FlopCounterMode(display=False) as counter:
            y = forward(layer, sample_input(shape._replace(batch=rows, time=time), kind.inputs), "loop")
            torch.autograd.backward([y.sum()])
        counts.append(counter.get_total_flops())
    return (counts[1] - counts[0]) / rows * shape.batch * shape.time / 1e9
