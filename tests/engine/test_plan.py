"""Plans run in NumPy against their programs stepped in a plain loop; and what a good plan looks like."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from elman.engine.check import check
from elman.engine.differentiate import differentiate
from elman.engine.homes import Place
from elman.engine.interpret import interpret
from elman.engine.parts import Part, Space
from elman.engine.plan import INTERFACE, Kept, Plan, describe, plan_backward, plan_forward
from elman.engine.program import POINTWISE, Backward, Operand, Operation, Program, whole
from elman.engine.simplify import simplify
from tests.engine import plan_runner
from tests.engine.plan_cases import PROGRAMS, backwards, columns, gru, linear, lstm, operation, programs
from tests.engine.plan_runner import Array, Call, Results

Arrays = Mapping[str, Array]

BATCH, STEPS = 5, 7


# ---- a program in a loop, and its plan ------------------------------------------------------------------------------


@dataclass
class Case:
    """Arrays for a program: inputs (batch, steps, width), states (batch, width)."""

    inputs: Arrays
    states: Arrays
    weights: Arrays
    lengths: Array | None

    def active(self, step: int) -> Array:
        return np.full(BATCH, True) if self.lengths is None else self.lengths > step


def case(program: Program, seed: int = 0, *, ragged: bool = True) -> Case:
    random = np.random.default_rng(seed)
    return Case(
        {name: random.uniform(-1, 1, (BATCH, STEPS, width)) for name, width in program.inputs.items()},
        {name: random.uniform(-1, 1, (BATCH, width)) for name, width in program.states.items()},
        {name: random.uniform(-0.7, 0.7, shape) for name, shape in program.weights.items()},
        random.permutation([0, 2, STEPS, 4, STEPS]) if ragged else None,
    )


@dataclass
class Outcome:
    outputs: dict[str, Array]
    final: dict[str, Array]
    gradients: dict[str, Array]
    before: dict[str, Array]  # the states before each step


def stepped(program: Program, given: Case, *, reverse: bool = False) -> Outcome:
    """The program, step by step over whole batches; a sequence that has ended keeps its state."""
    check(program)
    outputs = {name: np.zeros((BATCH, STEPS, operand.size)) for name, operand in program.outputs.items()}
    before = {name: np.zeros((BATCH, STEPS, width)) for name, width in program.states.items()}
    gradients = {one.weight: np.zeros(program.weights[one.weight]) for one in program.gradients}
    states = {name: state.copy() for name, state in given.states.items()}
    for step in reversed(range(STEPS)) if reverse else range(STEPS):
        rows = given.active(step)
        inputs = {name: array[rows, step] for name, array in given.inputs.items()}
        now = {name: state[rows] for name, state in states.items()}
        results, following, added = interpret(program, inputs, now, given.weights)
        for name, array in results.items():
            outputs[name][rows, step] = array
        for name in program.states:
            before[name][rows, step] = now[name]
            if program.next_states[name] is not None:
                states[name][rows] = following[name]
        for name, array in added.items():
            gradients[name] += array
    return Outcome(outputs, states, gradients, before)


def planned(
    plan: Plan, given: Case, forward: Results | None = None, start: Arrays | None = None, **how: Any
) -> Results:
    """The plan's words in NumPy. Of a backward plan: what its forward run kept, and the states that that began with."""
    leaves, start = plan.leaves, start or {}
    call = Call(
        batch=BATCH,
        steps=STEPS,
        inputs=[given.inputs[name] for name in (*leaves.inputs, *leaves.kept_inputs)],
        initial=[given.states[name] for name in leaves.states],
        fixed=[*(given.states[name] for name in leaves.fixed), *(start[name] for name in leaves.kept_fixed)],
        vectors=[given.weights[name] for name in leaves.vectors],
        matrices=[given.weights[name] for name in leaves.matrices],
        sequences=forward.sequences if forward else None,
        sequence_initial=[start.get(kept.state) for kept in plan.sequences],
        lengths=given.lengths,
        **how,
    )
    return plan_runner.run(plan.words(np.float64).tolist(), plan.constants, call)


def assert_same(plan: Plan, found: Results, expected: Outcome) -> None:
    for name, array in zip(plan.program.outputs, found.outputs, strict=True):
        np.testing.assert_allclose(array, expected.outputs[name], rtol=1e-9, atol=1e-11, err_msg=name)
    for name, array in zip(plan.leaves.states, found.final, strict=True):
        np.testing.assert_allclose(array, expected.final[name], rtol=1e-9, atol=1e-11, err_msg=name)
    by_weight = {name: found.matrix_gradients.get(i) for i, name in enumerate(plan.leaves.matrices)}
    by_weight |= {name: found.vector_gradients.get(i) for i, name in enumerate(plan.leaves.vectors)}
    for name, gradient in expected.gradients.items():
        computed = by_weight[name]
        assert computed is not None, name
        np.testing.assert_allclose(computed, gradient, rtol=1e-9, atol=1e-10, err_msg=name)


WAYS: tuple[dict[str, int], ...] = (
    {"chunk": 3, "shards": 1, "tile": 2},
    {"chunk": 1, "shards": 3, "tile": 1},
    {"chunk": STEPS + 1, "shards": 2, "tile": 100},
)


def assert_forward(program: Program, saved: Mapping[str, Operand], given: Case, **how: int) -> tuple[Plan, Results]:
    plan = plan_forward(program, saved)
    check(plan.program)
    found = planned(plan, given, None, None, **how)
    assert_same(plan, found, stepped(program, given))
    assert_kept(plan, found, given)
    return plan, found


def assert_kept(plan: Plan, found: Results, given: Case) -> None:
    """Each sequence holds, at real steps, the value whose name it has."""
    kept = {one.value: whole(one.value, one.width) for one in plan.sequences}
    expected = stepped(replace(plan.program, outputs=kept, gradients=()), given).outputs
    for one, array in zip(plan.sequences, found.sequences, strict=True):
        array = np.where(np.isnan(array) & (expected[one.value] == 0), 0, array)
        np.testing.assert_allclose(array, expected[one.value], rtol=1e-9, atol=1e-11, err_msg=one.value)


def saved_arrays(program: Program, saved: Mapping[str, Operand], given: Case) -> dict[str, Array]:
    """What the loop has where the backward pass asks for it."""
    results = {name: operand for name, operand in saved.items() if operand.value not in program.states}
    outcome = stepped(replace(program, outputs=results, gradients=()), given)
    states = {name: operand for name, operand in saved.items() if operand.value in program.states}
    for name, at in states.items():
        outcome.outputs[name] = outcome.before[at.value][:, :, at.start : at.start + at.size]
    return outcome.outputs


def assert_backward(program: Program, backward: Backward, given: Case, seed: int, **how: int) -> Plan:
    forward, kept = assert_forward(program, backward.saved, given, **how)
    plan = plan_backward(backward, forward)
    check(plan.program)
    slopes = replace(case(backward.program, seed), lengths=given.lengths, weights=given.weights)
    own = {name: slopes.inputs[name] for name in plan.leaves.inputs}
    there = replace(slopes, inputs={**own, **saved_arrays(program, backward.saved, given)})
    again = replace(slopes, inputs={**given.inputs, **own})
    found = planned(plan, again, kept, given.states, **how)
    assert_same(plan, found, stepped(backward.program, there, reverse=True))
    return plan


@pytest.mark.parametrize("how", WAYS, ids=str)
@pytest.mark.parametrize("name", PROGRAMS)
def test_forward(name: str, how: dict[str, int]) -> None:
    for ragged in (True, False):
        assert_forward(PROGRAMS[name], {}, case(PROGRAMS[name], ragged=ragged), **how)


@pytest.mark.parametrize("how", WAYS, ids=str)
@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients(name: str, how: dict[str, int]) -> None:
    program = simplify(PROGRAMS[name])
    wanted = set(program.inputs), {state for state in program.states if "mask" not in state}, set(program.weights)
    assert_backward(program, differentiate(program, *wanted), case(program), 1, **how)


def test_weights_alone_need_no_gradient_of_the_input() -> None:
    program = lstm()
    plan = assert_backward(program, differentiate(program, set(), set(), {"U"}), case(program), 1)
    assert plan.stages[Part.AFTER] == ()
    assert [one.weight for one in plan.program.gradients] == ["U"]


# ---- random programs ------------------------------------------------------------------------------------------------


def bounded(*outcomes: Outcome) -> bool:
    arrays = [
        array for one in outcomes for group in (one.outputs, one.final, one.gradients) for array in group.values()
    ]
    return all(np.isfinite(array).all() and np.abs(array).max(initial=0) < 1e4 for array in arrays)


@settings(deadline=None, max_examples=150)
@given(programs(), st.data())
def test_random_programs(program: Program, data: st.DataObject) -> None:
    given = case(program)
    assume(bounded(stepped(program, given)))
    names = data.draw(st.lists(st.sampled_from([*program.states, *(one.name for one in program.operations), "x0"])))
    saved = {f"f{name}": whole(name, program.sizes()[name]) for name in names}
    assert_forward(program, saved, given, **data.draw(st.sampled_from(WAYS)))


@settings(deadline=None, max_examples=150)
@given(backwards(), st.sampled_from(WAYS))
def test_random_backward_programs(pair: tuple[Program, Backward], how: dict[str, int]) -> None:
    program, backward = pair
    given = case(replace(program, weights=backward.program.weights))
    there = replace(case(backward.program, 1), weights=given.weights, lengths=given.lengths)
    assume(bounded(stepped(program, given)))
    own = {"dy": there.inputs["dy"]}
    kept = saved_arrays(program, backward.saved, given)
    assume(bounded(stepped(backward.program, replace(there, inputs={**own, **kept}), reverse=True)))
    assert_backward(program, backward, given, 1, **how)


# ---- what a good plan looks like ------------------------------------------------------------------------------------


def both(program: Program, wanted: set[str] | None = None) -> tuple[Plan, Plan]:
    program = simplify(program)
    backward = differentiate(program, wanted or set(program.inputs), set(), set(program.weights))
    forward = plan_forward(program, backward.saved)
    return forward, plan_backward(backward, forward)


def shape(plan: Plan) -> list[list[str]]:
    """The stages of each part: a product, or how many instructions."""
    return [["product" if stage[0].kind == "matmul" else str(len(stage)) for stage in part] for part in plan.stages]


def copies(plan: Plan) -> list[str]:
    return [one.name for one in plan.program.operations if one.kind == "copy"]


def test_an_lstm_reads_well() -> None:
    forward, _ = both(lstm())
    found = [line.split() for line in describe(forward).splitlines()]
    expected = """
        before:
          product       z [16] = matmul x[0:3] . W' + b[0:16]           chunk 0
        step:
          product       v [16] = matmul hidden[0:4] . U' + z[0:16]      chunk 0
          instructions  i [4] = sigmoid v[0:4]                          sequence 2
                        g [4] = tanh v[8:12]                            sequence 4
                        w [4] = mul i[0:4], g[0:4]                      tile 0
                        f [4] = sigmoid v[4:8]                          sequence 3
                        c [4] = fma f[0:4], cell[0:4], w[0:4]           next 1
                        t [4] = tanh c[0:4]                             sequence 6
                        o [4] = sigmoid v[12:16]                        sequence 5
                        h [4] = mul o[0:4], t[0:4]                      next 0
        after:
        gradients:
    """
    assert found == [line.split() for line in expected.strip().splitlines()]
    assert forward.sequences[:2] == (Kept("h", 4, "hidden"), Kept("c", 4, "cell"))
    assert forward.widths == {Space.CHUNK: (16,), Space.BLOCK: (), Space.TILE: (4,)}


def test_the_gradient_of_an_lstm_is_one_product_a_step_and_one_behind() -> None:
    _, plan = both(lstm())
    assert [len(part) for part in shape(plan)] == [0, 2, 1]
    assert copies(plan) == []
    assert plan.widths[Space.CHUNK] == (16, 3)
    assert plan.widths[Space.BLOCK] == ()


def test_without_a_gradient_nothing_is_kept() -> None:
    plan = plan_forward(lstm(), {})
    assert plan.sequences == ()
    assert copies(plan) == ["h.copy"]  # the output: the state itself is forgotten after the next step


def test_stages_are_as_few_as_the_products_allow() -> None:
    forward, _ = both(gru())
    assert shape(forward) == [["product"], ["product", "2", "product", "product", "4"], []]


def test_a_linear_recurrence_has_no_product_in_its_steps() -> None:
    forward, backward = both(linear())
    assert shape(forward) == [["product", "product"], ["2"], ["product"]]
    assert shape(backward)[0] == ["product"]
    assert "product" not in shape(backward)[1]
    places = {backward.places[one.name] for part in backward.stages[Part.AFTER] for one in part}
    assert len(places) == 1  # both products of the input's gradient add up in its place


def test_a_value_that_lives_for_a_step_is_copied_for_what_runs_behind() -> None:
    program = Program(
        {"x": 2},
        {"h": 2},
        {"C": (2, 3)},
        (
            operation("n", "add", 2, whole("h", 2), whole("x", 2)),
            operation("y", "matmul", 3, whole("h", 2), weight="C"),
        ),
        {"y": whole("y", 3)},
        {"h": whole("n", 2)},
    )
    plan, _ = assert_forward(program, {}, case(program))
    assert shape(plan) == [[], ["2"], ["product"]]
    assert copies(plan) == ["h.copy"]


def test_memory_is_used_again() -> None:
    chain = [operation("v0", "tanh", 4, whole("h", 4))]
    chain += [operation(f"v{k}", "tanh", 4, whole(f"v{k - 1}", 4)) for k in range(1, 9)]
    program = Program({"x": 4}, {"h": 4}, {}, tuple(chain), {}, {"h": whole("v8", 4)})
    assert plan_forward(program, {}).widths == {Space.CHUNK: (), Space.BLOCK: (), Space.TILE: (4,)}
    products = [replace(one, kind="matmul", weight="M") for one in chain]
    program = replace(program, weights={"M": (4, 4)}, operations=tuple(products))
    assert plan_forward(program, {}).widths == {Space.CHUNK: (), Space.BLOCK: (4, 4), Space.TILE: ()}


def test_instructions_wait_until_they_are_needed() -> None:
    """A stage holds what the next product needs; the update gate of a GRU is computed where it is used."""
    forward, _ = both(gru())
    stages = {one.name: number for number, stage in enumerate(forward.stages[Part.STEP]) for one in stage}
    assert stages["r"] < stages["p"] < stages["c"]
    assert stages["u"] == stages["n"]


def test_words_name_their_type() -> None:
    plan = plan_forward(lstm(), {})
    single, double = plan.words(np.float32), plan.words(np.float64)
    assert single.dtype == np.int64
    assert (single[1], double[1]) == (0, 1)
    assert np.array_equal(np.delete(single, 1), np.delete(double, 1))


def test_numbers_are_kept_once_and_zero_has_a_sign() -> None:
    numbers = [0.5, -0.0, 0.0, 0.5]
    operations = [operation(f"v{k}", "add", 1, whole("x", 1), number) for k, number in enumerate(numbers)]
    outputs = {one.name: whole(one.name, 1) for one in operations}
    plan = plan_forward(Program({"x": 1}, {}, {}, tuple(operations), outputs, {}), {})
    assert [number.hex() for number in plan.constants] == [number.hex() for number in numbers[:3]]


# ---- hazards --------------------------------------------------------------------------------------------------------


def step(weights: Mapping[str, tuple[int, ...]], *operations: Operation) -> Program:
    """A state of four columns: the last of the operations is its next value."""
    return Program({"x": 4}, {"h": 4}, weights, operations, {}, {"h": whole(operations[-1].name, 4)})


HAZARDS = {
    "a column that stands for all is overwritten by the first result": step(
        {},
        operation("a", "tanh", 4, whole("h", 4)),
        operation("b", "add", 4, Operand("a", 0, 1, splat=True), whole("x", 4)),
        operation("c", "sin", 4, whole("b", 4)),
    ),
    "columns are overwritten by results one further left": step(
        {},
        operation("a", "tanh", 4, whole("h", 4)),
        operation("b", "neg", 3, columns("a", 1, 3)),
        operation("e", "tanh", 1, columns("x", 0, 1)),
        operation("q", "concat", 4, whole("b", 3), whole("e", 1)),
        operation("c", "sin", 4, whole("q", 4)),
    ),
    "an addend is computed over what lies beside the product": step(
        {"M": (2, 2)},
        operation("e", "tanh", 2, columns("x", 0, 2)),
        operation("a", "tanh", 4, whole("h", 4)),
        operation("g", "mul", 2, columns("a", 0, 2), whole("e", 2)),
        operation("m", "matmul", 2, whole("g", 2), columns("a", 2, 2), weight="M"),
        operation("q", "concat", 4, whole("e", 2), whole("m", 2)),
        operation("c", "sin", 4, whole("q", 4)),
    ),
    "an addend is part of something wider than the state that the product is": Program(
        {"x": 4},
        {"h": 4, "s": 2},
        {"M": (2, 2)},
        (
            operation("a", "tanh", 4, whole("h", 4)),
            operation("g", "neg", 2, columns("a", 2, 2)),
            operation("m", "matmul", 2, whole("g", 2), columns("a", 0, 2), weight="M"),
        ),
        {},
        {"h": whole("x", 4), "s": whole("m", 2)},
    ),
    "part of the next state is computed before the steps": step(
        {"M": (4, 2)},
        operation("p", "matmul", 2, whole("x", 4), weight="M"),
        operation("e", "tanh", 2, columns("h", 1, 2)),
        operation("q", "concat", 4, whole("e", 2), whole("p", 2)),
    ),
    "an addend is what is multiplied": step(
        {"M": (4, 4)},
        operation("a", "tanh", 4, whole("h", 4)),
        operation("c", "matmul", 4, whole("a", 4), whole("a", 4), weight="M"),
    ),
}


@pytest.mark.parametrize("hazard", HAZARDS)
def test_nothing_is_overwritten_that_is_needed(hazard: str) -> None:
    assert_forward(HAZARDS[hazard], {}, case(HAZARDS[hazard]))


# ---- the header, and faults -----------------------------------------------------------------------------------------

NATIVE = Path(__file__).parents[2] / "native"


def test_codes_are_those_of_the_core() -> None:
    listed = re.findall(r"X\((\w+), (\d),", (NATIVE / "operations.h").read_text())
    assert {name: int(count) for name, count in listed} == dict(POINTWISE)
    assert [name for name, _ in listed] == list(POINTWISE)
    assert len(plan_runner.OPERATIONS) == len(POINTWISE)
    header = (NATIVE / "core.h").read_text()
    names = re.findall(r"ELMAN_(\w+)", header[header.index("enum {\n  ELMAN_CONSTANT") :].split("}")[0])
    assert names == [space.name for space in Space]
    assert f"#define ELMAN_INTERFACE {INTERFACE} " in header


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("w", Place(Space.CHUNK, 0, 4)),  # over the forget gate's sum, which is still needed
        ("v", Place(Space.TILE, 0)),  # a product into a tile
        ("v", Place(Space.CHUNK, 0, 1)),  # past the last column
        ("z", Place(Space.NEXT, 0)),  # a state before the steps
        ("t", Place(Space.NEXT, 1)),  # over the new cell
        ("i", Place(Space.SEQUENCE, 3)),  # kept where another gate is kept
    ],
)
def test_the_runner_notices_a_wrong_place(name: str, place: Place) -> None:
    program = simplify(lstm())
    plan, _ = both(program)
    given = case(program)
    wrong = replace(plan, places={**plan.places, name: place})
    assert_kept(plan, planned(plan, given), given)
    with pytest.raises(AssertionError):
        assert_kept(wrong, planned(wrong, given), given)


def test_the_runner_notices_a_shifted_gather() -> None:
    program = Program(
        {"x": 4}, {}, {}, (operation("g", "gather", 4, whole("x", 4), shape=(2, 2), strides=(1, 2)),),
        {"y": whole("g", 4)}, {},
    )  # fmt: skip
    plan, _ = assert_forward(program, {}, case(program))
    other = replace(program.operations[0], strides=(2, 1))
    with pytest.raises(AssertionError):
        assert_same(plan, planned(plan, case(program)), stepped(replace(program, operations=(other,)), case(program)))


def test_every_entry_may_be_the_last_word() -> None:
    """Words cut short, or followed by more, are no plan."""
    plan = plan_forward(lstm(), {})
    words = plan.words(np.float64).tolist()
    plan_runner.Words(words, plan.constants)
    for wrong in (words[:-1], [*words, 0]):
        with pytest.raises(AssertionError):
            plan_runner.Words(wrong, plan.constants)
