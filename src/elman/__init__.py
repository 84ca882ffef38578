"""elman: from raw sequences to a trained model to a stream. One recurrence, written once, as one time step."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elman import cells, layers, streaming
    from elman.job import fit
    from elman.layers import convert
    from elman.layers.backends import backend
    from elman.run import Run

__all__ = ["Run", "backend", "cells", "convert", "fit", "layers", "streaming"]

# Loaded on first use: `import elman` and `elman --help` must not wait for PyTorch.
_LAZY = {
    "Run": ("elman.run", "Run"),
    "backend": ("elman.layers.backends", "backend"),
    "convert": ("elman.layers.convert", None),
    "fit": ("elman.job", "fit"),
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        module, attribute = _LAZY[name]
        loaded = importlib.import_module(module)
        return getattr(loaded, attribute) if attribute else loaded
    if name in __all__:
        return importlib.import_module(f"elman.{name}")
    raise AttributeError(f"module 'elman' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
