"""What a Program means: run operation by operation, in NumPy. The reference for everything that runs Programs faster."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from elman.engine.program import Gradient, Operand, Operation, Program

Array: TypeAlias = Any
"""A NumPy array; or what else an `Arithmetic` is of."""
Values: TypeAlias = Mapping[str, Array]


@dataclass(frozen=True)
class Arithmetic:
    """What interpreting asks of a library of arrays.

    Args:
        functions: the operations element by element, by their names.
        full: (like, (rows, columns), number) -> an array of that number in the type of ``like``.
        to: (array, like) -> the array in the type of ``like``.
        broadcast: (array, (rows, columns)) -> the array repeated.
        max: (array (..., n)) -> the largest along the last axis.
        concat: (arrays) -> one array, joined along the last axis.
    """

    functions: Mapping[str, Callable[..., Array]]
    full: Callable[[Array, tuple[int, int], float], Array]
    to: Callable[[Array, Array], Array]
    broadcast: Callable[[Array, tuple[int, int]], Array]
    max: Callable[[Array], Array]
    concat: Callable[[Sequence[Array]], Array]


def erf(x: Array) -> Array:
    from scipy.special import erf  # late: streams seldom need it

    return erf(x)


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * x))  # which never overflows


FUNCTIONS: Mapping[str, Callable[..., Array]] = {
    "copy": lambda a: a,
    "neg": np.negative,
    "abs": np.abs,
    "sign": np.sign,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "rsqrt": lambda a: 1 / np.sqrt(a),
    "reciprocal": lambda a: 1 / a,
    "sin": np.sin,
    "cos": np.cos,
    "erf": erf,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "relu": lambda a: np.maximum(a, 0),
    "floor": np.floor,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.true_divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "pow": np.power,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "fma": lambda a, b, c: a * b + c,
    "where": lambda a, b, c: np.where(a != 0, b, c),
    "sigmoid_slope": lambda a, b: a * b * (1 - b),
    "tanh_slope": lambda a, b: a * (1 - b * b),
}
NUMPY = Arithmetic(
    FUNCTIONS,
    full=lambda like, shape, number: np.full(shape, number, like.dtype),
    to=lambda array, like: array.astype(like.dtype, copy=False),
    broadcast=np.broadcast_to,
    max=lambda array: array.max(-1),
    concat=lambda arrays: np.concatenate(arrays, -1),
)


def interpret(
    program: Program, inputs: Values, states: Values, weights: Values, arithmetic: Arithmetic = NUMPY
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    """One step of a program.

    Args:
        inputs, states: by name, (batch, width); at least one.
        weights: by name, (size,) or (rows, columns).
        arithmetic: of another library of arrays.
    Returns: (outputs, next states, gradients of weights); the gradients summed over the batch, as are their shapes.
    """
    step = _Step(program, {**weights, **states, **inputs}, arithmetic)
    for operation in program.operations:
        step.run(operation)
    outputs = {name: step.read(operand) for name, operand in program.outputs.items()}
    following = {
        name: states[name] if operand is None else step.read(operand) for name, operand in program.next_states.items()
    }
    gradients: dict[str, Array] = {}
    for gradient in program.gradients:
        value = step.gradient(gradient)
        gradients[gradient.weight] = gradients[gradient.weight] + value if gradient.weight in gradients else value
    return outputs, following, gradients


class _Step:
    """The values of one step, as they are computed."""

    def __init__(self, program: Program, values: dict[str, Array], arithmetic: Arithmetic) -> None:
        self.values = values
        self.arithmetic = arithmetic
        self.like = values[next(iter([*program.inputs, *program.states]))]

    def run(self, operation: Operation) -> None:
        compute = _COMPUTE.get(operation.kind, _Step._pointwise)
        result = self.arithmetic.to(compute(self, operation), self.like)
        self.values[operation.name] = self.arithmetic.broadcast(result, (len(self.like), operation.size))

    def read(self, operand: Operand) -> Array:
        """The columns of an operand, (batch, size)."""
        value = self.values[operand.value][..., operand.start : operand.start + operand.size]
        return self.arithmetic.broadcast(value, (len(self.like), operand.size))

    def gradient(self, gradient: Gradient) -> Array:
        left = self.read(gradient.left)
        return left.sum(0) if gradient.right is None else left.T @ self.read(gradient.right)

    def _operands(self, operation: Operation, size: int = 1) -> list[Array]:
        return [
            self.read(one) if isinstance(one, Operand) else self.arithmetic.full(self.like, (len(self.like), size), one)
            for one in operation.operands
        ]

    def _pointwise(self, operation: Operation) -> Array:
        return self.arithmetic.functions[operation.kind](*self._operands(operation))

    def _sum(self, operation: Operation) -> Array:
        return self._groups(operation).sum(-1)

    def _max(self, operation: Operation) -> Array:
        return self.arithmetic.max(self._groups(operation))

    def _groups(self, operation: Operation) -> Array:
        return self._operands(operation)[0].reshape(len(self.like), operation.size, -1)

    def _matmul(self, operation: Operation) -> Array:
        x, *addend = self._operands(operation, operation.size)
        weight = self.values[operation.weight]
        product = x @ (weight.T if operation.transposed else weight)
        return product + addend[0] if addend else product

    def _gather(self, operation: Operation) -> Array:
        indices = np.zeros(1, np.int64)
        for size, stride in zip(operation.shape, operation.strides, strict=True):
            indices = (indices[:, None] + stride * np.arange(size)).reshape(-1)
        return self._operands(operation)[0][:, indices]

    def _concat(self, operation: Operation) -> Array:
        return self.arithmetic.concat(self._operands(operation))


_COMPUTE: Mapping[str, Callable[[_Step, Operation], Array]] = {
    "sum": _Step._sum,
    "max": _Step._max,
    "matmul": _Step._matmul,
    "gather": _Step._gather,
    "concat": _Step._concat,
}
