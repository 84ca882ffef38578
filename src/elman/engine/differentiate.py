"""From a forward program to its backward one: reverse mode on the list of operations, one row a rule.

What the backward program needs of the forward pass is either kept or computed again: inputs and states are at hand; results of
products, reductions, divisions and transcendental functions are kept; what is cheap is computed again from these.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from itertools import chain, pairwise, product
from math import pi, prod, sqrt

from elman.engine.program import (
    POINTWISE,
    Argument,
    Backward,
    Gradient,
    Operand,
    Operation,
    Program,
    values_read,
    whole,
)
from elman.engine.simplify import results_read, simplify, without_dead


def differentiate(
    program: Program,
    wanted_inputs: AbstractSet[str] = frozenset(),
    wanted_states: AbstractSet[str] = frozenset(),
    wanted_weights: AbstractSet[str] = frozenset(),
) -> Backward:
    """The backward program of a forward one.

    Args:
        program: a well-formed forward program, as it will run: simplified.
        wanted_inputs: the inputs whose gradients are wanted at every step.
        wanted_states: the states whose initial values' gradients are wanted.
        wanted_weights: the weights whose gradients are wanted.

    Returns:
        The backward program, simplified, and what it needs of the forward pass. It has a state for each forward state
        whose gradient matters (of a state that never changes it is summed up over the steps), an input for each output
        whose gradient matters; an output, or a gradient, is missing where nothing depends on that input or weight. A
        matrix may have several gradients: they add up.
    """
    sweep = _Sweep(program, _active(program, wanted_inputs | wanted_states | wanted_weights))
    for operation in reversed(program.operations):
        sweep.through(operation)
    return _with_forward(program, sweep, simplify(sweep.finished(wanted_inputs, wanted_weights)))


# ---- what a gradient flows to ---------------------------------------------------------------------------------------


def _active(program: Program, wanted: AbstractSet[str]) -> set[str]:
    """The values that depend on something wanted in a way that has a slope, through earlier steps too."""
    active = set(wanted)
    size = -1
    while size != len(active):
        size = len(active)
        for operation in program.operations:
            if operation.weight in active or not active.isdisjoint(_sloped(operation)):
                active.add(operation.name)
        active.update(name for name, at in program.next_states.items() if at and at.value in active)
    return active


def _sloped(operation: Operation) -> Iterator[str]:
    """The values read that the result depends on with a slope other than zero."""
    slopes = _SLOPES.get(operation.kind, (True,) * len(operation.operands))
    for operand, slope in zip(operation.operands, slopes, strict=True):
        if slope and isinstance(operand, Operand):
            yield operand.value


# ---- rules of the pointwise operations ------------------------------------------------------------------------------


class _At:
    """One pointwise operation in the backward pass: what it read and what it gave, and a way to compute with them."""

    def __init__(self, sweep: "_Sweep", operation: Operation) -> None:
        read = [sweep.forward(argument) for argument in operation.operands]
        self.a, self.b, self.c = (*read, 0.0, 0.0)[:3]
        self.y = sweep.forward(whole(operation.name, operation.size))
        self._sweep, self._size = sweep, operation.size

    def __call__(self, kind: str, *operands: Argument) -> Operand:
        return self._sweep.emit(kind, self._size, *operands)


Slope = Callable[[_At, Operand], Operand]


def _same(_: _At, g: Operand) -> Operand:
    return g


def _chosen(kind: str, winner: str, loser: str) -> tuple[Slope, Slope]:
    """Of the larger or the smaller: equal ones share the gradient, as in torch."""

    def to(own: str, other: str) -> Slope:
        def slope(at: _At, g: Operand) -> Operand:
            mine, theirs = getattr(at, own), getattr(at, other)
            shared = at("where", at("eq", mine, theirs), at("mul", g, 0.5), g)
            return at("where", at(kind, mine, theirs), 0.0, shared)

        return slope

    return to(winner, loser), to(loser, winner)


def _exponent(at: _At, g: Operand) -> Operand:
    """Of a power by its exponent: zero where zero was raised to zero or more."""
    flat = at("mul", at("eq", at.a, 0.0), at("ge", at.b, 0.0))
    return at("where", flat, 0.0, at("mul", g, at("mul", at.y, at("log", at.a))))


def _base(at: _At, g: Operand) -> Operand:
    """Of a power by its base: zero where the exponent is, whatever the base."""
    slope = at("mul", at("mul", g, at("pow", at.a, at("sub", at.b, 1.0))), at.b)
    return at("where", at("eq", at.b, 0.0), 0.0, slope)


_NONE: tuple[None] = (None,)

_SLOPES: Mapping[str, tuple[Slope | None, ...]] = {
    "copy": (_same,),
    "neg": (lambda at, g: at("neg", g),),
    "abs": (lambda at, g: at("mul", g, at("sign", at.a)),),
    "sign": _NONE,
    "exp": (lambda at, g: at("mul", g, at.y),),
    "expm1": (lambda at, g: at("fma", g, at.y, g),),
    "log": (lambda at, g: at("div", g, at.a),),
    "log1p": (lambda at, g: at("div", g, at("add", at.a, 1.0)),),
    "sqrt": (lambda at, g: at("mul", at("div", g, at.y), 0.5),),
    "rsqrt": (lambda at, g: at("mul", at("mul", at("mul", g, at.y), at("mul", at.y, at.y)), -0.5),),
    "reciprocal": (lambda at, g: at("neg", at("mul", g, at("mul", at.y, at.y))),),
    "sin": (lambda at, g: at("mul", g, at("cos", at.a)),),
    "cos": (lambda at, g: at("neg", at("mul", g, at("sin", at.a))),),
    "erf": (lambda at, g: at("mul", at("mul", g, at("exp", at("neg", at("mul", at.a, at.a)))), 2 / sqrt(pi)),),
    "tanh": (lambda at, g: at("tanh_slope", g, at.y),),
    "sigmoid": (lambda at, g: at("sigmoid_slope", g, at.y),),
    "relu": (lambda at, g: at("where", at("le", at.y, 0.0), 0.0, g),),
    "floor": _NONE,
    "add": (_same, _same),
    "sub": (_same, lambda at, g: at("neg", g)),
    "mul": (lambda at, g: at("mul", g, at.b), lambda at, g: at("mul", g, at.a)),
    "div": (lambda at, g: at("div", g, at.b), lambda at, g: at("neg", at("mul", at("div", g, at.b), at.y))),
    "maximum": _chosen("lt", "a", "b"),
    "minimum": _chosen("gt", "a", "b"),
    "pow": (_base, _exponent),
    **dict.fromkeys(("gt", "ge", "lt", "le", "eq", "ne"), _NONE * 2),
    "fma": (lambda at, g: at("mul", g, at.b), lambda at, g: at("mul", g, at.a), _same),
    "where": (None, lambda at, g: at("where", at.a, g, 0.0), lambda at, g: at("where", at.a, 0.0, g)),
    "sigmoid_slope": (
        lambda at, g: at("sigmoid_slope", g, at.b),
        lambda at, g: at("mul", at("mul", g, at.a), at("fma", at.b, -2.0, 1.0)),
    ),
    "tanh_slope": (
        lambda at, g: at("tanh_slope", g, at.b),
        lambda at, g: at("mul", at("mul", g, at.a), at("mul", at.b, -2.0)),
    ),
}
"""For each operand: the gradient by it, given the one by the result; ``None`` where the slope is zero."""


# ---- the sweep ------------------------------------------------------------------------------------------------------


Flow = tuple[int, int, Operand]
"""The first column that a gradient flows to, the one after the last, and the gradient; splat: the same for all of them."""


class _Sweep:
    """From the last operation to the first. Forward values are read as `f` + name; who provides them is decided later."""

    def __init__(self, program: Program, active: AbstractSet[str]) -> None:
        self.program, self.active = program, active
        self.sizes = program.sizes()
        self.states = {name: size for name, size in program.states.items() if name in active}
        outputs = {name: at for name, at in program.outputs.items() if at.value in active}
        self.inputs = {f"d{name}": at.size for name, at in outputs.items()}
        taken = {*program.weights, *self.states, *self.inputs}
        self.kept = {name: _free(f"f{name}", taken) for name in self.sizes if name not in program.weights}
        self.taken = taken
        self.operations: list[Operation] = []
        self.gradients: list[Gradient] = []
        self.flows: defaultdict[str, list[Flow]] = defaultdict(list)
        for name, at in outputs.items():
            self.flow(at, whole(f"d{name}", at.size))
        for name in self.states:
            at = program.next_states[name] or whole(name, program.states[name])
            self.flow(at, whole(name, at.size))

    # building blocks

    def emit(self, kind: str, size: int, *operands: Argument, **settings: object) -> Operand:
        """Append an operation and give its result."""
        name = _free(f"g{len(self.operations) + 1}", self.taken)
        self.operations.append(replace(Operation(name, kind, size, operands), **settings))  # type: ignore[arg-type]
        return whole(name, size)

    def forward(self, argument: Argument) -> Argument:
        """An argument of the forward program, as the backward one reads it."""
        if isinstance(argument, Operand) and argument.value in self.kept:
            return replace(argument, value=self.kept[argument.value])
        return argument

    def flow(self, to: Argument, gradient: Operand) -> None:
        """Let a gradient flow to the columns that were read; one column that stood for all gets the sum."""
        if not isinstance(to, Operand) or to.value not in self.active:
            return
        if to.splat and gradient.size > 1:
            gradient = self.emit("sum", 1, gradient)
        self.flows[to.value].append((to.start, to.start + to.size, gradient))

    def gradient(self, name: str) -> Operand | None:
        """All that flowed to a value, added up; zeros in columns that nothing reached."""
        flows = self.flows.pop(name, [])
        if not flows:
            return None
        size = self.sizes[name]
        cuts = sorted({0, size, *chain.from_iterable((start, end) for start, end, _ in flows)})
        pieces = [self._added(low, high, flows) for low, high in pairwise(cuts)]
        return pieces[0] if len(pieces) == 1 else self.emit("concat", size, *pieces)

    def _added(self, low: int, high: int, flows: list[Flow]) -> Operand:
        size = high - low
        covering: list[Argument] = [
            operand if operand.splat else Operand(operand.value, operand.start + low - start, size)
            for start, end, operand in flows
            if start <= low and high <= end
        ]
        total, *others = covering or [0.0]
        for operand in others:
            total = self.emit("add", size, total, operand)
        return total if isinstance(total, Operand) and not total.splat else self.emit("copy", size, total)

    def spread(self, operand: Operand, length: int) -> Operand:
        """Each column ``length`` times."""
        if length == 1 or operand.size == 1:
            return replace(operand, splat=length > 1)
        size = operand.size * length
        return self.emit("gather", size, operand, shape=(operand.size, length), strides=(1, 0))

    # the walk

    def through(self, operation: Operation) -> None:
        """Let the gradient of a result flow on to what it was computed from."""
        gradient = self.gradient(operation.name)
        if gradient is None:
            return
        if operation.kind not in POINTWISE:
            _RULES[operation.kind](self, operation, gradient)
            return
        at = _At(self, operation)
        if operation.kind == "mul" and operation.operands[0] == operation.operands[1]:
            self.flow(operation.operands[0], at("mul", at("mul", gradient, 2.0), at.a))
            return
        for operand, slope in zip(operation.operands, _SLOPES[operation.kind], strict=True):
            if slope and isinstance(operand, Operand) and operand.value in self.active:
                self.flow(operand, slope(at, gradient))

    def finished(self, wanted_inputs: AbstractSet[str], wanted_weights: AbstractSet[str]) -> Program:
        """The backward program as if all of the forward pass were kept."""
        program = self.program
        found = {name: self.gradient(name) for name in program.inputs if name in wanted_inputs}
        nexts = {name: self.gradient(name) or self.emit("copy", size, 0.0) for name, size in self.states.items()}
        for name in program.weights:
            vector = self.gradient(name) if name in wanted_weights else None
            if vector:
                self.gradients.append(Gradient(name, vector))
        return Program(
            inputs={**self.inputs, **{kept: self.sizes[name] for name, kept in self.kept.items()}},
            states=self.states,
            weights=program.weights,
            operations=tuple(self.operations),
            outputs={f"d{name}": at for name, at in found.items() if at},
            next_states=nexts,
            gradients=tuple(self.gradients),
        )


def _free(name: str, taken: set[str]) -> str:
    """The name, or one like it that is not taken yet; taken from now on."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


# ---- rules of the other operations ----------------------------------------------------------------------------------


def _operand(operation: Operation, index: int = 0) -> Operand:
    operand = operation.operands[index]
    assert isinstance(operand, Operand)
    return operand


def _matmul(sweep: _Sweep, operation: Operation, gradient: Operand) -> None:
    operand, weight = _operand(operation), operation.weight
    if weight in sweep.active:
        left = sweep.forward(operand)
        assert isinstance(left, Operand)
        sweep.gradients.append(Gradient(weight, *((gradient, left) if operation.transposed else (left, gradient))))
    if operand.value in sweep.active:
        back = sweep.emit("matmul", operand.size, gradient, weight=weight, transposed=not operation.transposed)
        sweep.flow(operand, back)
    for addend in operation.operands[1:]:
        sweep.flow(addend, gradient)


def _sum(sweep: _Sweep, operation: Operation, gradient: Operand) -> None:
    operand = _operand(operation)
    sweep.flow(operand, sweep.spread(gradient, operand.size // operation.size))


def _max(sweep: _Sweep, operation: Operation, gradient: Operand) -> None:
    """The largest ones share the gradient equally, as torch's amax does."""
    operand, size = _operand(operation), operation.size
    length = operand.size // size
    result = sweep.forward(whole(operation.name, size))
    assert isinstance(result, Operand)
    largest = sweep.emit("eq", operand.size, sweep.forward(operand), sweep.spread(result, length))
    share = sweep.emit("div", size, gradient, sweep.emit("sum", size, largest))
    sweep.flow(operand, sweep.emit("mul", operand.size, largest, sweep.spread(share, length)))


def _concat(sweep: _Sweep, operation: Operation, gradient: Operand) -> None:
    start = gradient.start
    for index in range(len(operation.operands)):
        operand = _operand(operation, index)
        sweep.flow(operand, Operand(gradient.value, start, operand.size))
        start += operand.size


Axis = tuple[int, int, int]
"""Of a gather: how many, the stride in what it read, the stride in its result."""


def _gather(sweep: _Sweep, operation: Operation, gradient: Operand) -> None:
    """Its reverse, run of columns by run; what was read more than once gets the sum."""
    operand = _operand(operation)
    own = [prod(operation.shape[axis + 1 :]) for axis in range(len(operation.shape))]
    axes = [axis for axis in zip(operation.shape, operation.strides, own, strict=True) if axis[0] > 1]
    # From wide strides to narrow, so that columns mostly ascend; of equal ones the longest last, for long runs.
    moving = sorted((axis for axis in axes if axis[1]), key=lambda axis: (-axis[1], axis[0]))
    compact = _compacted(sweep, moving, [axis for axis in axes if not axis[1]], gradient)
    for column, position, size in _runs(moving):
        run = Operand(compact.value, compact.start + position, size)
        sweep.flow(Operand(operand.value, operand.start + column, size), run)


def _compacted(sweep: _Sweep, moving: list[Axis], repeated: list[Axis], gradient: Operand) -> Operand:
    """The gradient in the order of the moving axes, summed over the repeated ones."""
    axes = [*moving, *repeated] or [(1, 0, 0)]
    shape, strides = tuple(axis[0] for axis in axes), tuple(axis[2] for axis in axes)
    ordered = sweep.emit("gather", prod(shape), gradient, shape=shape, strides=strides)
    columns = prod(axis[0] for axis in moving)
    return sweep.emit("sum", columns, ordered) if repeated else ordered


def _runs(axes: list[Axis]) -> Iterator[tuple[int, int, int]]:
    """Runs of adjacent columns that axes reach in their order: first column, its place in the order, how many."""
    columns = [sum(at) for at in product(*(range(0, count * stride, stride) for count, stride, _ in axes))]
    first = 0
    for place in range(1, len(columns) + 1):
        if place == len(columns) or columns[place] != columns[place - 1] + 1:
            yield columns[first], first, place - first
            first = place


_RULES: Mapping[str, Callable[[_Sweep, Operation, Operand], None]] = {
    "matmul": _matmul,
    "sum": _sum,
    "max": _max,
    "gather": _gather,
    "concat": _concat,
}


# ---- what is kept of the forward pass, and what is computed again ---------------------------------------------------

_CHEAP = {
    *("copy", "neg", "abs", "sign", "relu", "floor", "add", "sub", "mul", "maximum", "minimum", "fma", "where"),
    *("gt", "ge", "lt", "le", "eq", "ne", "sigmoid_slope", "tanh_slope", "gather", "concat"),
}


def _with_forward(program: Program, sweep: _Sweep, backward: Program) -> Backward:
    """Complete a backward program by what it computes again, and say what it needs kept."""
    kept = {kept: name for name, kept in sweep.kept.items()}
    needed = {kept[name]: columns for name, columns in _columns_read(backward).items() if name in kept}
    again = [
        replace(one, name=sweep.kept[one.name], operands=tuple(map(sweep.forward, one.operands)))
        for one in _computed_again(program, needed)
    ]
    operations = (*again, *backward.operations)
    repeated = {one.name for one in again}
    inputs = {name: size for name, size in backward.inputs.items() if name not in repeated}
    complete = simplify(without_dead(replace(backward, inputs=inputs, operations=operations)))
    return _with_saved(complete, kept, {*program.inputs, *program.states})


def _computed_again(program: Program, needed: Mapping[str, tuple[int, int]]) -> Iterator[Operation]:
    """The cheap operations whose operands are at hand: inputs, states before the step, what is kept anyway."""
    at_hand = {*program.inputs, *program.states, *(name for name, shape in program.weights.items() if len(shape) == 1)}
    free = set(_kept_as_state(program, needed))
    for operation in program.operations:
        possible = operation.kind in _CHEAP and at_hand.issuperset(values_read(operation))
        if operation.name in free or (operation.name in needed and not possible):
            at_hand.add(operation.name)
        elif possible:
            at_hand.add(operation.name)
            yield operation


def _kept_as_state(program: Program, needed: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    """The values that a next state holds, as far as they are needed, of the states that are kept in any case."""
    sizes = program.sizes()
    for state, at in program.next_states.items():
        if at and state in needed:
            low, high = needed.get(at.value, (0, sizes[at.value]))
            if at.start <= low and high <= at.start + at.size:
                yield at.value


def _columns_read(program: Program) -> dict[str, tuple[int, int]]:
    """For each value that is read: the first column read, and the one after the last."""
    operands = chain.from_iterable(operation.operands for operation in program.operations)
    hulls: dict[str, tuple[int, int]] = {}
    for operand in chain(operands, results_read(program)):
        if isinstance(operand, Operand):
            start, end = operand.start, operand.start + operand.size
            low, high = hulls.get(operand.value, (start, end))
            hulls[operand.value] = min(low, start), max(high, end)
    return hulls


def _with_saved(program: Program, kept: Mapping[str, str], whole_ones: AbstractSet[str]) -> Backward:
    """The program with only those inputs and weights, and of what is kept only those columns, that it reads."""
    read = _columns_read(program)
    saved, inputs = {}, {}
    for name, size in program.inputs.items():
        if name in kept and name in read:
            low, high = (0, size) if kept[name] in whole_ones else read[name]
            saved[name], inputs[name] = Operand(kept[name], low, high - low), high - low
        elif name not in kept:
            inputs[name] = size
    matrices = {one.weight for one in chain[Operation | Gradient](program.operations, program.gradients)}
    weights = {name: shape for name, shape in program.weights.items() if name in matrices or name in read}
    names = _numbered(program, {*weights, *inputs, *program.states, *kept})
    shifts = {name: operand.start for name, operand in saved.items()}

    def moved(operand: Operand) -> Operand:
        value, start = names.get(operand.value, operand.value), operand.start - shifts.get(operand.value, 0)
        return replace(operand, value=value, start=start)

    return Backward(_reading(replace(program, inputs=inputs, weights=weights), names, moved), saved)


def _numbered(program: Program, taken: set[str]) -> dict[str, str]:
    """New names for what the backward pass computes itself: g1, g2 and so on."""
    own = [one.name for one in program.operations if one.name not in taken]
    return {name: _free(f"g{number}", taken) for number, name in enumerate(own, 1)}


def _reading(program: Program, names: Mapping[str, str], moved: Callable[[Operand], Operand]) -> Program:
    """The program with its operations renamed and all that is read moved."""
    return replace(
        program,
        operations=tuple(
            replace(
                one,
                name=names.get(one.name, one.name),
                operands=tuple(moved(operand) if isinstance(operand, Operand) else operand for operand in one.operands),
            )
            for one in program.operations
        ),
        outputs={name: moved(at) for name, at in program.outputs.items()},
        next_states={name: at and moved(at) for name, at in program.next_states.items()},
        gradients=tuple(
            Gradient(one.weight, moved(one.left), one.right and moved(one.right)) for one in program.gradients
        ),
    )
