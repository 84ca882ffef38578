"""Rules of the engine's own house: short functions, and no cell known by name."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from elman.cells import CELLS

ROOT = Path(__file__).parents[2]
ENGINE = sorted((ROOT / "src" / "elman" / "engine").glob("*.py"))
NATIVE = sorted(path for path in (ROOT / "native").glob("*.*pp")) + sorted((ROOT / "native").glob("*.h"))
SCREEN = 40  # lines


def too_long(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.end_lineno and node.end_lineno - node.lineno >= SCREEN:
            yield node.name


def cells_named(source: str) -> set[str]:
    """Cells of the registry that are named: their classes, or their names as words of a program (elman is a package, too)."""
    names = set(CELLS.names()) - {"elman"} | {CELLS.get(name).__name__ for name in CELLS.names()}
    return names & set(re.findall(r"\w+", source))


def code_of(path: Path) -> str:
    """Without docstrings and comments, which may give examples."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                node.value.value = ""
        return ast.unparse(tree)
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", source, flags=re.DOTALL)


@pytest.mark.parametrize("path", ENGINE, ids=lambda path: path.name)
def test_no_function_is_longer_than_a_screen(path: Path) -> None:
    assert list(too_long(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", [*ENGINE, *NATIVE], ids=lambda path: path.name)
def test_no_cell_is_known_by_name(path: Path) -> None:
    found = cells_named(code_of(path))
    assert found == set(), f"{path.name} names {found}: the engine compiles steps, whatever they are"


def test_the_checks_see_faults() -> None:
    assert list(too_long("def f():\n" + "    pass\n" * SCREEN)) == ["f"]
    assert cells_named("if type(cell) is LSTM or name == 'gru':") == {"LSTM", "gru"}
