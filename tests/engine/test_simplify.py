"""Simplified programs compute the same; each rule shows; simplifying again changes nothing."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elman.engine import simplify as module
from elman.engine.check import check
from elman.engine.program import Gradient, Operand, Program, whole
from elman.engine.simplify import simplify
from tests.engine.programs import PROGRAMS, Writer, columns, environment, next_states, numbers, programs


def check_simplified(program: Program, seed: int = 0) -> Program:
    """The simplified program, once it is seen to be well formed, equal in its results, and as simple as it gets."""
    simpler = simplify(program)
    check(simpler)
    (inputs,), states, weights = numbers(program, 1, 3, seed)
    before = environment(program, {**inputs, **states}, weights)
    after = environment(simpler, {**inputs, **states}, weights)
    for name, at in program.outputs.items():
        torch.testing.assert_close(columns(after, simpler.outputs[name]), columns(before, at), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(next_states(simpler, after), next_states(program, before), rtol=1e-9, atol=1e-9)
    assert simplify(simpler) == simpler
    assert (simpler.inputs, simpler.states, simpler.weights) == (program.inputs, program.states, program.weights)
    return simpler


def lines(w: Writer, *outputs: str, states: Any = None) -> list[str]:
    """What a program becomes, line by line."""
    program = w.program({f"y{i}": value for i, value in enumerate(outputs)}, states or {})
    found = check_simplified(program)
    return [line for line in str(found).splitlines() if " = " in line and line.startswith("v")]


@pytest.mark.parametrize("name", PROGRAMS)
def test_written_programs(name: str) -> None:
    check_simplified(PROGRAMS[name]())


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs(), st.integers(0, 10_000))
def test_drawn_programs(program: Program, seed: int) -> None:
    check(program)
    check_simplified(program, seed)


def test_numbers_are_folded() -> None:
    w = Writer({"x": 3}, {})
    two = w.add("add", 3, 1.0, 1.0)
    root = w.add("sqrt", 3, w.add("exp", 3, w.add("log", 3, w.add("mul", 3, two, 8.5))))
    root = w.add("maximum", 3, w.add("floor", 3, root), 0.0)
    assert lines(w, w.add("pow", 3, "x", w.add("sub", 3, root, 1.0))) == ["v9 [3] = pow x, 3"]


def test_numbers_that_python_refuses_are_left_to_run() -> None:
    w = Writer({"x": 3}, {})
    infinite = w.add("reciprocal", 3, 0.0)
    assert lines(w, w.add("minimum", 3, "x", infinite)) == ["v1 [3] = reciprocal 0", "v2 [3] = minimum x, v1"]


def test_what_changes_nothing_goes() -> None:
    w = Writer({"x": 3}, {})
    value = "x"
    for kind, number in (("add", 0.0), ("mul", 1.0), ("sub", 0.0), ("div", 1.0), ("pow", 1.0)):
        value = w.add(kind, 3, value, number)
    value = w.add("neg", 3, w.add("neg", 3, w.add("copy", 3, w.add("add", 3, 0.0, w.add("mul", 3, 1.0, value)))))
    assert lines(w, w.add("exp", 3, value)) == ["v11 [3] = exp x"]


def test_the_same_is_computed_once() -> None:
    w = Writer({"x": 3, "z": 3}, {})
    one, other = w.add("mul", 3, "x", "z"), w.add("mul", 3, "z", "x")
    assert lines(w, w.add("maximum", 3, w.add("exp", 3, one), w.add("exp", 3, other))) == [
        "v1 [3] = x * z",
        "v3 [3] = exp v1",
        "v5 [3] = maximum v3, v3",
    ]


def test_dead_operations_go_and_gradients_keep_theirs_alive() -> None:
    w = Writer({"x": 3}, {}, {"bias": (3,)})
    w.add("exp", 3, "x")
    kept = w.add("sin", 3, "x")
    program = Program(w.inputs, {}, w.weights, tuple(w.operations), {}, {}, (Gradient("bias", whole(kept, 3)),))
    assert [one.kind for one in check_simplified(program).operations] == ["sin"]


def test_products_take_what_is_added() -> None:
    w = Writer({"x": 3}, {"h": 4}, {"bias": (4,)})
    total = w.add("add", 4, w.add("add", 4, w.product("into", 4, "x"), w.product("recurrent", 4, "h")), "bias")
    assert lines(w, total, states={"h": total}) == [
        "v1 [4] = matmul x . into' + bias",
        "v4 [4] = matmul h . recurrent' + v1",
    ]


def test_a_product_without_state_does_not_wait_for_one() -> None:
    w = Writer({"x": 3}, {"h": 4})
    total = w.add("add", 4, w.product("into", 4, "x"), w.add("tanh", 4, "h"))
    assert [line.split(" = ")[1] for line in lines(w, total, states={"h": total})] == [
        "matmul x . into'",
        "tanh h",
        "v1 + v2",
    ]


def test_a_product_read_twice_stays() -> None:
    w = Writer({"x": 3}, {}, {"bias": (3,)})
    total = w.product("into", 3, "x")
    scaled = w.add("mul", 3, "x", "x")
    found = lines(w, w.add("add", 3, total, "bias"), total, w.add("add", 3, scaled, "bias"), scaled)
    assert not [line for line in found if line.endswith("' + bias") or "* x + " in line]


def test_multiply_and_add_is_one_operation() -> None:
    w = Writer({"x": 3, "z": 3}, {})
    assert lines(w, w.add("add", 3, "z", w.add("mul", 3, "x", 2.0))) == ["v2 [3] = x * 2 + z"]
    w = Writer({"x": 3, "z": 3}, {})
    assert lines(w, w.add("sub", 3, "z", w.add("neg", 3, "x"))) == ["v2 [3] = z + x"]


def test_signs_are_taken_into_sums() -> None:
    for kind, other_way, expected in (("add", False, "z - x"), ("add", True, "z - x"), ("sub", False, "z + x")):
        w = Writer({"x": 3, "z": 3}, {})
        operands = ("z", w.add("neg", 3, "x"))
        assert lines(w, w.add(kind, 3, *(operands[::-1] if other_way else operands))) == [f"v2 [3] = {expected}"]
    w = Writer({"x": 3, "z": 3}, {})
    assert lines(w, w.add("neg", 3, w.add("sub", 3, "x", "z"))) == ["v2 [3] = z - x"]


def test_sigmoid_is_recognised() -> None:
    w = Writer({"x": 3}, {})
    below = w.add("add", 3, 1.0, w.add("exp", 3, w.add("neg", 3, "x")))
    assert lines(w, w.add("div", 3, 1.0, below)) == ["v4 [3] = sigmoid x"]


def test_parts_of_joints_are_read_directly() -> None:
    w = Writer({"x": 3, "z": 4}, {})
    joint = w.add("concat", 7, "x", "z")
    outer = w.add("concat", 9, joint, w.at("x", 0, 2))
    assert lines(w, w.add("exp", 2, w.at(outer, 4, 2)), w.add("sin", 3, w.at(outer, 0, 3))) == [
        "v3 [2] = exp z[1:3]",
        "v4 [3] = sin x",
    ]


def test_joints_are_flat_and_neighbours_are_one() -> None:
    w = Writer({"x": 6, "z": 2}, {})
    joint = w.add("concat", 4, w.at("x", 0, 2), w.at("x", 2, 2))
    assert lines(w, w.add("concat", 8, joint, w.at("x", 4, 2), "z")) == ["v2 [8] = concat x, z"]
    w = Writer({"x": 6}, {})
    assert lines(w, w.add("exp", 5, w.add("concat", 5, w.at("x", 1, 2), w.at("x", 3, 3)))) == ["v2 [5] = exp x[1:6]"]


def test_gathers_of_neighbours_are_slices() -> None:
    w = Writer({"x": 12}, {})
    straight = w.add("gather", 6, w.at("x", 2), shape=(2, 1, 3), strides=(3, 2, 1))
    repeated = w.add("gather", 6, w.at("x", 7), shape=(2, 3), strides=(0, 0))
    assert lines(w, w.add("add", 6, straight, repeated)) == ["v3 [6] = x[2:8] + all x[7]"]


def test_what_is_the_same_in_all_columns_is_computed_for_one() -> None:
    w = Writer({"x": 4}, {})
    scale = w.add("exp", 4, w.at("x", 2, splat=True))
    assert [line.split(" = ")[1] for line in lines(w, w.add("mul", 4, "x", scale))] == ["exp x[2:3]", "x * all v1_[0]"]


def test_a_sum_is_negated_after_adding_up() -> None:
    w = Writer({"x": 4}, {})
    found = lines(w, w.add("sum", 2, w.add("neg", 4, "x")))
    assert [line.split(" = ")[1] for line in found] == ["sum x", "-v2_"]


def test_one_number_as_columns_stays_where_columns_are_needed() -> None:
    w = Writer({"x": 3}, {"h": 2})
    zero = w.add("copy", 2, 0.0)
    joint = w.add("concat", 5, "x", zero)
    assert lines(w, joint, states={"h": zero}) == ["v1 [2] = 0", "v2 [5] = concat x, v1"]


def test_states_may_change_places() -> None:
    w = Writer({"x": 2}, {"a": 2, "b": 2})
    program = w.program({"y": "x"}, {"a": w.add("copy", 2, "b"), "b": w.add("copy", 2, "a")})
    found = check_simplified(program)
    assert not found.operations
    assert found.next_states == {"a": Operand("b", 0, 2), "b": Operand("a", 0, 2)}


def test_a_wrong_rule_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NEUTRAL", {**module._NEUTRAL, "add": 1.0})
    w = Writer({"x": 2}, {})
    with pytest.raises(AssertionError):
        check_simplified(w.program({"y": w.add("add", 2, "x", 1.0)}, {}))


def test_wrong_columns_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(self: Any, operand: Operand) -> Operand:
        made = self.done.get(operand.value)
        return Operand(made.operands[0].value, operand.start, operand.size) if made and made.kind == "copy" else operand

    monkeypatch.setattr(module._Rewriter, "source", forgetful)
    w = Writer({"x": 4}, {})
    copied = w.add("copy", 2, w.at("x", 1, 2))
    with pytest.raises(AssertionError):
        check_simplified(w.program({"y": w.add("exp", 2, copied)}, {}))
