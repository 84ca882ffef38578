"""Random cells: hypothesis draws a step from the grammar of operations, line by line.

Values stay in ranges where rounding stays rounding: what grows is squashed, what has a kink has it where values rarely are (a kink
at 0 would lie on the zeros that a new state holds), nothing jumps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

from elman.cells.cell import Cell
from elman.cells.wrappers import DropConnect, LearnedInitialState, Residual, Zoneout
from elman.state import State, leaves, map_leaves
from tests.engine.agreement import LAYOUTS, Call

WIDEST = 9

# Without hardsigmoid and hardswish: torch's own gradients of them have the digits of float32, whatever the type.
UNARY: Mapping[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "sin": torch.sin,
    "cos": torch.cos,
    "erf": torch.erf,
    "neg": torch.neg,
    "relu": lambda a: (a + 0.21).relu(),
    "abs": lambda a: (a - 0.37).abs(),
    "leaky_relu": lambda a: F.leaky_relu(a - 0.17, 0.2),
    "elu": lambda a: F.elu(a + 0.11),
    "softplus": F.softplus,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda a: F.gelu(a, approximate="tanh"),
    "mish": F.mish,
    "softsign": F.softsign,
    "hardtanh": lambda a: F.hardtanh(a, -0.71, 0.83),
    "clamp": lambda a: a.clamp(-0.83, 0.91),
    "clamp_min": lambda a: a.clamp(min=-0.13),
    "clamp_max": lambda a: a.clamp(max=0.47),
    "logsigmoid": F.logsigmoid,
    "exp": lambda a: a.clamp(-2.03, 1.07).exp(),
    "expm1": lambda a: a.tanh().expm1(),
    "exp2": lambda a: a.tanh().exp2(),
    "log": lambda a: (a.square() + 0.5).log(),
    "log1p": lambda a: a.square().log1p(),
    "sqrt": lambda a: (a * a + 0.5).sqrt(),
    "rsqrt": lambda a: (1 + a.square()).rsqrt(),
    "reciprocal": lambda a: (1 + a**2).reciprocal(),
    "cube": lambda a: a.tanh() ** 3,
    "power": lambda a: (a.sigmoid() + 0.5) ** 1.7,
    "of_one": lambda a: 1 - 0.5 * a,
    "over": lambda a: 1 / (1 + a.abs().exp().clamp(max=9.0)),
    "in_place": lambda a: a.clone().mul_(0.7).add_(0.1),
    "filled": lambda a: torch.full_like(a, 0.3) + torch.zeros_like(a) - a,
    "contiguous": lambda a: a.contiguous().to(a.dtype),
}

BINARY: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda a, b: 0.7 * (a + b),
    "sub": lambda a, b: a - 0.5 * b,
    "alpha": lambda a, b: torch.add(a, b, alpha=0.3),
    "mul": lambda a, b: a * b.tanh(),
    "div": lambda a, b: a / (1 + b * b),
    "maximum": lambda a, b: torch.maximum(a, b + 0.13),
    "minimum": lambda a, b: torch.minimum(a - 0.19, b),
    "pow": lambda a, b: (a.sigmoid() + 0.5).pow(b.tanh()),
    "gate": lambda a, b: a.sigmoid() * b,
    "where": lambda a, b: torch.where(a > 0.31, a - 0.31, b * (a - 0.31)),
    "masked_fill": lambda a, b: ((b - 0.27) * a).masked_fill(b < 0.27, 0.0),
    "addcmul": lambda a, b: torch.addcmul(a, a.tanh(), b, value=0.5),
    "hypot": lambda a, b: (a * a + b * b + 0.1).sqrt(),
}

TERNARY: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "mix": lambda a, b, c: a.sigmoid() * b + (1 - a.sigmoid()) * c,
    "lerp": lambda a, b, c: torch.lerp(b, c, a.sigmoid()),
    "fma": lambda a, b, c: a.tanh() * b + c,
}

ELEMENTWISE: tuple[Mapping[str, Callable[..., Tensor]], ...] = (UNARY, BINARY, TERNARY)

GROUPED: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda a: 0.5 * a.sum(-1),
    "mean": lambda a: a.mean(-1),
    "max": lambda a: (a + torch.linspace(0, 0.5, a.shape[-1], dtype=a.dtype)).amax(-1),
    "norm": lambda a: (a.square().sum(-1) + 0.1).sqrt(),
    "logsumexp": lambda a: torch.logsumexp(a, -1),
    "variance": lambda a: a.var(-1, unbiased=False),
    "across": lambda a: 0.5 * a.sum(-2),
    "softmax": lambda a: a.softmax(-1).flatten(-2),
    "log_softmax": lambda a: a.log_softmax(-1).flatten(-2),
    "softmax_across": lambda a: a.softmax(-2).flatten(-2),
    "transpose": lambda a: a.transpose(-1, -2).flatten(-2),
    "centred": lambda a: (a - a.mean(-1, keepdim=True)).flatten(-2),
    "scaled": lambda a: (a / (a.abs().sum(-1, keepdim=True) + 0.5)).flatten(-2),
    "layer_norm": lambda a: F.layer_norm(a, a.shape[-1:], eps=0.1).flatten(-2),
}
"""Functions of (batch, groups, length) that give (batch, anything)."""

KEEPS_SIZE = frozenset({"softmax", "log_softmax", "softmax_across", "transpose", "centred", "scaled", "layer_norm"})


@dataclass(frozen=True)
class Line:
    """One line of a step: a value, from values above it.

    Args:
        kind: a key of the tables above, or of `EVALUATE`.
        operands: numbers of values: 0 is what `project` gives, then the states, then the lines.
        size: columns of the value.
        numbers: what the kind needs beside.
    """

    kind: str
    operands: tuple[int, ...]
    size: int
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """A cell, in words that hypothesis can print and shrink.

    Args:
        input_size: of the cell.
        projected: columns that `project` gives by a product; 0: it gives the input.
        states: sizes of the states.
        form: of the state: "tensor" (the only one), "tuple", "nested", "matrices" (two axes a row where the size allows).
        lines: the step.
        next_states: numbers of values.
        output: number of a value.
        linears: (inputs, outputs, whether there is a bias) of the matrices.
        vectors: sizes of weights that are vectors.
        wrapper: "", "learned", "zoneout", "drop connect", "residual".
        seed: of the weights.
    """

    input_size: int
    projected: int
    states: tuple[int, ...]
    form: str
    lines: tuple[Line, ...]
    next_states: tuple[int, ...]
    output: int
    linears: tuple[tuple[int, int, bool], ...]
    vectors: tuple[int, ...]
    wrapper: str
    seed: int


class RandomCell(Cell[State]):
    """The cell of a recipe: its step reads the lines one by one.

    Source: none. Shapes: as in the recipe.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe.input_size, max(recipe.states))
        self.recipe = recipe
        sizes = value_sizes(recipe)
        self.output_size = sizes[recipe.output]
        if recipe.projected:
            self.from_input = nn.Linear(recipe.input_size, recipe.projected)
        self.from_hidden = nn.ModuleList(nn.Linear(n, m, bias=bias) for n, m, bias in recipe.linears)
        self.vectors = nn.ParameterList(torch.randn(size) for size in recipe.vectors)
        for weight in self.parameters():
            nn.init.normal_(weight, std=max(weight.shape[-1], 2) ** -0.5)

    def initial_state(self, batch_size: int) -> State:
        like = next(self.parameters())
        return self._formed([like.new_zeros(batch_size, size) for size in self.recipe.states])

    def project(self, x: Tensor) -> Tensor:
        z: Tensor = self.from_input(x) if self.recipe.projected else x
        return z

    def step(self, z_t: Tensor, state: State) -> tuple[Tensor, State]:
        before = list(leaves(state))
        values = [z_t, *(leaf.flatten(1) for leaf in before)]
        for line in self.recipe.lines:
            values.append(EVALUATE[line.kind](self, line, [values[i] for i in line.operands]))
        after = [
            leaf if number == i else values[number].reshape(leaf.shape)
            for i, (number, leaf) in enumerate(zip(self.recipe.next_states, before, strict=True), 1)
        ]
        return values[self.recipe.output], _like(state, after)

    def _formed(self, flat: list[Tensor]) -> State:
        form = self.recipe.form
        if form == "matrices":
            flat = [leaf.reshape(len(leaf), *_shape(leaf.shape[1])) for leaf in flat]
        if form == "tensor":
            return flat[0]
        return (tuple(flat[:1]), *flat[1:]) if form == "nested" else tuple(flat)


def _shape(size: int) -> tuple[int, int]:
    rows = next((rows for rows in (3, 2) if size % rows == 0), 1)
    return rows, size // rows


def _like(state: State, values: list[Tensor]) -> State:
    following = iter(values)
    return map_leaves(lambda _: next(following), state)


def value_sizes(recipe: Recipe) -> list[int]:
    """The columns of every value."""
    first = recipe.projected or recipe.input_size
    return [first, *recipe.states, *(line.size for line in recipe.lines)]


Evaluate = Callable[[RandomCell, Line, list[Tensor]], Tensor]


def _weight(cell: RandomCell, number: int) -> Tensor:
    weight: Tensor = cell.from_hidden[number].weight  # type: ignore[assignment]
    return weight


def _linear(cell: RandomCell, line: Line, operands: list[Tensor]) -> Tensor:
    result: Tensor = cell.from_hidden[line.numbers[0]](operands[0])
    return result


def _transposed(cell: RandomCell, line: Line, operands: list[Tensor]) -> Tensor:
    return operands[0] @ _weight(cell, line.numbers[0])


def _part_of_weight(cell: RandomCell, line: Line, operands: list[Tensor]) -> Tensor:
    number, row, column = line.numbers
    size = operands[0].shape[1]
    return F.linear(operands[0], _weight(cell, number)[row : row + line.size, column : column + size])


def _row_of_weight(cell: RandomCell, line: Line, operands: list[Tensor]) -> Tensor:
    number, row = line.numbers
    return operands[0] * _weight(cell, number)[row].tanh()


def _layer_norm(cell: RandomCell, line: Line, operands: list[Tensor]) -> Tensor:
    return F.layer_norm(operands[0], (line.size,), cell.vectors[line.numbers[0]], None, eps=0.1)


def _peephole(cell: RandomCell, line: Line, operands: list[Tensor]) -> Tensor:
    first, second = line.numbers
    scale, shift = cell.vectors[first], cell.vectors[second]
    return torch.addcmul(shift, operands[0], scale.sigmoid())


def _outer(cell: RandomCell, line: Line, operands: list[Tensor]) -> Tensor:  # noqa: ARG001
    left, right = operands
    return (left[:, :, None].tanh() * right[:, None, :]).flatten(1)


def _read_matrix(cell: RandomCell, line: Line, operands: list[Tensor]) -> Tensor:  # noqa: ARG001
    matrix, vector = operands
    return 0.5 * (matrix.reshape(len(matrix), line.size, -1) * vector[:, None, :]).sum(-1)


def _multiply_matrix(cell: RandomCell, line: Line, operands: list[Tensor]) -> Tensor:  # noqa: ARG001
    matrix, vector = operands
    return 0.5 * torch.bmm(matrix.reshape(-1, line.size, vector.shape[1]), vector[:, :, None]).squeeze(-1)


def _slice(cell: RandomCell, line: Line, operands: list[Tensor]) -> Tensor:  # noqa: ARG001
    start = line.numbers[0]
    return operands[0][:, start : start + line.size]


def _strided(cell: RandomCell, line: Line, operands: list[Tensor]) -> Tensor:  # noqa: ARG001
    return operands[0][:, line.numbers[0] :: 2]


def _chunk(cell: RandomCell, line: Line, operands: list[Tensor]) -> Tensor:  # noqa: ARG001
    count, place = line.numbers
    return operands[0].chunk(count, -1)[place]


def _cat(cell: RandomCell, line: Line, operands: list[Tensor]) -> Tensor:  # noqa: ARG001
    return torch.cat(operands, -1)


def _stack(cell: RandomCell, line: Line, operands: list[Tensor]) -> Tensor:  # noqa: ARG001
    return torch.stack(operands, 2).flatten(1)


def _repeat(cell: RandomCell, line: Line, operands: list[Tensor]) -> Tensor:  # noqa: ARG001
    return operands[0].expand(-1, line.size)


def _groups(function: Callable[[Tensor], Tensor]) -> Evaluate:
    return lambda _, line, operands: function(operands[0].reshape(len(operands[0]), line.numbers[0], -1))


def _elementwise(function: Callable[..., Tensor]) -> Evaluate:
    return lambda *given: function(*given[2])


EVALUATE: Mapping[str, Evaluate] = {
    **{name: _elementwise(function) for table in ELEMENTWISE for name, function in table.items()},
    **{name: _groups(function) for name, function in GROUPED.items()},
    "linear": _linear,
    "transposed": _transposed,
    "part_of_weight": _part_of_weight,
    "row_of_weight": _row_of_weight,
    "weighted_layer_norm": _layer_norm,
    "peephole": _peephole,
    "outer": _outer,
    "read_matrix": _read_matrix,
    "multiply_matrix": _multiply_matrix,
    "slice": _slice,
    "strided": _strided,
    "chunk": _chunk,
    "cat": _cat,
    "stack": _stack,
    "repeat": _repeat,
}


class _Draft:
    """A recipe in the making: what can be read so far, and the weights."""

    def __init__(self, draw: st.DrawFn, sizes: list[int], read: list[int]) -> None:
        self.draw = draw
        self.sizes = sizes
        self.read = read  # values a step may read: not the input of a cell whose `project` is the whole of it
        self.lines: list[Line] = []
        self.linears: list[tuple[int, int, bool]] = []
        self.vectors: list[int] = []

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def value(self, *sizes: int) -> int | None:
        """A value of one of these sizes, or any; None if there is none. The latest are the simplest: steps become deep."""
        fitting = [value for value in reversed(self.read) if not sizes or self.sizes[value] in sizes]
        return self.draw(st.sampled_from(fitting)) if fitting else None

    def add(self, kind: str, operands: tuple[int, ...], size: int, *numbers: int) -> int:
        self.lines.append(Line(kind, operands, size, numbers))
        self.sizes.append(size)
        self.read.append(len(self.sizes) - 1)
        return self.read[-1]

    def sized(self, size: int) -> int:
        """A value of that size, made by a product if there is none."""
        found = self.value(size)
        return self.linear(size) if found is None else found

    def any(self) -> int:
        found = self.value()
        assert found is not None
        return found

    def linear(self, size: int) -> int:
        operand = self.any()
        self.linears.append((self.sizes[operand], size, self.draw(st.booleans())))
        return self.add("linear", (operand,), size, len(self.linears) - 1)

    def vector(self, size: int) -> int:
        self.vectors.append(size)
        return len(self.vectors) - 1


def _draw_linear(draft: _Draft) -> None:
    draft.linear(draft.number(1, WIDEST))


def _draw_shared(draft: _Draft) -> None:
    """A weight that is there already: again, transposed, or a part of it."""
    if not draft.linears:
        return _draw_linear(draft)
    number = draft.number(0, len(draft.linears) - 1)
    inputs, outputs, _ = draft.linears[number]
    operand = draft.any()
    size = draft.sizes[operand]
    if size == inputs:
        draft.add("linear", (operand,), outputs, number)
    elif size == outputs:
        draft.add("transposed", (operand,), inputs, number)
    elif size < inputs:
        rows = draft.number(1, outputs)
        start = draft.number(0, outputs - rows)
        draft.add("part_of_weight", (operand,), rows, number, start, draft.number(0, inputs - size))
    else:
        draft.add("row_of_weight", (draft.sized(inputs),), inputs, number, draft.number(0, outputs - 1))
    return None


def _draw_unary(draft: _Draft) -> None:
    operand = draft.any()
    draft.add(draft.draw(st.sampled_from(sorted(UNARY))), (operand,), draft.sizes[operand])


def _draw_binary(draft: _Draft) -> None:
    first = draft.any()
    size = draft.sizes[first]
    second = draft.value(size, 1)
    assert second is not None
    operands = (first, second) if draft.draw(st.booleans()) else (second, first)
    draft.add(draft.draw(st.sampled_from(sorted(BINARY))), operands, size)


def _draw_ternary(draft: _Draft) -> None:
    first = draft.any()
    others = [draft.value(draft.sizes[first], 1) for _ in range(2)]
    operands = tuple(value for value in (first, *others) if value is not None)
    draft.add(draft.draw(st.sampled_from(sorted(TERNARY))), operands, draft.sizes[first])


def _draw_grouped(draft: _Draft) -> None:
    operand = draft.any()
    size = draft.sizes[operand]
    groups = draft.draw(st.sampled_from([groups for groups in range(1, size + 1) if size % groups == 0]))
    kind = draft.draw(st.sampled_from(sorted(GROUPED)))
    result = size if kind in KEEPS_SIZE else size // groups if kind == "across" else groups
    draft.add(kind, (operand,), result, groups)


def _draw_vectors(draft: _Draft) -> None:
    operand = draft.any()
    size = draft.sizes[operand]
    if draft.draw(st.booleans()):
        draft.add("weighted_layer_norm", (operand,), size, draft.vector(size))
    else:
        width = draft.draw(st.sampled_from([size, 1]))
        draft.add("peephole", (operand,), size, draft.vector(width), draft.vector(size))


def _draw_matrix(draft: _Draft) -> None:
    rows, columns = draft.number(1, 3), draft.number(1, 3)
    kind = draft.draw(st.sampled_from(["outer", "read_matrix", "multiply_matrix"]))
    if kind == "outer":
        draft.add(kind, (draft.sized(rows), draft.sized(columns)), rows * columns)
    else:
        draft.add(kind, (draft.sized(rows * columns), draft.sized(columns)), rows)


def _draw_part(draft: _Draft) -> None:
    operand = draft.any()
    size = draft.sizes[operand]
    kind = draft.draw(st.sampled_from(["slice", "strided", "chunk"]))
    start = draft.number(0, size - 1)
    if kind == "slice":
        draft.add(kind, (operand,), draft.number(1, size - start), start)
    elif kind == "strided":
        draft.add(kind, (operand,), (size - start + 1) // 2, start)
    else:
        parts = [len(part) for part in torch.arange(size).chunk(draft.number(1, 4))]
        place = draft.number(0, len(parts) - 1)
        draft.add(kind, (operand,), parts[place], len(parts), place)


def _draw_joined(draft: _Draft) -> None:
    first = draft.any()
    size = draft.sizes[first]
    kind = draft.draw(st.sampled_from(["cat", "stack", "repeat"]))
    if kind == "repeat":
        draft.add(kind, (draft.sized(1),), draft.number(1, WIDEST))
    elif kind == "stack" or size > WIDEST:
        second = draft.sized(size)
        draft.add("stack", (first, second), 2 * size)
    else:
        others = [draft.any() for _ in range(draft.number(1, 2))]
        draft.add(kind, (first, *others), size + sum(draft.sizes[value] for value in others))


RULES = (
    _draw_linear,
    _draw_linear,
    _draw_shared,
    _draw_unary,
    _draw_unary,
    _draw_binary,
    _draw_binary,
    _draw_ternary,
    _draw_grouped,
    _draw_vectors,
    _draw_matrix,
    _draw_part,
    _draw_joined,
)


def _next_state(draft: _Draft, states: tuple[int, ...], number: int) -> int:
    """The next value of a state: mixed or squashed, unchanged, or what another of its size is."""
    size = states[number - 1]
    kind = draft.draw(st.sampled_from(["mix", "tanh", "layer_norm", "leak", "unchanged", "other", "input"]))
    if kind == "unchanged":
        return number
    if kind == "other":
        return draft.draw(st.sampled_from([i for i, width in enumerate(states, 1) if width == size]))
    if kind == "input" and draft.sizes[0] >= size:
        return draft.add("slice", (0,), size, draft.number(0, draft.sizes[0] - size))
    value = draft.sized(size)
    if kind == "layer_norm":
        return draft.add("layer_norm", (value,), size, 1)
    squashed = draft.add("tanh", (value,), size)
    if kind == "mix":
        return draft.add("mix", (draft.sized(size), number, squashed), size)
    return draft.add("add", (number, squashed), size) if kind == "leak" else squashed


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Cells of 1 to 3 states of 1 to 9 units and up to a dozen lines."""
    input_size = draw(st.integers(1, 5))
    projected = draw(st.sampled_from([0, 0, 4, 6, WIDEST]))
    states = tuple(draw(st.lists(st.integers(1, WIDEST), min_size=1, max_size=3)))
    forms = ["tuple", "nested", "matrices"] + ["tensor"] * (len(states) == 1)
    form = draw(st.sampled_from(forms[::-1]))
    sizes = [projected or input_size, *states]
    draft = _Draft(draw, sizes, list(range(len(sizes))))
    draft.linear(draw(st.integers(1, WIDEST)))
    for _ in range(draw(st.integers(1, 10))):
        draw(st.sampled_from(RULES))(draft)
    next_states = tuple(_next_state(draft, states, number) for number in range(1, len(states) + 1))
    output = draft.any()
    wrappers = ["", "", "learned", "drop connect"]
    wrappers += ["zoneout"] * (form == "tensor") + ["residual"] * (draft.sizes[output] == input_size)
    return Recipe(
        input_size, projected, states, form, tuple(draft.lines), next_states, output,
        tuple(draft.linears), tuple(draft.vectors), draw(st.sampled_from(wrappers)), draw(st.integers(0, 9)),
    )  # fmt: skip


WRAPPERS: Mapping[str, Callable[[Cell], Cell]] = {
    "": lambda cell: cell,
    "learned": LearnedInitialState,
    "drop connect": lambda cell: DropConnect(cell, 0.3),
    "zoneout": lambda cell: Zoneout(cell, 0.3),
    "residual": Residual,
}


def build(recipe: Recipe) -> Cell:
    """The cell of a recipe, with its weights, in training."""
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        cell = RandomCell(recipe)
    return WRAPPERS[recipe.wrapper](cell).train()


@st.composite
def calls(draw: st.DrawFn, dtype: torch.dtype) -> Call:
    """How a layer is called: sizes, lengths, layouts, cuts, and what needs a gradient."""
    batch, time = draw(st.integers(1, 4)), draw(st.integers(0, 6))
    lengths: tuple[int, ...] | None = None
    if draw(st.booleans()):
        lengths = tuple(draw(st.lists(st.integers(0, time), min_size=batch, max_size=batch)))
    return Call(
        batch=batch,
        time=time,
        lengths=lengths,
        dtype=dtype,
        layout=draw(st.sampled_from(sorted(LAYOUTS))),
        input_gradient=draw(st.booleans()),
        state=draw(st.sampled_from(["none", "constant", "gradient"])),
        cuts=tuple(sorted(draw(st.lists(st.integers(0, time), max_size=2)))),
        poisoned=draw(st.booleans()),
        seed=draw(st.integers(0, 9)),
    )


@st.composite
def frozen(draw: st.DrawFn, cell: Cell) -> tuple[str, ...]:
    """Names of the parameters, in a layer, whose gradient is not asked for: mostly none."""
    names = [f"cell.{name}" for name, _ in cell.named_parameters()]
    chosen: Any = draw(st.just([]) | st.lists(st.sampled_from(names), unique=True))
    return tuple(chosen)
