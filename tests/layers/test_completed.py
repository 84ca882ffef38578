from functools import partial
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from elman.cells import CELLS, GRU
from elman.errors import ConfigError, UsageError
from elman.layers import PerStep, Recurrent
from elman.layers.completed import PARTS, Completed, completed_width, joined_width
from elman.testing import check_layer

Parts = tuple[str, ...]
F = 2
X, MASK, GAP = [10.0, 20.0], [0.0, 1.0], [5.0]
PART = {"x": X, "mask": MASK, "gap": GAP}

READ: dict[tuple[Parts, Parts], list[float]] = {
    (("x",), ("x", "mask")): [*X, 1, 1],
    (("x",), ("x", "gap")): [*X, 1],
    (("x",), ("x", "mask", "gap")): [*X, 1, 1, 1],
    (("x", "mask"), ("x",)): [*X, *MASK],
    (("x", "mask"), ("x", "gap")): [*X, *MASK, 1],
    (("x", "mask"), ("x", "mask", "gap")): [*X, *MASK, 1],
    (("x", "gap"), ("x",)): [*X, *GAP],
    (("x", "gap"), ("x", "mask")): [*X, *GAP, 1, 1, 1],
    (("x", "gap"), ("x", "mask", "gap")): [*X, 1, 1, *GAP],
    (("x", "mask", "gap"), ("x",)): [*X, *MASK, *GAP],
    (("x", "mask", "gap"), ("x", "mask")): [*X, *GAP, *MASK, 1],
    (("x", "mask", "gap"), ("x", "gap")): [*X, *MASK, *GAP],
}
"""What the layer reads, by what comes in and what it wants."""
READ |= {(parts, parts): [number for part in parts for number in PART[part]] for parts in PARTS}

ALL = list(product(PARTS, PARTS))


def window(reads: Parts, wants: Parts) -> Completed:
    """Its output is what the layer reads."""
    width = completed_width(joined_width(F, reads), reads, wants)
    return Completed(PerStep(nn.Identity(), width, width), joined_width(F, reads), reads=reads, wants=wants)


def step(reads: Parts) -> Tensor:
    return torch.tensor([[[number for part in reads for number in PART[part]]]])


@pytest.mark.parametrize(("reads", "wants"), ALL)
def test_what_is_lacking_is_ones_and_what_is_not_wanted_stays(reads: Parts, wants: Parts) -> None:
    y, _ = window(reads, wants)(step(reads))
    assert y.tolist() == [[READ[reads, wants]]]


def test_the_ones_do_not_reach_the_padding() -> None:
    x = torch.full((2, 3, F), torch.nan)
    x[0, :2] = 7
    y, _ = window(("x",), ("x", "mask", "gap"))(x, None, torch.tensor([2, 0]))
    assert y.tolist() == [[[7, 7, 1, 1, 1], [7, 7, 1, 1, 1], [0] * 5], [[0] * 5] * 3]


@pytest.mark.parametrize(("reads", "wants"), ALL)
def test_keeps_the_contract_of_layers(reads: Parts, wants: Parts) -> None:
    width = joined_width(F, reads)
    cell = partial(GRU, completed_width(width, reads, wants), 3)
    check_layer(lambda: Completed(Recurrent(cell()), width, reads=reads, wants=wants))


@pytest.mark.parametrize("name", ["gru", "gru_d", "cfc", "ltc"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_any_cell_stands_anywhere(name: str, direction: str) -> None:
    kind = CELLS.get(name)

    def layer() -> Completed:
        cell = kind(completed_width(3, ("x",), kind.inputs), 4)
        return Completed(Recurrent(cell, direction=direction), 3, wants=kind.inputs)  # type: ignore[arg-type]

    check_layer(layer)
    assert layer().causal == (direction == "forward")


def test_wrong_parts_and_sizes_are_refused() -> None:
    layer = Recurrent(GRU(5, 3))
    with pytest.raises(ConfigError, match=r"one of .*got \('mask', 'x'\)"):
        Completed(layer, 5, reads=("mask", "x"))
    with pytest.raises(ConfigError, match=r"one of .*got \('x', 'time'\)"):
        Completed(layer, 5, wants=("x", "time"))
    with pytest.raises(ConfigError, match="`input_size` 4 cannot be divided"):
        Completed(layer, 4, reads=("x", "mask", "gap"))
    with pytest.raises(ConfigError, match="`input_size` 1 cannot be divided"):
        Completed(layer, 1, reads=("x", "gap"))
    with pytest.raises(ConfigError, match="`input_size` 7, the width of x, mask, gap made from 3 of x; got 5"):
        Completed(layer, 3)
    with pytest.raises(UsageError, match=r"\(batch, time, 2\) of x, got \(1, 1, 3\)"):
        Completed(layer, 2)(torch.zeros(1, 1, 3))
