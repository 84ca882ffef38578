"""Names to classes: what there is of a kind, found by looking into its folder."""

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable
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
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
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

    def name_of(self, entry: type[T]) -> str:
        return next(name for name, known in self._entries.items() if known is entry)

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._entries

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
