"""The conformance suite of wrappers: cells around cells, in both modes."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from elman.cells import GRU, LSTM, Cell, Elman
from elman.cells.masks import share_of_rows
from elman.cells.wrappers import (
    CellWrapper,
    DropConnect,
    LearnedInitialState,
    RecurrentDropout,
    Residual,
    VariationalDropout,
    Zoneout,
)
from elman.layers import Recurrent
from elman.state import select
from elman.testing.cells import (
    CellFactory,
    check_backends,
    check_documented,
    check_forward_is_a_step,
    check_gates,
    check_loop_gradients,
    check_state_is_a_value,
)
from elman.testing.compare import assert_equal, run
from elman.testing.discover import concrete_classes
from elman.testing.layers import build, check_layer, inputs

WRAPPERS: dict[str, Callable[[], CellWrapper]] = {
    "variational dropout, lstm": lambda: VariationalDropout(LSTM(3, 4), 0.4),
    "variational dropout, gru": lambda: VariationalDropout(GRU(3, 4), 0.4),
    "variational dropout, elman": lambda: VariationalDropout(Elman(3, 4), 0.4),
    "recurrent dropout, lstm": lambda: RecurrentDropout(LSTM(3, 4), 0.4),
    "recurrent dropout, gru": lambda: RecurrentDropout(GRU(3, 4), 0.4),
    "zoneout, lstm": lambda: Zoneout(LSTM(3, 4), 0.2, 0.5),
    "zoneout, gru": lambda: Zoneout(GRU(3, 4), 0.4),
    "zoneout, elman": lambda: Zoneout(Elman(3, 4), 0.4),
    "drop connect, lstm": lambda: DropConnect(LSTM(3, 4), 0.4),
    "drop connect, gru": lambda: DropConnect(GRU(3, 4), 0.4),
    "drop connect, elman": lambda: DropConnect(Elman(3, 4), 0.4),
    "residual, lstm": lambda: Residual(LSTM(4, 4)),
    "residual, gru": lambda: Residual(GRU(4, 4)),
    "residual, elman": lambda: Residual(Elman(4, 4)),
    "learned initial state, lstm": lambda: LearnedInitialState(LSTM(3, 4)),
    "learned initial state, gru": lambda: LearnedInitialState(GRU(3, 4)),
    "learned initial state, elman": lambda: LearnedInitialState(Elman(3, 4)),
    "zoneout of variational dropout": lambda: Zoneout(VariationalDropout(LSTM(3, 4), 0.4), 0.2, 0.5),
    "variational dropout of zoneout": lambda: VariationalDropout(Zoneout(GRU(3, 4), 0.2), 0.4),
    "all, one way round": lambda: Residual(
        Zoneout(DropConnect(RecurrentDropout(VariationalDropout(LearnedInitialState(LSTM(4, 4)), 0.4), 0.3), 0.2), 0.2)
    ),
    "all, the other way round": lambda: LearnedInitialState(
        VariationalDropout(RecurrentDropout(DropConnect(Zoneout(Residual(GRU(4, 4)), 0.2), 0.2), 0.3), 0.4)
    ),
}
"""Wrapped cells on which the suite runs; together they cover every wrapper of the package."""


def check_wrapper(factory: CellFactory) -> None:
    """Check a wrapper around a cell. Raises AssertionError that says what fails.

    Args:
        factory: makes a small wrapped cell with fresh random weights, the same in size at every call.
    """
    for check in WRAPPER_CHECKS:
        check(factory)
    check_layer(lambda: Recurrent(factory()))
    check_layer(lambda: Recurrent(factory(), direction="backward"))


def uncovered_wrappers(
    package: str = "elman.cells.wrappers", covered: Mapping[str, CellFactory] = WRAPPERS
) -> list[str]:
    """Names of the package's wrappers on which the suite does not run: there should be none."""
    tested = {type(inside) for factory in covered.values() for inside in _chain(factory())}
    return [found.__name__ for found in concrete_classes(package, CellWrapper) if found not in tested]


def _chain(cell: Cell) -> list[Cell]:
    return [cell, *_chain(cell.cell)] if isinstance(cell, CellWrapper) else [cell]


def check_training_gradients(factory: CellFactory) -> None:
    """In training, given what is drawn, gradients by x and the weights agree with finite differences."""
    layer = build(lambda: Recurrent(factory())).train()
    x, _, lengths = inputs(layer)

    def values(x: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(0)
        return tuple(run(layer, x, layer.initial_state(len(x)), lengths).values())

    with torch.random.fork_rng():
        torch.autograd.gradcheck(values, (x.requires_grad_(), *layer.parameters()), fast_mode=True)


def check_shares(factory: CellFactory) -> None:
    """In training, a share of the rows of a batch gives, from the same seed, what it gives in the whole."""
    layer = build(lambda: Recurrent(factory())).train()
    x, _, lengths = inputs(layer)

    def part(rows: slice) -> dict[str, Tensor]:
        torch.manual_seed(0)
        with share_of_rows(rows, len(x)):
            return run(layer, x[rows], layer.initial_state(len(x[rows])), lengths[rows])

    with torch.random.fork_rng():
        whole = part(slice(0, len(x)))
        for rows in (slice(0, 2), slice(2, 5)):
            expected = {name: select(value, rows) for name, value in whole.items()}
            assert_equal(part(rows), expected, f"rows {rows.start} to {rows.stop} as a share of the batch")


WRAPPER_CHECKS: tuple[Callable[[CellFactory], None], ...] = (
    check_documented,
    check_state_is_a_value,
    check_forward_is_a_step,
    check_gates,
    check_backends,
    check_loop_gradients,
    check_training_gradients,
    check_shares,
)
