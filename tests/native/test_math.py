"""The core's functions of vectors against NumPy and SciPy in double precision, over all floats, on every instruction set."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from elman import core

pytestmark = pytest.mark.skipif(bool(core.why_absent()), reason=core.why_absent())

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

# What is exact, and how many units in the last place a result may be off.
FUNCTIONS: dict[str, tuple[Callable[[Doubles], Doubles], float]] = {
    "exp": (np.exp, 1.1),
    "expm1": (np.expm1, 2.0),
    "log": (np.log, 1.0),
    "log1p": (np.log1p, 1.0),
    "sqrt": (np.sqrt, 0.51),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 1.6),
    "reciprocal": (lambda x: 1 / x, 0.51),
    "sin": (np.sin, 2.0),
    "cos": (np.cos, 2.0),
    "erf": (special.erf, 1.1),
    "tanh": (np.tanh, 2.0),
}
LARGEST = np.finfo(np.float32).max


@pytest.fixture(autouse=True, params=[] if core.why_absent() else core.runnable_kernels(), scope="module")
def _kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    with core.use_kernels(request.param):
        yield


def apply(name: str, *operands: NDArray[np.floating]) -> NDArray[np.floating]:
    out = np.empty_like(operands[0])
    addresses = [array.ctypes.data for array in operands] + [None] * (3 - len(operands))
    dtype = core.FLOAT32 if out.dtype == np.float32 else core.FLOAT64
    core.check(
        core.functions().elman_apply(dtype, core.operations().index(name), out.size, *addresses, out.ctypes.data)
    )
    return out


def all_exponents(each: int) -> Floats:
    """Floats with every exponent and both signs: zeros, denormals, infinities and what is no number among them."""
    mantissas = np.random.default_rng(0).integers(0, 1 << 23, size=(512, each), dtype=np.uint32)
    mantissas[:, :2] = 0, (1 << 23) - 1
    return (mantissas | (np.arange(512, dtype=np.uint32)[:, None] << 23)).ravel().view(np.float32)


def units_off(actual: Floats, exact: Doubles) -> Doubles:
    """By how many units in the last place, where both are finite; an error where only one is."""
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(exact))
    beyond = np.isinf(rounded) | np.isinf(actual)
    np.testing.assert_array_equal(np.sign(actual[beyond]), np.sign(rounded[beyond]))
    assert (np.abs(exact[beyond]) > LARGEST * (1 - 1e-6)).all()
    finite = np.isfinite(actual) & np.isfinite(rounded)
    return np.abs(actual[finite] - exact[finite]) / np.spacing(np.abs(rounded[finite])).astype(np.float64)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_of_all_floats(name: str) -> None:
    function, bound = FUNCTIONS[name]
    x = all_exponents(1000)
    with np.errstate(all="ignore"):
        exact = function(x.astype(np.float64))
    worst = units_off(apply(name, x), exact).max()
    assert worst <= bound, f"{name} is {worst:.2f} units off"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_where_most_arguments_are(name: str) -> None:
    function, bound = FUNCTIONS[name]
    x = np.random.default_rng(1).normal(scale=6, size=400_000).astype(np.float32)
    with np.errstate(all="ignore"):
        exact = function(x.astype(np.float64))
    assert units_off(apply(name, x), exact).max() <= bound


def test_sigmoid() -> None:
    """By its definition it is 0 where exp(-x) is no float, as it is in torch."""
    x = np.concatenate(
        [all_exponents(1000), np.random.default_rng(1).normal(scale=30, size=400_000).astype(np.float32)]
    )
    with np.errstate(invalid="ignore"):
        exact = special.expit(x.astype(np.float64))
    actual, tiny = apply("sigmoid", x), exact < 1 / LARGEST
    assert (actual[tiny] <= 1.01 / LARGEST).all()
    assert units_off(actual[~tiny], exact[~tiny]).max() <= 2.5


@pytest.mark.parametrize("name", ["expm1", "log1p", "sin", "erf", "tanh", "sqrt"])
def test_zeros_keep_their_sign(name: str) -> None:
    np.testing.assert_array_equal(np.signbit(apply(name, np.array([0.0, -0.0], np.float32))), [False, True])


def test_no_tanh_and_no_sigmoid_is_beyond_one() -> None:
    """A slope of 1 - y * y would change its sign."""
    x = np.linspace(-20, 20, 1_000_003, dtype=np.float32)
    assert np.abs(apply("tanh", x)).max() == 1
    assert apply("sigmoid", x).max() == 1
    assert apply("sigmoid", x).min() > 0


def test_pow() -> None:
    generator = np.random.default_rng(2)
    base, exponent = (generator.normal(size=10_000).astype(np.float32) for _ in range(2))
    base[:6], exponent[:6] = [0, 0, -2, -2, np.inf, 1], [0, -1, 3, 0.5, -1, np.nan]
    with np.errstate(all="ignore"):
        exact = np.power(base.astype(np.float64), exponent.astype(np.float64))
    assert units_off(apply("pow", base, exponent), exact).max() <= 1


@pytest.mark.parametrize("name", [*FUNCTIONS, "sigmoid"])
def test_of_doubles(name: str) -> None:
    function = special.expit if name == "sigmoid" else FUNCTIONS[name][0]
    x = np.random.default_rng(3).normal(scale=6, size=1003)
    x[:4] = 0, np.inf, -np.inf, np.nan
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(apply(name, x), function(x), rtol=2e-15)
