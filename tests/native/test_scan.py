"""The core's linear recurrences against the equations in double precision; and `linear_scan`, with the core and without."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from elman import core
from elman.cells.scan import linear_scan
from elman.errors import ElmanError

pytestmark = pytest.mark.skipif(bool(core.why_absent()), reason=core.why_absent())

Array: TypeAlias = NDArray[Any]
KINDS = [np.float32, np.float64, np.complex64, np.complex128]


@pytest.fixture(params=[] if core.why_absent() else core.runnable_kernels(), scope="module")
def kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    with core.use_kernels(request.param):
        yield


on_every_set = pytest.mark.usefixtures("kernels")


def numbers(generator: np.random.Generator, shape: tuple[int, ...], kind: type) -> Array:
    """Of size one, with gaps between the rows and between the steps."""
    wide = generator.uniform(-1, 1, (*shape[:-1], 2 * shape[-1] + 3))
    if np.issubdtype(kind, np.complexfloating):
        wide = wide + 1j * generator.uniform(-1, 1, wide.shape)
    return wide.astype(kind)[..., 1 : 1 + shape[-1]]


def view(array: Array | None) -> core.Array:
    """(batch, time, channels), where an axis of 1 stands for all."""
    if array is None:
        return core.Array()
    strides = (
        0 if size == 1 else stride // array.itemsize for size, stride in zip(array.shape, array.strides, strict=True)
    )
    return core.Array(array.ctypes.data, *list(strides)[:2])


def problem(array: Array, reverse: bool, threads: int) -> tuple[int, ...]:
    double = array.dtype in (np.float64, np.complex128)
    return core.FLOAT64 if double else core.FLOAT32, int(np.iscomplexobj(array)), int(reverse), threads, *array.shape


def recurrence(decay: Array, values: Array, initial: Array, reverse: bool) -> Array:
    """h_t = a_t h_{t-1} + b_t, or with h_{t+1}, in double precision."""
    decay = np.broadcast_to(decay, values.shape)
    state = initial[:, 0].astype(np.complex128)
    hidden = np.empty(values.shape, np.complex128)
    for t in range(values.shape[1])[:: -1 if reverse else 1]:
        state = hidden[:, t] = decay[:, t] * state + values[:, t]
    return hidden


def gradients(decay: Array, hidden: Array, initial: Array, slope: Array, reverse: bool) -> tuple[Array, Array, Array]:
    """By decay, values and initial state, from the chain rule step by step."""
    shape, decay = decay.shape, np.broadcast_to(decay, hidden.shape)
    by_decay, total = np.empty(hidden.shape, np.complex128), np.empty(hidden.shape, np.complex128)
    carried = np.zeros_like(initial[:, 0], np.complex128)
    order = list(range(hidden.shape[1])[:: -1 if reverse else 1])
    for place, t in reversed(list(enumerate(order))):
        total[:, t] = slope[:, t] + carried
        before = hidden[:, order[place - 1]] if place else initial[:, 0]
        by_decay[:, t] = before.conj() * total[:, t]
        carried = decay[:, t].conj() * total[:, t]
    axes = tuple(axis for axis in (0, 1) if shape[axis] == 1)
    return by_decay.sum(axes, keepdims=True), total, carried[:, None]


def assert_close(actual: Array, expected: Array) -> None:
    eps = np.finfo(actual.dtype).eps
    np.testing.assert_allclose(actual, expected, rtol=0, atol=16 * eps * (1 + np.abs(expected).max(initial=0)))


@on_every_set
@given(
    st.sampled_from(KINDS), st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 40)),
    st.tuples(st.booleans(), st.booleans()), st.booleans(), st.integers(1, 3), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_the_recurrence_and_its_gradients(
    kind: type, shape: tuple[int, int, int], constant: tuple[bool, bool], reverse: bool, threads: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    batch, steps, channels = shape
    decay = numbers(generator, (1 if constant[0] else batch, 1 if constant[1] else steps, channels), kind)
    values, slope = numbers(generator, shape, kind), numbers(generator, shape, kind)
    initial = numbers(generator, (batch, 1, channels), kind)
    hidden: Array = np.full(shape, np.nan, kind)
    by_values = np.full_like(hidden, np.nan)
    by_decay, by_initial = np.full_like(decay, np.nan), np.full_like(initial, np.nan)
    call = problem(values, reverse, threads)

    core.check(core.functions().elman_scan(*call, *map(view, (decay, values, initial, hidden))))
    assert_close(hidden, recurrence(decay, values, initial, reverse))

    arrays = map(view, (decay, hidden, initial, slope, by_decay, by_values, by_initial))
    core.check(core.functions().elman_scan_backward(*call, *arrays))
    expected = gradients(decay, hidden, initial, slope, reverse)
    for actual, wanted in zip((by_decay, by_values, by_initial), expected, strict=True):
        assert_close(actual, wanted)


@on_every_set
@pytest.mark.parametrize("shape", [(3, 40, 5000), (1, 200, 300), (40, 30, 33)])
def test_threads_share_it_out_and_give_the_same(shape: tuple[int, int, int]) -> None:
    generator = np.random.default_rng(0)
    decay, values = (generator.uniform(-1, 1, shape).astype(np.float32) for _ in range(2))
    constant = np.ascontiguousarray(decay[:1, :1])
    results = []
    for threads in (1, 2, 3):
        hidden, total, by_decay = np.empty_like(values), np.empty_like(values), np.empty_like(constant)
        call = problem(values, False, threads)
        core.check(core.functions().elman_scan(*call, *map(view, (decay, values, None, hidden))))
        arrays = map(view, (constant, hidden, None, values, by_decay, total, None))
        core.check(core.functions().elman_scan_backward(*call, *arrays))
        results.append((hidden, total, by_decay))
    zeros = np.zeros((shape[0], 1, shape[2]))
    assert_close(results[0][0], recurrence(decay, values, zeros, False))
    assert_close(results[0][2], gradients(constant, results[0][0], zeros, values, False)[0].real)
    for others in results[1:]:
        for one, other in zip(results[0], others, strict=True):
            np.testing.assert_array_equal(one, other)


@on_every_set
def test_nothing_beside_the_arrays_is_written() -> None:
    generator = np.random.default_rng(0)
    decay, values = numbers(generator, (2, 5, 11), np.float32), numbers(generator, (2, 5, 11), np.float32)
    memory = np.full((2, 5, 30), 7, np.float32)
    core.check(
        core.functions().elman_scan(*problem(values, False, 1), *map(view, (decay, values, None, memory[..., 3:14])))
    )
    assert (memory[..., :3] == 7).all()
    assert (memory[..., 14:] == 7).all()
    assert (memory[..., 3:14] != 7).all()


@on_every_set
def test_without_steps_the_gradient_by_the_initial_state_is_zero() -> None:
    nothing, by_initial = np.empty((2, 0, 3)), np.full((2, 1, 3), np.nan)
    arrays = map(view, (nothing, nothing, None, nothing, None, nothing, by_initial))
    core.check(core.functions().elman_scan_backward(*problem(nothing, False, 1), *arrays))
    np.testing.assert_array_equal(by_initial, 0)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((7, 0, 0, 1, 1, 1, 1), "dtype"), ((0, 0, 0, 1, -1, 1, 1), "batch -1"), ((0, 0, 0, 1, 1, 1, 1), "`decay`")],
)
def test_a_wrong_call_is_refused(sizes: tuple[int, ...], message: str) -> None:
    with pytest.raises(ElmanError, match=message):
        core.check(core.functions().elman_scan(*sizes, *[core.Array()] * 4))


# ---- linear_scan ---------------------------------------------------------------------------------------------------


def by_loop(decay: Tensor, values: Tensor, initial: Tensor) -> Tensor:
    states = [initial.expand_as(values[:, 0])]
    for a, b in zip(decay.expand_as(values).unbind(1), values.unbind(1), strict=True):
        states.append(a * states[-1] + b)
    return torch.stack(states[1:], 1)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "time first": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "channels apart": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "expanded": lambda x: x[:1].expand_as(x),
    "conjugate": lambda x: torch.complex(x, x.flip(1)).conj(),
    "imaginary part": lambda x: torch.complex(x, x.flip(1)).conj().imag,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_linear_scan_reads_any_layout(layout: str) -> None:
    torch.manual_seed(0)
    decay, values = (LAYOUTS[layout](torch.randn(3, 6, 5, dtype=torch.float64)) for _ in range(2))
    leaves = [
        decay.requires_grad_(),
        values.requires_grad_(),
        torch.randn(3, 5, dtype=values.dtype, requires_grad=True),
    ]
    slope = torch.randn(5, 6, 3, dtype=values.dtype).transpose(0, 2)
    actual, expected = linear_scan(*leaves), by_loop(*leaves)
    torch.testing.assert_close(actual, expected)
    for one, other in zip(*(torch.autograd.grad(y, leaves, slope) for y in (actual, expected)), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("shape", [(3, 6, 2, 4), (1, 6, 2, 4), (3, 1, 2, 4), (6, 1, 4), (2, 1), (4,), ()])
def test_linear_scan_sums_the_gradient_of_what_it_spreads(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    leaves = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in (shape, (3, 6, 2, 4), (2, 4))]
    for one, other in zip(
        *(torch.autograd.grad(f(*leaves).sum(), leaves) for f in (linear_scan, by_loop)), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_linear_scan_leaves_out_gradients_that_nobody_wants() -> None:
    decay, values, initial = torch.rand(2, 5, 3), torch.rand(2, 5, 3, requires_grad=True), torch.rand(2, 3)
    linear_scan(decay, values, initial).sum().backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    assert decay.grad is None
    assert initial.grad is None


def test_large_results_can_be_changed_in_place_and_outlive_the_scan() -> None:
    """They lie in memory of the core's."""
    torch.manual_seed(0)
    leaves = [torch.rand(1, 3000, 128, requires_grad=True), torch.randn(1, 3000, 128), torch.zeros(128)]
    hidden = linear_scan(*leaves)
    expected = by_loop(*leaves)
    for _ in range(3):  # what these scans leave is used again, not what `hidden` holds
        linear_scan(leaves[0], leaves[1] + 1, leaves[2])
    torch.testing.assert_close(hidden, expected)
    changed = linear_scan(*leaves).mul_(2)
    torch.testing.assert_close(changed, 2 * expected)
    slope = torch.randn(hidden.shape)
    torch.testing.assert_close(*(torch.autograd.grad(y, leaves[0], slope)[0] for y in (linear_scan(*leaves), expected)))


@on_every_set
def test_linear_scan_runs_in_the_core() -> None:
    """In float32 the core rounds each state once: the form of torch does not."""
    torch.manual_seed(0)
    leaves = [torch.rand(2, 500, 8), torch.randn(2, 500, 8), torch.randn(2, 8)]
    exact = by_loop(*(tensor.double() for tensor in leaves))
    torch.testing.assert_close(linear_scan(*leaves), exact.float(), rtol=0, atol=0)


def test_linear_scan_under_a_trace_is_made_of_operations() -> None:
    leaves = (torch.rand(2, 5, 3), torch.randn(2, 5, 3), torch.randn(2, 3))
    exported = torch.export.export(Scan(), leaves)
    others = (torch.rand(2, 5, 3), torch.randn(2, 5, 3), torch.randn(2, 3))
    torch.testing.assert_close(exported.module()(*others), by_loop(*others))


class Scan(torch.nn.Module):
    def forward(self, decay: Tensor, values: Tensor, initial: Tensor) -> Tensor:
        return linear_scan(decay, values, initial)


def test_linear_scan_without_the_core() -> None:
    """All its tests, in a process where the core is off."""
    tests = Path(__file__).parents[1] / "cells" / "test_scan.py"
    command = [sys.executable, "-m", "pytest", str(tests), "-q", "-n0", "-p", "no:cacheprovider", "-k", "linear_scan"]
    environment = {**os.environ, "ELMAN_CORE": "off"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[2], check=False
    )
    assert done.returncode == 0, done.stdout
