"""The house: imports point one way, heavy modules load late, streams do without torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "elman"

# The data's path: a module imports only from its own room and from rooms before it.
ROOMS = [
    "errors", "registry", "state", "stepper", "core", "data", "metrics", "cells", "engine", "layers", "models", "decoding", "tasks",
    "training", "evaluation", "diagnosis", "streaming", "export", "report", "run", "job", "experiments", "cli", "__main__",
    "testing",
]  # fmt: skip


def room(module: str) -> str:
    return module.split(".")[1]


def imports(tree: ast.AST) -> Iterator[str]:
    """Modules of elman that a file imports, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("elman."))
        elif isinstance(node, ast.ImportFrom) and node.module == "elman":
            yield from (f"elman.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("elman."):
            yield node.module or ""
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("elman."):
            yield node.value  # a name for importlib, or one that looks like it


def wrong_way(own: str, imported: Iterator[str]) -> list[str]:
    return [m for m in imported if room(m) in ROOMS and ROOMS.index(room(m)) > ROOMS.index(own)]


def files() -> list[Path]:
    return [path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py"]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_upward(path: Path) -> None:
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert own in ROOMS, f"{own} is no room of the house; add it to ROOMS where it belongs on the data's path"
    wrong = wrong_way(own, imports(ast.parse(path.read_text(encoding="utf-8"))))
    if path == SOURCE / "cli" / "main.py":
        wrong = [module for module in wrong if module != "elman.cli.main:main"]
    assert not wrong, f"{path} imports from rooms further down: {wrong}"


def test_the_check_sees_a_wrong_import() -> None:
    tree = ast.parse("def late():\n    from elman.training.loop import fit\n")
    assert wrong_way("data", imports(tree)) == ["elman.training.loop"]


@pytest.mark.parametrize(
    "path", [p for p in files() if p.parent.name == "data" and p.name != "batch.py"], ids=lambda p: p.name
)
def test_data_does_without_torch(path: Path) -> None:
    names = {
        alias.name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in ([ast.alias(node.module or "")] if isinstance(node, ast.ImportFrom) else node.names)
    }
    assert "torch" not in names


@pytest.mark.parametrize("module", ["elman", "elman.streaming", "elman.cli.main"])
def test_import_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'lightning_fabric', 'sklearn', 'statsmodels') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
