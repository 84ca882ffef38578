"""What one time step computes: a short list of operations on named values. No torch; printable, and savable as JSON.

A value is one row of numbers for each sequence of the batch: the batch is implicit, shapes are per row and flat.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

POINTWISE: Mapping[str, int] = {
    **dict.fromkeys(("copy", "neg", "abs", "sign", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal"), 1),
    **dict.fromkeys(("sin", "cos", "erf", "tanh", "sigmoid", "relu", "floor"), 1),
    **dict.fromkeys(("add", "sub", "mul", "div", "maximum", "minimum", "pow"), 2),
    **dict.fromkeys(("gt", "ge", "lt", "le", "eq", "ne"), 2),
    **dict.fromkeys(("fma", "where"), 3),
    **dict.fromkeys(("sigmoid_slope", "tanh_slope"), 2),
}
"""Operations element by element, and how many operands each has. Their meaning: native/operations.h."""

REDUCTIONS = ("sum", "max")
OTHERS = ("matmul", "gather", "concat")


@dataclass(frozen=True)
class Operand:
    """Some adjacent columns of a value.

    Args:
        value: its name: an input, a state, a weight that is a vector, or the result of an operation.
        start: the first column.
        size: how many columns; 1 if ``splat``.
        splat: that one column stands for all columns that the operation needs.
    """

    value: str
    start: int
    size: int
    splat: bool = False

    def __str__(self) -> str:
        if self.splat:
            return f"all {self.value}[{self.start}]"
        return f"{self.value}[{self.start}:{self.start + self.size}]"


Argument: TypeAlias = Operand | float
"""What an operation reads: columns, or one number for all of them."""


@dataclass(frozen=True)
class Operation:
    """One line of a program: ``name`` becomes ``kind`` of the operands.

    pointwise  name[j] = kind(operands at j)                            j < size
    sum, max   name[g] = of operand[g * length + j] over j < length     g < size; length = operand.size / size
    matmul     name[n] = sum over k of operand[k] * M[k, n] + addend[n]  M: the matrix `weight`, or its transpose;
                                                                        the addend, a second operand, may be left out
    gather     name, row-major over `shape`: operand[sum of index * stride over the axes]
    concat     name = the operands one after the other
    """

    name: str
    kind: str
    size: int
    operands: tuple[Argument, ...]
    weight: str = ""
    transposed: bool = False
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()


@dataclass(frozen=True)
class Gradient:
    """The gradient of a weight, from all rows and steps.

    matrix[p, q] += left[p] * right[q]          vector[j] += left[j]
    """

    weight: str
    left: Operand
    right: Operand | None = None


@dataclass(frozen=True)
class Program:
    """A step: inputs and states in; outputs and the next states out.

    Args:
        inputs: what is new at each step, name to width.
        states: what is carried from step to step, name to width.
        weights: what is the same for all rows: name to (size,) of a vector or (rows, columns) of a matrix.
        operations: in an order in which each finds its operands computed.
        outputs: name to where it is found.
        next_states: state to where its next value is found; ``None`` of a state that never changes.
        gradients: of weights, in a backward program.
    """

    inputs: Mapping[str, int]
    states: Mapping[str, int]
    weights: Mapping[str, tuple[int, ...]]
    operations: tuple[Operation, ...]
    outputs: Mapping[str, Operand]
    next_states: Mapping[str, Operand | None]
    gradients: tuple[Gradient, ...] = ()

    def sizes(self) -> dict[str, int]:
        """The width of every value that a row has, weights that are vectors included."""
        vectors = {name: shape[0] for name, shape in self.weights.items() if len(shape) == 1}
        return {**self.inputs, **self.states, **vectors, **{one.name: one.size for one in self.operations}}

    def __str__(self) -> str:
        return "\n".join((*_headings(self), *_lines(self), *_results(self)))


@dataclass(frozen=True)
class Backward:
    """The gradient of a forward program: it runs from the last step to the first.

    Args:
        program: its states are the gradients by the forward states, under their names; its inputs the gradients by the
            forward outputs (`d` + name), and what is kept of the forward pass; its outputs the gradients by those forward
            inputs that were asked for (`d` + name).
        saved: what is kept of the forward pass: name of an input of ``program`` to where the forward program has it. A state
            there means its value before the step.
    """

    program: Program
    saved: Mapping[str, Operand] = field(default_factory=dict)

    def __str__(self) -> str:
        saved = ", ".join(f"{name} = {operand}" for name, operand in self.saved.items())
        return f"{'saved':<{_MARGIN}}{saved}\n{self.program}" if saved else str(self.program)


def whole(name: str, size: int) -> Operand:
    """All columns of a value."""
    return Operand(name, 0, size)


def values_read(operation: Operation) -> Iterator[str]:
    """The names of the values that an operation reads, matrices excepted."""
    return (operand.value for operand in operation.operands if isinstance(operand, Operand))


# ---- as text ----------------------------------------------------------------------------------------------------------

_MARGIN = 10

_WRITTEN = {
    "copy": "{}",
    "neg": "-{}",
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "div": "{} / {}",
    "gt": "{} > {}",
    "ge": "{} >= {}",
    "lt": "{} < {}",
    "le": "{} <= {}",
    "eq": "{} == {}",
    "ne": "{} != {}",
    "fma": "{} * {} + {}",
    "where": "{1} where {0} else {2}",
}
"""Operations that mathematics has a sign for; the others are their name and what they read."""


def _argument(argument: Argument, sizes: Mapping[str, int]) -> str:
    """The columns read; of a value that is read in whole its name alone."""
    if isinstance(argument, Operand) and not argument.splat and argument.size == sizes[argument.value]:
        return argument.value
    return f"{argument:g}" if isinstance(argument, float) else str(argument)


def _by(numbers: tuple[int, ...]) -> str:
    return " x ".join(map(str, numbers))


def _formula(operation: Operation, sizes: Mapping[str, int]) -> str:
    read = [_argument(argument, sizes) for argument in operation.operands]
    if operation.kind in _WRITTEN:
        return _WRITTEN[operation.kind].format(*read)
    if operation.kind == "matmul":
        product = f"matmul {read[0]} . {operation.weight}" + "'" * operation.transposed
        return " + ".join((product, *read[1:]))
    if operation.kind == "gather":
        return f"gather {read[0]} shape {_by(operation.shape)} strides {', '.join(map(str, operation.strides))}"
    return f"{operation.kind} {', '.join(read)}"


def _heading(title: str, entries: list[str]) -> list[str]:
    return [f"{title:<{_MARGIN}}{', '.join(entries)}"] if entries else []


def _headings(program: Program) -> Iterator[str]:
    yield from _heading("inputs", [f"{name} {size}" for name, size in program.inputs.items()])
    yield from _heading("states", [f"{name} {size}" for name, size in program.states.items()])
    yield from _heading("weights", [f"{name} {_by(shape)}" for name, shape in program.weights.items()])


def _lines(program: Program) -> Iterator[str]:
    sizes = program.sizes()
    left = [f"{one.name} [{one.size}]" for one in program.operations]
    width = max(map(len, left), default=0)
    for text, operation in zip(left, program.operations, strict=True):
        yield f"{text:<{width}} = {_formula(operation, sizes)}"


def _results(program: Program) -> Iterator[str]:
    sizes = program.sizes()
    yield from _heading("outputs", [f"{name} = {_argument(at, sizes)}" for name, at in program.outputs.items()])
    nexts = program.next_states.items()
    yield from _heading("next", [f"{name} = {name if at is None else _argument(at, sizes)}" for name, at in nexts])
    for gradient in program.gradients:
        factors = [_argument(side, sizes) for side in (gradient.left, gradient.right) if side is not None]
        yield f"{'gradient':<{_MARGIN}}{gradient.weight} += {' (x) '.join(factors)}"
