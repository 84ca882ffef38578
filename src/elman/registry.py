"""Names to classes: what there is of a kind, found by looking into its folder."""

import difflib
import importlib
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from elman.errors import UsageError

T = TypeVar("T")


def suggest(name: str, valid: Iterable[str]) -> str:
    """The tail of an error message: the nearest valid name, or all of them.

    >>> suggest("gru2", ["gru", "lstm"])
    "did you mean 'gru'? Valid: gru, lstm"
    """
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=1)
    listed = "Valid: " + ", ".join(names)
    return f"did you mean {near[0]!r}? {listed}" if near else listed


class Registry(Generic[T]):
    """The classes of one kind by name. A new one is a file in the kind's folder with ``@register("name")``.

    Args:
        kind: what an entry is called in messages ("cell", "task").
        package: the package whose modules are imported, once, before the first look-up.
        ending: of the names of those modules; the others are left alone.
        files: an environment variable that may name further Python files, separated as in PATH, to run before that.
    """

    def __init__(self, kind: str, package: str, *, ending: str = "", files: str | None = None) -> None:
        self.kind = kind
        self._package = package
        self._ending = ending
        self._files = files
        self._entries: dict[str, type[T]] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator. Raises UsageError if another class already has the name."""

        def add(entry: type[T]) -> type[T]:
            if self._entries.setdefault(name, entry) is not entry:
                raise UsageError(f"two {self.kind}s are called {name!r}: {self._entries[name]} and {entry}")
            return entry

        return add

    def get(self, name: str) -> type[T]:
        """The class of that name. Raises UsageError that lists the valid names."""
        self._discover()
        if name not in self._entries:
            raise UsageError(f"there is no {self.kind} {name!r}; {suggest(name, self._entries)}")
        return self._entries[name]

    def names(self) -> list[str]:
        self._discover()
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._entries

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            if module.name.endswith(self._ending):
                importlib.import_module(f"{self._package}.{module.name}")
        for path in filter(None, os.environ.get(self._files or "", "").split(os.pathsep)):
            self._run_file(Path(path))

    def _run_file(self, path: Path) -> None:
        """Import a file that is in no package, once. Raises UsageError if it is not there, fails, or hides a module."""
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None or not path.is_file():
            raise UsageError(f"{self._files} names {path}: expected a Python file")
        if (loaded := sys.modules.get(path.stem)) is not None:
            if path.samefile(getattr(loaded, "__file__", None) or os.devnull):
                return  # the user's own script has imported it
            raise UsageError(f"{self._files} names {path}: there is a module {path.stem!r} already; rename the file")
        module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # whatever a user's file may raise: the message must name the file
            del sys.modules[path.stem]
            raise UsageError(f"{path}, named by {self._files}, fails: {type(error).__name__}: {error}") from error
