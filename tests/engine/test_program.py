"""Programs as text and as JSON, and what is refused as not well formed."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from elman.engine.check import check
from elman.engine.differentiate import differentiate
from elman.engine.program import Gradient, Operand, Operation, Program, whole
from elman.engine.simplify import simplify
from elman.engine.text import from_json, to_json
from elman.errors import UsageError
from tests.engine.programs import PROGRAMS, Writer, programs

ELMAN = """\
inputs    x 3
states    hidden 4
weights   bias 4, into 4 x 3, recurrent 4 x 4
v1 [4] = matmul x . into' + bias
v2 [4] = matmul hidden . recurrent' + v1
v3 [4] = tanh v2
outputs   y = v3
next      hidden = v3"""

ELMAN_BACKWARD = """\
saved     fx = x[0:3], fhidden = hidden[0:4], fv3 = v3[0:4]
inputs    dy 4, fx 3, fhidden 4, fv3 4
states    hidden 4
weights   into 4 x 3, recurrent 4 x 4
g1 [4] = dy + hidden
g2 [4] = tanh_slope g1, fv3
g3 [4] = matmul g2 . recurrent
next      hidden = g3
gradient  recurrent += g2 (x) fhidden
gradient  into += g2 (x) fx"""


def test_a_program_reads_well() -> None:
    program = PROGRAMS["elman"]()
    assert str(program) == ELMAN
    backward = differentiate(program, wanted_weights={"into", "recurrent"})
    assert str(backward) == ELMAN_BACKWARD


def test_every_kind_of_line() -> None:
    w = Writer({"x": 6}, {"mask": 2})
    w.add("where", 2, w.at("x", 0, 2), w.at("x", 5, splat=True), 0.5)
    w.add("gather", 6, "x", shape=(3, 2), strides=(1, 3))
    w.add("max", 2, "x")
    assert str(w.program({}, {"mask": None})).splitlines()[2:] == [
        "v1 [2] = all x[5] where x[0:2] else 0.5",
        "v2 [6] = gather x shape 3 x 2 strides 1, 3",
        "v3 [2] = max x",
        "next      mask = mask",
    ]


# ---- JSON -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROGRAMS)
def test_json_and_back(name: str) -> None:
    program = simplify(PROGRAMS[name]())
    backward = differentiate(program, set(program.inputs), set(program.states), set(program.weights)).program
    for one in (program, backward):
        found = from_json(to_json(one))
        assert found == one
        assert (list(found.weights), str(found)) == (list(one.weights), str(one))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs())
def test_json_and_back_of_drawn_programs(program: Program) -> None:
    assert from_json(to_json(program)) == program


@pytest.mark.parametrize("number", [0.1, 1 / 3, -1e-300, float("inf"), float("-inf")])
def test_numbers_come_back_exactly(number: float) -> None:
    w = Writer({"x": 1}, {})
    program = w.program({"y": w.add("maximum", 1, "x", number)}, {})
    text = to_json(program)
    json.loads(text, parse_constant=lambda found: pytest.fail(f"{found} is no JSON"))
    assert from_json(text) == program


BROKEN = {
    "no JSON": ("{", "as JSON"),
    "deep": ("[" * 100_000, "as JSON"),
    "a list": ("[]", "expected an object"),
    "nothing": ("{}", "unknown or missing"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_program_is_refused(name: str) -> None:
    text, message = BROKEN[name]
    with pytest.raises(UsageError, match=message):
        from_json(text)


CHANGES: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "another version": (("program",), 2, "version 1, got 2"),
    "an unknown field": (("code",), "import os", "unknown or missing: code"),
    "a width that is no integer": (
        ("inputs", "x"),
        3.5,
        "'x' of 'inputs' of the program: expected an integer, got 3.5",
    ),
    "a width that is a truth": (("inputs", "x"), True, "expected an integer, got true"),
    "a width below one": (("inputs", "x"), 0, "a size between 1"),
    "an enormous width": (("inputs", "x"), 10**12, "a size between 1"),
    "an unknown kind": (("operations", 0, "kind"), "eval", "'v1' .eval.: expected one of copy, neg"),
    "an operand of two parts": (("operations", 2, "operands", 0), ["v2", 0], r"'operands' .*\[0\]: expected \[value"),
    "an operand that is a word": (("operations", 2, "operands", 0), "v2", "expected an operand or a number"),
    "an operand that is an integer": (("operations", 2, "operands", 0), 1, "a number with a decimal point"),
    "an unknown value": (("operations", 2, "operands", 0, 0), "v9", "'v9' is read but not defined"),
    "columns that are not there": (("operations", 2, "operands", 0, 1), 1, r"reads v2\[1:5\], but 'v2' has 4"),
    "a next state that is missing": (("next_states",), {}, r"expected one of each of \['hidden'\], got \[\]"),
    "a weight with three axes": (("weights", "into"), [4, 3, 1], "one or two axes, got 3"),
    "a weight that is missing": (("operations", 0, "weight"), "away", "'away' is not a weight with two axes"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_file_is_refused(name: str) -> None:
    path, value, message = CHANGES[name]
    document = json.loads(to_json(PROGRAMS["elman"]()))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(UsageError, match=message):
        from_json(json.dumps(document))


# ---- what is well formed --------------------------------------------------------------------------------------------

X = whole("x", 6)
BAD: dict[str, tuple[Operation, str]] = {
    "a name used twice": (Operation("x", "copy", 6, (X,)), "used twice"),
    "no name": (Operation("", "copy", 6, (X,)), "without a name"),
    "itself": (Operation("v", "copy", 6, (whole("v", 6),)), "not defined before"),
    "a matrix": (Operation("v", "copy", 2, (whole("W", 2),)), "'W' is read but not defined"),
    "too few operands": (Operation("v", "add", 6, (X,)), "expected 2 operands, got 1"),
    "too few columns": (Operation("v", "neg", 5, (X,)), "expected 5 columns"),
    "a wide splat": (Operation("v", "neg", 6, (replace(X, splat=True),)), "expected 1 columns"),
    "a sum of a number": (Operation("v", "sum", 1, (1.0,)), "got the number 1.0"),
    "a sum of a splat": (Operation("v", "sum", 1, (Operand("x", 0, 1, splat=True),)), "stands for all"),
    "uneven groups": (Operation("v", "max", 4, (X,)), "do not divide into 4"),
    "a matrix that does not fit": (Operation("v", "matmul", 6, (X,), "W"), r"expected a matrix \(6, 6\), got \(2, 6\)"),
    "a vector as matrix": (Operation("v", "matmul", 6, (X,), "b"), "not a weight with two axes"),
    "a narrow addend": (Operation("v", "matmul", 2, (X, X), "W", True), r"an addend of 2 columns, got \[6\]"),
    "a weight elsewhere": (Operation("v", "neg", 6, (X,), "W"), "only a matmul has a weight"),
    "a shape elsewhere": (Operation("v", "neg", 6, (X,), shape=(6,)), "only a gather has a shape"),
    "another shape": (Operation("v", "gather", 6, (X,), shape=(5,), strides=(1,)), "the shape is not the size"),
    "too few strides": (Operation("v", "gather", 6, (X,), shape=(2, 3), strides=(1,)), "expected 2 strides"),
    "a far stride": (Operation("v", "gather", 6, (X,), shape=(2, 3), strides=(1, 3)), "columns 0 to 7 of 6"),
    "a stride back": (Operation("v", "gather", 6, (X,), shape=(6,), strides=(-1,)), "columns -5 to 0 of 6"),
    "too many axes": (Operation("v", "gather", 1, (X,), shape=(1,) * 5, strides=(0,) * 5), "1 to 4 axes, got 5"),
    "a joint too wide": (Operation("v", "concat", 13, (X, X)), "expected 13 columns in all, got 12"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_well_formed_is_refused(name: str) -> None:
    operation, message = BAD[name]
    with pytest.raises(UsageError, match=message):
        check(Program({"x": 6}, {}, {"W": (2, 6), "b": (6,)}, (operation,), {}, {}))


def test_results_are_checked_too() -> None:
    good = Program({"x": 6}, {"h": 6}, {"W": (2, 6), "b": (6,)}, (), {"y": X}, {"h": X}, (Gradient("b", X),))
    check(good)
    bad = {
        "output 'y': 'z' is read": replace(good, outputs={"y": whole("z", 1)}),
        "next 'h': expected 6 columns": replace(good, next_states={"h": Operand("x", 0, 5)}),
        "gradient of 'W': expected .2, 6., got .6,.": replace(good, gradients=(Gradient("W", X),)),
        "gradient of 'Q': there is no": replace(good, gradients=(Gradient("Q", X),)),
        "'x': the name is used twice": replace(good, states={"x": 6}, next_states={"x": None}),
        "'b': the name is used twice": replace(good, inputs={"x": 6, "b": 1}),
    }
    for message, program in bad.items():
        with pytest.raises(UsageError, match=message):
            check(program)
