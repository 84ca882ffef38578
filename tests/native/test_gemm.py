"""The core's products against NumPy in double precision: every instruction set that runs here, any shape, any strides."""

from collections.abc import Iterator
from ctypes import c_int64, c_void_p
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elman import core

pytestmark = pytest.mark.skipif(bool(core.why_absent()), reason=core.why_absent())

Numbers = NDArray[Any]
DType = type[np.float32] | type[np.float64]
SIZES = st.integers(1, 70)
DTYPES = st.sampled_from([np.float32, np.float64])
THREADS = st.integers(1, 3)
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(params=core.runnable_kernels() if not core.why_absent() else [], autouse=True, scope="module")
def kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    with core.use_kernels(request.param):
        yield


def array(numbers: Numbers) -> core.Array:
    return core.Array(numbers.ctypes.data, *(stride // numbers.itemsize for stride in numbers.strides))


def close(actual: Numbers, expected: Numbers, terms: int) -> bool:
    """Whether sums of so many products of numbers below one are as exact as their type allows."""
    return bool(np.all(np.abs(actual - expected) <= 4 * (terms + 1) * np.finfo(actual.dtype).eps))


def matmul(x: Numbers, w: Numbers, bias: Numbers | None, y: Numbers, threads: int, accumulate: bool) -> None:
    (m, k), n = x.shape, w.shape[0]
    code = core.FLOAT64 if x.dtype == np.float64 else core.FLOAT32
    address = None if bias is None else bias.ctypes.data
    core.check(core.functions().elman_matmul(code, threads, m, n, k, array(x), array(w), address, array(y), accumulate))


def outer(left: Numbers, right: Numbers, out: Numbers, threads: int, accumulate: bool) -> None:
    code = core.FLOAT64 if left.dtype == np.float64 else core.FLOAT32
    sizes = (*left.shape, right.shape[1])
    core.check(
        core.functions().elman_outer(code, threads, *sizes, array(left), array(right), out.ctypes.data, accumulate)
    )


def strided(generator: np.random.Generator, layout: str, rows: int, columns: int, dtype: DType) -> Numbers:
    """A matrix that lies in memory by rows, by columns, or with gaps in both directions."""
    if layout == "columns":
        return np.ascontiguousarray(generator.uniform(-1, 1, (columns, rows)).astype(dtype)).T
    if layout == "gaps":
        return generator.uniform(-1, 1, (2 * rows, 3 * columns)).astype(dtype)[::2, ::3]
    return generator.uniform(-1, 1, (rows, columns)).astype(dtype)


@given(
    m=SIZES, n=SIZES, k=SIZES, gap=st.integers(0, 5), layout=st.sampled_from(["rows", "columns", "gaps"]),
    with_bias=st.booleans(), accumulate=st.booleans(), dtype=DTYPES, threads=THREADS, seed=SEEDS,
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_a_product_is_numpys(
    m: int,
    n: int,
    k: int,
    gap: int,
    layout: str,
    with_bias: bool,
    accumulate: bool,
    dtype: DType,
    threads: int,
    seed: int,
) -> None:
    generator = np.random.default_rng(seed)
    x = generator.uniform(-1, 1, (m, k + gap)).astype(dtype)[:, :k]
    w = strided(generator, layout, n, k, dtype)
    bias = generator.uniform(-1, 1, n).astype(dtype) if with_bias else None
    y = generator.uniform(-1, 1, (m, n + gap)).astype(dtype)
    before = y.copy()
    matmul(x, w, bias, y[:, :n], threads, accumulate)
    expected = x.astype(np.float64) @ w.astype(np.float64).T + accumulate * before[:, :n].astype(np.float64)
    if bias is not None:
        expected += bias.astype(np.float64)
    assert close(y[:, :n], expected, k + 2)
    assert np.array_equal(y[:, n:], before[:, n:]), "written past the end of a row"


@given(
    m=SIZES, p=SIZES, q=SIZES, gap=st.integers(0, 5), accumulate=st.booleans(), dtype=DTYPES, threads=THREADS, seed=SEEDS
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_an_outer_product_is_numpys(
    m: int, p: int, q: int, gap: int, accumulate: bool, dtype: DType, threads: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    left = generator.uniform(-1, 1, (m, p + gap)).astype(dtype)[:, :p]
    right = generator.uniform(-1, 1, (m, q + gap)).astype(dtype)[:, :q]
    out = generator.uniform(-1, 1, (p + 1, q)).astype(dtype)
    before = out.copy()
    outer(left, right, out, threads, accumulate)
    expected = left.astype(np.float64).T @ right.astype(np.float64) + accumulate * before[:p].astype(np.float64)
    assert close(out[:p], expected, m + 1)
    assert np.array_equal(out[p], before[p]), "written past the end"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("m", "n", "k"), [(700, 330, 1100), (1, 2050, 600), (513, 1, 1030)])
def test_sizes_that_are_cut_into_blocks(m: int, n: int, k: int, dtype: DType) -> None:
    generator = np.random.default_rng(0)
    x, w = generator.uniform(-1, 1, (m, k)).astype(dtype), generator.uniform(-1, 1, (n, k)).astype(dtype)
    y, gradient = np.zeros((m, n), dtype), np.zeros((n, k), dtype)
    matmul(x, w, None, y, 2, False)
    assert close(y, x.astype(np.float64) @ w.astype(np.float64).T, k)
    outer(y, x, gradient, 2, False)
    exact = y.astype(np.float64).T @ x.astype(np.float64)
    assert np.abs(gradient - exact).max() <= 32 * np.finfo(dtype).eps * np.sqrt(m * k)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinity_and_not_a_number_stay_in_their_row_and_column(dtype: DType) -> None:
    x, w, y = np.ones((7, 5), dtype), np.ones((19, 5), dtype), np.zeros((7, 19), dtype)
    x[3, 2], w[11, 4] = np.nan, np.inf
    matmul(x, w, None, y, 1, False)
    expected = np.full((7, 19), 5, dtype)
    expected[:, 11], expected[3] = np.inf, np.nan
    assert np.array_equal(y, expected, equal_nan=True)


def test_empty_sizes() -> None:
    y, out = np.ones((3, 4), np.float32), np.ones((3, 4), np.float32)
    none = np.zeros((3, 0), np.float32)
    matmul(none, np.zeros((4, 0), np.float32), np.arange(4, dtype=np.float32), y, 1, False)
    assert np.array_equal(y, [[0, 1, 2, 3]] * 3)
    outer(np.zeros((0, 3), np.float32), np.zeros((0, 4), np.float32), out, 1, False)
    assert not out.any()


def column_sums(rows: Numbers) -> Numbers:
    """The gradient of a vector in a plan that does nothing else: a column of inputs, added up over batch and time."""
    batch, steps, width = rows.shape
    code = core.FLOAT64 if rows.dtype == np.float64 else core.FLOAT32
    inputs, vectors = [1, width], [1, width]
    one_input, nothing = [2, 0, 0, 0], [0, 0, 0, 0]
    gradients = [1, 0, 0, *one_input, width, *nothing, 0]
    words = [core.INTERFACE, code, 0, 0, *inputs, 0, 0, *vectors, 0, 0, 0, 0, 0, 0, 0, 0, 0, *gradients]
    plan = core.functions().elman_plan_create((c_int64 * len(words))(*words), len(words), None)
    assert plan, core.functions().elman_error()
    out = np.zeros(width, rows.dtype)
    vector = np.zeros(width, rows.dtype)
    step, row = (rows.strides[axis] // rows.itemsize for axis in (1, 0))
    call = core.Call(batch=batch, steps=steps, threads=1)
    call.inputs = (core.Array * 1)(core.Array(rows.ctypes.data, row, step))
    call.vectors = (c_void_p * 1)(vector.ctypes.data)
    call.vector_gradients = (c_void_p * 1)(out.ctypes.data)
    core.check(core.functions().elman_run(plan, call))
    core.functions().elman_plan_destroy(plan)
    return out


@given(batch=st.integers(1, 9), steps=SIZES, width=st.integers(1, 300), dtype=DTYPES, seed=SEEDS)
@settings(max_examples=50, deadline=None)
def test_sums_of_columns_are_numpys(batch: int, steps: int, width: int, dtype: DType, seed: int) -> None:
    rows = np.random.default_rng(seed).uniform(-1, 1, (batch, steps, width)).astype(dtype)
    assert close(column_sums(rows), rows.astype(np.float64).sum((0, 1)), batch * steps)
