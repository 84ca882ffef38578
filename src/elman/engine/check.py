"""Whether a program is well formed: names, sizes, columns, shapes. What passes can be simplified, planned and run."""

from collections.abc import Callable, Mapping
from math import prod

from elman.engine.program import OTHERS, POINTWISE, REDUCTIONS, Argument, Operand, Operation, Program
from elman.errors import UsageError

MOST_AXES = 4
LARGEST_SIZE = 2**31 - 1


def check(program: Program) -> None:
    """Validate a whole program.

    Args:
        program: any program, also one read from a file.

    Raises:
        UsageError: a name is used twice or before it is defined, a kind is unknown, sizes do not fit or columns do not
            exist; the message says where, what was expected, and what came.
    """
    known = _declared(program)
    for operation in program.operations:
        _operation(operation, known, program.weights)
        _new_name(operation.name, known, program.weights)
        known[operation.name] = operation.size
    for name, operand in program.outputs.items():
        _columns(f"output '{name}'", operand, known)
    _next_states(program, known)
    _gradients(program, known)


def _require(condition: bool, where: str, message: str) -> None:
    if not condition:
        raise UsageError(f"this program is not well formed: {where}: {message}")


def _declared(program: Program) -> dict[str, int]:
    """The widths of inputs, states and vectors."""
    known: dict[str, int] = {}
    for name, shape in program.weights.items():
        _require(bool(name), "weights", "a weight without a name")
        _require(len(shape) in (1, 2), f"weight '{name}'", f"expected one or two axes, got {len(shape)}")
        for size in shape:
            _size(f"weight '{name}'", size)
    for widths in (program.inputs, program.states):
        for name, width in widths.items():
            _new_name(name, known, program.weights)
            _size(f"'{name}'", width)
            known[name] = width
    return {**known, **{name: shape[0] for name, shape in program.weights.items() if len(shape) == 1}}


def _new_name(name: str, known: Mapping[str, int], weights: Mapping[str, tuple[int, ...]]) -> None:
    _require(bool(name), "names", "a value without a name")
    _require(name not in known and name not in weights, f"'{name}'", "the name is used twice")


def _size(where: str, size: int) -> None:
    _require(1 <= size <= LARGEST_SIZE, where, f"expected a size between 1 and {LARGEST_SIZE}, got {size}")


def _columns(where: str, argument: Argument, known: Mapping[str, int]) -> None:
    """Columns that exist, each read as itself."""
    _require(isinstance(argument, Operand), where, f"expected columns of a value, got the number {argument}")
    assert isinstance(argument, Operand)
    _exists(where, argument, known)
    _require(not argument.splat, where, f"expected columns, got one that stands for all: {argument}")


def _exists(where: str, operand: Operand, known: Mapping[str, int]) -> None:
    _require(operand.value in known, where, f"'{operand.value}' is read but not defined before")
    inside = operand.start >= 0 and operand.size >= 1 and operand.start + operand.size <= known[operand.value]
    _require(inside, where, f"reads {operand}, but '{operand.value}' has {known[operand.value]} columns")


def _operation(operation: Operation, known: Mapping[str, int], weights: Mapping[str, tuple[int, ...]]) -> None:
    where = f"'{operation.name}' ({operation.kind})"
    _require(operation.kind in _CHECKS, where, f"expected one of {', '.join(_CHECKS)}")
    _size(where, operation.size)
    is_product = operation.kind == "matmul"
    _require(is_product or not (operation.weight or operation.transposed), where, "only a matmul has a weight")
    _require(
        operation.kind == "gather" or not (operation.shape or operation.strides), where, "only a gather has a shape"
    )
    if operation.kind not in POINTWISE:
        for argument in operation.operands:
            _columns(where, argument, known)
    _CHECKS[operation.kind](where, operation, known, weights)


def _pointwise(where: str, operation: Operation, known: Mapping[str, int], _: Mapping[str, tuple[int, ...]]) -> None:
    expected = POINTWISE[operation.kind]
    _require(len(operation.operands) == expected, where, f"expected {expected} operands, got {len(operation.operands)}")
    for argument in operation.operands:
        if isinstance(argument, Operand):
            _exists(where, argument, known)
            needed = 1 if argument.splat else operation.size
            _require(argument.size == needed, where, f"expected {needed} columns, got {argument}")


def _reduction(where: str, operation: Operation, _: Mapping[str, int], __: Mapping[str, tuple[int, ...]]) -> None:
    _require(len(operation.operands) == 1, where, f"expected 1 operand, got {len(operation.operands)}")
    size = _width(operation.operands[0])
    _require(size % operation.size == 0, where, f"{size} columns do not divide into {operation.size} groups")


def _width(argument: Argument) -> int:
    return argument.size if isinstance(argument, Operand) else 1


def _matmul(where: str, operation: Operation, _: Mapping[str, int], weights: Mapping[str, tuple[int, ...]]) -> None:
    _require(len(operation.operands) in (1, 2), where, f"expected 1 or 2 operands, got {len(operation.operands)}")
    shape = weights.get(operation.weight, ())
    _require(len(shape) == 2, where, f"'{operation.weight}' is not a weight with two axes")
    expected = (_width(operation.operands[0]), operation.size)
    found = shape[::-1] if operation.transposed else shape
    _require(found == expected, where, f"expected a matrix {expected}, got {found}")
    addend = [_width(argument) for argument in operation.operands[1:]]
    _require(addend in ([], [operation.size]), where, f"expected an addend of {operation.size} columns, got {addend}")


def _gather(where: str, operation: Operation, _: Mapping[str, int], __: Mapping[str, tuple[int, ...]]) -> None:
    _require(len(operation.operands) == 1, where, f"expected 1 operand, got {len(operation.operands)}")
    axes = len(operation.shape)
    _require(1 <= axes <= MOST_AXES, where, f"expected 1 to {MOST_AXES} axes, got {axes}")
    _require(len(operation.strides) == axes, where, f"expected {axes} strides, got {len(operation.strides)}")
    _require(min(operation.shape) >= 1 and prod(operation.shape) == operation.size, where, "the shape is not the size")
    reach = [(count - 1) * stride for count, stride in zip(operation.shape, operation.strides, strict=True)]
    first, last = sum(min(one, 0) for one in reach), sum(max(one, 0) for one in reach)
    width = _width(operation.operands[0])
    _require(first >= 0 and last < width, where, f"reaches columns {first} to {last} of {width}")


def _concat(where: str, operation: Operation, _: Mapping[str, int], __: Mapping[str, tuple[int, ...]]) -> None:
    total = sum(map(_width, operation.operands))
    _require(total == operation.size, where, f"expected {operation.size} columns in all, got {total}")


_CHECKS: Mapping[str, Callable[[str, Operation, Mapping[str, int], Mapping[str, tuple[int, ...]]], None]] = {
    **dict.fromkeys(POINTWISE, _pointwise),
    **dict.fromkeys(REDUCTIONS, _reduction),
    **dict(zip(OTHERS, (_matmul, _gather, _concat), strict=True)),
}


def _next_states(program: Program, known: Mapping[str, int]) -> None:
    names = (set(program.states), set(program.next_states))
    _require(names[0] == names[1], "next states", f"expected one of each of {sorted(names[0])}, got {sorted(names[1])}")
    for name, operand in program.next_states.items():
        if operand is not None:
            _columns(f"next '{name}'", operand, known)
            width = program.states[name]
            _require(operand.size == width, f"next '{name}'", f"expected {width} columns, got {operand}")


def _gradients(program: Program, known: Mapping[str, int]) -> None:
    for gradient in program.gradients:
        where = f"gradient of '{gradient.weight}'"
        _require(gradient.weight in program.weights, where, "there is no such weight")
        sides = [side for side in (gradient.left, gradient.right) if side is not None]
        for side in sides:
            _columns(where, side, known)
        shape, found = program.weights[gradient.weight], tuple(side.size for side in sides)
        _require(found == shape, where, f"expected {shape}, got {found}")
