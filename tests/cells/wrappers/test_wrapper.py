"""What all wrappers share: sizes, speed outside training, and what fits around what."""

import copy

import pytest
import torch

from elman.cells import CELLS, GRU, LSTM, Cell, Elman
from elman.cells.wrappers import (
    CellWrapper,
    DropConnect,
    LearnedInitialState,
    RecurrentDropout,
    Residual,
    VariationalDropout,
    Zoneout,
)
from elman.errors import ConfigError
from elman.layers import Recurrent
from elman.layers.backends import possible_backends
from elman.state import leaves

QUIET = {
    "variational": lambda cell: VariationalDropout(cell, 0.5),
    "recurrent": lambda cell: RecurrentDropout(cell, 0.5),
    "drop connect": lambda cell: DropConnect(cell, 0.5),
    "learned": LearnedInitialState,
}


@pytest.mark.parametrize("wrap", QUIET.values(), ids=QUIET)
def test_a_trained_model_is_as_fast_as_without(wrap: type[CellWrapper]) -> None:
    cell = LSTM(3, 4)
    wrapped = wrap(cell).eval()
    assert possible_backends(wrapped) == ["loop", "torch", "native"]
    x = torch.randn(2, 5, 3)
    (y, state), (expected, last) = Recurrent(wrapped)(x), Recurrent(cell)(x)
    assert torch.equal(y, expected)
    assert len(list(leaves(wrapped.initial_state(2)))) == 2  # nothing more to carry
    assert all(torch.equal(a, b) for a, b in zip(leaves(state), leaves(last), strict=True))


def test_in_training_only_what_leaves_the_steps_alone_runs_on_torchs_kernels() -> None:
    fast = {name: "torch" in possible_backends(wrap(GRU(3, 4)).train()) for name, wrap in QUIET.items()}
    assert fast == {"variational": False, "recurrent": False, "drop connect": True, "learned": True}
    assert possible_backends(Zoneout(GRU(3, 4), 0.5).eval()) == ["loop", "native"]
    assert possible_backends(Residual(GRU(4, 4)).eval()) == ["loop", "native"]


@pytest.mark.parametrize("name", [name for name in CELLS.names() if CELLS.get(name)(3, 4).parallel])
def test_a_parallel_cell_stays_parallel(name: str) -> None:
    for wrapped in (LearnedInitialState(CELLS.get(name)(3, 4)), Residual(CELLS.get(name)(4, 4))):
        assert possible_backends(wrapped) == ["loop", "scan", "native"]


@pytest.mark.parametrize("name", CELLS.names())
def test_a_wrapper_fits_every_cell_or_says_why_not(name: str) -> None:
    wraps = (
        lambda cell: VariationalDropout(cell, 0.5),
        lambda cell: RecurrentDropout(cell, 0.5),
        lambda cell: DropConnect(cell, 0.5),
        lambda cell: Zoneout(cell, 0.5),
        LearnedInitialState,
    )
    for wrap in wraps:
        try:
            layer = Recurrent(wrap(CELLS.get(name)(3, 4)))
        except ConfigError:
            continue  # what the messages say: the tests of each wrapper
        x = torch.rand(2, 4, 3) + 0.6  # a mask among them is 1: observed
        y, _ = layer(x)
        y.sum().backward()
        if not isinstance(layer.cell, LearnedInitialState):
            assert not torch.equal(y, layer.eval()(x)[0]), f"{type(layer.cell).__name__} does nothing to {name}"


def test_sizes_and_inputs_are_those_of_the_cell_inside() -> None:
    class Timed(Elman):
        inputs = ("x", "gap")

    wrapped = Zoneout(Timed(3, 4), 0.1)
    assert (wrapped.input_size, wrapped.hidden_size, wrapped.output_size) == (3, 4, 4)
    assert wrapped.inputs == ("x", "gap")


def test_names_of_weights_are_those_of_the_cell_inside() -> None:
    for wrap in QUIET.values():
        wrapped: Cell = wrap(GRU(3, 4))
        Recurrent(wrapped)(torch.zeros(1, 2, 3))
        inside = {name.removeprefix("cell.") for name in wrapped.state_dict() if name.startswith("cell.")}
        assert inside == GRU(3, 4).state_dict().keys()


@pytest.mark.parametrize("wrap", QUIET.values(), ids=QUIET)
def test_a_copy_after_training_is_equal(wrap: type[CellWrapper]) -> None:
    layer, x = Recurrent(wrap(GRU(3, 4))), torch.randn(2, 5, 3)
    layer(x)[0].sum().backward()
    assert torch.equal(copy.deepcopy(layer).eval()(x)[0], layer.eval()(x)[0])
