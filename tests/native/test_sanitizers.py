"""The core's own tests, built with sanitizers: no access out of bounds, no undefined behaviour, no leak, no race."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from elman import core

ROOT = Path(__file__).parents[2]
TOOLS = ("make", "cmake", "c++")


@pytest.mark.slow
@pytest.mark.skipif(any(shutil.which(tool) is None for tool in TOOLS), reason=f"needs {', '.join(TOOLS)}")
@pytest.mark.skipif(bool(core.why_absent()), reason=core.why_absent())
def test_native_tests_under_sanitizers() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "test-native"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.findall(r"^(\w+): passed$", done.stdout, re.MULTILINE)
    assert sorted(passed) == sorted(2 * core.runnable_kernels())
