"""The protocol of one step, in NumPy terms: what decoding and streaming know of a model."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from elman.state import NumpyState

Arrays = Mapping[str, "np.ndarray[Any, Any]"]


class Stepper(Protocol):
    """A trained model, one time step at a time, many independent rows side by side.

    The state is a value (nested tuple of arrays, batch first): the caller keeps it, and may select, reset or save rows.
    """

    def begin(self, context: Arrays, batch_size: int) -> NumpyState:
        """The state before the first step. ``context``: what is known by then, each array (batch, ...)."""
        ...

    def step(self, inputs: Arrays, state: NumpyState) -> tuple["np.ndarray[Any, Any]", NumpyState]:
        """One step. ``inputs``: each array (batch, ...), without a time axis. Returns (outputs (batch, ...), state)."""
        ...
