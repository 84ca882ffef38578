"""The compiled core (``native/core.h``): finds the library, declares its functions, owns its memory. No torch.

Without the core everything works, more slowly: callers ask `available` and take their plain way where it is False.
The environment variable ``ELMAN_CORE`` switches it off (``off``) or names another build of the library.
"""

import ctypes
import functools
import importlib.util
import os
import sys
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_double, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

from elman.errors import ConfigError, ElmanError

INTERFACE = 2  # ELMAN_INTERFACE of the core.h that the declarations below were written from
FLOAT32, FLOAT64 = 0, 1  # a dtype, as the core's functions take it
BFLOAT16 = 2  # one of products: of float32 numbers, rounded to bfloat16 and added up in float32
STOPPED = 2  # what elman_run returns when it was told to stop

_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
_SETS = ("avx512", "avx2", "neon", "portable")


class Array(ctypes.Structure):
    """``elman_array``: an address and the strides, in elements, of rows and of steps (of a matrix: of its columns)."""

    _fields_ = (("data", c_void_p), ("row_stride", c_int64), ("step_stride", c_int64))


class Call(ctypes.Structure):
    """``elman_call``: what one run of a plan reads and writes."""

    _fields_ = (
        ("batch", c_int64),
        ("steps", c_int64),
        ("lengths", POINTER(c_int64)),
        ("threads", c_int64),
        ("inputs", POINTER(Array)),
        ("outputs", POINTER(Array)),
        ("initial", POINTER(Array)),
        ("final", POINTER(Array)),
        ("fixed", POINTER(Array)),
        ("vectors", POINTER(c_void_p)),
        ("matrices", POINTER(Array)),
        ("sequences", POINTER(c_void_p)),
        ("sequence_initial", POINTER(Array)),
        ("matrix_gradients", POINTER(c_void_p)),
        ("vector_gradients", POINTER(c_void_p)),
        ("stop", POINTER(c_int)),
        ("precision", c_int64),
    )


_ARRAY = POINTER(Array)
_SIZES = (c_int64, c_int64, c_int64)
_FUNCTIONS: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "elman_interface": (c_int64, ()),
    "elman_error": (c_char_p, ()),
    "elman_operations": (c_char_p, ()),
    "elman_kernels": (c_char_p, ()),
    "elman_has_bfloat16": (c_int, ()),
    "elman_use_kernels": (c_int, (c_char_p,)),
    "elman_allocate": (c_void_p, (c_size_t,)),
    "elman_release": (None, (c_void_p,)),
    "elman_trim": (None, ()),
    "elman_apply": (c_int, (c_int, c_int, c_int64, c_void_p, c_void_p, c_void_p, c_void_p)),
    "elman_matmul": (c_int, (c_int, c_int, *_SIZES, _ARRAY, _ARRAY, c_void_p, _ARRAY, c_int)),
    "elman_outer": (c_int, (c_int, c_int, *_SIZES, _ARRAY, _ARRAY, c_void_p, c_int)),
    "elman_plan_create": (c_void_p, (POINTER(c_int64), c_size_t, POINTER(c_double))),
    "elman_plan_destroy": (None, (c_void_p,)),
    "elman_sequence_size": (c_int64, (c_int, c_int64, c_int64)),
    "elman_run": (c_int, (c_void_p, POINTER(Call))),
    "elman_scan": (c_int, (*[c_int] * 4, *_SIZES, *[_ARRAY] * 4)),
    "elman_scan_backward": (c_int, (*[c_int] * 4, *_SIZES, *[_ARRAY] * 7)),
}


def available() -> bool:
    """Whether the core can be used. Warns, once, where it is missing without having been switched off."""
    core, reason = _loaded()
    if core is None and not _switched_off():
        _warn_once(reason)
    return core is not None


def why_absent() -> str:
    """Why there is no core: a sentence with what to do about it. Empty where there is one."""
    return _loaded()[1]


def functions() -> ctypes.CDLL:
    """The functions of the core, each with the types that ``core.h`` declares.

    Raises:
        ElmanError: there is none; the message says why.
    """
    core, reason = _loaded()
    if core is None:
        raise ElmanError(reason)
    return core


def check(result: int) -> None:
    """Raises what the core says if a function of it returned anything but 0.

    Raises:
        ElmanError: with the core's own sentence.
    """
    if result:
        raise ElmanError(f"elman's core: {functions().elman_error().decode()}")


def operations() -> list[str]:
    """The names of the pointwise operations; the code of each is its place."""
    names: bytes = functions().elman_operations()
    return names.decode().split(",")


def kernels() -> str:
    """The name of the instruction set in use: "avx512", "avx2", "neon" or "portable"."""
    name: bytes = functions().elman_kernels()
    return name.decode()


def has_bfloat16() -> bool:
    """Whether products of the kernels in use can round to bfloat16; where they cannot, they are products of float32."""
    return bool(functions().elman_has_bfloat16())


@contextmanager
def use_kernels(name: str) -> Iterator[None]:
    """Forces an instruction set for the whole process, for tests and benchmarks; what was in use comes back afterwards.

    Raises:
        ConfigError: there are no kernels of that name, or this machine cannot run them.
    """
    before = kernels()
    _force(name)
    try:
        yield
    finally:
        _force(before)


@functools.cache
def runnable_kernels() -> tuple[str, ...]:
    """The instruction sets that run on this machine, the fastest first."""
    return tuple(name for name in _SETS if _runs(name))


class Memory:
    """Memory of the core's: aligned to 64 bytes, in huge pages, not cleared; given back when nothing refers to it.

    Args:
        size: bytes.

    Raises:
        ElmanError: there is no core, or not that much memory.
    """

    def __init__(self, size: int) -> None:
        core = functions()
        address: int | None = core.elman_allocate(size)
        if address is None:
            raise ElmanError(f"no memory for {size:,} bytes; use a smaller batch or shorter sequences")
        self.address = address
        self.size = size
        weakref.finalize(self, core.elman_release, address).atexit = False


def _switched_off() -> bool:
    return os.environ.get("ELMAN_CORE", "").lower() == "off"


@functools.cache
def _warn_once(reason: str) -> None:
    warnings.warn(f"{reason} Everything works, more slowly. ELMAN_CORE=off silences this.", UserWarning, stacklevel=3)


@functools.cache
def _loaded() -> tuple[ctypes.CDLL | None, str]:
    """The library, or None and the reason."""
    if _switched_off():
        return None, "elman's compiled core is switched off by ELMAN_CORE=off."
    path = Path(os.environ.get("ELMAN_CORE") or Path(__file__).with_name(f"libelman_core{_SUFFIX}"))
    if not path.exists():
        return None, (
            f"elman's compiled core is missing ({path}): elman was installed where there was no C++ compiler. "
            "Install one, such as g++, and install elman again, or install a wheel that holds the core."
        )
    try:
        _share_threads()
        return _declare(ctypes.CDLL(str(path))), ""
    except (OSError, AttributeError, ElmanError) as error:
        return None, f"elman's compiled core cannot be used ({error}); install elman again to build it anew."


def _share_threads() -> None:
    """Loads the OpenMP library that torch brings, without torch, so that the core and torch share one team of threads."""
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        return
    ours = Path(torch.origin).with_name("lib") / "libgomp.so.1"
    if ours.exists():
        ctypes.CDLL(str(ours), mode=ctypes.RTLD_GLOBAL)


def _declare(core: ctypes.CDLL) -> ctypes.CDLL:
    core.elman_interface.restype = c_int64
    if (found := core.elman_interface()) != INTERFACE:
        raise ElmanError(f"it has interface {found}, and this version of elman needs {INTERFACE}")
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(core, name)
        function.restype, function.argtypes = result, arguments
    return core


def _force(name: str) -> None:
    if functions().elman_use_kernels(name.encode()):
        raise ConfigError(f"elman's core: {functions().elman_error().decode()}")


def _runs(name: str) -> bool:
    try:
        with use_kernels(name):
            return True
    except ConfigError:
        return False
