"""Names to classes: discovery, files of a user's own, and what a wrong name is told."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from elman.errors import UsageError
from elman.registry import Registry, suggest

FILES = "ELMAN_TEST_FILES"
SHELF: "Registry[object]"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package of two modules that register themselves where `SHELF` is."""
    folder = tmp_path / "shelved_things"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for name in ("cup", "plate"):
        (folder / f"{name}.py").write_text(thing(name))
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield "shelved_things"
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def shelf(package: str, monkeypatch: pytest.MonkeyPatch) -> "Registry[object]":
    made: Registry[object] = Registry("thing", package, files=FILES)
    monkeypatch.setitem(sys.modules, "the_shelf", sys.modules[__name__])
    monkeypatch.setattr(sys.modules[__name__], "SHELF", made, raising=False)
    monkeypatch.delenv(FILES, raising=False)
    return made


def thing(name: str) -> str:
    return f"from the_shelf import SHELF\n\n@SHELF.register({name!r})\nclass {name.title()}: pass\n"


def test_the_modules_of_the_package_are_found(shelf: "Registry[object]") -> None:
    assert shelf.names() == ["cup", "plate"]
    assert shelf.get("cup").__name__ == "Cup"
    assert "cup" in shelf
    assert "bowl" not in shelf
    assert 3 not in shelf


def test_only_modules_of_an_ending_are_found(package: str, shelf: "Registry[object]") -> None:
    ours: Registry[object] = Registry("thing", package, ending="te")
    assert ours.names() == []  # plate registered itself on the shelf
    assert f"{package}.plate" in sys.modules
    assert f"{package}.cup" not in sys.modules
    assert "plate" in shelf


def test_a_wrong_name_is_told_the_nearest(shelf: "Registry[object]") -> None:
    with pytest.raises(UsageError) as told:
        shelf.get("cups")
    assert str(told.value) == "there is no thing 'cups'; did you mean 'cup'? Valid: cup, plate"
    with pytest.raises(UsageError) as told:
        shelf.get("xyz")
    assert str(told.value) == "there is no thing 'xyz'; Valid: cup, plate"
    assert suggest("b", []) == "Valid: "


def test_a_name_is_given_once(shelf: "Registry[object]") -> None:
    shelf.register("bowl")(first := type("First", (), {}))
    assert shelf.register("bowl")(first) is first  # the same class again: a module that is imported twice
    with pytest.raises(UsageError, match="two things are called 'bowl'"):
        shelf.register("bowl")(type("Second", (), {}))
    assert shelf.get("bowl") is first


def test_files_that_a_variable_names(
    shelf: "Registry[object]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("vase", "jug"):
        (tmp_path / f"my_{name}.py").write_text(thing(name))
    monkeypatch.setenv(FILES, os.pathsep.join(["", str(tmp_path / "my_vase.py"), str(tmp_path / "my_jug.py")]))
    assert shelf.names() == ["cup", "jug", "plate", "vase"]
    assert shelf.get("jug").__module__ == "my_jug"


def test_a_file_that_was_imported_already_is_not_run_again(
    shelf: "Registry[object]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script imports its own cell while the variable of the shell names it too."""
    (tmp_path / "my_vase.py").write_text(thing("vase"))
    monkeypatch.setenv(FILES, str(tmp_path / "my_vase.py"))
    own = __import__("my_vase").Vase
    assert shelf.get("vase") is own


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nothing.py", None, "nothing.py: expected a Python file"),
        ("notes.txt", "", "notes.txt: expected a Python file"),
        ("broken_thing.py", "1 / 0", r"broken_thing.py, named by ELMAN_TEST_FILES, fails: ZeroDivisionError"),
        ("unread_thing.py", "def", r"unread_thing.py, named by ELMAN_TEST_FILES, fails: SyntaxError"),
        ("second_cup.py", thing("cup"), r"fails: UsageError: two things are called 'cup'"),
        ("json.py", thing("vase"), r"json.py: there is a module 'json' already; rename the file"),
    ],
)
def test_a_file_that_cannot_be_used(
    shelf: "Registry[object]",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: str | None,
    message: str,
) -> None:
    json = sys.modules["json"]
    if content is not None:
        (tmp_path / name).write_text(content)
    monkeypatch.setenv(FILES, str(tmp_path / name))
    with pytest.raises(UsageError, match=message):
        shelf.names()
    assert Path(name).stem not in sys.modules or name == "json.py"
    assert sys.modules["json"] is json
