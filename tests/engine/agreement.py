"""The agreement check: what a backend gives against what the plain loop gives, values, final states and every gradient."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from elman import core
from elman.layers import SequenceLayer, backend
from elman.state import State, leaves, map_leaves
from elman.testing.compare import TOLERANCE

needs_native = pytest.mark.skipif(bool(core.why_absent()), reason="the compiled core is absent")

LAYOUTS: Mapping[str, tuple[Callable[[int, int, int], tuple[int, int, int]], Callable[[Tensor], Tensor]]] = {
    "contiguous": (lambda b, t, n: (b, t, n), lambda x: x),
    "time major": (lambda b, t, n: (t, b, n), lambda x: x.transpose(0, 1)),
    "features first": (lambda b, t, n: (n, b, t), lambda x: x.permute(1, 2, 0)),
    "every other step": (lambda b, t, n: (b, 2 * t, n), lambda x: x[:, ::2]),
    "every other row": (lambda b, t, n: (2 * b, t, n), lambda x: x[1::2]),
    "every other feature": (lambda b, t, n: (b, t, 2 * n), lambda x: x[..., ::2]),
}
"""Layouts of (batch, time, features) by name: the shape of the tensor that is differentiated, and the view of it."""


@dataclass(frozen=True)
class Call:
    """How a layer is called, and what is asked of it.

    Args:
        batch, time: of the input, which is random.
        lengths: real steps of each row, or all.
        dtype: of everything.
        layout: one of `LAYOUTS`.
        input_gradient: whether the gradient by x is asked for.
        state: "none": the layer's own; "constant": given; "gradient": given, and its gradient is asked for.
        frozen: names of parameters whose gradient is not asked for.
        cuts: where time is cut into calls that carry the state.
        poisoned: whether the padding holds NaN.
        seed: of the random numbers that the call draws, and of the input.
    """

    batch: int = 3
    time: int = 5
    lengths: tuple[int, ...] | None = None
    dtype: torch.dtype = torch.float64
    layout: str = "contiguous"
    input_gradient: bool = True
    state: str = "gradient"
    frozen: tuple[str, ...] = ()
    cuts: tuple[int, ...] = ()
    poisoned: bool = False
    seed: int = 0


def results(layer: SequenceLayer, call: Call) -> dict[str, Tensor]:
    """The output, the leaves of the final state, and the gradients of a random weighing of them, by name."""
    leaf, x = _input(layer, call)
    state = _state(layer, call)
    sources = {"x": leaf} if call.input_gradient else {}
    if state is not None and call.state == "gradient":
        floating = [(index, leaf) for index, leaf in enumerate(leaves(state)) if leaf.is_floating_point()]
        sources |= {f"leaf {index} of the initial state": leaf for index, leaf in floating}
    sources |= {name: weight for name, weight in layer.named_parameters() if name not in call.frozen}
    with _frozen(layer, call.frozen):
        torch.manual_seed(call.seed)
        y, last = _run(layer, x, state, call)
        found = {"the output": y} | {
            f"leaf {index} of the final state": leaf for index, leaf in enumerate(leaves(last))
        }
        gradients = _gradients(found, sources)
    return {name: value.detach() for name, value in found.items()} | gradients


def assert_agreement(layer: SequenceLayer, call: Call, name: str = "native", floor: float = 0.0) -> None:
    """Raises AssertionError unless a backend gives what the loop gives, to rounding.

    The largest difference over the largest value of a tensor stays under 1e-10 in float64 and 1e-5 in float32. Where two
    computations in float32 differ by more, the loop in float64 judges: the backend may be as far from it as the loop itself.

    Args:
        floor: a tensor whose largest value is below this share of the largest of its kind (values, gradients), or of 1, is
            measured by that: what is zero but for rounding has no digits to compare.
    """
    with backend("loop"):
        expected = results(layer, call)
    with backend(name):
        actual = results(layer, call)
    compare(actual, expected, lambda: _in_float64(layer, call), floor)


def compare(
    actual: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    judge: Callable[[], Mapping[str, Tensor]] | None = None,
    floor: float = 0.0,
) -> None:
    """Raises AssertionError that names the first tensor that differs by more than rounding, and by how much."""
    assert actual.keys() == expected.keys(), f"expected {sorted(expected)}, got {sorted(actual)}"
    exact: Mapping[str, Tensor] | None = None
    for name, value in expected.items():
        got = actual[name]
        assert got.shape == value.shape, f"{name} has shape {tuple(got.shape)}, not {tuple(value.shape)}"
        assert got.dtype == value.dtype, f"{name} is {got.dtype}, not {value.dtype}"
        scale = _scale(name, expected, floor)
        error, allowed = _difference(got, value, scale), TOLERANCE.get(value.dtype, 0.0)
        if error > allowed and value.dtype == torch.float32 and judge is not None:
            exact = exact or judge()
            error = _difference(got, exact[name], scale)
            allowed = max(allowed, 4 * _difference(value, exact[name], scale))
        assert error <= allowed, f"{name} differs by {error:.1e} of its largest value"


def _difference(actual: Tensor, expected: Tensor, scale: float) -> float:
    if expected.numel() == 0:
        return 0.0
    if not (actual.isfinite().all() and expected.isfinite().all()):
        return float("inf")
    return float((actual.detach().double() - expected.detach().double()).abs().max()) / scale


def _scale(name: str, expected: Mapping[str, Tensor], floor: float) -> float:
    """The largest value of a tensor, or a share of the largest of its kind, or of 1; 1 if all are zero."""
    is_gradient = name.startswith(GRADIENT)
    kind = [value for other, value in expected.items() if other.startswith(GRADIENT) == is_gradient]
    largest = max(1.0, *map(_largest, kind))
    return max(_largest(expected[name]), floor * largest) or 1.0


def _largest(value: Tensor) -> float:
    return float(value.detach().abs().max()) if value.numel() else 0.0


GRADIENT = "the gradient by "


def _input(layer: SequenceLayer, call: Call) -> tuple[Tensor, Tensor]:
    """The tensor that is differentiated, and the input, a view of it."""
    shape, view = LAYOUTS[call.layout]
    generator = torch.Generator().manual_seed(call.seed + 1)
    # drawn in float32, so that a run in float64 can judge one in float32
    leaf = torch.randn(shape(call.batch, call.time, layer.input_size), generator=generator).to(call.dtype)
    if call.poisoned and call.lengths is not None:
        padding = torch.arange(call.time) >= torch.tensor(call.lengths)[:, None]
        view(leaf)[padding] = torch.nan
    leaf.requires_grad_(call.input_gradient)
    return leaf, view(leaf)


def _state(layer: SequenceLayer, call: Call) -> State | None:
    """A state that the layer itself reaches: not every cell can start from any numbers."""
    if call.state == "none":
        return None
    torch.manual_seed(call.seed)
    generator = torch.Generator().manual_seed(call.seed + 2)
    x = torch.randn(call.batch, 2, layer.input_size, generator=generator).to(call.dtype)
    with torch.no_grad(), backend("loop"):
        _, reached = layer(x)

    def leaf(value: Tensor) -> Tensor:
        rounded = value.float().to(value.dtype) if value.is_floating_point() else value
        return rounded.clone().requires_grad_(call.state == "gradient" and value.is_floating_point())

    state: State = map_leaves(leaf, reached)
    return state


def _run(layer: SequenceLayer, x: Tensor, state: State | None, call: Call) -> tuple[Tensor, State]:
    lengths = None if call.lengths is None else torch.tensor(call.lengths, dtype=torch.int64)
    if not call.cuts:
        y, last = layer(x, state, lengths)
        return y, last
    outputs = []
    for start, stop in zip((0, *call.cuts), (*call.cuts, call.time), strict=True):
        real = None if lengths is None else (lengths - start).clamp(0, stop - start)
        y, state = layer(x[:, start:stop], state, real)
        outputs.append(y)
    assert state is not None
    return torch.cat(outputs, 1), state


def _gradients(found: Mapping[str, Tensor], sources: Mapping[str, Tensor]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    loss = sum(
        (value * torch.randn(value.shape, generator=generator).to(value.dtype)).sum() for value in found.values()
    )
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        return {GRADIENT + name: torch.zeros_like(source) for name, source in sources.items()}
    values = torch.autograd.grad(loss, list(sources.values()), allow_unused=True, materialize_grads=True)
    return {GRADIENT + name: value for name, value in zip(sources, values, strict=True)}


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Torch's number of threads meanwhile, which is the engine's too."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _frozen(layer: SequenceLayer, names: tuple[str, ...]) -> Iterator[None]:
    weights = dict(layer.named_parameters())
    before = {name: weights[name].requires_grad for name in names}
    try:
        for name in names:
            weights[name].requires_grad_(False)
        yield
    finally:
        for name in names:
            weights[name].requires_grad_(before[name])


def _in_float64(layer: SequenceLayer, call: Call) -> dict[str, Tensor]:
    exact = Call(**{**vars(call), "dtype": torch.float64})
    with backend("loop"):
        return results(copy.deepcopy(layer).double(), exact)
