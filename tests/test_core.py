"""The compiled core as Python sees it: found, loaded, declared as core.h has it; its memory; its threads."""

import ctypes
import gc
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from elman import core
from elman.errors import ConfigError, ElmanError

ROOT = Path(__file__).parent.parent
HEADER = ROOT / "native" / "core.h"
needs_core = pytest.mark.skipif(bool(core.why_absent()), reason=core.why_absent())


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def without_comments(header: str) -> str:
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", header, flags=re.DOTALL)


# ---- What is declared


@needs_core
def test_every_function_of_the_header_is_declared_and_nothing_else() -> None:
    header = without_comments(HEADER.read_text())
    functions = set(re.findall(r"\b(elman_\w+)\(", header))
    assert len(functions) > 10
    declared = {name for name in functions if getattr(core.functions(), name).argtypes is not None}
    assert declared == functions == set(core._FUNCTIONS)


@needs_core
def test_declarations_take_as_many_arguments_as_the_header() -> None:
    header = without_comments(HEADER.read_text())
    for name, arguments in re.findall(r"\b(elman_\w+)\(([^)]*)\)", header):
        count = 0 if arguments.strip() == "void" else arguments.count(",") + 1
        assert len(getattr(core.functions(), name).argtypes) == count, name


def test_structures_have_the_fields_of_the_header_in_order() -> None:
    header = without_comments(HEADER.read_text())
    bodies = re.findall(r"typedef struct \{(.*?)\} (\w+);", header, flags=re.DOTALL)
    assert {name for _, name in bodies} == {"elman_array", "elman_call"}
    for body, name in bodies:
        fields = re.findall(r"(\w+)\s*[,;]", body)
        structure: type[ctypes.Structure] = core.Array if name == "elman_array" else core.Call
        assert [field[0] for field in structure._fields_] == fields, name


def test_numbers_of_the_interface_are_the_headers() -> None:
    header = HEADER.read_text()
    for pattern, number in (
        (r"#define ELMAN_INTERFACE (\d+)", core.INTERFACE),
        (r"ELMAN_FLOAT32 = (\d+)", core.FLOAT32),
        (r"ELMAN_FLOAT64 = (\d+)", core.FLOAT64),
        (r"ELMAN_STOPPED = (\d+)", core.STOPPED),
    ):
        assert re.findall(pattern, header) == [str(number)]


@needs_core
def test_operations_are_the_headers_in_order() -> None:
    listed = re.findall(r"^  X\((\w+), \d", (HEADER.parent / "operations.h").read_text(), flags=re.MULTILINE)
    assert core.operations() == listed


@needs_core
@pytest.mark.skipif(shutil.which("nm") is None, reason="nm, of binutils, is not installed")
def test_the_library_exports_its_interface_and_nothing_else() -> None:
    shown = subprocess.run(
        ["nm", "-D", "--defined-only", str(core.functions()._name)], capture_output=True, text=True, check=True
    )
    assert {line.split()[-1] for line in shown.stdout.splitlines()} == set(core._FUNCTIONS)


def test_kernels_share_no_functions_with_code_for_every_machine() -> None:
    """A template of the standard library used in a kernel would be merged with other copies, AVX-512 or not."""
    harmless = {"std::is_same_v", "std::conditional_t", "std::remove_reference_t", "std::declval", "std::index_sequence",
                "std::make_index_sequence", "std::integer_sequence", "std::make_integer_sequence", "std::index_sequence_for",
                "std::is_floating_point_v", "std::remove_cv_t", "std::remove_const_t"}  # fmt: skip
    for name in ("simd.hpp", "gemm.hpp", "math.hpp", "pointwise.hpp", "scan.hpp", "kernels.cpp", "kernels.hpp"):
        used = set(re.findall(r"std::\w+", without_comments((HEADER.parent / name).read_text())))
        assert used <= harmless, name


# ---- Found or not


def test_switched_off_there_is_none_and_nobody_is_warned() -> None:
    ran = python("from elman import core; print(core.available(), core.why_absent())", ELMAN_CORE="off")
    assert ran.stdout == "False elman's compiled core is switched off by ELMAN_CORE=off.\n"
    assert not ran.stderr


def test_a_missing_core_is_told_once_with_what_to_do(tmp_path: Path) -> None:
    code = "import elman.core as c; print('imported', flush=True); print(c.available(), c.available())"
    ran = python(code, ELMAN_CORE=str(tmp_path / "absent.so"))
    assert ran.stdout == "imported\nFalse False\n"
    assert ran.stderr.count("UserWarning") == 1
    for part in ("absent.so", "no C++ compiler", "install elman again", "ELMAN_CORE=off"):
        assert part in ran.stderr


def test_a_library_that_is_none_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"not a library")
    ran = python("from elman import core; core.functions()", ELMAN_CORE=str(broken))
    assert ran.returncode == 1
    assert "ElmanError: elman's compiled core cannot be used" in ran.stderr
    assert "install elman again" in ran.stderr


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize(("source", "message"), [
    ("long elman_interface(void) { return 99; }", "interface 99, and this version of elman needs"),
    (f"long elman_interface(void) {{ return {core.INTERFACE}; }}", "undefined symbol"),
])  # fmt: skip
def test_a_core_of_another_version_is_refused(tmp_path: Path, source: str, message: str) -> None:
    other = tmp_path / "other.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-xc", "-", "-o", str(other)], input=source, text=True, check=True)
    ran = python("from elman import core; core.functions()", ELMAN_CORE=str(other))
    assert message in ran.stderr


def test_importing_and_loading_it_does_not_load_torch() -> None:
    ran = python("import sys; from elman import core; core.available(); print('torch' in sys.modules)")
    assert ran.stdout == "False\n"


# ---- Kernels


@needs_core
def test_kernels_can_be_forced_and_come_back() -> None:
    before = core.kernels()
    assert before == core.runnable_kernels()[0]
    for name in core.runnable_kernels():
        with core.use_kernels(name):
            assert core.kernels() == name
    assert "portable" in core.runnable_kernels()
    assert core.kernels() == before


@needs_core
def test_unknown_kernels_are_refused() -> None:
    with pytest.raises(ConfigError, match="no kernels named sse2 here"), core.use_kernels("sse2"):
        pass


@needs_core
def test_errors_tell_what_was_wrong() -> None:
    with pytest.raises(ElmanError, match="dtype 7: expected 0"):
        core.check(core.functions().elman_apply(7, 0, 1, None, None, None, None))
    with pytest.raises(ElmanError, match="operation 999: expected 0 to"):
        core.check(core.functions().elman_apply(0, 999, 1, None, None, None, None))
    number = ctypes.c_float(1)
    address = ctypes.addressof(number)
    result = core.functions().elman_apply(0, core.operations().index("add"), 1, address, None, None, address)
    with pytest.raises(ElmanError, match="takes 2 operands; number 1 is null"):
        core.check(result)


# ---- Memory


@needs_core
@pytest.mark.parametrize("size", [0, 1, 63, 64, 4096, 1_000_000, 5_000_000])
def test_memory_is_aligned_and_all_of_it_can_be_used(size: int) -> None:
    first, second = core.Memory(size), core.Memory(size)
    assert first.address % 64 == second.address % 64 == 0
    ctypes.memset(first.address, 1, size)
    ctypes.memset(second.address, 2, size)
    assert ctypes.string_at(first.address, size) == b"\1" * size
    assert ctypes.string_at(second.address, size) == b"\2" * size


@needs_core
@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_memory_given_back_is_used_again_also_for_a_little_less(size: int) -> None:
    core.functions().elman_trim()
    memory = core.Memory(size)
    address = memory.address
    del memory
    gc.collect()
    again = core.Memory(size - size // 10)
    assert again.address == address


@needs_core
def test_more_memory_than_there_is_is_refused() -> None:
    with pytest.raises(ElmanError, match="no memory for"):
        core.Memory(2**62)


@needs_core
def test_what_is_kept_is_limited_and_given_back_on_demand() -> None:
    code = """
from elman import core
import re
def mapped():
    return int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
core.functions()
start = mapped()
blocks = [core.Memory(300 << 20) for _ in range(5)]
full = mapped() - start
del blocks
kept = mapped() - start
core.functions().elman_trim()
print(1400 < full, 800 < kept < 1100, mapped() - start < 50)
"""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    assert python(code).stdout == "True True True\n"


# ---- Threads

MULTIPLY = """
import ctypes, os
import numpy as np
from elman import core
def multiply(threads):
    x, w, y = np.ones((64, 32), np.float32), np.ones((48, 32), np.float32), np.zeros((64, 48), np.float32)
    arrays = [core.Array(a.ctypes.data, a.shape[1], 1) for a in (x, w, y)]
    core.check(core.functions().elman_matmul(0, threads, 64, 48, 32, arrays[0], arrays[1], None, arrays[2], 0))
    assert (y == 32).all()
"""


@needs_core
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_computes_and_allocates() -> None:
    code = (
        MULTIPLY
        + """
multiply(2)
child = os.fork()
if child == 0:
    multiply(2)
    core.Memory(10_000_000)
    os._exit(7)
multiply(2)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    )
    ran = python(code)
    assert ran.stdout == "7\n", ran.stderr


@needs_core
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/maps")
@pytest.mark.parametrize("order", [
    "multiply(2); import torch; torch.ones(500, 500) @ torch.ones(500, 500)",
    "import torch; torch.ones(500, 500) @ torch.ones(500, 500); multiply(2)",
])  # fmt: skip
def test_core_and_torch_share_one_openmp(order: str) -> None:
    look = 'print(len({line.split()[-1] for line in open("/proc/self/maps") if "libgomp" in line}))'
    ran = python(f"{MULTIPLY}\n{order}\n{look}", OMP_NUM_THREADS="2")
    assert ran.stdout == "1\n", ran.stderr


@needs_core
def test_calls_from_many_python_threads_do_not_meet() -> None:
    from concurrent.futures import ThreadPoolExecutor

    def multiply(value: int) -> bool:
        x, w = np.full((40, 30), value, np.float32), np.ones((50, 30), np.float32)
        y = np.zeros((40, 50), np.float32)
        arrays = [core.Array(a.ctypes.data, a.shape[1], 1) for a in (x, w, y)]
        for _ in range(20):
            core.check(core.functions().elman_matmul(0, 2, 40, 50, 30, arrays[0], arrays[1], None, arrays[2], 0))
        return bool((y == 30 * value).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(multiply, range(8)))
