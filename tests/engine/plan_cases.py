"""Programs to plan: by hand, and drawn at random."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from elman.engine.program import Backward, Gradient, Operand, Operation, Program, whole


def operation(name: str, kind: str, size: int, *operands: Operand | float, **more: Any) -> Operation:
    return Operation(name, kind, size, operands, **more)


def columns(value: str, start: int, size: int) -> Operand:
    return Operand(value, start, size)


def lstm(inputs: int = 3, hidden: int = 4) -> Program:
    four = 4 * hidden
    gates = [columns("v", k * hidden, hidden) for k in range(4)]
    of = {name: whole(name, hidden) for name in ("i", "f", "g", "o", "cell", "hidden", "w", "c", "t", "h")}
    return Program(
        {"x": inputs},
        {"hidden": hidden, "cell": hidden},
        {"W": (four, inputs), "b": (four,), "U": (four, hidden)},
        (
            operation("z", "matmul", four, whole("x", inputs), whole("b", four), weight="W", transposed=True),
            operation("v", "matmul", four, of["hidden"], whole("z", four), weight="U", transposed=True),
            operation("i", "sigmoid", hidden, gates[0]),
            operation("f", "sigmoid", hidden, gates[1]),
            operation("g", "tanh", hidden, gates[2]),
            operation("o", "sigmoid", hidden, gates[3]),
            operation("w", "mul", hidden, of["i"], of["g"]),
            operation("c", "fma", hidden, of["f"], of["cell"], of["w"]),
            operation("t", "tanh", hidden, of["c"]),
            operation("h", "mul", hidden, of["o"], of["t"]),
        ),
        {"y": of["h"]},
        {"hidden": of["h"], "cell": of["c"]},
    )


def gru(inputs: int = 3, hidden: int = 4) -> Program:
    """Of 2014: the reset gate before the product, so that there are two products a step."""
    width = 3 * hidden
    of = {name: whole(name, hidden) for name in ("h", "ra", "r", "ua", "u", "m", "p", "c", "e", "n")}
    return Program(
        {"x": inputs},
        {"h": hidden},
        {"W": (width, inputs), "b": (width,), "R": (hidden, hidden), "U": (hidden, hidden), "C": (hidden, hidden)},
        (
            operation("z", "matmul", width, whole("x", inputs), whole("b", width), weight="W", transposed=True),
            operation("ra", "matmul", hidden, of["h"], columns("z", 0, hidden), weight="R"),
            operation("ua", "matmul", hidden, of["h"], columns("z", hidden, hidden), weight="U"),
            operation("r", "sigmoid", hidden, of["ra"]),
            operation("u", "sigmoid", hidden, of["ua"]),
            operation("m", "mul", hidden, of["r"], of["h"]),
            operation("p", "matmul", hidden, of["m"], columns("z", 2 * hidden, hidden), weight="C"),
            operation("c", "tanh", hidden, of["p"]),
            operation("e", "sub", hidden, of["h"], of["c"]),
            operation("n", "fma", hidden, of["u"], of["e"], of["c"]),
        ),
        {"y": of["n"]},
        {"h": of["n"]},
    )


def layer_norm(inputs: int = 3, hidden: int = 4) -> Program:
    """A tanh network with layer normalization, its variance by two passes."""
    of = {name: whole(name, hidden) for name in ("h", "v", "d", "q", "s", "n", "scale", "shift")}

    def column(name: str) -> Operand:
        return Operand(name, 0, 1, splat=True)

    return Program(
        {"x": inputs},
        {"h": hidden},
        {"W": (inputs, hidden), "U": (hidden, hidden), "scale": (hidden,), "shift": (hidden,)},
        (
            operation("z", "matmul", hidden, whole("x", inputs), weight="W"),
            operation("v", "matmul", hidden, of["h"], whole("z", hidden), weight="U"),
            operation("total", "sum", 1, of["v"]),
            operation("mean", "mul", 1, whole("total", 1), 1 / hidden),
            operation("d", "sub", hidden, of["v"], column("mean")),
            operation("q", "mul", hidden, of["d"], of["d"]),
            operation("squares", "sum", 1, of["q"]),
            operation("variance", "fma", 1, whole("squares", 1), 1 / hidden, 1e-5),
            operation("rate", "rsqrt", 1, whole("variance", 1)),
            operation("s", "mul", hidden, of["d"], column("rate")),
            operation("a", "fma", hidden, of["s"], of["scale"], of["shift"]),
            operation("n", "tanh", hidden, whole("a", hidden)),
        ),
        {"y": of["n"]},
        {"h": of["n"]},
    )


def highway(inputs: int = 3, hidden: int = 4, depth: int = 3) -> Program:
    """Several layers within a step, all with the same weight: its gradient has as many parts."""
    operations = [operation("z", "matmul", hidden, whole("x", inputs), weight="W")]
    last = whole("h", hidden)
    for k in range(depth):
        addend = (whole("z", hidden),) if k == 0 else ()
        operations += [
            operation(f"v{k}", "matmul", hidden, last, *addend, weight="U"),
            operation(f"a{k}", "tanh", hidden, whole(f"v{k}", hidden)),
            operation(f"g{k}", "sigmoid", hidden, whole(f"v{k}", hidden)),
            operation(f"e{k}", "sub", hidden, whole(f"a{k}", hidden), last),
            operation(f"s{k}", "fma", hidden, whole(f"g{k}", hidden), whole(f"e{k}", hidden), last),
        ]
        last = whole(f"s{k}", hidden)
    weights = {"W": (inputs, hidden), "U": (hidden, hidden)}
    return Program({"x": inputs}, {"h": hidden}, weights, tuple(operations), {"y": last}, {"h": last})


def masked(inputs: int = 3, hidden: int = 4) -> Program:
    """Masks that stay the same over time: on what enters, on the state, and on what leaves."""
    of = {name: whole(name, hidden) for name in ("h", "hidden_mask", "d", "v", "n", "y")}
    return Program(
        {"x": inputs},
        {"h": hidden, "input_mask": inputs, "hidden_mask": hidden},
        {"W": (inputs, hidden), "U": (hidden, hidden), "C": (hidden, hidden)},
        (
            operation("k", "mul", inputs, whole("x", inputs), whole("input_mask", inputs)),
            operation("z", "matmul", hidden, whole("k", inputs), weight="W"),
            operation("d", "mul", hidden, of["h"], of["hidden_mask"]),
            operation("v", "matmul", hidden, of["d"], whole("z", hidden), weight="U"),
            operation("n", "tanh", hidden, of["v"]),
            operation("r", "matmul", hidden, of["n"], weight="C"),
            operation("y", "mul", hidden, whole("r", hidden), of["hidden_mask"]),
        ),
        {"y": of["y"]},
        {"h": of["n"], "input_mask": None, "hidden_mask": None},
    )


def linear(inputs: int = 3, hidden: int = 4) -> Program:
    """A recurrence that is linear in its state, with a readout: no product in the step."""
    of = {name: whole(name, hidden) for name in ("h", "a0", "a", "b", "n")}
    return Program(
        {"x": inputs},
        {"h": hidden},
        {"A": (inputs, hidden), "B": (inputs, hidden), "C": (hidden, inputs)},
        (
            operation("a0", "matmul", hidden, whole("x", inputs), weight="A"),
            operation("a", "sigmoid", hidden, of["a0"]),
            operation("b", "matmul", hidden, whole("x", inputs), weight="B"),
            operation("n", "fma", hidden, of["a"], of["h"], of["b"]),
            operation("y", "matmul", inputs, of["n"], whole("x", inputs), weight="C"),
        ),
        {"y": whole("y", inputs)},
        {"h": of["n"]},
    )


def aliases() -> Program:
    """States and outputs that share values, swap, shift, or are inputs, slices and weights."""
    return Program(
        {"x": 3},
        {"a": 3, "b": 3, "c": 3, "d": 2, "queue": 6, "same": 2},
        {"w": (3,), "M": (3, 3)},
        (
            operation("s", "tanh", 3, whole("a", 3)),
            operation("m", "matmul", 3, whole("w", 3), whole("s", 3), weight="M"),
            operation("shifted", "concat", 6, columns("queue", 3, 3), whole("m", 3)),
            operation("twice", "concat", 6, whole("s", 3), whole("s", 3)),
            operation("g", "gather", 6, whole("twice", 6), shape=(3, 2), strides=(1, 3)),
            operation("most", "max", 2, whole("g", 6)),
        ),
        {
            "x": whole("x", 3), "old": whole("a", 3), "part": columns("x", 1, 2), "w": columns("w", 1, 2),
            "s": whole("s", 3), "again": columns("s", 0, 1), "same": whole("same", 2), "most": whole("most", 2),
        },
        {
            "a": whole("b", 3), "b": whole("s", 3), "c": whole("s", 3), "d": columns("x", 0, 2),
            "queue": whole("shifted", 6), "same": None,
        },
    )  # fmt: skip


PROGRAMS = {one.__name__: one() for one in (lstm, gru, layer_norm, highway, masked, linear, aliases)}


# ---- at random ------------------------------------------------------------------------------------------------------

UNARY = ("tanh", "sigmoid", "neg", "abs", "sin", "relu", "copy")
BINARY = ("add", "sub", "mul", "maximum", "minimum", "sigmoid_slope", "tanh_slope")


class Draft:
    """A program in the making."""

    def __init__(self, draw: st.DrawFn, inputs: dict[str, int], states: dict[str, int]) -> None:
        self.draw, self.inputs, self.states = draw, inputs, states
        self.weights: dict[str, tuple[int, ...]] = {"w": (self.number(1, 4),)}
        self.sizes = {**inputs, **states, "w": self.weights["w"][0]}
        self.operations: list[Operation] = []

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def any(self) -> Operand:
        """Columns of a value; the latest are the likeliest."""
        name = self.draw(st.sampled_from(list(reversed(self.sizes))))
        if self.draw(st.booleans()):
            return whole(name, self.sizes[name])
        start = self.number(0, self.sizes[name] - 1)
        return Operand(name, start, self.number(1, self.sizes[name] - start))

    def sized(self, size: int) -> Operand | float:
        """An operand for an operation of that size."""
        fitting = [name for name in reversed(self.sizes) if self.sizes[name] >= size]
        if fitting and self.number(0, 3):
            name = self.draw(st.sampled_from(fitting))
            return Operand(name, self.number(0, self.sizes[name] - size), size)
        name = self.draw(st.sampled_from(list(reversed(self.sizes))))
        splat = Operand(name, self.number(0, self.sizes[name] - 1), 1, splat=True)
        return splat if self.number(0, 1) else 0.5

    def add(self, kind: str, size: int, *operands: Operand | float, **more: Any) -> None:
        name = f"v{len(self.operations)}"
        self.operations.append(Operation(name, kind, size, operands, **more))
        self.sizes[name] = size

    def matrix(self, rows: int, size: int) -> str:
        fitting = [name for name, shape in self.weights.items() if shape == (rows, size)]
        if fitting and self.number(0, 1):
            return fitting[0]
        self.weights[f"M{len(self.weights)}"] = rows, size
        return list(self.weights)[-1]


def draw_operation(draft: Draft) -> None:
    kind = draft.draw(
        st.sampled_from(["unary", "binary", "binary", "fma", "matmul", "matmul", "gather", "concat", "sum"])
    )
    first = draft.any()
    if kind == "unary":
        draft.add(draft.draw(st.sampled_from(UNARY)), first.size, first)
    elif kind == "binary":
        operands = draft.draw(st.permutations([first, draft.sized(first.size)]))
        draft.add(draft.draw(st.sampled_from(BINARY)), first.size, *operands)
    elif kind == "fma":
        draft.add("fma", first.size, first, draft.sized(first.size), draft.sized(first.size))
    elif kind == "matmul":
        size, transposed = draft.number(1, 5), draft.draw(st.booleans())
        shape = (size, first.size) if transposed else (first.size, size)
        addend = draft.sized(size) if draft.draw(st.booleans()) else 0.0
        addends = (addend,) if isinstance(addend, Operand) and not addend.splat else ()
        draft.add("matmul", size, first, *addends, weight=draft.matrix(*shape), transposed=transposed)
    elif kind == "gather":
        count = draft.number(1, 3)
        draft.add("gather", 2 * count, first, shape=(count, 2), strides=(0 if first.size < count else 1, 0))
    elif kind == "concat":
        others = [draft.any() for _ in range(draft.number(0, 2))]
        draft.add("concat", first.size + sum(other.size for other in others), first, *others)
    else:
        groups = draft.draw(st.sampled_from([n for n in range(1, first.size + 1) if first.size % n == 0]))
        draft.add(draft.draw(st.sampled_from(["sum", "max"])), groups, first)


def drawn(draft: Draft, lines: int, carries: Mapping[str, bool]) -> Program:
    for _ in range(lines):
        draw_operation(draft)
    next_states: dict[str, Operand | None] = {}
    for name, size in draft.states.items():
        following = draft.sized(size) if carries[name] else None
        next_states[name] = whole(name, size) if isinstance(following, float) else following
        if isinstance(following, Operand) and following.splat:
            next_states[name] = whole(name, size)
    sides = [draft.any() for _ in range(2 * draft.number(0, 2))]
    gradients = []
    for left, right in zip(sides[::2], sides[1::2], strict=True):
        gradients.append(Gradient(draft.matrix(left.size, right.size), left, right))
    vector = draft.sized(draft.sizes["w"])
    if isinstance(vector, Operand) and not vector.splat:
        gradients.append(Gradient("w", vector))
    outputs = {f"y{k}": draft.any() for k in range(draft.number(0, 3))}
    return Program(
        draft.inputs, draft.states, draft.weights, tuple(draft.operations), outputs, next_states, tuple(gradients)
    )


widths = st.integers(1, 5)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    states = {f"s{k}": draw(widths) for k in range(draw(st.integers(0, 3)))}
    draft = Draft(draw, {f"x{k}": draw(widths) for k in range(draw(st.integers(1, 2)))}, states)
    return drawn(draft, draw(st.integers(0, 12)), {name: draw(st.integers(0, 3)) > 0 for name in states})


@st.composite
def backwards(draw: st.DrawFn) -> tuple[Program, Backward]:
    """A forward program, and one that reads some of its values on the way back: any, not its derivative."""
    program = replace(draw(programs()), gradients=())
    sizes = {name: size for name, size in program.sizes().items() if name not in program.weights}
    saved: dict[str, Operand] = {}
    for k in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(list(reversed(sizes))))
        start = draw(st.integers(0, sizes[name] - 1))
        saved[f"f{k}"] = Operand(name, start, draw(st.integers(1, sizes[name] - start)))
    states = {name: program.states[name] for name in program.states if draw(st.booleans())}
    inputs = {"dy": draw(widths), **{name: operand.size for name, operand in saved.items()}}
    draft = Draft(draw, inputs, states)
    draft.weights = {**program.weights}
    draft.sizes["w"] = program.weights["w"][0]
    return program, Backward(drawn(draft, draw(st.integers(0, 12)), dict.fromkeys(states, True)), saved)
