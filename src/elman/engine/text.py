"""A program as JSON and back, exactly. Reading runs no code and refuses what is not a well-formed program."""

import json
from collections.abc import Callable
from math import isfinite
from typing import Any, TypeVar

from elman.engine.check import check
from elman.engine.program import Argument, Gradient, Operand, Operation, Program
from elman.errors import UsageError

VERSION = 1

T = TypeVar("T")


def to_json(program: Program) -> str:
    """A program as one JSON object; operands are ``[value, first column, columns]``, and ``"all"`` after it if splat."""
    document = {
        "program": VERSION,
        "inputs": dict(program.inputs),
        "states": dict(program.states),
        "weights": {name: list(shape) for name, shape in program.weights.items()},
        "operations": [_operation_out(operation) for operation in program.operations],
        "outputs": {name: _argument_out(operand) for name, operand in program.outputs.items()},
        "next_states": {name: at and _argument_out(at) for name, at in program.next_states.items()},
        "gradients": [_gradient_out(gradient) for gradient in program.gradients],
    }
    return json.dumps(document, allow_nan=False)


def from_json(text: str | bytes) -> Program:
    """Read what `to_json` wrote.

    Args:
        text: the JSON.

    Returns:
        The program, equal to the one written.

    Raises:
        UsageError: not JSON, another version, fields missing, unknown or of the wrong type, or not a well-formed program.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"expected a program as JSON, got something else: {error}") from None
    fields = _fields("the program", document, _PROGRAM, set(_PROGRAM))
    if fields.pop("program") != VERSION:
        raise UsageError(f"expected a program of version {VERSION}, got {document['program']}: export it again")
    program = Program(**fields)
    check(program)
    return program


def _argument_out(argument: Argument) -> Any:
    if isinstance(argument, Operand):
        return [argument.value, argument.start, argument.size, *["all"] * argument.splat]
    return argument if isfinite(argument) else str(argument)


def _operation_out(operation: Operation) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": operation.name, "kind": operation.kind, "size": operation.size}
    fields["operands"] = [_argument_out(argument) for argument in operation.operands]
    if operation.kind == "matmul":
        fields |= {"weight": operation.weight, "transposed": operation.transposed}
    if operation.kind == "gather":
        fields |= {"shape": list(operation.shape), "strides": list(operation.strides)}
    return fields


def _gradient_out(gradient: Gradient) -> dict[str, Any]:
    right = {"right": _argument_out(gradient.right)} if gradient.right else {}
    return {"weight": gradient.weight, "left": _argument_out(gradient.left), **right}


# ---- reading: each reader takes where it is, for the message, and what came -----------------------------------------

Reader = Callable[[str, Any], Any]


def _wrong(where: str, expected: str, found: Any) -> UsageError:
    return UsageError(f"in {where}: expected {expected}, got {json.dumps(found)[:80]}")


def _exactly(kind: type[T], expected: str) -> Callable[[str, Any], T]:
    def read(where: str, found: Any) -> T:
        if type(found) is not kind:  # isinstance would take true for 1
            raise _wrong(where, expected, found)
        return found

    return read


_name, _integer, _boolean = _exactly(str, "a name"), _exactly(int, "an integer"), _exactly(bool, "true or false")
_items, _entries = _exactly(list, "a list"), _exactly(dict, "an object")


def _fields(where: str, found: Any, readers: dict[str, Reader], required: set[str]) -> dict[str, Any]:
    entries = _entries(where, found)
    if wrong := sorted((entries.keys() - readers.keys()) | (required - entries.keys())):
        raise UsageError(f"in {where}: unknown or missing: {', '.join(wrong)}; expected {', '.join(readers)}")
    return {name: readers[name](f"'{name}' of {where}", value) for name, value in entries.items()}


def _list_of(reader: Callable[[str, Any], T]) -> Callable[[str, Any], tuple[T, ...]]:
    return lambda where, found: tuple(reader(f"{where}[{i}]", one) for i, one in enumerate(_items(where, found)))


def _named(reader: Callable[[str, Any], T]) -> Callable[[str, Any], dict[str, T]]:
    return lambda where, found: {
        name: reader(f"'{name}' of {where}", one) for name, one in _entries(where, found).items()
    }


def _operand(where: str, found: Any) -> Operand:
    parts = _items(where, found)
    if len(parts) not in (3, 4) or parts[3:] not in ([], ["all"]):
        raise _wrong(where, '[value, first column, columns] or [value, column, 1, "all"]', found)
    value, start, size = _name(where, parts[0]), _integer(where, parts[1]), _integer(where, parts[2])
    return Operand(value, start, size, splat=len(parts) == 4)


def _argument(where: str, found: Any) -> Argument:
    if isinstance(found, list):
        return _operand(where, found)
    if type(found) is float or found in ("inf", "-inf", "nan"):
        return float(found)
    raise _wrong(where, "an operand or a number with a decimal point", found)


def _operand_or_none(where: str, found: Any) -> Operand | None:
    return None if found is None else _operand(where, found)


def _operation(where: str, found: Any) -> Operation:
    return Operation(**_fields(where, found, _OPERATION, {"name", "kind", "size", "operands"}))


def _gradient(where: str, found: Any) -> Gradient:
    return Gradient(**_fields(where, found, _GRADIENT, {"weight", "left"}))


_OPERATION: dict[str, Reader] = {
    "name": _name,
    "kind": _name,
    "size": _integer,
    "operands": _list_of(_argument),
    "weight": _name,
    "transposed": _boolean,
    "shape": _list_of(_integer),
    "strides": _list_of(_integer),
}
_GRADIENT: dict[str, Reader] = {"weight": _name, "left": _operand, "right": _operand}
_PROGRAM: dict[str, Reader] = {
    "program": _integer,
    "inputs": _named(_integer),
    "states": _named(_integer),
    "weights": _named(_list_of(_integer)),
    "operations": _list_of(_operation),
    "outputs": _named(_operand),
    "next_states": _named(_operand_or_none),
    "gradients": _list_of(_gradient),
}
