"""What the operations of torch are in terms of a Program's: a table, one entry for each.

What torch gives a gradient of its own, where the formula's would differ, is written so that the formula's does not: at ties
(`clamp`), and where an unused branch would overflow (`softplus`, `elu`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import torch

from elman.engine.builder import Builder, transposed
from elman.engine.program import POINTWISE
from elman.engine.views import (
    Factor,
    Untraceable,
    View,
    align,
    has_rows,
    insert_axis,
    length,
    move,
    permute,
    select,
    whole_axis,
    with_axis,
)


@dataclass(frozen=True)
class Call:
    """A call of an operation of torch.

    Args:
        name: of the operation.
        arguments: by their names in torch's schema, in its order; tensors are views.
        shape: of the result, if it is one tensor.
        rows: the size of the batch.
    """

    name: str
    arguments: Mapping[str, Any]
    shape: tuple[int, ...]
    rows: int

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.arguments.get(name, default)


Rule: TypeAlias = Callable[[Builder, Call], "View | list[View]"]

OWN = ("celu", "detach", "hardsigmoid", "hardswish", "softplus", "std", "std_mean")
"""Operations that are not to be decomposed before they come here."""

R = TypeVar("R", bound=Rule)
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[R], R]:
    """Enters a function into the table, under names of torch's operations."""

    def enter(function: R) -> R:
        RULES.update(dict.fromkeys(names, function))
        return function

    return enter


def _view(value: Any) -> View:
    return value if isinstance(value, View) else View(float(value), 0, ())


# Element by element.


def _same(kind: str) -> Rule:
    def lower(build: Builder, at: Call) -> View:
        operands = [value for value in at.arguments.values() if isinstance(value, View | int | float)]
        return build.pointwise(kind, *operands[: POINTWISE[kind]])

    return lower


SAME = {
    **{kind: kind for kind in POINTWISE if kind not in ("add", "sub", "copy", "pow", "fma", "div")},
    "sgn": "sign",
    "bitwise_and": "mul",
    "bitwise_or": "maximum",
    "bitwise_xor": "ne",
}
RULES.update({name: _same(kind) for name, kind in SAME.items()})


@rule("logical_and", "logical_or", "logical_xor")
def _logical(build: Builder, at: Call) -> View:
    kind = SAME[at.name.replace("logical", "bitwise")]
    return build.pointwise(kind, *(build.pointwise("ne", at[side], 0.0) for side in ("self", "other")))


def _formula(function: Callable[[Builder, View], View]) -> Rule:
    return lambda build, at: function(build, _view(at["self"]))


FORMULAS: Mapping[str, Callable[[Builder, View], View]] = {
    "ceil": lambda build, x: build.pointwise("neg", build.pointwise("floor", build.pointwise("neg", x))),
    "cosh": lambda build, x: build.pointwise("mul", build.pointwise("add", *_both_ways(build, "exp", x)), 0.5),
    "erfc": lambda build, x: build.pointwise("sub", 1.0, build.pointwise("erf", x)),
    "exp2": lambda build, x: build.pointwise("exp", build.pointwise("mul", x, math.log(2))),
    "isinf": lambda build, x: build.pointwise("eq", build.pointwise("abs", x), math.inf),
    "isnan": lambda build, x: build.pointwise("ne", x, x),
    "log10": lambda build, x: build.pointwise("div", build.pointwise("log", x), math.log(10)),
    "log2": lambda build, x: build.pointwise("div", build.pointwise("log", x), math.log(2)),
    "logical_not": lambda build, x: build.pointwise("eq", x, 0.0),
    "bitwise_not": lambda build, x: build.pointwise("eq", x, 0.0),
    "sinh": lambda build, x: build.pointwise("mul", build.pointwise("sub", *_both_ways(build, "expm1", x)), 0.5),
    "square": lambda build, x: build.pointwise("mul", x, x),
    "trunc": lambda build, x: _truncated(build, x),
    "tan": lambda build, x: build.pointwise("div", build.pointwise("sin", x), build.pointwise("cos", x)),
}
RULES.update({name: _formula(function) for name, function in FORMULAS.items()})


def _truncated(build: Builder, x: View) -> View:
    return build.pointwise("mul", build.pointwise("sign", x), build.pointwise("floor", build.pointwise("abs", x)))


def _both_ways(build: Builder, kind: str, x: View) -> tuple[View, View]:
    return build.pointwise(kind, x), build.pointwise(kind, build.pointwise("neg", x))


def _times(build: Builder, value: Any, factor: float) -> Any:
    return value if factor == 1 else build.pointwise("mul", value, factor)


@rule("add", "sub", "rsub")
def _add(build: Builder, at: Call) -> View:
    first, second = at["self"], _times(build, at["other"], at.get("alpha", 1))
    if at.name == "rsub":
        first, second = at["other"], _times(build, at["self"], at.get("alpha", 1))
    return build.pointwise("add" if at.name == "add" else "sub", first, second)


@rule("div")
def _div(build: Builder, at: Call) -> View:
    result = build.pointwise("div", at["self"], at["other"])
    rounding = at.get("rounding_mode")
    if rounding not in (None, "floor"):
        raise Untraceable(f"a division rounded by {rounding!r}")
    return build.pointwise("floor", result) if rounding else result


@rule("pow")
def _pow(build: Builder, at: Call) -> View:
    x, exponent = at["self"], at["exponent"]
    if exponent in (2, 3):
        square = build.pointwise("mul", x, x)
        return square if exponent == 2 else build.pointwise("mul", square, x)
    if exponent in (0.5, -0.5, -1, 1):
        return build.pointwise({0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal", 1: "copy"}[exponent], x)
    return build.pointwise("pow", x, exponent)


@rule("remainder", "fmod")
def _remainder(build: Builder, at: Call) -> View:
    ratio = build.pointwise("div", at["self"], at["other"])
    times = build.pointwise("floor", ratio) if at.name == "remainder" else _truncated(build, ratio)
    return build.pointwise("sub", at["self"], build.pointwise("mul", times, at["other"]))


@rule("hypot")
def _hypot(build: Builder, at: Call) -> View:
    squares = [build.pointwise("mul", side, side) for side in (at["self"], at["other"])]
    return build.pointwise("sqrt", build.pointwise("add", *squares))


@rule("clamp", "clamp_min", "clamp_max")
def _clamp(build: Builder, at: Call) -> View:
    """At its bounds it has the gradient 1, where a maximum would have 1/2."""
    x = _view(at["self"])
    for name, beyond in (("min", "lt"), ("max", "gt")):
        if at.get(name) is not None:
            x = build.pointwise("where", build.pointwise(beyond, x, at[name]), at[name], x)
    return x


@rule("hardtanh")
def _hardtanh(build: Builder, at: Call) -> View:
    return _strictly_between(build, at["self"], at["min_val"], at["max_val"])


@rule("hardsigmoid", "hardswish")
def _hardsigmoid(build: Builder, at: Call) -> View:
    x = at["self"]
    gate = build.pointwise("div", _strictly_between(build, build.pointwise("add", x, 3.0), 0.0, 6.0), 6.0)
    return gate if at.name == "hardsigmoid" else build.pointwise("mul", x, gate)


def _strictly_between(build: Builder, x: View, least: float, most: float) -> View:
    """As `clamp`, with the gradient 0 at the bounds."""
    below = build.pointwise("where", build.pointwise("ge", x, most), most, x)
    return build.pointwise("where", build.pointwise("le", x, least), least, below)


@rule("leaky_relu")
def _leaky_relu(build: Builder, at: Call) -> View:
    x = at["self"]
    return build.pointwise("where", build.pointwise("gt", x, 0.0), x, build.pointwise("mul", x, at["negative_slope"]))


@rule("elu")
def _elu(build: Builder, at: Call) -> View:
    return _lower_elu(build, at["self"], at["alpha"], at["scale"], at["input_scale"])


@rule("celu")
def _celu(build: Builder, at: Call) -> View:
    return _lower_elu(build, at["self"], at["alpha"], 1.0, 1 / at["alpha"])


def _lower_elu(build: Builder, x: View, alpha: float, scale: float, input_scale: float) -> View:
    positive = build.pointwise("gt", x, 0.0)
    rest = _times(build, build.pointwise("where", positive, 0.0, x), input_scale)
    negative = _times(build, build.pointwise("expm1", rest), alpha * scale)
    return build.pointwise("where", positive, _times(build, x, scale), negative)


@rule("softplus")
def _softplus(build: Builder, at: Call) -> View:
    x, beta = at["self"], at["beta"]
    scaled = _times(build, x, beta)
    tail = build.pointwise("log1p", build.pointwise("exp", build.pointwise("neg", build.pointwise("abs", scaled))))
    curve = _times(build, build.pointwise("add", build.pointwise("maximum", scaled, 0.0), tail), 1 / beta)
    return build.pointwise("where", build.pointwise("gt", scaled, at["threshold"]), x, curve)


@rule("gelu")
def _gelu(build: Builder, at: Call) -> View:
    x = at["self"]
    if at["approximate"] == "tanh":
        cubed = build.pointwise("mul", build.pointwise("mul", x, x), x)
        inner = build.pointwise("add", x, build.pointwise("mul", cubed, 0.044715))
        share = build.pointwise("tanh", build.pointwise("mul", inner, math.sqrt(2 / math.pi)))
    else:
        share = build.pointwise("erf", build.pointwise("mul", x, math.sqrt(0.5)))
    return build.pointwise("mul", build.pointwise("mul", x, 0.5), build.pointwise("add", share, 1.0))


# Over some axes.


def _axes(view: View, axes: Any) -> list[int]:
    chosen: Sequence[int] = [axes] if isinstance(axes, int) else axes or range(len(view.axes))
    return [axis % len(view.axes) for axis in chosen]


def _mean(build: Builder, x: View, axes: Sequence[int], keep: bool) -> View:
    count = math.prod(x.shape[axis] for axis in axes)
    result: View = _times(build, build.reduce("sum", x, axes, keep), 1 / count)
    return result


@rule("sum", "mean")
def _sum(build: Builder, at: Call) -> View:
    x, keep = _view(at["self"]), bool(at.get("keepdim"))
    axes = _axes(x, at.get("dim"))
    return build.reduce("sum", x, axes, keep) if at.name == "sum" else _mean(build, x, axes, keep)


@rule("amax", "any")
def _max(build: Builder, at: Call) -> View:
    x = at["self"] if at.name == "amax" else build.pointwise("ne", at["self"], 0.0)
    return build.reduce("max", x, _axes(x, at.get("dim")), bool(at.get("keepdim")))


@rule("amin", "all")
def _min(build: Builder, at: Call) -> View:
    x = at["self"] if at.name == "amin" else build.pointwise("ne", at["self"], 0.0)
    axes = _axes(x, at.get("dim"))
    return build.pointwise("neg", build.reduce("max", build.pointwise("neg", x), axes, bool(at.get("keepdim"))))


@rule("var", "var_mean", "std", "std_mean")
def _var(build: Builder, at: Call) -> View | list[View]:
    """In two passes: a sum of squares less the square of a sum would cancel."""
    x, axes, correction = at["self"], _axes(at["self"], at["dim"]), at["correction"]
    count = math.prod(x.shape[axis] for axis in axes) - (1 if correction is None else correction)
    if count <= 0:
        raise Untraceable("a variance of too few numbers")
    mean = _mean(build, x, axes, keep=True)
    centred = build.pointwise("sub", x, mean)
    result = _times(build, build.reduce("sum", build.pointwise("mul", centred, centred), axes, keep=True), 1 / count)
    if at.name.startswith("std"):
        result = _root(build, result)
    results = [result, mean] if at["keepdim"] else [_without(one, axes) for one in (result, mean)]
    return results if at.name.endswith("_mean") else results[0]


def _without(view: View, axes: Sequence[int]) -> View:
    """Without those axes, which have one place."""
    for axis in sorted(axes, reverse=True):
        view = select(view, axis, 0)
    return view


def _root(build: Builder, squared: View) -> View:
    """The square root of a sum of squares, whose gradient is 0 where that is 0."""
    nothing = build.pointwise("eq", squared, 0.0)
    return build.pointwise(
        "where", nothing, 0.0, build.pointwise("sqrt", build.pointwise("where", nothing, 1.0, squared))
    )


@rule("linalg_vector_norm")
def _norm(build: Builder, at: Call) -> View:
    x, order = at["self"], at["ord"]
    axes, keep = _axes(x, at["dim"]), at["keepdim"]
    if order == 2:
        return _root(build, build.reduce("sum", build.pointwise("mul", x, x), axes, keep))
    if order not in (1, math.inf):
        raise Untraceable(f"a norm of order {order}")
    return build.reduce("sum" if order == 1 else "max", build.pointwise("abs", x), axes, keep)


@rule("_softmax", "_log_softmax")
def _softmax(build: Builder, at: Call) -> View:
    x, axes = at["self"], _axes(at["self"], at["dim"])
    shifted = build.pointwise("sub", x, build.reduce("max", x, axes, keep=True))
    powers = build.pointwise("exp", shifted)
    total = build.reduce("sum", powers, axes, keep=True)
    if at.name == "_softmax":
        return build.pointwise("div", powers, total)
    return build.pointwise("sub", shifted, build.pointwise("log", total))


def _standardized(build: Builder, x: View, axes: Sequence[int], eps: float) -> tuple[View, View, View]:
    """With mean 0 and variance 1 over those axes; the mean, and one over the deviation."""
    mean = _mean(build, x, axes, keep=True)
    centred = build.pointwise("sub", x, mean)
    variance = _mean(build, build.pointwise("mul", centred, centred), axes, keep=True)
    scale = build.pointwise("rsqrt", build.pointwise("add", variance, eps))
    return build.pointwise("mul", centred, scale), mean, scale


def _scaled(build: Builder, x: View, weight: View | None, bias: View | None) -> View:
    x = x if weight is None else build.pointwise("mul", x, weight)
    return x if bias is None else build.pointwise("add", x, bias)


@rule("native_layer_norm")
def _layer_norm(build: Builder, at: Call) -> list[View]:
    x = at["input"]
    axes = [len(x.axes) - 1 - axis for axis in range(len(at["normalized_shape"]))]
    result, mean, scale = _standardized(build, x, axes, at["eps"])
    return [_scaled(build, result, at["weight"], at["bias"]), mean, scale]


@rule("native_group_norm")
def _group_norm(build: Builder, at: Call) -> list[View]:
    x, groups = at["input"], at["group"]
    by_group = build.reshaped(x, (x.shape[0], groups, math.prod(x.shape[1:]) // groups))
    result, mean, scale = _standardized(build, by_group, [2], at["eps"])
    channels = [None if one is None else _channels(one, len(x.axes) - 2) for one in (at["weight"], at["bias"])]
    result = _scaled(build, build.reshaped(result, x.shape), *channels)
    return [result, build.reshaped(mean, (x.shape[0], groups)), build.reshaped(scale, (x.shape[0], groups))]


def _channels(view: View, following: int) -> View:
    for _ in range(following):
        view = insert_axis(view, len(view.axes))
    return view


# Products.


@rule("mm", "bmm")
def _product(build: Builder, at: Call) -> View:
    return build.product(at["self"], at["mat2"])


@rule("addmm", "baddbmm")
def _add_product(build: Builder, at: Call) -> View:
    left, right = ("mat1", "mat2") if at.name == "addmm" else ("batch1", "batch2")
    result = _times(build, build.product(at[left], at[right]), at["alpha"])
    return result if at["beta"] == 0 else build.pointwise("add", result, _times(build, at["self"], at["beta"]))


# Where elements are.


@rule("alias", "clone", "contiguous", "detach", "lift_fresh_copy", "lift_fresh")
def _unchanged(build: Builder, at: Call) -> View:  # noqa: ARG001  (what all rules are given)
    view: View = at["self"]
    return view


@rule("_to_copy")
def _convert(build: Builder, at: Call) -> View:
    view: View = at["self"]
    return build.pointwise("ne", view, 0.0) if at.get("dtype") is torch.bool else view


@rule("copy")
def _copy(build: Builder, at: Call) -> View:  # noqa: ARG001
    return align(at["src"], at["self"].axes)


@rule("view", "_unsafe_view", "reshape")
def _reshape(build: Builder, at: Call) -> View:
    view, sizes = at["self"], list(at["size"] if "size" in at.arguments else at["shape"])
    if -1 in sizes:
        sizes[sizes.index(-1)] = math.prod(view.shape) // -math.prod(sizes)
    return build.reshaped(view, sizes)


@rule("permute")
def _permute(build: Builder, at: Call) -> View:  # noqa: ARG001
    return permute(at["self"], at["dims"])


@rule("transpose")
def _transpose(build: Builder, at: Call) -> View:  # noqa: ARG001
    order = list(range(len(at["self"].axes)))
    order[at["dim0"]], order[at["dim1"]] = order[at["dim1"]], order[at["dim0"]]
    return permute(at["self"], order)


@rule("t")
def _t(build: Builder, at: Call) -> View:  # noqa: ARG001
    view: View = at["self"]
    return transposed(view) if len(view.axes) == 2 else view


@rule("unsqueeze")
def _unsqueeze(build: Builder, at: Call) -> View:  # noqa: ARG001
    view = at["self"]
    return insert_axis(view, at["dim"] % (len(view.axes) + 1))


@rule("squeeze")
def _squeeze(build: Builder, at: Call) -> View:  # noqa: ARG001
    view: View = at["self"]
    return _without(view, [axis for axis in _axes(view, at.get("dim")) if length(view.axes[axis]) == 1])


@rule("expand")
def _expand(build: Builder, at: Call) -> View:  # noqa: ARG001
    view: View = at["self"]
    sizes = at["size"]
    for _ in range(len(sizes) - len(view.axes)):
        view = insert_axis(view, 0)
    for axis, size in enumerate(sizes):
        if view.shape[axis] == 1 and size not in (1, -1):
            view = with_axis(view, axis, whole_axis(size, at.rows))
    return view


@rule("repeat")
def _repeat(build: Builder, at: Call) -> View:  # noqa: ARG001
    view: View = at["self"]
    repeats = at["repeats"]
    for _ in range(len(repeats) - len(view.axes)):
        view = insert_axis(view, 0)
    for axis, count in enumerate(repeats):
        view = with_axis(view, axis, whole_axis(count, at.rows) + view.axes[axis])
    return view


@rule("slice")
def _slice(build: Builder, at: Call) -> View:
    view, axis = at["self"], at["dim"] % len(at["self"].axes)
    end = view.shape[axis] if at["end"] is None else at["end"]
    return build.sliced(view, axis, at["start"] or 0, end, at["step"])


@rule("select")
def _select(build: Builder, at: Call) -> View:  # noqa: ARG001
    view, axis = at["self"], at["dim"] % len(at["self"].axes)
    return select(view, axis, at["index"] % view.shape[axis])


@rule("diagonal")
def _diagonal(build: Builder, at: Call) -> View:
    view = at["self"]
    first, second = (at[name] % len(view.axes) for name in ("dim1", "dim2"))
    if at["offset"] or view.shape[first] != view.shape[second] or has_rows([view.axes[first], view.axes[second]]):
        raise Untraceable("a diagonal other than the main one of a square")
    view = move(view, first, len(view.axes) - 1)
    view = build.copied(move(view, second - (second > first), len(view.axes) - 2))
    size = view.shape[-1]
    step = sum(factor.stride for axis in view.axes[-2:] for factor in axis)
    return View(view.base, view.offset, (*view.axes[:-2], (Factor(size, step),)))


@rule("tril", "triu")
def _triangle(build: Builder, at: Call) -> View:
    view, axis = at["self"], len(at["self"].axes) - 2
    rows, columns = view.shape[-2:]
    if rows > MOST_PIECES or has_rows(view.axes[-2:]):
        raise Untraceable(f"a triangle of more than {MOST_PIECES} rows")
    lines = []
    for row in range(rows):
        line = select(view, axis, row)
        cut = min(max(row + at["diagonal"] + (at.name == "tril"), 0), columns)
        halves = [build.sliced(line, axis, 0, cut), build.sliced(line, axis, cut, columns)]
        other = at.name == "tril"  # the half that becomes zeros
        nothing = _filled(line, axis, (cut, columns - cut)[other], 0.0)
        if nothing is not None:
            halves[other] = nothing
        lines.append(insert_axis(build.concat(halves, axis), axis))
    return build.concat(lines, axis)


@rule("split_with_sizes", "split", "unbind")
def _split(build: Builder, at: Call) -> list[View]:
    view, axis = at["self"], at["dim"] % len(at["self"].axes)
    total = view.shape[axis]
    if at.name == "unbind":
        return [select(view, axis, index) for index in range(total)]
    sizes = at["split_sizes"] if "split_sizes" in at.arguments else [at["split_size"]] * -(-total // at["split_size"])
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    return [build.sliced(view, axis, start, start + size) for start, size in zip(starts, sizes, strict=True)]


@rule("cat")
def _cat(build: Builder, at: Call) -> View:
    views = at["tensors"]
    return build.concat(views, at["dim"] % len(views[0].axes))


@rule("constant_pad_nd")
def _pad(build: Builder, at: Call) -> View:
    view: View = at["self"]
    pad = at["pad"]
    for index in range(len(pad) // 2):
        axis = len(view.axes) - 1 - index
        before, after = pad[2 * index : 2 * index + 2]
        size = view.shape[axis]
        view = build.sliced(view, axis, max(-before, 0), size - max(-after, 0))
        sides = [_filled(view, axis, max(count, 0), at["value"]) for count in (before, after)]
        parts = [part for part in (*sides[:1], view, *sides[1:]) if part is not None]
        view = build.concat(parts, axis) if len(parts) > 1 else view
    return view


def _filled(like: View, axis: int, count: int, value: float) -> View | None:
    """``count`` places of an axis, all that number; ``None`` if there are none."""
    shape = with_axis(like, axis, (Factor(count, 0),))
    axes = tuple(tuple(factor._replace(stride=0) for factor in axis) for axis in shape.axes)
    return View(float(value), 0, axes) if count else None


@rule("slice_scatter")
def _slice_scatter(build: Builder, at: Call) -> View:
    view, axis = at["self"], at["dim"] % len(at["self"].axes)
    size = view.shape[axis]
    start, end = at["start"] or 0, size if at["end"] is None else min(at["end"], size)
    start, end = (place + size if place < 0 else place for place in (start, end))
    if at["step"] != 1:
        raise Untraceable("a change of every n-th column")
    parts = [build.sliced(view, axis, 0, start)] if start > 0 else []
    parts.append(at["src"])
    parts += [build.sliced(view, axis, end, size)] if end < size else []
    return build.concat(parts, axis) if len(parts) > 1 else parts[0]


@rule("select_scatter")
def _select_scatter(build: Builder, at: Call) -> View:
    axis = at["dim"] % len(at["self"].axes)
    index = at["index"] % at["self"].shape[axis]
    place = {"src": insert_axis(at["src"], axis), "start": index, "end": index + 1, "step": 1}
    return _slice_scatter(build, replace(at, arguments={**at.arguments, **place}))


INDICES = ("index", "indices")
"""Arguments that are given as numbers."""
MOST_PIECES = 64


@rule("flip")
def _flip(build: Builder, at: Call) -> View:
    view: View = at["self"]
    for axis in _axes(view, at["dims"]):
        view = _picked(build, view, axis, range(view.shape[axis])[::-1])
    return view


@rule("index_select")
def _index_select(build: Builder, at: Call) -> View:
    return _picked(build, at["self"], at["dim"] % len(at["self"].axes), at["index"])


@rule("index")
def _index(build: Builder, at: Call) -> View:
    given = [(axis, one) for axis, one in enumerate(at["indices"]) if one is not None]
    if len(given) != 1 or len(at.shape) != len(at["self"].axes):
        raise Untraceable("an index by other than one list of numbers")
    return _picked(build, at["self"], *given[0])


def _picked(build: Builder, view: View, axis: int, indices: Sequence[int] | None) -> View:
    """These places of an axis: runs of neighbours, one after the other."""
    if not indices:
        raise Untraceable("an index by other than one list of numbers")
    size = view.shape[axis]
    if not all(-size <= place < size for place in indices):
        raise Untraceable(f"an index that is not one of {size} places")
    runs: list[list[int]] = []
    for index in (place % size for place in indices):
        if runs and runs[-1][1] == index:
            runs[-1][1] += 1
        else:
            runs.append([index, index + 1])
    if len(runs) > MOST_PIECES:
        raise Untraceable(f"a rearrangement of more than {MOST_PIECES} pieces")
    pieces = [build.sliced(view, axis, start, end) for start, end in runs]
    return build.concat(pieces, axis) if len(pieces) > 1 else pieces[0]


@rule("cumsum")
def _cumsum(build: Builder, at: Call) -> View:
    """By doubling: after each round every place holds the sum of twice as many."""
    view, axis = at["self"], at["dim"] % len(at["self"].axes)
    size, shift = view.shape[axis], 1
    while shift < size:
        earlier = build.sliced(view, axis, 0, size - shift)
        nothing = _filled(view, axis, shift, 0.0)
        view = build.pointwise("add", view, build.concat([nothing, earlier] if nothing else [earlier], axis))
        shift *= 2
    result: View = view
    return result


FILLED = {
    "zeros": 0.0,
    "zeros_like": 0.0,
    "new_zeros": 0.0,
    "ones": 1.0,
    "ones_like": 1.0,
    "new_ones": 1.0,
    "empty": 0.0,
}


@rule("full", "full_like", "new_full", "scalar_tensor", "fill", *FILLED)
def _full(build: Builder, at: Call) -> View:  # noqa: ARG001
    value = FILLED.get(at.name, at.get("fill_value", at.get("value", at.get("s"))))
    if not isinstance(value, int | float):
        raise Untraceable("a tensor filled with a computed number")
    return View(float(value), 0, tuple(whole_axis(size, at.rows) for size in at.shape))
