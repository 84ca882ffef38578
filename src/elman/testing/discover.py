"""The classes that a package defines."""

import importlib
import inspect
import pkgutil


def concrete_classes(package: str, base: type) -> list[type]:
    """The public, finished subclasses of ``base`` that the modules of a package define, by name."""
    root = importlib.import_module(package)
    found: list[type] = []
    for module in pkgutil.walk_packages(root.__path__, f"{package}."):
        for name, member in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            own = member.__module__ == module.name and not name.startswith("_")
            if own and issubclass(member, base) and not inspect.isabstract(member):
                found.append(member)
    return sorted(found, key=lambda member: member.__name__)
