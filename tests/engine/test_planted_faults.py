"""The agreement check is able to fail: faults planted into programs, one at a time, are all noticed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from elman.cells import CELLS, Cell
from elman.cells.scan import loop
from elman.engine.compile import Compiled, Wanted, compile_cell
from elman.engine.kernels import run_native
from elman.engine.program import Backward, Gradient, Operand, Operation, Program
from elman.layers import Recurrent
from elman.state import leaves, unflatten
from elman.testing.layers import build
from tests.engine.agreement import Call, assert_agreement, compare, needs_native
from tests.engine.interpreted import backward, forward

LENGTHS = (6, 3, 0, 1)
NAMES = ("elman", "mgu", "lstm", "gru", "layer_norm_lstm", "highway", "gru_d")


class Programs(NamedTuple):
    """A cell's programs, and the lengths they are run with: what a fault changes."""

    forward: Program
    backward: Backward
    lengths: tuple[int, ...]


def layer_of(name: str) -> Recurrent:
    layer = build(lambda: Recurrent(CELLS.get(name)(3, 4)))
    assert isinstance(layer, Recurrent)
    return layer


def compiled(cell: Cell) -> Compiled:
    with torch.random.fork_rng([]):
        return compile_cell(cell, cell.initial_state(1))


def programs(cell: Cell) -> Programs:
    """With the gradients by everything."""
    one = compiled(cell)
    program = one.program
    wanted = Wanted(frozenset(program.inputs), frozenset(program.states), frozenset(program.weights))
    return Programs(program, one.backward(wanted), LENGTHS)


# --- The check, by interpretation -------------------------------------------------------------------------------------


def given(cell: Cell) -> tuple[Tensor, list[Tensor], Tensor, list[Tensor]]:
    """An input, the leaves of a state, and the gradients by the output and by the leaves."""
    generator = torch.Generator().manual_seed(1)
    normal = partial(torch.randn, generator=generator, dtype=torch.float64)
    state = [0.5 * normal(leaf.shape) for leaf in leaves(cell.initial_state(4))]
    return normal(4, 6, cell.input_size), state, normal(4, 6, cell.output_size), [normal(one.shape) for one in state]


def by_the_loop(cell: Cell) -> dict[str, Tensor]:
    """Values and gradients, by the plain loop and autograd."""
    x, state, dy, after = given(cell)
    one = compiled(cell)
    x.requires_grad_()
    weights = one.traced.weights(cell)
    state = [leaf.requires_grad_() for leaf in state]
    y, last = loop_of(cell, x, state)
    loss = (y * dy).sum() + sum((a * b).sum() for a, b in zip(last, after, strict=True))
    found = torch.autograd.grad(loss, [x, *state, *weights], materialize_grads=True)
    program = one.program
    named = [*program.inputs, *program.states, *program.weights]
    gradients = {f"the gradient by {name}": value for name, value in zip(named, found, strict=True)}
    finals = {f"final {name}": leaf.detach() for name, leaf in zip(program.states, last, strict=True)}
    return {"the output": y.detach()} | finals | gradients


def loop_of(cell: Cell, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    y, last = loop(cell, x, unflatten(cell.initial_state(4), iter(state)), torch.tensor(LENGTHS))
    return y, list(leaves(last))


def by_programs(cell: Cell, run: Programs) -> dict[str, Tensor]:
    """The same, by interpreting the programs."""
    x, state, dy, after = given(cell)
    one = compiled(cell)
    names = list(one.program.states)
    weights = dict(zip(one.program.weights, (w.detach().numpy() for w in one.traced.weights(cell)), strict=True))
    lengths = np.array(run.lengths)
    (source,), ((output, _),) = one.program.inputs, one.program.outputs.items()
    before = {name: leaf.numpy() for name, leaf in zip(names, state, strict=True)}
    done = forward(run.forward, {source: x.numpy()}, before, weights, lengths, run.backward.saved)
    ends = {name: leaf.numpy() for name, leaf in zip(names, after, strict=True)}
    by_input, by_state, by_weight = backward(
        run.backward, done.kept, {f"d{output}": dy.numpy()}, ends, weights, lengths
    )
    gradients = {source: by_input[f"d{source}"], **{name: by_state[name] for name in names}}
    gradients |= {name: by_weight.get(name, np.zeros_like(value)) for name, value in weights.items()}
    found = {"the output": done.outputs[output], **{f"final {name}": done.last[name] for name in names}}
    found |= {f"the gradient by {name}": value for name, value in gradients.items()}
    return {name: torch.from_numpy(np.array(value)) for name, value in found.items()}


# --- Faults: each gives the programs with one thing wrong ---------------------------------------------------------------


def _with_operation(program: Program, old: Operation, new: Operation) -> Program:
    return replace(program, operations=tuple(new if one is old else one for one in program.operations))


def swapped_gate_slices(run: Programs) -> Iterator[Programs]:
    """Two operations that read other columns of one value each read the other's."""
    readers = [
        (operation, place, operand)
        for operation in run.forward.operations
        for place, operand in enumerate(operation.operands)
        if isinstance(operand, Operand) and operand.size > 1
    ]
    for first, i, mine in readers:
        for second, j, other in readers:
            if mine.value == other.value and mine.size == other.size and mine.start < other.start and first != second:
                swapped = _with_operand(run.forward, first, i, other)
                yield run._replace(forward=_with_operand(swapped, second, j, mine))


def _with_operand(program: Program, operation: Operation, place: int, operand: Operand) -> Program:
    operands = (*operation.operands[:place], operand, *operation.operands[place + 1 :])
    return _with_operation(program, operation, replace(operation, operands=operands))


def transposed_weight_gradients(run: Programs) -> Iterator[Programs]:
    """The gradient of a square matrix, with rows for columns."""
    for one in run.backward.program.gradients:
        if one.right is not None and one.left.size == one.right.size:
            yield _with_gradient(run, one, replace(one, left=one.right, right=one.left))


def missing_weight_gradients(run: Programs) -> Iterator[Programs]:
    for one in run.backward.program.gradients:
        yield _with_gradient(run, one)


def _with_gradient(run: Programs, old: Gradient, *new: Gradient) -> Programs:
    kept = tuple(one for one in run.backward.program.gradients if one is not old)
    return run._replace(backward=replace(run.backward, program=replace(run.backward.program, gradients=(*kept, *new))))


def rows_off_by_one(run: Programs) -> Iterator[Programs]:
    """A row that runs a step too long, or stops a step too early."""
    for row, length in enumerate(run.lengths):
        for wrong in (length - 1, length + 1):
            if 0 <= wrong <= max(run.lengths):
                yield run._replace(lengths=(*run.lengths[:row], wrong, *run.lengths[row + 1 :]))


def states_not_carried(run: Programs) -> Iterator[Programs]:
    for name, after in run.forward.next_states.items():
        if after is not None:
            yield run._replace(forward=replace(run.forward, next_states={**run.forward.next_states, name: None}))
    program = run.backward.program
    for name in program.next_states:
        stopped = replace(program, next_states={**program.next_states, name: None})
        yield run._replace(backward=replace(run.backward, program=stopped))


def swapped_operands(run: Programs) -> Iterator[Programs]:
    """A difference, a quotient or a slope the other way round, in either program."""
    for old in run.forward.operations:
        if old.kind in ("sub", "div"):
            new = replace(old, operands=old.operands[::-1])
            yield run._replace(forward=_with_operation(run.forward, old, new))
    program = run.backward.program
    for old in program.operations:
        if old.kind in ("sub", "div", "tanh_slope", "sigmoid_slope"):
            new = replace(old, operands=old.operands[::-1])
            yield run._replace(backward=replace(run.backward, program=_with_operation(program, old, new)))


def numbers_off_by_one_percent(run: Programs) -> Iterator[Programs]:
    for old in run.forward.operations:
        for place, operand in enumerate(old.operands):
            is_small = isinstance(operand, float) and abs(operand) < 1e-3  # the epsilon of a norm, or nothing
            if isinstance(operand, float) and not is_small and old.kind in ("add", "sub", "mul", "div", "fma"):
                operands = (*old.operands[:place], 1.01 * operand, *old.operands[place + 1 :])
                yield run._replace(forward=_with_operation(run.forward, old, replace(old, operands=operands)))


FAULTS: tuple[Callable[[Programs], Iterator[Programs]], ...] = (
    swapped_gate_slices, transposed_weight_gradients, missing_weight_gradients, rows_off_by_one, states_not_carried,
    swapped_operands, numbers_off_by_one_percent,
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_programs_without_fault_agree(name: str) -> None:
    cell = layer_of(name).cell
    compare(by_programs(cell, programs(cell)), by_the_loop(cell))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_faults_are_noticed(name: str, fault: Callable[[Programs], Iterator[Programs]]) -> None:
    cell = layer_of(name).cell
    expected = by_the_loop(cell)
    for wrong in fault(programs(cell)):
        with pytest.raises(AssertionError, match=r"differs by|shape"):
            compare(by_programs(cell, wrong), expected)


def test_every_fault_is_planted_somewhere() -> None:
    counts = {fault: sum(len(list(fault(programs(layer_of(name).cell)))) for name in NAMES) for fault in FAULTS}
    assert all(count >= 2 for count in counts.values()), counts


# --- The check, on the native path -------------------------------------------------------------------------------------


@contextmanager
def planted(cell: Cell, program: Program) -> Iterator[None]:
    """Meanwhile the engine has this program for the cell."""
    one = compiled(cell)
    good, plans = one.program, dict(one._plans)
    one.program = program
    one._plans.clear()
    try:
        yield
    finally:
        one.program = good
        one._plans.clear()
        one._plans.update(plans)


NATIVE_FAULTS = (swapped_gate_slices, states_not_carried, numbers_off_by_one_percent)


@needs_native
@pytest.mark.parametrize("fault", NATIVE_FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_faults_are_noticed_natively(name: str, fault: Callable[[Programs], Iterator[Programs]]) -> None:
    layer = layer_of(name)
    call = Call(batch=4, time=6, lengths=LENGTHS)
    good = programs(layer.cell)
    for wrong in fault(good):
        if wrong.forward is not good.forward:
            with planted(layer.cell, wrong.forward), pytest.raises(AssertionError, match="differs by"):
                assert_agreement(layer, call)
    assert_agreement(layer, call)


@needs_native
def test_rows_off_by_one_are_noticed_natively() -> None:
    cell: Any = layer_of("layer_norm_lstm").cell
    x, state = torch.randn(4, 6, 3, dtype=torch.float64), cell.initial_state(4)

    def run(lengths: tuple[int, ...]) -> dict[str, Tensor]:
        y, last = run_native(cell, x, state, torch.tensor(lengths))
        return {"the output": y, **{f"leaf {index}": leaf for index, leaf in enumerate(leaves(last))}}

    for wrong in rows_off_by_one(programs(cell)):
        with pytest.raises(AssertionError, match="differs by"):
            compare(run(wrong.lengths), run(LENGTHS))
