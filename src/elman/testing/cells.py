"""The conformance suite of cells: one that passes trains, streams and is exported like those of the package."""

import inspect
from collections.abc import Callable
from functools import partial

import torch

from elman.cells.cell import CELLS, Cell
from elman.cells.scan import loop
from elman.cells.wrappers import CellWrapper
from elman.errors import ConfigError
from elman.layers import Recurrent, backend
from elman.layers.backends import possible_backends
from elman.state import leaves
from elman.testing.compare import assert_equal, run_with_gradients
from elman.testing.discover import concrete_classes
from elman.testing.layers import (
    build,
    check_arguments_unchanged,
    check_deterministic,
    check_gradients,
    check_layer,
    check_sizes,
    check_state_follows_weights,
    inputs,
)

CellFactory = Callable[[], Cell]

INPUT_SIZE, HIDDEN_SIZE = 3, 4


def check_cell(cell: str | type[Cell], **options: bool | int | float | str) -> None:
    """Check one cell, with these options. Raises AssertionError that says what fails.

    Args:
        cell: its registered name, or the class.
        options: the cell's own options, where they are not the defaults.
    """
    kind = CELLS.get(cell) if isinstance(cell, str) else cell
    factory = partial(kind, INPUT_SIZE, HIDDEN_SIZE, **options)
    for check in CELL_CHECKS:
        check(factory)
    check_layer(lambda: Recurrent(factory()))
    check_layer(lambda: Recurrent(factory(), direction="backward"))


def unregistered_cells(package: str = "elman.cells") -> list[str]:
    """Names of the package's cells that have no registered name, so the suite misses them: there should be none.

    Wrappers have no name; `elman.testing.wrappers` covers them.
    """
    registered = {CELLS.get(name) for name in CELLS.names()}
    cells = [found for found in concrete_classes(package, Cell) if not issubclass(found, CellWrapper)]
    return [found.__name__ for found in cells if found not in registered]


def check_documented(factory: CellFactory) -> None:
    """The docstring names the source and the shapes."""
    cell = type(factory())
    text = inspect.getdoc(cell) or ""
    for word in ("Source:", "Shapes:"):
        assert word in text, f"the docstring of {cell.__name__} has no line '{word} ...'"


def check_own_file(factory: CellFactory) -> None:
    """A cell of the package is alone in the file of its name."""
    cell = type(factory())
    if not cell.__module__.startswith("elman.cells."):
        return
    names = [name for name in CELLS.names() if CELLS.get(name) is cell]
    file = cell.__module__.removeprefix("elman.cells.")
    assert names == [file], f"{cell.__name__} is in the file of {file!r}, but registered as {names}"
    neighbours = [other for other in concrete_classes("elman.cells", Cell) if other.__module__ == cell.__module__]
    assert neighbours == [cell], f"{cell.__module__} holds more than one cell: {neighbours}"


def check_constructor(factory: CellFactory) -> None:
    """Built by (input_size, hidden_size, *, options with defaults); sizes below 1 are refused."""
    cell = type(factory())
    parameters = list(inspect.signature(cell).parameters.values())
    names = [parameter.name for parameter in parameters]
    assert names[:2] == ["input_size", "hidden_size"], f"expected (input_size, hidden_size, *, ...), got {names}"
    for option in parameters[2:]:
        assert option.kind is option.KEYWORD_ONLY, f"the option {option.name} is not keyword only"
        assert option.default is not option.empty, f"the option {option.name} has no default"
    for sizes in ((0, HIDDEN_SIZE), (INPUT_SIZE, 0)):
        try:
            cell(*sizes)
        except ConfigError:
            continue
        raise AssertionError(f"{cell.__name__} accepts the sizes {sizes}")


def check_state_is_a_value(factory: CellFactory) -> None:
    """The state is batch first, as the weights are, of fixed size, and neither changed nor kept by a call."""
    for check in (check_state_follows_weights, check_sizes, check_arguments_unchanged, check_deterministic):
        check(lambda: Recurrent(factory()))


def check_forward_is_a_step(factory: CellFactory) -> None:
    """Calling the cell on one step gives the first step of the loop: `project` mixes neither steps nor rows."""
    layer = build(lambda: Recurrent(factory()))
    x, state, _ = inputs(layer)
    expected, _ = loop(layer.cell, x, state)  # type: ignore[arg-type]
    for t in range(x.shape[1]):
        y_t, state = layer.cell(x[:, t], state)  # type: ignore[operator]
        assert_equal({"the output": y_t}, {"the output": expected[:, t]}, f"step {t} by itself against the loop")


def check_gates(factory: CellFactory) -> None:
    """`gates` gives a named tuple of tensors (batch, ...), or ()."""
    layer = build(lambda: Recurrent(factory()))
    x, state, _ = inputs(layer)
    cell: Cell = layer.cell  # type: ignore[assignment]
    gates = cell.gates(cell.project(x[:, 0]), state)
    assert gates == () or hasattr(gates, "_fields"), f"expected a named tuple or (), got {type(gates).__name__}"
    assert all(len(gate) == len(x) for gate in leaves(gates)), "the gates are not batch first"


def check_backends(factory: CellFactory) -> None:
    """Every backend the cell has gives the loop's outputs, final state and gradients, in both precisions."""
    for dtype in (torch.float32, torch.float64):
        layer = build(lambda: Recurrent(factory()), dtype)
        x, state, unequal = inputs(layer, dtype)
        for lengths in (unequal, None):
            with backend("loop"):
                expected = run_with_gradients(layer, x, state, lengths)
            for name in possible_backends(layer.cell):  # type: ignore[arg-type]  # in the mode it is in
                with backend(name):
                    actual = run_with_gradients(layer, x, state, lengths)
                lengths_in_words = "full" if lengths is None else "unequal"
                assert_equal(
                    actual, expected, f"backend {name!r} against the loop, {lengths_in_words} lengths, {dtype}"
                )


def check_loop_gradients(factory: CellFactory) -> None:
    """The loop's gradients agree with finite differences."""
    with backend("loop"):
        check_gradients(lambda: Recurrent(factory()))


CELL_CHECKS: tuple[Callable[[CellFactory], None], ...] = (
    check_documented,
    check_own_file,
    check_constructor,
    check_state_is_a_value,
    check_forward_is_a_step,
    check_gates,
    check_backends,
    check_loop_gradients,
)
