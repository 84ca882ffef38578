"""The reference meaning of operations, against the formulas of native/operations.h in plain Python, one number at a time."""

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.engine.interpret import FUNCTIONS, interpret
from elman.engine.program import POINTWISE, Gradient, Operand, Operation, Program, whole
from elman.engine.trace import TORCH

FORMULAS: dict[str, Callable[..., float]] = {
    "copy": lambda a: a,
    "neg": lambda a: -a,
    "abs": abs,
    "sign": lambda a: (a > 0) - (a < 0),
    "exp": math.exp,
    "expm1": math.expm1,
    "log": math.log,
    "log1p": math.log1p,
    "sqrt": math.sqrt,
    "rsqrt": lambda a: 1 / math.sqrt(a),
    "reciprocal": lambda a: 1 / a,
    "sin": math.sin,
    "cos": math.cos,
    "erf": math.erf,
    "tanh": math.tanh,
    "sigmoid": lambda a: 1 / (1 + math.exp(-a)),
    "relu": lambda a: a if a > 0 else 0,
    "floor": math.floor,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "maximum": max,
    "minimum": min,
    "pow": math.pow,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "fma": lambda a, b, c: a * b + c,
    "where": lambda a, b, c: b if a != 0 else c,
    "sigmoid_slope": lambda a, b: a * b * (1 - b),
    "tanh_slope": lambda a, b: a * (1 - b * b),
}
POSITIVE = ("log", "log1p", "sqrt", "rsqrt", "reciprocal", "pow", "div")


def program(*operations: Operation, sizes: dict[str, int], **fields: object) -> Program:
    """Inputs of those sizes; the output is the last operation."""
    last = operations[-1]
    rest = {"states": {}, "weights": {}, "next_states": {}, **fields}
    return Program(sizes, operations=operations, outputs={"y": whole(last.name, last.size)}, **rest)  # type: ignore[arg-type]


def test_every_operation_is_there() -> None:
    assert set(FUNCTIONS) == set(TORCH.functions) == set(FORMULAS) == set(POINTWISE)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", POINTWISE)
def test_pointwise(kind: str, dtype: type) -> None:
    count = POINTWISE[kind]
    numbers: np.ndarray[Any, Any] = (
        np.random.default_rng(0).choice([-2.5, -1.0, 0.0, 0.5, 1.0, 3.25], (count, 4, 6)).astype(dtype)
    )
    if kind in POSITIVE:
        numbers = abs(numbers) + 0.25
    names = ["a", "b", "c"][:count]
    operation = Operation("y", kind, 6, tuple(whole(name, 6) for name in names))
    inputs = dict(zip(names, numbers, strict=True))
    made = program(operation, sizes=dict.fromkeys(names, 6))
    expected = np.vectorize(FORMULAS[kind], otypes=[dtype])(*numbers.astype(np.float64))
    tolerance = 1e-6 if dtype is np.float32 else 1e-14
    outputs, _, _ = interpret(made, inputs, {}, {})
    by_torch, _, _ = interpret(made, {name: torch.tensor(one) for name, one in inputs.items()}, {}, {}, TORCH)
    for result in (outputs["y"], by_torch["y"].numpy()):
        assert result.dtype == dtype
        np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


def test_nan_goes_through_maximum_and_relu() -> None:
    x = np.array([[np.nan, 1.0]])
    for kind, arguments in (("relu", ()), ("maximum", (0.0,)), ("minimum", (0.0,))):
        operation = Operation("y", kind, 2, (whole("x", 2), *arguments))
        assert np.isnan(interpret(program(operation, sizes={"x": 2}), {"x": x}, {}, {})[0]["y"][0, 0])


def test_operands_are_columns_splats_vectors_and_numbers() -> None:
    x, w = np.arange(8.0).reshape(2, 4), np.array([10.0, 20.0])
    operation = Operation("y", "fma", 2, (Operand("x", 1, 2), Operand("x", 3, 1, splat=True), whole("w", 2)))
    number = Operation("z", "add", 2, (whole("y", 2), 0.5))
    made = program(operation, number, sizes={"x": 4}, weights={"w": (2,)})
    outputs, _, _ = interpret(made, {"x": x}, {}, {"w": w})
    np.testing.assert_array_equal(outputs["y"], x[:, 1:3] * x[:, 3:] + w + 0.5)


def test_numbers_alone_fill_rows() -> None:
    made = program(Operation("y", "copy", 3, (2.0,)), sizes={"x": 1})
    np.testing.assert_array_equal(interpret(made, {"x": np.zeros((4, 1))}, {}, {})[0]["y"], np.full((4, 3), 2.0))


@pytest.mark.parametrize("kind", ["sum", "max"])
def test_reductions(kind: str) -> None:
    x = np.random.default_rng(0).standard_normal((3, 8))
    made = program(Operation("y", kind, 2, (Operand("x", 2, 6),)), sizes={"x": 8})
    parts = [[getattr(row[start : start + 3], kind)() for start in (2, 5)] for row in x]
    np.testing.assert_allclose(interpret(made, {"x": x}, {}, {})[0]["y"], parts, rtol=1e-15)


@pytest.mark.parametrize("transposed", [False, True])
def test_matmul(transposed: bool) -> None:
    draw = np.random.default_rng(0).standard_normal
    x, addend, matrix = draw((3, 4)), draw((3, 2)), draw((2, 4) if transposed else (4, 2))
    operation = Operation("y", "matmul", 2, (whole("x", 4), whole("c", 2)), weight="w", transposed=transposed)
    made = program(operation, sizes={"x": 4, "c": 2}, weights={"w": matrix.shape})
    outputs, _, _ = interpret(made, {"x": x, "c": addend}, {}, {"w": matrix})
    rows = matrix.T if transposed else matrix
    expected = [[sum(x[b, k] * rows[k, n] for k in range(4)) + addend[b, n] for n in range(2)] for b in range(3)]
    np.testing.assert_allclose(outputs["y"], expected, rtol=1e-14)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.data())
def test_gather(shape: list[int], data: st.DataObject) -> None:
    strides = data.draw(st.lists(st.integers(0, 3), min_size=len(shape), max_size=len(shape)))
    span = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    x = np.arange(2.0 * (span + 1)).reshape(2, span + 1)
    operation = Operation(
        "y", "gather", math.prod(shape), (Operand("x", 1, span),), shape=tuple(shape), strides=tuple(strides)
    )
    outputs, _, _ = interpret(program(operation, sizes={"x": span + 1}), {"x": x}, {}, {})
    columns = [1 + sum(i * s for i, s in zip(place, strides, strict=True)) for place in np.ndindex(*shape)]
    np.testing.assert_array_equal(outputs["y"], x[:, columns])


def test_concat() -> None:
    x = np.arange(8.0).reshape(2, 4)
    made = program(Operation("y", "concat", 3, (Operand("x", 3, 1), Operand("x", 0, 2))), sizes={"x": 4})
    np.testing.assert_array_equal(interpret(made, {"x": x}, {}, {})[0]["y"], x[:, [3, 0, 1]])


def test_states_and_gradients() -> None:
    draw = np.random.default_rng(0).standard_normal
    x, states = draw((3, 2)), {"kept": draw((3, 1)), "changed": draw((3, 2))}
    doubled = Operation("v", "add", 2, (whole("x", 2), whole("x", 2)))
    gradients = (
        Gradient("w", whole("x", 2), whole("kept", 1)),
        Gradient("w", whole("v", 2), whole("kept", 1)),
        Gradient("b", Operand("v", 1, 1)),
    )
    made = program(
        doubled, sizes={"x": 2}, states={"kept": 1, "changed": 2}, gradients=gradients,
        weights={"w": (2, 1), "b": (1,)}, next_states={"kept": None, "changed": whole("v", 2)},
    )  # fmt: skip
    weights = {"w": np.zeros((2, 1)), "b": np.zeros(1)}
    _, following, found = interpret(made, {"x": x}, states, weights)
    np.testing.assert_array_equal(following["kept"], states["kept"])
    np.testing.assert_array_equal(following["changed"], 2 * x)
    np.testing.assert_allclose(found["w"], 3 * np.einsum("bp,bq->pq", x, states["kept"]), rtol=1e-14)
    np.testing.assert_allclose(found["b"], 2 * x[:, 1:].sum(0), rtol=1e-14)


def test_it_does_without_torch() -> None:
    code = "import sys, elman.engine.interpret; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )
