"""What is counted and what is built: arithmetic of the published equations, shapes of every cell."""

import pytest

from elman.cells import CELLS
from elman.errors import UsageError
from elman.experiments.bench_contenders import build_layer, forward, gigaflop, sample_input
from elman.experiments.bench_timing import Shape, interleave, matrix_calls


def products(gates: int, shape: Shape, hidden_products: int | None = None) -> float:
    """10^9 operations of a layer stack by hand: forward, by the state, by the weights; by the input above the first layer."""
    total = 0
    hidden_products = gates if hidden_products is None else hidden_products
    for layer in range(shape.layers):
        inputs = shape.inputs if layer == 0 else shape.hidden
        by_input = 3 if layer else 2
        total += gates * inputs * shape.hidden * by_input + 3 * hidden_products * shape.hidden**2
    return 2 * shape.batch * shape.time * total / 1e9


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(
    ("name", "gates", "hidden_products"),
    [("lstm", 4, 4), ("gru", 3, 3), ("elman", 1, 1), ("mgu", 2, 2), ("min_gru", 2, 0), ("highway", 2, 4)],
)
def test_operations_are_counted_as_by_hand(name: str, gates: int, hidden_products: int, layers: int) -> None:
    shape = Shape(4, 10, 3, 8, layers)
    expected = products(gates, shape, hidden_products)  # highway: two micro steps, only the first reads the input
    assert gigaflop(CELLS.get(name), shape) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", CELLS.names())
def test_every_cell_can_be_stacked_and_run(name: str) -> None:
    kind, shape = CELLS.get(name), Shape(2, 4, 4, 4, 2)
    y = forward(build_layer(kind, shape, kind.inputs), sample_input(shape, kind.inputs), "loop")
    assert y.shape[:2] == (2, 4)
    assert y.isfinite().all()


def test_calls_run_in_turns() -> None:
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = interleave(calls, least=3, most=9)
    assert "".join(order) == "ab" * (2 + 3)
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}
    order.clear()
    interleave(calls, least=3, most=9, budget=1e9)
    assert len(order) == 2 * (2 + 9)


def test_every_library_multiplies_matrices() -> None:
    calls = matrix_calls()
    assert "torch.mm" in calls
    for call in calls.values():
        call()


def test_a_shape_is_printed_as_it_is_read() -> None:
    for text in ("32x100x64x128", "32x35x200x200x2"):
        assert str(Shape.parse(text)) == text
    assert Shape.parse("1x2x3x4x1") == Shape(1, 2, 3, 4)
    for text in ("", "1x2x3", "1x2x3x4x5x6", "1x2x3x-4", "axbxcxd", "1x2x3x1.5"):
        with pytest.raises(UsageError, match="expected a shape such as"):
            Shape.parse(text)
