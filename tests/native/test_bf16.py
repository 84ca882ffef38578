"""Products of bfloat16: what is multiplied is rounded as torch rounds, the sums are NumPy's in double precision."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elman import core
from elman.errors import ElmanError

HAS_CORE = not core.why_absent()
pytestmark = pytest.mark.skipif(not HAS_CORE, reason=core.why_absent())
rounds = pytest.mark.skipif(not (HAS_CORE and core.has_bfloat16()), reason="no instructions for bfloat16")

Numbers = NDArray[np.float32]
SIZES = st.integers(1, 70)
THREADS = st.integers(1, 3)
SEEDS = st.integers(0, 2**32 - 1)
LAYOUTS = ("rows", "columns", "gaps")


def array(numbers: Numbers) -> core.Array:
    return core.Array(numbers.ctypes.data, *(stride // numbers.itemsize for stride in numbers.strides))


def matmul(
    x: Numbers,
    w: Numbers,
    y: Numbers,
    bias: Numbers | None = None,
    threads: int = 1,
    accumulate: bool = False,
    dtype: int = core.BFLOAT16,
) -> None:
    (m, k), n = x.shape, w.shape[0]
    address = None if bias is None else bias.ctypes.data
    core.check(
        core.functions().elman_matmul(dtype, threads, m, n, k, array(x), array(w), address, array(y), accumulate)
    )


def outer(
    left: Numbers,
    right: Numbers,
    out: Numbers,
    threads: int = 1,
    accumulate: bool = False,
    dtype: int = core.BFLOAT16,
) -> None:
    sizes = (*left.shape, right.shape[1])
    core.check(
        core.functions().elman_outer(dtype, threads, *sizes, array(left), array(right), out.ctypes.data, accumulate)
    )


def rounded(numbers: Numbers) -> NDArray[np.float64]:
    """The nearest numbers of bfloat16, by torch."""
    result: NDArray[np.float64] = torch.from_numpy(np.ascontiguousarray(numbers)).bfloat16().double().numpy()
    return result


def close(actual: Numbers, expected: NDArray[np.float64], terms: int) -> bool:
    """Whether sums of so many products of numbers below one are as exact as float32 allows."""
    return bool(np.all(np.abs(actual - expected) <= 4 * (terms + 1) * np.finfo(np.float32).eps))


def uniform(generator: np.random.Generator, *shape: int) -> Numbers:
    return generator.uniform(-1, 1, shape).astype(np.float32)


def strided(generator: np.random.Generator, layout: str, rows: int, columns: int) -> Numbers:
    """A matrix that lies in memory by rows, by columns, or with gaps in both directions."""
    if layout == "columns":
        return uniform(generator, columns, rows).T
    if layout == "gaps":
        return uniform(generator, 2 * rows, 3 * columns)[::2, ::3]
    return uniform(generator, rows, columns)


@rounds
@given(
    m=SIZES, n=SIZES, k=SIZES, gap=st.integers(0, 5), layout=st.sampled_from(LAYOUTS),
    with_bias=st.booleans(), accumulate=st.booleans(), threads=THREADS, seed=SEEDS,
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_a_product_is_that_of_rounded_numbers(
    m: int, n: int, k: int, gap: int, layout: str, with_bias: bool, accumulate: bool, threads: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    x = uniform(generator, m, k + gap)[:, :k]
    w = strided(generator, layout, n, k)
    bias = uniform(generator, n) if with_bias else None
    y = uniform(generator, m, n + gap)
    before = y.copy()
    matmul(x, w, y[:, :n], bias, threads, accumulate)
    expected = rounded(x) @ rounded(w).T + accumulate * before[:, :n].astype(np.float64)
    if bias is not None:
        expected += bias.astype(np.float64)
    assert close(y[:, :n], expected, k + 2)
    assert np.array_equal(y[:, n:], before[:, n:]), "written past the end of a row"


@rounds
@given(m=SIZES, p=SIZES, q=SIZES, gap=st.integers(0, 5), accumulate=st.booleans(), threads=THREADS, seed=SEEDS)
@settings(max_examples=150, deadline=None)
def test_an_outer_product_is_that_of_rounded_numbers(
    m: int, p: int, q: int, gap: int, accumulate: bool, threads: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    left, right = uniform(generator, m, p + gap)[:, :p], uniform(generator, m, q + gap)[:, :q]
    out = uniform(generator, p + 1, q)
    before = out.copy()
    outer(left, right, out, threads, accumulate)
    expected = rounded(left).T @ rounded(right) + accumulate * before[:p].astype(np.float64)
    assert close(out[:p], expected, m + 1)
    assert np.array_equal(out[p], before[p]), "written past the end"


@rounds
@pytest.mark.parametrize(("m", "n", "k"), [(700, 330, 1101), (1, 2050, 600), (1601, 1, 2077)])
def test_sizes_that_are_cut_into_blocks(m: int, n: int, k: int) -> None:
    generator = np.random.default_rng(0)
    x, w = uniform(generator, m, k), uniform(generator, n, k)
    y, gradient = np.zeros((m, n), np.float32), np.zeros((n, k), np.float32)
    matmul(x, w, y, threads=2)
    assert close(y, rounded(x) @ rounded(w).T, k)
    outer(y, x, gradient, threads=2)
    assert np.abs(gradient - rounded(y).T @ rounded(x)).max() <= 32 * np.finfo(np.float32).eps * np.sqrt(m * k)


# ---- Rounding. A number times one is the number, rounded.


def numbers_of_all_kinds() -> Numbers:
    """Random bits, numbers midway between two of bfloat16 and beside them, the largest, and those that are none."""
    generator = np.random.default_rng(0)
    high = generator.integers(0x0080, 0x7F7F, 200, np.uint32) | generator.integers(0, 2, 200, np.uint32) << 15
    halves = [(high << 16) | low for low in (0x0000, 0x7FFF, 0x8000, 0x8001, 0xFFFF)]
    bits = np.concatenate([*halves, generator.integers(0x00800000, 0x7F800000, 200, np.uint32)])
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, np.finfo(np.float32).max, -3.3961776e38], np.float32)
    return np.concatenate([bits.astype(np.uint32).view(np.float32), special])


def same(actual: Numbers, expected: NDArray[np.float64]) -> bool:
    return np.array_equal(actual, expected.astype(np.float32), equal_nan=True)


@rounds
@pytest.mark.parametrize("k", [1, 2, 3, 32, 33])
def test_the_left_side_is_rounded_to_nearest_even(k: int) -> None:
    numbers = numbers_of_all_kinds()
    for place in range(k):
        x, w = np.zeros((len(numbers), k), np.float32), np.zeros((3, k), np.float32)
        x[:, place], w[1, place], y = numbers, 1, np.zeros((len(numbers), 3), np.float32)
        matmul(x, w, y)
        assert same(y[:, 1], rounded(numbers))


@rounds
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_right_side_is_rounded_to_nearest_even(layout: str) -> None:
    numbers = numbers_of_all_kinds()
    w = strided(np.random.default_rng(0), layout, len(numbers), 3)
    w[:], w[:, 2] = 0, numbers
    y = np.zeros((2, len(numbers)), np.float32)
    matmul(np.array([[0, 0, 0], [0, 0, 1]], np.float32), w, y)
    assert same(y[1], rounded(numbers))


@rounds
@pytest.mark.parametrize("m", [1, 2, 3])
def test_both_sides_of_an_outer_product_are_rounded_to_nearest_even(m: int) -> None:
    numbers = numbers_of_all_kinds()
    one, many = np.zeros((m, 1), np.float32), np.zeros((m, len(numbers)), np.float32)
    one[m - 1], many[m - 1] = 1, numbers
    by_rows, by_columns = np.zeros((len(numbers), 1), np.float32), np.zeros((1, len(numbers)), np.float32)
    outer(many, one, by_rows)
    outer(one, many, by_columns)
    assert same(by_rows[:, 0], rounded(numbers))
    assert same(by_columns[0], rounded(numbers))


@rounds
def test_numbers_below_the_normal_ones_count_as_zeros() -> None:
    y = np.ones((1, 1), np.float32)
    matmul(np.full((1, 2), 1e-39, np.float32), np.full((1, 2), 1e30, np.float32), y)
    assert y == 0


@rounds
def test_infinity_and_not_a_number_stay_in_their_row_and_column() -> None:
    x, w, y = np.ones((7, 5), np.float32), np.ones((19, 5), np.float32), np.zeros((7, 19), np.float32)
    x[3, 4], w[11, 4] = np.nan, np.inf
    matmul(x, w, y)
    expected = np.full((7, 19), 5, np.float32)
    expected[:, 11], expected[3] = np.inf, np.nan
    assert np.array_equal(y, expected, equal_nan=True)


@rounds
def test_empty_sizes() -> None:
    y, out = np.ones((3, 4), np.float32), np.ones((3, 4), np.float32)
    matmul(np.zeros((3, 0), np.float32), np.zeros((4, 0), np.float32), y, np.arange(4, dtype=np.float32))
    assert np.array_equal(y, [[0, 1, 2, 3]] * 3)
    outer(np.zeros((0, 3), np.float32), np.zeros((0, 4), np.float32), out)
    assert not out.any()


# ---- Where there are no instructions for it


@pytest.fixture(params=core.runnable_kernels() if HAS_CORE else [])
def kernels(request: pytest.FixtureRequest) -> Iterator[str]:
    with core.use_kernels(request.param):
        yield request.param


def test_other_kernels_multiply_float32(kernels: str) -> None:
    if core.has_bfloat16():
        assert kernels == "avx512"
        return
    generator = np.random.default_rng(0)
    x, w = uniform(generator, 40, 30), uniform(generator, 50, 30)
    results = [(np.zeros((40, 50), np.float32), np.zeros((50, 30), np.float32)) for _ in (core.FLOAT32, core.BFLOAT16)]
    for dtype, (y, gradient) in zip((core.FLOAT32, core.BFLOAT16), results, strict=True):
        matmul(x, w, y, dtype=dtype)
        outer(y, x, gradient, dtype=dtype)
    assert all(np.array_equal(*pair) for pair in zip(*results, strict=True))


# ---- What is refused


def test_other_types_are_refused() -> None:
    x, y = np.ones((2, 2), np.float32), np.ones((2, 2), np.float32)
    for dtype in (-1, 3):
        with pytest.raises(ElmanError, match=rf"dtype {dtype}: expected 0 .*, 1 .* or 2"):
            matmul(x, x, y, dtype=dtype)
        with pytest.raises(ElmanError, match=rf"dtype {dtype}: expected 0"):
            outer(x, x, y, dtype=dtype)
    with pytest.raises(ElmanError, match=r"dtype 2: expected 0 \(float32\) or 1"):  # not a product
        core.check(core.functions().elman_apply(core.BFLOAT16, 0, 0, None, None, None, None))
