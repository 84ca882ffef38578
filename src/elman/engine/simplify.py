"""A program that computes the same with fewer operations: folded, shared, fused, and without what nobody reads."""

import math
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

from elman.engine.program import POINTWISE, Argument, Gradient, Operand, Operation, Program, values_read, whole


def simplify(program: Program) -> Program:
    """Rewrite a program until no rule applies any more.

    Inputs, states, weights, outputs and gradients stay as they are named; results differ by rounding at most.

    Args:
        program: a well-formed program.

    Returns:
        The simpler program; simplifying it again returns it unchanged.
    """
    simpler = _once(program)
    while simpler != program:
        program, simpler = simpler, _once(simpler)
    return program


def _once(program: Program) -> Program:
    return _in_order(_fuse(without_dead(_Rewriter(program).run())))


# ---- what a single operation can become -----------------------------------------------------------------------------

_FOLDED: Mapping[str, Callable[..., float]] = {
    "neg": operator.neg,
    "abs": abs,
    "sign": lambda a: float((a > 0) - (a < 0)),
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
    "relu": lambda a: a if a > 0 or a != a else 0.0,
    "floor": lambda a: float(math.floor(a)),
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "maximum": lambda a, b: a if a != a or a > b else b,
    "minimum": lambda a, b: a if a != a or a < b else b,
    "pow": math.pow,
    "gt": lambda a, b: float(a > b),
    "ge": lambda a, b: float(a >= b),
    "lt": lambda a, b: float(a < b),
    "le": lambda a, b: float(a <= b),
    "eq": lambda a, b: float(a == b),
    "ne": lambda a, b: float(a != b),
    "fma": lambda a, b, c: a * b + c,
    "where": lambda a, b, c: b if a != 0 else c,
    "sigmoid_slope": lambda a, b: a * b * (1 - b),
    "tanh_slope": lambda a, b: a * (1 - b * b),
}
_COMMUTATIVE = (
    "add",
    "mul",
    "eq",
    "ne",
    "fma",
)  # fma in its factors; maximum and minimum are not, where one side is no number


@dataclass
class _Rewriter:
    """One walk over a program: each operation reads through copies, is replaced by a simpler one, or by an equal one."""

    program: Program
    done: dict[str, Operation] = field(default_factory=dict)
    first: dict[Operation, str] = field(default_factory=dict)
    taken: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.taken = {*self.program.sizes(), *self.program.weights}

    def run(self) -> Program:
        for operation in self.program.operations:
            operation = _canonical(self.reading_through(operation))
            operation = _canonical(self.rule(operation) or operation)
            self.done[operation.name] = self.shared(operation)
        nexts = {name: at and self.columns(at) for name, at in self.program.next_states.items()}
        return replace(
            self.program,
            operations=tuple(self.done.values()),
            outputs={name: self.columns(at) for name, at in self.program.outputs.items()},
            next_states=nexts,
            gradients=tuple(
                Gradient(one.weight, self.columns(one.left), one.right and self.columns(one.right))
                for one in self.program.gradients
            ),
        )

    def shared(self, operation: Operation) -> Operation:
        """A copy of the first operation that computes the same, if there is one."""
        key = replace(_sorted(operation, repr), name="")
        name = self.first.setdefault(key, operation.name)
        if name == operation.name:
            return operation
        return Operation(operation.name, "copy", operation.size, (whole(name, operation.size),))

    # reading through copies and joints

    def columns(self, operand: Operand) -> Operand:
        """The same columns of the value that had them first."""
        while (source := self.source(operand)) != operand:
            if not isinstance(source, Operand) or source.splat != operand.splat:
                return operand  # one number for all columns: the reader needs them as columns
            operand = source
        return operand

    def element(self, argument: Argument) -> Argument:
        """The same as `columns` for a reader that takes numbers, and one column for all."""
        while isinstance(argument, Operand) and (source := self.source(argument)) != argument:
            argument = source
        return argument

    def source(self, operand: Operand) -> Argument:
        """One step back along a copy, or along the part of a joint that has all columns."""
        made = self.done.get(operand.value)
        if made is None or made.kind not in ("copy", "concat"):
            return operand
        if made.kind == "copy" and (not isinstance(made.operands[0], Operand) or made.operands[0].splat):
            return made.operands[0]
        start = 0
        for part in made.operands:
            assert isinstance(part, Operand)
            if start <= operand.start and operand.start + operand.size <= start + part.size:
                return replace(operand, value=part.value, start=part.start + operand.start - start)
            start += part.size
        return operand

    def reading_through(self, operation: Operation) -> Operation:
        read = self.element if operation.kind in POINTWISE else self.columns
        return replace(
            operation, operands=tuple(read(one) if isinstance(one, Operand) else one for one in operation.operands)
        )

    # rules; each returns something simpler, or None

    def rule(self, operation: Operation) -> Operation | None:
        if operation.kind == "concat":
            return self.joint(operation)
        if operation.kind in ("gather", "sum", "max"):
            return _plain(operation) or self.of_negated(operation)
        if operation.kind == "matmul" or operation.kind == "copy":
            return None
        return _folded(operation) or self.algebra(operation) or self.once(operation)

    def joint(self, operation: Operation) -> Operation:
        """Joints within a joint opened, neighbouring columns of one value read as one."""
        parts: list[Operand] = []
        for operand in chain.from_iterable(map(self.opened, operation.operands)):
            last = parts[-1] if parts else None
            if last and last.value == operand.value and last.start + last.size == operand.start:
                parts[-1] = replace(last, size=last.size + operand.size)
            else:
                parts.append(operand)
        return replace(operation, kind="copy" if len(parts) == 1 else "concat", operands=tuple(parts))

    def opened(self, argument: Argument) -> Iterator[Operand]:
        assert isinstance(argument, Operand)
        made = self.done.get(argument.value)
        if made is None or made.kind != "concat":
            yield argument
            return
        start, end, position = argument.start, argument.start + argument.size, 0
        for part in made.operands:
            assert isinstance(part, Operand)
            low, high = max(start, position), min(end, position + part.size)
            if low < high:
                yield Operand(part.value, part.start + low - position, high - low)
            position += part.size

    def of_negated(self, operation: Operation) -> Operation | None:
        """A sum of negated columns is the negated sum."""
        (operand,) = operation.operands
        assert isinstance(operand, Operand)
        negated = self.made_by(operand, "neg", operand.size) if operation.kind == "sum" else None
        return _to(operation, "neg", self.helper(operation, operation.size, negated)) if negated else None

    def once(self, operation: Operation) -> Operation | None:
        """What is the same in all columns is computed for one."""
        if operation.size == 1 or any(isinstance(one, Operand) and not one.splat for one in operation.operands):
            return None
        if not any(isinstance(one, Operand) for one in operation.operands):
            return None
        return _to(operation, "copy", replace(self.helper(operation, 1, operation.operands), splat=True))

    def helper(self, operation: Operation, size: int, operands: tuple[Argument, ...]) -> Operand:
        """The result of a new operation like this one, put before it."""
        name = f"{operation.name}_"
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        new = _canonical(Operation(name, operation.kind, size, operands))
        self.done[name] = self.shared(new)
        return whole(name, size)

    def made_by(self, argument: Argument, kind: str, size: int) -> tuple[Argument, ...] | None:
        """What an operation of this kind read, if the argument is all of its result."""
        if not isinstance(argument, Operand) or argument.splat:
            return None
        made = self.done.get(argument.value)
        return made.operands if made and made.kind == kind and made.size == size == argument.size else None

    def algebra(self, operation: Operation) -> Operation | None:
        first, *rest = operation.operands
        if operation.kind in _NEUTRAL and rest and rest[0] == _NEUTRAL[operation.kind]:
            return _to(operation, "copy", first)
        rewrite = _ALGEBRA.get(operation.kind)
        return rewrite(self, operation) if rewrite else None


_NEUTRAL = {"add": 0.0, "sub": 0.0, "mul": 1.0, "div": 1.0, "pow": 1.0}
"""Numbers that change nothing as the second operand."""


def _canonical(operation: Operation) -> Operation:
    """One spelling: numbers last where the order does not matter, and no `splat` where there is one column anyway."""
    operands = operation.operands
    if operation.size == 1:
        operands = tuple(replace(one, splat=False) if isinstance(one, Operand) else one for one in operands)
    return _sorted(replace(operation, operands=operands), lambda one: not isinstance(one, Operand))


def _sorted(operation: Operation, key: Callable[[Argument], object]) -> Operation:
    """The operation with the operands that can change places in the order of a key."""
    count = 2 if operation.kind in _COMMUTATIVE else 0
    first = sorted(operation.operands[:count], key=key)  # type: ignore[arg-type]
    return replace(operation, operands=(*first, *operation.operands[count:]))


def _to(operation: Operation, kind: str, *operands: Argument) -> Operation:
    return Operation(operation.name, kind, operation.size, operands)


def _folded(operation: Operation) -> Operation | None:
    """The number that an operation on numbers gives; those that give none in Python are left to run."""
    if any(isinstance(one, Operand) for one in operation.operands):
        return None
    try:
        return _to(operation, "copy", float(_FOLDED[operation.kind](*operation.operands)))
    except (ValueError, OverflowError, ZeroDivisionError):
        return None


def _plain(operation: Operation) -> Operation | None:
    """Groups of one, and a gather of adjacent columns or of a single one, are copies."""
    operand = operation.operands[0]
    assert isinstance(operand, Operand)
    if operation.kind != "gather":
        return _to(operation, "copy", operand) if operation.size == operand.size else None
    axes: list[tuple[int, int]] = []
    for count, stride in zip(operation.shape, operation.strides, strict=True):
        if axes and axes[-1][1] == stride * count:
            axes[-1] = (axes[-1][0] * count, stride)
        elif count > 1:
            axes.append((count, stride))
    if axes in ([], [(operation.size, 1)]):
        return _to(operation, "copy", replace(operand, size=operation.size))
    if axes == [(operation.size, 0)]:
        return _to(operation, "copy", Operand(operand.value, operand.start, 1, splat=True))
    shape, strides = zip(*axes, strict=True)
    return replace(operation, operands=(operand,), shape=shape, strides=strides)


def _add(walk: _Rewriter, operation: Operation) -> Operation | None:
    a, b = operation.operands
    if negated := walk.made_by(b, "neg", operation.size):
        return _to(operation, "sub", a, negated[0])
    if negated := walk.made_by(a, "neg", operation.size):
        return _to(operation, "sub", b, negated[0])
    return None


def _sub(walk: _Rewriter, operation: Operation) -> Operation | None:
    a, b = operation.operands
    if not isinstance(b, Operand):
        return _to(operation, "add", a, -b)
    if a == 0.0:
        return _to(operation, "neg", b)
    if negated := walk.made_by(b, "neg", operation.size):
        return _to(operation, "add", a, negated[0])
    return None


def _mul(walk: _Rewriter, operation: Operation) -> Operation | None:
    a, b = operation.operands
    if isinstance(b, Operand):
        return None
    if b == -1.0:
        return _to(operation, "neg", a)
    if negated := walk.made_by(a, "neg", operation.size):
        return _to(operation, "mul", negated[0], -b)
    if (scaled := walk.made_by(a, "mul", operation.size)) and not isinstance(scaled[1], Operand):
        return _to(operation, "mul", scaled[0], scaled[1] * b)
    return None


def _div(walk: _Rewriter, operation: Operation) -> Operation | None:
    a, b = operation.operands
    if not isinstance(b, Operand):
        return _to(operation, "mul", a, 1 / b) if b else None
    return _reciprocal(walk, _to(operation, "reciprocal", b)) if a == 1.0 else None


def _reciprocal(walk: _Rewriter, operation: Operation) -> Operation | None:
    """1 / (1 + exp(-x)) is the sigmoid of x."""
    one_more = walk.made_by(operation.operands[0], "add", operation.size)
    exponential = walk.made_by(one_more[0], "exp", operation.size) if one_more and one_more[1] == 1.0 else None
    negated = walk.made_by(exponential[0], "neg", operation.size) if exponential else None
    return _to(operation, "sigmoid", negated[0]) if negated else None


def _neg(walk: _Rewriter, operation: Operation) -> Operation | None:
    operand = operation.operands[0]
    if negated := walk.made_by(operand, "neg", operation.size):
        return _to(operation, "copy", negated[0])
    difference = walk.made_by(operand, "sub", operation.size)
    return _to(operation, "sub", difference[1], difference[0]) if difference else None


def _pow(_: _Rewriter, operation: Operation) -> Operation | None:
    a, exponent = operation.operands
    if exponent == 2.0:
        return _to(operation, "mul", a, a)
    if exponent == 0.0:
        return _to(operation, "copy", 1.0)
    kind = None if isinstance(exponent, Operand) else {0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}.get(exponent)
    return _to(operation, kind, a) if kind else None


def _fma(_: _Rewriter, operation: Operation) -> Operation | None:
    a, b, c = operation.operands
    if b == 1.0:
        return _to(operation, "add", a, c)
    return _to(operation, "mul", a, b) if c == 0.0 else None


def _where(_: _Rewriter, operation: Operation) -> Operation | None:
    condition, yes, no = operation.operands
    if not isinstance(condition, Operand):
        return _to(operation, "copy", yes if condition != 0 else no)
    return _to(operation, "copy", yes) if yes == no else None


_ALGEBRA: Mapping[str, Callable[[_Rewriter, Operation], Operation | None]] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "reciprocal": _reciprocal,
    "neg": _neg,
    "pow": _pow,
    "fma": _fma,
    "where": _where,
}


# ---- whole programs -------------------------------------------------------------------------------------------------


def results_read(program: Program) -> Iterator[Operand]:
    """What a program gives back: outputs, next states, the factors of gradients."""
    yield from program.outputs.values()
    yield from (at for at in program.next_states.values() if at)
    for gradient in program.gradients:
        yield from (side for side in (gradient.left, gradient.right) if side)


def without_dead(program: Program) -> Program:
    """The program without operations that no output, next state or gradient needs."""
    needed = {operand.value for operand in results_read(program)}
    for operation in reversed(program.operations):
        if operation.name in needed:
            needed.update(values_read(operation))
    return replace(program, operations=tuple(one for one in program.operations if one.name in needed))


def _fuse(program: Program) -> Program:
    """Sums with a product that nobody else reads become one operation."""
    fuser = _Fuser(program)
    for operation in program.operations:
        if operation.kind == "add":
            fuser.fuse(operation)
    return replace(program, operations=tuple(fuser.operations.values()))


class _Fuser:
    def __init__(self, program: Program) -> None:
        self.operations = {one.name: one for one in program.operations}
        self.reads = Counter(chain.from_iterable(map(values_read, program.operations)))
        self.reads.update(operand.value for operand in results_read(program))
        self.in_loop = set(program.states)
        for operation in program.operations:
            if not self.in_loop.isdisjoint(values_read(operation)):
                self.in_loop.add(operation.name)

    def fuse(self, addition: Operation) -> None:
        pairs = (addition.operands, addition.operands[::-1])
        if not any(self.into_matmul(addition, *pair) for pair in pairs):
            any(self.into_fma(addition, *pair) for pair in pairs)

    def product(self, argument: Argument, kind: str, size: int) -> Operation | None:
        """The operation whose result the argument is, in whole, as its only reader."""
        if not isinstance(argument, Operand) or argument.splat or argument.size != size:
            return None
        made = self.operations.get(argument.value)
        fits = made and made.kind == kind and made.size == size and self.reads[made.name] == 1
        return made if fits else None

    def into_matmul(self, addition: Operation, product: Argument, addend: Argument) -> bool:
        """The matmul takes the addend along; if it has one that is a matmul itself, that one takes it."""
        if not isinstance(addend, Operand) or addend.splat:
            return False
        last = taker = self.product(product, "matmul", addition.size)
        while taker and len(taker.operands) == 2:
            taker = self.product(taker.operands[1], "matmul", addition.size)
        # A product that needs no state is computed for many steps at once: it does not wait for what does.
        if not last or not taker or (addend.value in self.in_loop and taker.name not in self.in_loop):
            return False
        self.operations[taker.name] = replace(taker, operands=(*taker.operands, addend))
        self.operations[addition.name] = replace(self.operations.pop(last.name), name=addition.name)
        return True

    def into_fma(self, addition: Operation, product: Argument, addend: Argument) -> bool:
        made = self.product(product, "mul", addition.size)
        if not made:
            return False
        self.operations[addition.name] = _to(addition, "fma", *made.operands, addend)
        del self.operations[made.name]
        return True


def _in_order(program: Program) -> Program:
    """Each operation after what it reads, otherwise in the order they have."""
    waiting = {one.name: one for one in program.operations}
    ordered: list[Operation] = []

    def place(operation: Operation) -> None:
        for name in values_read(operation):
            if name in waiting:
                place(waiting.pop(name))
        ordered.append(operation)

    while waiting:
        place(waiting.pop(next(iter(waiting))))
    return replace(program, operations=tuple(ordered))
