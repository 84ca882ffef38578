"""Programs written by hand, programs drawn at random, and what they mean in torch: for the tests of the engine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from elman.engine.program import POINTWISE, Argument, Backward, Operand, Operation, Program, whole

Values = Mapping[str, Tensor]


# ---- the meaning of a program, in torch -----------------------------------------------------------------------------


def _truth(compare: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda a, b: compare(a, b).to(torch.float64)


MEANING: Mapping[str, Callable[..., Tensor]] = {
    "copy": lambda a: a * 1,
    "where": lambda a, b, c: torch.where(a != 0, b, c),
    "fma": lambda a, b, c: a * b + c,
    "sigmoid_slope": lambda a, b: a * b * (1 - b),
    "tanh_slope": lambda a, b: a * (1 - b * b),
    **{kind: _truth(getattr(torch, kind)) for kind in ("gt", "ge", "lt", "le", "eq", "ne")},
}


def _compute(operation: Operation, values: Values, weights: Values, batch: int) -> Tensor:
    def read(argument: Argument) -> Tensor:
        if not isinstance(argument, Operand):
            return torch.full((batch, operation.size), argument, dtype=torch.float64)
        columns = values[argument.value][:, argument.start : argument.start + argument.size]
        return columns.expand(-1, operation.size) if argument.splat else columns

    read_all = [read(argument) for argument in operation.operands]
    if operation.kind in POINTWISE:
        meaning = MEANING.get(operation.kind) or getattr(torch, operation.kind)
        return meaning(*read_all) * 1.0
    if operation.kind == "matmul":
        matrix = weights[operation.weight]
        return read_all[0] @ (matrix.T if operation.transposed else matrix) + sum(read_all[1:])
    if operation.kind == "gather":
        indices = torch.zeros(operation.shape, dtype=torch.long)
        for axis, (count, stride) in enumerate(zip(operation.shape, operation.strides, strict=True)):
            along = [1] * len(operation.shape)
            along[axis] = count
            indices = indices + stride * torch.arange(count).view(along)
        return read_all[0][:, indices.flatten()]
    if operation.kind == "concat":
        return torch.cat(read_all, 1)
    groups = read_all[0].reshape(batch, operation.size, -1)
    return groups.sum(2) if operation.kind == "sum" else groups.amax(2)


def environment(program: Program, values: Values, weights: Values) -> dict[str, Tensor]:
    """Every value of a step, given inputs and states; vectors are repeated for each row."""
    batch = next((value.shape[0] for value in values.values()), 1)
    vectors = {name: weight.expand(batch, -1) for name, weight in weights.items() if weight.ndim == 1}
    known = {**values, **vectors}
    for operation in program.operations:
        known[operation.name] = _compute(operation, known, weights, batch)
        assert known[operation.name].shape == (batch, operation.size), operation
    return known


def columns(known: Values, operand: Operand) -> Tensor:
    return known[operand.value][:, operand.start : operand.start + operand.size]


def next_states(program: Program, known: Values) -> dict[str, Tensor]:
    return {name: columns(known, at) if at else known[name] for name, at in program.next_states.items()}


def numbers(program: Program, steps: int, batch: int, seed: int = 0) -> tuple[list[dict[str, Tensor]], Any, Any]:
    """Inputs of each step, initial states and weights: random, of moderate size."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64) * 1.6 - 0.8

    inputs = [{name: draw(batch, size) for name, size in program.inputs.items()} for _ in range(steps)]
    states = {name: draw(batch, size) for name, size in program.states.items()}
    return inputs, states, {name: draw(*shape) for name, shape in program.weights.items()}


def run_backward(
    backward: Backward, known: list[dict[str, Tensor]], weights: Values, slopes: list[dict[str, Tensor]], last: Values
) -> tuple[list[dict[str, Tensor]], dict[str, Tensor], dict[str, Tensor]]:
    """Gradients by the inputs of each step, the initial states and the weights, from the last step to the first.

    Args:
        backward: what to run.
        known: all values of each forward step.
        weights: the weights.
        slopes: the gradients by the outputs of each step, by output.
        last: the gradients by the last states.
    """
    program, states = backward.program, {name: last[name] for name in backward.program.states}
    by_inputs: list[dict[str, Tensor]] = []
    by_weights: dict[str, Tensor] = {}
    for step in reversed(range(len(known))):
        given = {f"d{name}": slope for name, slope in slopes[step].items() if f"d{name}" in program.inputs}
        kept = {name: columns(known[step], at) for name, at in backward.saved.items()}
        everything = environment(program, {**given, **kept, **states}, weights)
        by_inputs.append({name: columns(everything, at) for name, at in program.outputs.items()})
        for gradient in program.gradients:
            left = columns(everything, gradient.left)
            total = left.T @ columns(everything, gradient.right) if gradient.right else left.sum(0)
            by_weights[gradient.weight] = by_weights.get(gradient.weight, torch.zeros(())) + total
        states = next_states(program, everything)
    return by_inputs[::-1], states, by_weights


# ---- writing programs -----------------------------------------------------------------------------------------------


@dataclass
class Writer:
    """Writes a program line by line; a name alone stands for all columns of a value."""

    inputs: dict[str, int]
    states: dict[str, int]
    weights: dict[str, tuple[int, ...]] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)

    def at(self, value: str, start: int = 0, size: int | None = None, *, splat: bool = False) -> Operand:
        width = self.program().sizes()[value]
        return Operand(value, start, 1 if splat else (size or width - start), splat)

    def add(self, kind: str, size: int, *operands: str | Argument, **settings: Any) -> str:
        name = f"v{len(self.operations) + 1}"
        read = tuple(self.at(one) if isinstance(one, str) else one for one in operands)
        self.operations.append(Operation(name, kind, size, read, **settings))
        return name

    def product(
        self, weight: str, size: int, operand: str | Operand, *addend: str | Operand, transposed: bool = True
    ) -> str:
        width = (self.at(operand) if isinstance(operand, str) else operand).size
        self.weights[weight] = (size, width) if transposed else (width, size)
        return self.add("matmul", size, operand, *addend, weight=weight, transposed=transposed)

    def program(
        self, outputs: Mapping[str, str] | None = None, states: Mapping[str, str | None] | None = None
    ) -> Program:
        program = Program(self.inputs, self.states, dict(self.weights), tuple(self.operations), {}, {})
        sizes = program.sizes()
        return Program(
            dict(self.inputs),
            dict(self.states),
            program.weights,
            program.operations,
            {name: whole(value, sizes[value]) for name, value in (outputs or {}).items()},
            {name: whole(value, sizes[value]) if value else None for name, value in (states or {}).items()},
        )


def elman() -> Program:
    """The simple recurrent network."""
    w = Writer({"x": 3}, {"hidden": 4}, {"bias": (4,)})
    hidden = w.add("tanh", 4, w.product("recurrent", 4, "hidden", w.product("into", 4, "x", "bias")))
    return w.program({"y": hidden}, {"hidden": hidden})


def lstm(*, peephole: bool = False) -> Program:
    """A long short-term memory; with `peephole` the gates see the cell."""
    w = Writer({"x": 3}, {"hidden": 4, "cell": 4}, {"bias": (16,), "peep": (12,)})
    total = w.add("add", 16, w.product("into", 16, "x", "bias"), w.product("recurrent", 16, "hidden"))

    def gate(kind: str, place: int, peep: int | None = None, cell: str = "cell") -> str:
        before: str | Operand = w.at(total, 4 * place, 4)
        if peephole and peep is not None:
            before = w.add("fma", 4, w.at("peep", 4 * peep, 4), cell, before)
        return w.add(kind, 4, before)

    i, f, g = gate("sigmoid", 0, 0), gate("sigmoid", 1, 1), gate("tanh", 2)
    cell = w.add("add", 4, w.add("mul", 4, f, "cell"), w.add("mul", 4, i, g))
    o = gate("sigmoid", 3, 2, cell)
    hidden = w.add("mul", 4, o, w.add("tanh", 4, cell))
    return w.program({"y": hidden}, {"hidden": hidden, "cell": cell})


def gru() -> Program:
    """A gated recurrent unit, reset after the product."""
    w = Writer({"x": 3}, {"hidden": 4}, {"bias": (12,), "bias_hidden": (12,)})
    into, recurrent = w.product("into", 12, "x", "bias"), w.product("recurrent", 12, "hidden", "bias_hidden")
    r = w.add("sigmoid", 4, w.add("add", 4, w.at(into, 0, 4), w.at(recurrent, 0, 4)))
    u = w.add("sigmoid", 4, w.add("add", 4, w.at(into, 4, 4), w.at(recurrent, 4, 4)))
    c = w.add("tanh", 4, w.add("add", 4, w.at(into, 8, 4), w.add("mul", 4, r, w.at(recurrent, 8, 4))))
    mixed = w.add("mul", 4, w.add("sub", 4, 1.0, u), c)
    hidden = w.add("add", 4, w.add("mul", 4, u, "hidden"), mixed)
    return w.program({"y": hidden}, {"hidden": hidden})


def layer_norm() -> Program:
    """A product, normalised over groups of the row, with gain and bias."""
    w = Writer({"x": 3}, {"hidden": 6}, {"gain": (6,), "bias": (6,)})
    total = w.product("recurrent", 6, w.add("concat", 9, "x", "hidden"))
    mean = w.add("mul", 1, w.add("sum", 1, total), 1 / 6)
    centred = w.add("sub", 6, total, w.at(mean, splat=True))
    variance = w.add("mul", 1, w.add("sum", 1, w.add("mul", 6, centred, centred)), 1 / 6)
    scale = w.add("rsqrt", 1, w.add("add", 1, variance, 1e-3))
    normal = w.add("mul", 6, centred, w.at(scale, splat=True))
    hidden = w.add("tanh", 6, w.add("add", 6, w.add("mul", 6, normal, "gain"), "bias"))
    return w.program({"y": hidden}, {"hidden": hidden})


def attention() -> Program:
    """A query against five keys that never change, a softmax, a weighted mean of values that never change."""
    w = Writer({"x": 2}, {"keys": 15, "values": 15, "hidden": 3})
    query = w.product("query", 3, w.add("concat", 5, "x", "hidden"), transposed=False)
    repeated = w.add("gather", 15, query, shape=(5, 3), strides=(0, 1))
    scores = w.add("sum", 5, w.add("mul", 15, "keys", repeated))
    largest = w.add("max", 1, scores)
    powers = w.add("exp", 5, w.add("sub", 5, scores, w.at(largest, splat=True)))
    weights = w.add("div", 5, powers, w.at(w.add("sum", 1, powers), splat=True))
    spread = w.add("gather", 15, weights, shape=(3, 5), strides=(0, 1))
    turned = w.add("gather", 15, "values", shape=(3, 5), strides=(1, 3))
    mean = w.add("sum", 3, w.add("mul", 15, spread, turned))
    hidden = w.add("tanh", 3, w.product("read", 3, mean))
    return w.program({"y": hidden, "weights": weights}, {"keys": None, "values": None, "hidden": hidden})


def highway() -> Program:
    """Three micro-steps that share their weights."""
    w = Writer({"x": 4}, {"state": 4}, {"bias": (8,)})
    state = "state"
    for depth in range(3):
        total = w.product("recurrent", 8, state, "bias")
        h, t = w.add("tanh", 4, w.at(total, 0, 4)), w.add("sigmoid", 4, w.at(total, 4, 4))
        if depth == 0:
            h = w.add("add", 4, h, "x")
        state = w.add("add", 4, w.add("mul", 4, t, w.add("sub", 4, h, state)), state)
    return w.program({"y": state}, {"state": state})


def two_masks() -> Program:
    """A leaky state with dropout masks that never change, and a readout that the state does not wait for."""
    w = Writer({"x": 3}, {"hidden": 3, "mask": 3}, {"decay": (3,)})
    into = w.add("mul", 3, w.product("into", 3, "x"), "mask")
    hidden = w.add("fma", 3, "decay", "hidden", into)
    return w.program({"y": w.product("readout", 2, hidden)}, {"hidden": hidden, "mask": None})


PROGRAMS: Mapping[str, Callable[[], Program]] = {
    "elman": elman,
    "lstm": lstm,
    "peephole": lambda: lstm(peephole=True),
    "gru": gru,
    "layer_norm": layer_norm,
    "attention": attention,
    "highway": highway,
    "two_masks": two_masks,
}


# ---- programs at random ---------------------------------------------------------------------------------------------

UNARY = ("copy", "neg", "abs", "sign", "sin", "cos", "erf", "tanh", "sigmoid", "relu", "floor")
BINARY = ("add", "sub", "mul", "maximum", "minimum", "gt", "ge", "lt", "le", "eq", "ne", "sigmoid_slope", "tanh_slope")
GUARDED = ("log", "sqrt", "rsqrt", "reciprocal", "log1p", "div", "pow")
BOUNDED = ("exp", "expm1")
SHAPED = ("matmul", "gather", "concat", "sum", "max")


@dataclass
class _Drawer:
    draw: Any
    w: Writer

    def one(self, choices: Any) -> Any:
        return self.draw(st.sampled_from(list(choices)))

    def number(self) -> float:
        return float(self.one((-1.0, -0.5, 0.0, 0.5, 1.0, 2.0)))

    def columns(self, size: int | None = None) -> Operand:
        sizes = {name: width for name, width in self.w.program().sizes().items() if width >= (size or 1)}
        value = self.one(sizes)
        size = size or self.draw(st.integers(1, sizes[value]))
        return self.w.at(value, self.draw(st.integers(0, sizes[value] - size)), size)

    def argument(self, size: int) -> Argument:
        widest = max(self.w.program().sizes().values())
        how = self.one(("columns",) * 4 + ("splat", "number") if size <= widest else ("splat", "number"))
        if how == "number":
            return self.number()
        return self.columns(size) if how == "columns" else Operand(**{**vars(self.columns(1)), "splat": True})

    def pointwise(self, kind: str) -> None:
        size = self.draw(st.integers(1, 6))
        operands: list[Any] = [self.argument(size) for _ in range(POINTWISE[kind])]
        if kind in BOUNDED:
            operands[0] = self.w.add("tanh", size, operands[0])
        if kind in GUARDED:
            operands[0] = self.w.add("add", size, self.w.add("sigmoid", size, operands[0]), 0.5)
        if kind == "div":
            operands.reverse()
        self.w.add(kind, size, *operands)

    def matmul(self) -> None:
        operand, transposed = self.columns(), self.draw(st.booleans())
        size = self.draw(st.integers(1, 6))
        shape = (size, operand.size) if transposed else (operand.size, size)
        same = [name for name, found in self.w.weights.items() if found == shape]
        weight = self.one((*same, f"w{len(self.w.weights)}"))
        widest = max(self.w.program().sizes().values())
        addend = [self.columns(size)] if size <= widest and self.draw(st.booleans()) else []
        self.w.weights[weight] = shape
        self.w.add("matmul", size, operand, *addend, weight=weight, transposed=transposed)

    def gather(self) -> None:
        operand, shape, strides, left = self.columns(), [], [], 0
        left = operand.size - 1
        for _ in range(self.draw(st.integers(1, 3))):
            stride = self.draw(st.integers(0, 3))
            count = self.draw(st.integers(1, min(3, 1 + left // stride) if stride else 3))
            left -= (count - 1) * stride
            shape.append(count)
            strides.append(stride)
        size = int(torch.tensor(shape).prod())
        self.w.add("gather", size, operand, shape=tuple(shape), strides=tuple(strides))

    def concat(self) -> None:
        parts = [self.columns() for _ in range(self.draw(st.integers(1, 3)))]
        self.w.add("concat", sum(part.size for part in parts), *parts)

    def reduction(self, kind: str) -> None:
        operand = self.columns()
        groups = self.one(count for count in range(1, operand.size + 1) if operand.size % count == 0)
        self.w.add(kind, groups, operand)

    def line(self) -> None:
        kind = self.one((*UNARY, *BINARY, *GUARDED, *BOUNDED, "fma", "where", *SHAPED * 3))
        if kind in POINTWISE:
            self.pointwise(kind)
        elif kind in ("sum", "max"):
            self.reduction(kind)
        else:
            getattr(self, kind)()


@st.composite
def programs(draw: Any) -> Program:
    """Any program of a few lines; values stay moderate because each next state is squashed."""
    widths = st.integers(1, 5)
    states = {"hidden": draw(widths), "mask": draw(widths)}
    writer = Writer({"x": draw(widths)}, states, {"bias": (draw(widths),)})
    drawer = _Drawer(draw, writer)
    for _ in range(draw(st.integers(1, 12))):
        drawer.line()
    last = writer.at(writer.operations[-1].name)
    squashed = writer.add("tanh", states["hidden"], drawer.argument(states["hidden"]))
    program = writer.program({"y": last.value, "z": drawer.columns().value}, {"hidden": squashed, "mask": None})
    assert all(operand.size == program.sizes()[operand.value] for operand in program.outputs.values())
    return program
