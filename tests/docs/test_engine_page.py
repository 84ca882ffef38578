"""docs/engine.md: its examples print what it shows, and what it speaks of is there."""

import contextlib
import io
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from elman import core
from elman.engine import differentiate, interpret, program, simplify, trace

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "engine.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$(?:\n+^```text\n(.*?)^```$)?", PAGE, re.MULTILINE | re.DOTALL)


def printed(code: str, names: dict[str, Any]) -> str:
    """What an example prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "docs/engine.md", "exec"), names)
    return out.getvalue()


def needs_the_core(code: str) -> bool:
    return "choice(" in code


def test_the_examples_print_what_the_page_shows() -> None:
    assert len(EXAMPLES) == 6
    names: dict[str, Any] = {}
    for code, shown in EXAMPLES:
        if needs_the_core(code) and core.why_absent():
            continue
        assert printed(code, names) == shown, f"docs/engine.md shows something else below\n{code}"


def test_the_programs_and_plans_of_one_lstm_step_are_shown() -> None:
    shown = "".join(text for _, text in EXAMPLES)
    for line in ("saved  ", "inputs  ", "gradient  ", "before:", "step:", "after:", "gradients:"):
        assert f"\n{line}" in f"\n{shown}", line


def named_files() -> set[str]:
    """The files that the page names, by their paths in the repository."""
    engine = {f"src/elman/{name}" for name in re.findall(r"`(engine/\w+\.py)`", PAGE)}
    package = {f"src/{name}" for name in re.findall(r"`(elman/\w+\.py)`", PAGE)}
    package |= {f"src/elman/{name}" for name in re.findall(r"`((?:cells|layers)/\w+\.py)`", PAGE)}
    native = {f"native/{name}" for name in re.findall(r"`(?:native/)?(\w+\.(?:h|hpp|cpp))`", PAGE)}
    return engine | package | native | set(re.findall(r"`(tests/engine/\w*(?:\.py)?)/?`", PAGE))


@pytest.mark.parametrize("name", sorted(named_files()))
def test_a_file_that_is_named_exists(name: str) -> None:
    assert (ROOT / name).exists()


def test_every_module_of_the_engine_is_named() -> None:
    modules = {f"src/elman/engine/{path.name}" for path in (ROOT / "src/elman/engine").glob("*.py")}
    assert modules - {"src/elman/engine/__init__.py"} <= named_files()


def test_the_page_is_linked() -> None:
    assert "(docs/engine.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(engine.md)" in (ROOT / "docs" / "path.md").read_text(encoding="utf-8")


def rows(file: str, row: str) -> set[str]:
    return set(re.findall(row, (ROOT / file).read_text(encoding="utf-8")))


ROWS: Mapping[str, Collection[str]] = {
    "native/operations.h": rows("native/operations.h", r"X\((\w+), \d"),
    "native/pointwise.hpp": rows("native/pointwise.hpp", r"ELMAN_VECTOR_FORM\((\w+), \d"),
    "engine/program.py": program.POINTWISE,
    "engine/interpret.py": interpret.FUNCTIONS,
    "engine/trace.py": trace.TORCH.functions,
    "engine/differentiate.py": differentiate._SLOPES,
    "engine/simplify.py": {*simplify._FOLDED, "copy"},  # a copy of a number is that number
}
"""Where the page says that an operation has a row, and the operations that have one there."""


@pytest.mark.parametrize("file", ROWS)
def test_operations_have_a_row_where_the_page_says_so(file: str) -> None:
    assert f"`{file}`" in PAGE.partition("## Add an operation")[2]
    assert set(ROWS[file]) == set(program.POINTWISE)
