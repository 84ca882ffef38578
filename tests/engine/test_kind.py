"""What a step depends on is seen: a cell that has changed is compiled anew, or runs by the loop; never by an old program."""

import copy
import functools
import gc
import threading
import types
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import elman
from elman.cells import LSTM
from elman.cells.cell import Cell
from elman.engine.kind import kind_of
from elman.layers import Recurrent, backend
from tests.engine.agreement import needs_native

pytestmark = [needs_native, pytest.mark.filterwarnings("ignore::elman.errors.SlowWarning")]

FACTOR = 1.0


class Scaled(Cell[Tensor]):
    """An Elman network whose output is multiplied by what `factor` gives."""

    factor_of_all = 1.0

    def __init__(self, factor: Callable[[Any], Any], held: Any = None) -> None:
        super().__init__(3, 4)
        self.linear = nn.Linear(7, 4, dtype=torch.float64)
        self.factor = factor
        self.held = held

    def initial_state(self, batch_size: int) -> Tensor:
        return self.linear.weight.new_zeros(batch_size, 4)

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = self.linear(torch.cat([z_t, state], -1)).tanh()
        return state * self.factor(self) * FACTOR, state


@dataclass
class Options:
    factor: float = 1.0
    names: list[str] = field(default_factory=list)


class Plain:
    __slots__ = ("factor",)

    def __init__(self) -> None:
        self.factor = 1.0


def set_item(held: Any) -> None:
    held[0] = 3.0


def set_attribute(held: Any) -> None:
    held.factor = 3.0


HELD: dict[str, tuple[Any, Callable[[Any], Any], Callable[[Any], None]]] = {
    "data class": (Options(), lambda cell: cell.held.factor, set_attribute),
    "slots": (Plain(), lambda cell: cell.held.factor, set_attribute),
    "name space": (types.SimpleNamespace(factor=1.0), lambda cell: cell.held.factor, set_attribute),
    "array": (np.ones(4), lambda cell: torch.from_numpy(cell.held), set_item),
    "list": ([1.0], lambda cell: cell.held[0], set_item),
    "queue": (deque([1.0]), lambda cell: cell.held[0], set_item),
    "dictionary": ({0: 1.0}, lambda cell: cell.held[0], set_item),
    "list in a tuple": (([1.0],), lambda cell: cell.held[0][0], lambda held: set_item(held[0])),
    "list bound in a partial": (
        functools.partial(lambda held: held[0], [1.0]),
        lambda cell: cell.held(),
        lambda held: set_item(held.args[0]),
    ),
}


def agrees(layer: Recurrent) -> None:
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    with backend("loop"):
        expected = layer(x)[0]
    torch.testing.assert_close(layer(x)[0], expected)


def is_native(layer: Recurrent) -> bool:
    return layer.choice(torch.zeros(2, 4, 3, dtype=torch.float64), layer.initial_state(2)).name == "native"


@pytest.mark.parametrize("name", HELD)
def test_what_an_attribute_holds_has_changed(name: str) -> None:
    held, factor, change = HELD[name]
    layer = Recurrent(Scaled(factor, held))
    agrees(layer)
    assert is_native(layer)
    change(held)
    agrees(layer)


def test_what_a_function_is_closed_over_has_changed() -> None:
    held = [1.0]
    layer = Recurrent(Scaled(lambda _: held[0]))
    agrees(layer)
    held[0] = 3.0
    agrees(layer)


def test_a_class_or_a_global_variable_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Recurrent(Scaled(lambda cell: cell.factor_of_all))
    agrees(layer)
    monkeypatch.setattr(Scaled, "factor_of_all", 3.0)
    agrees(layer)
    monkeypatch.setattr("tests.engine.test_kind.FACTOR", 5.0)
    agrees(layer)


def test_a_method_was_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Recurrent(Scaled(lambda _: 1.0))
    agrees(layer)
    before = Scaled.step
    monkeypatch.setattr(Scaled, "step", lambda cell, z_t, state: tuple(2 * part for part in before(cell, z_t, state)))
    agrees(layer)


def test_a_hook_came_and_went() -> None:
    cell = Scaled(lambda _: 1.0)
    layer = Recurrent(cell)
    agrees(layer)
    hook = cell.linear.register_forward_hook(lambda _module, _inputs, output: 2 * output)
    agrees(layer)
    assert not is_native(layer)
    hook.remove()
    assert is_native(layer)


def test_numbers_that_are_equal_but_not_the_same() -> None:
    cell = Scaled(lambda cell: 1 / torch.full((4,), cell.held, dtype=torch.float64), 0.0)
    layer = Recurrent(cell)
    agrees(layer)
    cell.held = -0.0
    agrees(layer)


def test_a_weight_is_stored_in_another_order() -> None:
    layer = Recurrent(
        Scaled(lambda cell: cell.linear.weight.reshape(-1)[:4] @ cell.linear.weight.view(7, 4).t()[:, :4])
    )
    agrees(layer)
    cell = Scaled(lambda cell: cell.linear.weight.reshape(-1)[:4])
    layer = Recurrent(cell)
    agrees(layer)
    cell.linear.weight = nn.Parameter(torch.randn(7, 4, dtype=torch.float64).t())
    agrees(layer)


class Doubling(Tensor):
    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]
        return 2 * result if func is nn.functional.linear else result


def test_a_weight_of_a_class_of_its_own() -> None:
    cell = Scaled(lambda _: 1.0)
    layer = Recurrent(cell)
    agrees(layer)
    cell.linear.weight = nn.Parameter(cell.linear.weight.detach().as_subclass(Doubling))
    agrees(layer)
    assert not is_native(layer)


def counts(cell: Scaled) -> float:
    cell.held = (cell.held or 0) + 1
    return float(cell.held)


def rebinds(cell: Scaled) -> Any:
    cell.held = torch.ones(4, dtype=torch.float64) if cell.held is None else cell.held + 1
    return cell.held


def keeps(cell: Scaled) -> float:
    cell.held = [*(cell.held or []), "step"]
    return float(len(cell.held))


@pytest.mark.parametrize("factor", [counts, rebinds, keeps])
@pytest.mark.parametrize("again", [False, True])
def test_a_step_that_changes_its_cell_runs_by_the_loop(factor: Callable[[Scaled], Any], again: bool) -> None:
    layer = Recurrent(Scaled(factor))
    if again:
        layer(torch.zeros(2, 4, 3, dtype=torch.float64))
    other, x = copy.deepcopy(layer), torch.randn(2, 4, 3, dtype=torch.float64)
    with backend("loop"):
        expected = layer(x)[0]
    torch.testing.assert_close(other(x)[0], expected)
    assert "changes what its cell holds" in other.choice(x).reason


def test_a_trace_leaves_nothing_behind_in_lists() -> None:
    held: list[Tensor] = []
    layer = Recurrent(Scaled(lambda cell: cell.held.append(cell.linear.bias * 2) or 1.0, held))
    assert not is_native(layer)
    assert held == []


def test_a_step_changes_an_object_that_it_holds() -> None:
    def factor(cell: Scaled) -> float:
        cell.held.factor += 1.0
        return float(cell.held.factor)

    layer = Recurrent(Scaled(factor, Options()))
    assert not is_native(layer)


def test_cells_alike_are_of_one_kind() -> None:
    def kind(cell: Cell) -> Any:
        return kind_of(cell, cell.initial_state(2))

    assert kind(LSTM(3, 4)) == kind(LSTM(3, 4))
    assert hash(kind(LSTM(3, 4))) == hash(kind(LSTM(3, 4)))
    assert kind(LSTM(3, 4)) != kind(LSTM(3, 5))
    scaled = Scaled(lambda cell: cell.held[0], [1.0])
    assert kind(scaled) == kind(copy.deepcopy(scaled))
    scaled.held.append(scaled.held)  # what holds itself has a kind, too
    assert kind(scaled) == kind(scaled)


@pytest.mark.parametrize("factor", [lambda _: 1.0, lambda cell: float(cell.linear.bias.sum() > 0)])
def test_neither_programs_nor_reasons_keep_cells_alive(factor: Callable[[Scaled], float]) -> None:
    cell = Scaled(factor)
    cell.held = cell.initial_state  # a bound method
    Recurrent(cell)(torch.zeros(2, 4, 3, dtype=torch.float64))
    alive = weakref.ref(cell)
    del cell
    gc.collect()
    assert alive() is None


def test_several_threads_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elman.engine.compile.KEPT", 1)  # what one compiles, another throws out
    wrong: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for width in (4, 5):
                layer = Recurrent(elman.cells.GRU(3, width + seed).double())
                with backend("native"):
                    y = layer(torch.ones(2, 3, 3, dtype=torch.float64))[0]
                with backend("loop"):
                    torch.testing.assert_close(y, layer(torch.ones(2, 3, 3, dtype=torch.float64))[0])
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
