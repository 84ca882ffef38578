"""From a cell's step to a Program: the step runs once on tensors without values, and what it does is written down."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from elman.cells.cell import Cell
from elman.engine.builder import Builder, Weight, unique
from elman.engine.interpret import Arithmetic, interpret
from elman.engine.lower import INDICES, RULES, Call
from elman.engine.program import Operand, Program, whole
from elman.engine.record import Place, Record, operation_name, record
from elman.engine.views import Factor, Untraceable, View, fresh, whole_axis
from elman.state import State

__all__ = ["RandomProjection", "Traced", "Untraceable", "trace"]

BATCHES = (1_000_003, 999_983)
"""Sizes of the batch in tracing: primes that no other axis has. What differs between them depends on the batch."""


class RandomProjection(Untraceable):
    """`project` draws random numbers: a step without it may still be traced."""


@dataclass(frozen=True)
class Traced:
    """A step as a Program.

    Args:
        program: the step. Its input is "x", or "z" without `project`; its output is "y".
        places: of the tensors that its weights are computed from.
        computed: of each weight, the number of such a tensor that it is; else it is the next result of ``compute``.
        compute: computes weights from those tensors; None if there is nothing to compute.
        dtype: of all numbers.
    """

    program: Program
    places: tuple[Place, ...]
    computed: tuple[int | None, ...]
    compute: GraphModule | None
    dtype: torch.dtype

    def weights(self, cell: Cell) -> list[Tensor]:
        """The weights of the program, in its order, from a cell as it is now; differentiable.

        Vectors and matrices; they may be views that are not contiguous.
        """
        tensors = [place.find(cell) for place in self.places]
        results = iter(self.compute(*tensors) if self.compute is not None else ())
        return [next(results) if number is None else tensors[number] for number in self.computed]

    def step(self, x_t: Tensor, leaves: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The step, by torch: differentiable any number of times.

        Args:
            x_t: (batch, input_size), or z_t (batch, p) if it was traced without `project`.
            leaves: of the state, each (batch, ...), or flat (batch, width).
            weights: as `weights` gives them.
        Returns: the output (batch, output_size) and the leaves of the next state, shaped as those before.
        """
        program = self.program
        states = dict(zip(program.states, map(flat, leaves), strict=True))
        named = dict(zip(program.weights, weights, strict=True))
        outputs, following, _ = interpret(program, dict.fromkeys(program.inputs, x_t), states, named, TORCH)
        after = [following[name].reshape(leaf.shape) for name, leaf in zip(program.states, leaves, strict=True)]
        return outputs["y"], after


def flat(leaf: Tensor) -> Tensor:
    """A leaf of a state (batch, ...) as (batch, width)."""
    return leaf.flatten(1) if leaf.ndim > 1 else leaf[:, None]


def trace(cell: Cell, state: State, *, project: bool = True) -> Traced:
    """The step of a cell as a Program.

    Args:
        cell: as it is: after `prepare`, in the mode and with the options that it has.
        state: one like those it will be given; what it holds does not matter.
        project: whether the Program begins with the cell's raw input x; else with z, what `project` returns.
    Raises:
        RandomProjection: if `project` draws random numbers.
        Untraceable: if the step has no form as a Program, with the reason.
    """
    names = _distinct(["x" if project else "z", *_state_names(state)])
    records = [record(cell, state, project=project, rows=rows) for rows in BATCHES]
    try:
        first, second = (_Lowering(one, names).traced() for one in records)
    except _Random:
        if project:
            trace(cell, state, project=False)
            raise RandomProjection("random numbers in `project`") from None
        raise Untraceable("random numbers in the step") from None
    if repr(first.program) != repr(second.program):
        raise Untraceable("a step that depends on the size of the batch")
    return first


class _Random(Exception):  # noqa: N818  (an answer)
    """Random numbers are drawn somewhere."""


def _state_names(state: Any) -> Iterator[str]:
    """Of the leaves: by the fields of named tuples, else by number."""
    if isinstance(state, tuple):
        for key, part in zip(getattr(state, "_fields", range(len(state))), state, strict=True):
            for rest in _state_names(part):
                name = str(key) if rest == "state" else f"{key}.{rest.removeprefix('state.')}"
                yield f"state.{name}" if isinstance(key, int) else name
    else:
        yield "state"


def _distinct(names: Sequence[str]) -> list[str]:
    result: list[str] = []
    for name in names:
        result.append(unique(name, result))
    return result


# From torch's record to a Program.


class _Lowering:
    """One record of a step, as it becomes a Program.

    Args:
        names: of the input and the leaves of the state.
    """

    def __init__(self, record: Record, names: list[str]) -> None:
        self.graph, self.places = record.graph, record.places
        self.dtype, self.rows = record.dtype, record.rows
        self.names = names
        self.parameters: list[Node] = []
        self.widths: list[int] = []
        self.values: dict[Node, Any] = {}
        self.builder = Builder(names)

    def traced(self) -> Traced:
        nodes = list(self.graph.graph.nodes)
        for number, node in enumerate(node for node in nodes if node.op == "placeholder"):
            self._place(number, node)
        self._check(nodes)
        (results,) = nodes[-1].args
        needed = _needed(results)
        for node in nodes:
            if node in needed and node.op == "call_function" and self._depends_on_rows(node):
                self.values[node] = self._lower(node)
        program = self._program([self._view(node) for node in results])
        places, computed, compute = self._weights()
        return Traced(program, places, computed, compute, self.dtype)

    def _place(self, number: int, node: Node) -> None:
        """A placeholder: a weight, the input or a leaf of the state."""
        if number < len(self.places):
            node.meta["path"] = self.places[number].name
            self.parameters.append(node)
            return
        shape = node.meta["val"].shape
        axes = ((Factor(self.rows, 0, rows=True),), *((Factor(size, 0),) for size in shape[1:]))
        if 0 in shape:
            raise Untraceable("an empty tensor")
        view = fresh(self.names[number - len(self.places)], axes)
        self.values[node] = view
        self.widths.append(view.width)

    def _check(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            tags = getattr(node.target, "tags", ())
            if torch.Tag.nondeterministic_seeded in tags:
                raise _Random
            if _operation(node) == "copy_" and node.args[0].op == "placeholder":  # type: ignore[union-attr]
                raise Untraceable("a change in place of a weight, an input or a state")

    def _depends_on_rows(self, node: Node) -> bool:
        """Whether a value is one for each row: of the input or the state, or as many as the batch has rows."""
        if any(before in self.values for before in node.all_input_nodes):
            return True
        result = node.meta.get("val")
        results = result if isinstance(result, list | tuple) else [result]
        return any(size and size % self.rows == 0 for one in results if isinstance(one, Tensor) for size in one.shape)

    def _lower(self, node: Node) -> Any:
        if _operation(node) == "getitem":
            return self.values[node.args[0]][node.args[1]]  # type: ignore[index]
        name = _operation(node)
        if name.endswith("_") and len(node.all_input_nodes[0].users) == 1:  # of what nothing else reads
            name = name[:-1]
        if name not in RULES:
            raise Untraceable(f"{name!r}, which has no native form")
        result = node.meta["val"]
        if isinstance(result, Tensor) and result.dtype not in (self.dtype, torch.bool):
            raise Untraceable(f"{result.dtype} numbers among {self.dtype}".replace("torch.", ""))
        shape = tuple(result.shape) if isinstance(result, Tensor) else ()
        if 0 in shape:  # joined to something else, it adds nothing; no other use is possible
            return View(0.0, 0, tuple(whole_axis(size, self.rows) for size in shape))
        try:
            lowered = RULES[name](self.builder, Call(name, self._arguments(node), shape, self.rows))
            if name in ("add", "copy") and isinstance(result, Tensor) and result.dtype is torch.bool:
                return self.builder.pointwise("ne", lowered, 0.0)  # type: ignore[arg-type]
            return lowered
        except Untraceable as reason:
            raise Untraceable(f"{reason} ({name!r})") from None

    def _arguments(self, node: Node) -> dict[str, Any]:
        schema = node.target._schema.arguments  # type: ignore[union-attr]
        given = dict(zip((argument.name for argument in schema), node.args, strict=False)) | node.kwargs
        filled = {argument.name: given.get(argument.name, argument.default_value) for argument in schema}
        return {
            name: map_arg(value, self._indices if name in INDICES else self._view) for name, value in filled.items()
        }

    def _indices(self, node: Node) -> Any:
        """The numbers of a tensor that depends on nothing: they are part of what the step is."""
        before = _needed([node])
        if before & {*self.parameters, *self.values}:
            raise Untraceable("an index that is computed")
        found: dict[Node, Any] = {}
        for one in self.graph.graph.nodes:
            if one in before:
                arguments, named = (map_arg(part, found.__getitem__) for part in (one.args, one.kwargs))
                found[one] = (
                    getattr(self.graph, one.target) if one.op == "get_attr" else one.target(*arguments, **named)
                )
        return tuple(found[node].tolist()) if found[node].ndim == 1 else None

    def _view(self, node: Node) -> Any:
        if node in self.values:
            return self.values[node]
        number = self._number(node)
        base = node if number is None else number
        size_of = node.meta["val"].shape
        return fresh(base, tuple((Factor(size, 0),) if size > 1 else () for size in size_of))

    def _number(self, node: Node) -> float | None:
        """The number that all elements of a value are, where the record says it."""
        name = _operation(node)
        if name in ("full", "scalar_tensor"):
            filled = node.args[1 if name == "full" else 0]
            return float(filled) if isinstance(filled, int | float) else None
        if name in ("lift_fresh_copy", "detach", "alias", "clone", "_to_copy"):
            return self._number(node.args[0])  # type: ignore[arg-type]
        if node.op == "get_attr":
            constant = getattr(self.graph, str(node.target))
            return float(constant) if constant.numel() == 1 else None
        return None

    # The parts of the result.

    def _program(self, results: Sequence[View]) -> Program:
        states = dict(zip(self.names[1:], self.widths[1:], strict=True))
        y, *after = (self._operand(view) for view in results)
        following = {
            name: None if operand == whole(name, states[name]) else operand
            for name, operand in zip(states, after, strict=True)
        }
        weights = {name: weight.shape for weight, name in self.builder.weights.items()}
        operations = tuple(self.builder.operations)
        return Program({self.names[0]: self.widths[0]}, states, weights, operations, {"y": y}, following)

    def _operand(self, view: View) -> Operand:
        if not view.axes or len(view.axes[0]) != 1 or not view.axes[0][0].rows:
            raise Untraceable("an output or a state without the batch as its first axis")
        operand = self.builder.adjacent(view)
        if operand.value in self.builder.weights.values():
            return whole(self.builder.emit("copy", operand.size, (operand,)), operand.size)
        return operand

    def _weights(self) -> tuple[tuple[Place, ...], tuple[int | None, ...], GraphModule | None]:
        """Where weights are found, which of them are what is found there, and a function that computes the others."""
        wanted = list(self.builder.weights)
        used = _needed([weight.node for weight in wanted])
        graph = Graph()
        copies: dict[Node, Node] = {}
        read = [number for number, node in enumerate(self.parameters) if node in used]
        for node in self.graph.graph.nodes:
            if node in used:
                copies[node] = graph.node_copy(node, copies.__getitem__)
        found = {self.parameters[number]: place for place, number in enumerate(read)}
        computed = tuple(found.get(one.node) if _is_all_of(one, self.dtype) else None for one in wanted)
        parts = [
            _part(graph, copies[one.node], one, self.dtype)
            for one, number in zip(wanted, computed, strict=True)
            if number is None
        ]
        graph.output(tuple(parts))
        compute = GraphModule(self.graph, graph) if parts else None
        return tuple(self.places[number] for number in read), computed, compute


def _operation(node: Node) -> str:
    """The name of torch's operation that a node calls."""
    return operation_name(node.target) if hasattr(node.target, "_schema") else str(getattr(node.target, "__name__", ""))


def _needed(results: Sequence[Node]) -> set[Node]:
    """What is computed for those nodes, they included."""
    seen: set[Node] = set()
    waiting = list(results)
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += node.all_input_nodes
    return seen


def _is_all_of(weight: Weight, dtype: torch.dtype) -> bool:
    value = weight.node.meta["val"]
    return tuple(value.shape) == weight.shape and value.dtype == dtype


def _part(graph: Graph, node: Node, weight: Weight, dtype: torch.dtype) -> Node:
    """The elements of a computed tensor that a weight is."""
    value = weight.node.meta["val"]
    if value.dtype != dtype:
        node = graph.call_method("to", (node, dtype))
    if tuple(value.shape) == weight.shape:
        return node
    if prod(weight.shape) == value.numel() and len(weight.shape) == 1 and weight.strides == (1,):
        return graph.call_method("reshape", (node, -1))
    if value.ndim == 3 and weight.shape == tuple(value.shape[1:]) and weight.strides == (weight.shape[1], 1):
        return graph.call_method("select", (node, 0, weight.offset // prod(weight.shape)))
    steps = [(size, stride) for size, stride in zip(weight.sizes, weight.strides, strict=True) if stride]
    if prod(size for size, _ in steps) == value.numel() and _row_major(steps):
        node = graph.call_method(
            "reshape", (node, [n if s else 1 for n, s in zip(weight.sizes, weight.strides, strict=True)])
        )
        node = graph.call_method("expand", (node, weight.sizes))
        return graph.call_method("reshape", (node, weight.shape))
    node = graph.call_method("contiguous", (node,))
    node = graph.call_method("as_strided", (node, weight.sizes, weight.strides, weight.offset))
    return graph.call_method("reshape", (node, weight.shape))


def _row_major(steps: Sequence[tuple[int, int]]) -> bool:
    return all(stride == prod(size for size, _ in steps[index + 1 :]) for index, (_, stride) in enumerate(steps))


TORCH = Arithmetic(
    {
        **{
            name: getattr(torch, name)
            for name in (
                *("neg", "abs", "sign", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "sin", "cos"),
                *("erf", "tanh", "sigmoid", "relu", "floor", "add", "sub", "mul", "div", "maximum", "minimum", "pow"),
                *("gt", "ge", "lt", "le", "eq", "ne"),
            )
        },
        "copy": lambda a: a,
        "fma": lambda a, b, c: a * b + c,
        "where": lambda a, b, c: torch.where(a != 0, b, c),
        "sigmoid_slope": lambda a, b: a * b * (1 - b),
        "tanh_slope": lambda a, b: a * (1 - b * b),
    },
    full=lambda like, shape, number: like.new_full(shape, number),
    to=lambda array, like: array.to(like.dtype),
    broadcast=lambda array, shape: array.expand(shape),
    max=lambda array: array.amax(-1),
    concat=lambda arrays: torch.cat(list(arrays), -1),
)
