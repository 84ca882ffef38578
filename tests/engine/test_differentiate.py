"""Gradients of programs: against torch autograd of the same formulas, and against central differences."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from elman.engine import differentiate as module
from elman.engine.check import check
from elman.engine.differentiate import differentiate
from elman.engine.program import POINTWISE, Backward, Operand, Operation, Program
from elman.engine.simplify import simplify
from tests.engine.programs import PROGRAMS, Writer, environment, next_states, numbers, programs, run_backward

STEPS, BATCH = 3, 2


def loss(program: Program, inputs: Any, states: Any, weights: Any, slopes: Any, last: Any) -> tuple[Tensor, Any]:
    """A weighted sum of all outputs and of the last states; also all values of each step."""
    known = []
    total = torch.zeros((), dtype=torch.float64)
    for step, given_now in enumerate(inputs):
        known.append(environment(program, {**given_now, **states}, weights))
        for name, at in program.outputs.items():
            total = total + (known[-1][at.value][:, at.start : at.start + at.size] * slopes[step][name]).sum()
        states = next_states(program, known[-1])
    return total + sum((states[name] * last[name]).sum() for name in states), known


def agree(found: Tensor | None, expected: Tensor | None, what: str) -> None:
    if expected is None:
        assert found is None or not found.any(), what
    else:
        found = torch.zeros_like(expected) if found is None else found
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * (1 + float(expected.abs().max())), msg=what)


def check_gradients(program: Program, inputs: Any = (), states: Any = (), weights: Any = (), seed: int = 0) -> Backward:
    """The backward program against torch autograd, for what is wanted."""
    xs, initial, values = numbers(program, STEPS, BATCH, seed)
    generator = torch.Generator().manual_seed(seed + 1)

    def like(widths: Any) -> dict[str, Tensor]:
        return {name: torch.randn(BATCH, size, generator=generator).double() for name, size in widths.items()}

    slopes = [like({name: at.size for name, at in program.outputs.items()}) for _ in range(STEPS)]
    last = like(program.states)
    leaves = [step[name] for step in xs for name in inputs]
    leaves += [initial[name] for name in states] + [values[name] for name in weights]
    for leaf in leaves:
        leaf.requires_grad_()
    total, known = loss(program, xs, initial, values, slopes, last)
    expected = iter(torch.autograd.grad(total, leaves, allow_unused=True) if leaves and total.requires_grad else ())
    backward = differentiate(program, set(inputs), set(states), set(weights))
    check(backward.program)
    with torch.no_grad():
        by_inputs, by_states, by_weights = run_backward(backward, known, values, slopes, last)
    for step in range(STEPS):
        for name in inputs:
            agree(by_inputs[step].get(f"d{name}"), next(expected, None), f"{name} at {step}")
    for name in states:
        agree(by_states.get(name), next(expected, None), name)
    for name in weights:
        agree(by_weights.get(name), next(expected, None), name)
    return backward


def check_everything(program: Program, seed: int = 0) -> Backward:
    return check_gradients(program, list(program.inputs), list(program.states), list(program.weights), seed)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("simplified", [False, True])
def test_gradients_of_written_programs(name: str, simplified: bool) -> None:
    program = PROGRAMS[name]()
    check_everything(simplify(program) if simplified else program)


@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_are_slopes(name: str) -> None:
    """Central differences, which know no rule at all, along a random direction."""
    program = PROGRAMS[name]()
    xs, initial, values = numbers(program, STEPS, BATCH)
    slopes = [{name: torch.ones(BATCH, at.size).double() for name, at in program.outputs.items()} for _ in range(STEPS)]
    last = {name: torch.ones(BATCH, size).double() for name, size in program.states.items()}
    ways = numbers(program, STEPS, BATCH, seed=5)

    def along(step: float) -> float:
        def moved(value: Any, way: Any) -> Any:
            return {name: value[name] + step * way[name] for name in value}

        shifted = [moved(x, way) for x, way in zip(xs, ways[0], strict=True)]
        return float(loss(program, shifted, moved(initial, ways[1]), moved(values, ways[2]), slopes, last)[0])

    backward = differentiate(program, set(program.inputs), set(program.states), set(program.weights))
    known = loss(program, xs, initial, values, slopes, last)[1]
    by_inputs, by_states, by_weights = run_backward(backward, known, values, slopes, last)
    slope = sum(
        (found[f"d{name}"] * way[name]).sum() for found, way in zip(by_inputs, ways[0], strict=True) for name in way
    )
    slope += sum((by_states[name] * ways[1][name]).sum() for name in by_states)
    slope += sum((by_weights[name] * ways[2][name]).sum() for name in by_weights)
    expected = (along(1e-5) - along(-1e-5)) / 2e-5
    assert abs(float(slope) - expected) < 1e-7 * (1 + abs(expected))


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs(), st.integers(0, 10_000), st.data())
def test_gradients_of_drawn_programs(program: Program, seed: int, data: st.DataObject) -> None:
    def some(names: Any) -> list[str]:
        return sorted(data.draw(st.sets(st.sampled_from(list(names)))))

    wanted = some(program.inputs), some(program.states), some(program.weights)
    check_gradients(simplify(program), *wanted, seed)
    check_everything(program, seed)


def of_kind(kind: str, at: float | None = None) -> Program:
    """One operation on columns that lie where it is smooth; or all on one number, where it may not be."""
    w = Writer({"a": 3, "b": 3, "c": 3}, {})
    operands: list[Any] = list("abc"[: POINTWISE[kind]])
    if at is not None:
        operands = [w.add("fma", 3, one, 0.0, at) for one in operands]
    elif kind in ("log", "sqrt", "rsqrt", "pow", "reciprocal"):
        operands[0] = w.add("add", 3, "a", 1.5)
    elif kind == "div":
        operands[1] = w.add("add", 3, "b", 1.5)
    return w.program({"y": w.add(kind, 3, *operands)}, {})


@pytest.mark.parametrize("kind", POINTWISE)
def test_every_pointwise_rule(kind: str) -> None:
    check_everything(of_kind(kind))


@pytest.mark.parametrize("kind", ["maximum", "minimum", "relu", "abs", "pow", "where", "mul"])
@pytest.mark.parametrize("at", [0.0, 1.0])
def test_ties_and_kinks_as_in_torch(kind: str, at: float) -> None:
    program = of_kind(kind, at)
    x = {"a": torch.rand(BATCH, 3).double(), "b": torch.rand(BATCH, 3).double(), "c": torch.rand(BATCH, 3).double()}
    read = {f"v{i + 1}": torch.full((BATCH, 3), at).double().requires_grad_() for i in range(POINTWISE[kind])}
    alone = Program(dict.fromkeys(read, 3), {}, {}, program.operations[-1:], program.outputs, {})
    known = environment(alone, read, {})
    expected = torch.autograd.grad(known[alone.outputs["y"].value].sum(), list(read.values()), allow_unused=True)
    ones = [{"y": torch.ones(BATCH, 3).double()}]
    (found,), _, _ = run_backward(differentiate(alone, set(read)), [{**x, **known}], {}, ones, {})
    for name, slope in zip(read, expected, strict=True):
        agree(found.get(f"d{name}"), slope, name)


@pytest.mark.parametrize("exponent", [-2.0, -1.0, 0.0, 0.5, 1.0, 1.7, 2.0, 3.0])
def test_powers_with_a_number(exponent: float) -> None:
    w = Writer({"x": 4}, {})
    base = w.add("add", 4, "x", 1.5)
    check_everything(w.program({"y": w.add("pow", 4, base, exponent), "z": w.add("pow", 4, 2.0, "x")}, {}))


def test_the_largest_share_the_gradient() -> None:
    w = Writer({"x": 2}, {})
    doubled = w.add("concat", 6, "x", w.at("x", 1, 1), w.at("x", 0, 1), "x")
    check_everything(w.program({"y": w.add("max", 1, doubled), "z": w.add("max", 2, doubled)}, {}))


GATHERS = {
    "turned": ((2, 3), (1, 2)),
    "repeated": ((2, 3, 2), (3, 0, 1)),
    "every other": ((3,), (2,)),
    "reversed roles": ((2, 2, 2), (1, 4, 2)),
    "windows": ((4, 3), (1, 1)),
    "windows of windows": ((2, 2, 2), (2, 1, 1)),
    "one": ((1, 1), (3, 2)),
}


@pytest.mark.parametrize("name", GATHERS)
def test_gathers(name: str) -> None:
    shape, strides = GATHERS[name]
    w = Writer({"x": 9}, {})
    size = int(torch.tensor(shape).prod())
    found = w.add("gather", size, w.at("x", 1), shape=shape, strides=strides)
    check_everything(w.program({"y": found}, {}))


def test_a_transposed_gather_is_transposed_back() -> None:
    w = Writer({"x": 6}, {})
    program = w.program({"y": w.add("gather", 6, "x", shape=(2, 3), strides=(1, 2))}, {})
    (back,) = check_everything(program).program.operations
    assert (back.shape, back.strides) == ((3, 2), (1, 3))


def test_parts_of_a_value_add_up_where_they_overlap() -> None:
    w = Writer({"x": 8}, {"hidden": 2})
    low, high = w.add("tanh", 5, w.at("x", 0, 5)), w.add("sigmoid", 4, w.at("x", 3, 4))
    scaled = w.add("mul", 5, low, w.at("x", 4, splat=True))
    program = w.program({"y": scaled, "z": high}, {"hidden": w.add("add", 2, "hidden", w.at("x", 1, 2))})
    backward = check_everything(program)
    last = next(one for one in backward.program.operations if one.kind == "concat")
    assert last.size == 8
    zero = [one for one in backward.program.operations if one.kind == "copy"]
    assert [(one.size, one.operands) for one in zero] == [(1, (0.0,))], "only the column that nobody reads is zero"


# ---- what is kept ---------------------------------------------------------------------------------------------------


def kept(name: str) -> tuple[set[str], Program]:
    program = simplify(PROGRAMS[name]())
    backward = differentiate(program, set(program.inputs), set(program.states), set(program.weights))
    by_name = {one.name: one for one in program.operations}
    return {
        by_name[at.value].kind if at.value in by_name else at.value for at in backward.saved.values()
    }, backward.program


@pytest.mark.parametrize(
    ("name", "count", "kinds"),
    [
        ("elman", 3, {"x", "hidden", "tanh"}),
        ("lstm", 8, {"x", "hidden", "cell", "sigmoid", "tanh"}),
        ("gru", 6, {"x", "hidden", "sigmoid", "tanh", "matmul"}),
    ],
)
def test_little_is_kept(name: str, count: int, kinds: set[str]) -> None:
    found, program = kept(name)
    assert found == kinds
    assert len(program.inputs) - 1 == count, program
    if name == "gru":
        assert [program.inputs[name] for name in program.inputs] == [4, 3, 4, 4, 4, 4, 4]


def test_a_state_that_is_kept_is_not_computed_again() -> None:
    """The new cell, which the output gate of a peephole sees, is the next step's old one: kept in any case."""
    program = simplify(PROGRAMS["peephole"]())
    backward = differentiate(program, wanted_weights=set(program.weights))
    new_cell = program.next_states["cell"]
    assert new_cell in backward.saved.values()


def test_only_the_columns_read_are_kept() -> None:
    w = Writer({"x": 3}, {})
    total = w.product("into", 9, "x")
    gate = w.add("mul", 3, w.at(total, 3, 3), "x")
    program = w.program({"y": gate, "all": total}, {})
    backward = check_everything(program)
    assert Operand(total, 3, 3) in backward.saved.values()


# ---- only what is wanted --------------------------------------------------------------------------------------------


def test_frozen_weights_cost_nothing() -> None:
    program = simplify(PROGRAMS["lstm"]())
    backward = check_gradients(program, weights=["bias"])
    assert not [one for one in backward.program.gradients if one.right]
    assert "into" not in backward.program.weights
    assert "x" not in {at.value for at in backward.saved.values()}


def test_nothing_wanted_gives_nothing() -> None:
    backward = differentiate(PROGRAMS["gru"]())
    assert not backward.program.operations
    assert not backward.program.inputs
    assert not backward.program.states
    assert not backward.saved


def test_only_a_readout_needs_no_loop() -> None:
    program = simplify(PROGRAMS["two_masks"]())
    backward = check_gradients(program, weights=["readout"])
    assert not backward.program.states
    assert not backward.program.operations


def test_gradient_of_a_state_that_never_changes_is_summed() -> None:
    program = simplify(PROGRAMS["two_masks"]())
    assert "mask" not in check_gradients(program, weights=["into"]).program.states
    assert "mask" in check_gradients(program, states=["mask"]).program.states


def test_names_are_stable_and_free() -> None:
    program = simplify(PROGRAMS["lstm"]())
    wanted = set(program.inputs), set(program.states), set(program.weights)
    once, again = differentiate(program, *wanted), differentiate(program, *wanted)
    assert str(once) == str(again)
    assert once == again


def test_names_that_are_taken_already() -> None:
    w = Writer({"x": 3}, {"hidden": 4}, {"fx": (4,), "g1": (4,), "fv1": (4,)})
    into = w.product("g2", 4, "x", "fx")
    hidden = w.add("tanh", 4, w.add("fma", 4, w.add("mul", 4, "hidden", "g1"), "fv1", into))
    check_everything(w.program({"y": hidden}, {"hidden": hidden}))


def test_the_backward_program_is_simple_already() -> None:
    for name in PROGRAMS:
        program = simplify(PROGRAMS[name]())
        backward = differentiate(program, set(program.inputs), set(program.states), set(program.weights)).program
        assert simplify(backward) == backward, name


# ---- the tests can fail ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mul", "fma", "tanh", "sub"])
def test_a_wrong_rule_is_noticed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: dict[str, Callable[[Any, Operand], Operand]] = {
        "mul": lambda at, g: at("mul", g, at.a),
        "fma": lambda at, g: at("mul", g, at.c),
        "tanh": lambda at, g: at("sigmoid_slope", g, at.y),
        "sub": lambda _, g: g,
    }
    rules = tuple(wrong[kind] for _ in range(POINTWISE[kind]))
    monkeypatch.setattr(module, "_SLOPES", {**module._SLOPES, kind: rules})
    with pytest.raises(AssertionError):
        check_everything(of_kind(kind))


def test_a_forgotten_transpose_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(sweep: Any, operation: Operation, gradient: Operand) -> None:
        sweep.flow(operation.operands[0], sweep.emit("matmul", 4, gradient, weight=operation.weight, transposed=True))

    w = Writer({"x": 4}, {})
    program = w.program({"y": w.product("into", 4, "x")}, {})
    check_gradients(program, inputs=["x"])
    monkeypatch.setattr(module, "_RULES", {**module._RULES, "matmul": forgetful})
    with pytest.raises(AssertionError):
        check_gradients(program, inputs=["x"])
