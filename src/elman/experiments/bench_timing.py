"""Fair timing: in turns, in one process, on a set number of threads."""

import ctypes
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from elman import core
from elman.errors import UsageError

Call = Callable[[], object]

WARM_UP = 2
"""First calls that do not count: they load, compile and touch memory for the first time."""

MATRIX_SIZE = 1024


class Shape(NamedTuple):
    """Rows, time steps, features, units, and layers on top of each other."""

    batch: int
    time: int
    inputs: int
    hidden: int
    layers: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shape":
        """From ``32x100x64x128``, or ``32x35x200x200x2`` for two layers. Raises UsageError.

        >>> Shape.parse("32x100x64x128")
        Shape(batch=32, time=100, inputs=64, hidden=128, layers=1)
        """
        sizes = text.strip().lower().split("x")
        if len(sizes) not in (4, 5) or not all(size.isdecimal() and int(size) > 0 for size in sizes):
            raise UsageError(
                f"expected a shape such as 32x100x64x128, or 32x35x200x200x2 with two layers "
                f"(batch x time x inputs x hidden, each at least 1), got {text!r}"
            )
        return cls(*map(int, sizes))

    def __str__(self) -> str:
        return "x".join(map(str, self[: 4 if self.layers == 1 else 5]))


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """That many threads; one alone stays on one core, so that the system does not move it about.

    Raises: UsageError if the machine has fewer cores.
    """
    cores = os.cpu_count() or 1
    if not 1 <= count <= cores:
        raise UsageError(f"expected `threads` in 1..{cores}, the cores of this machine, got {count}")
    threads = torch.get_num_threads()
    movable = count == 1 and hasattr(os, "sched_setaffinity")
    allowed = os.sched_getaffinity(0) if movable else set()
    torch.set_num_threads(count)
    if movable:
        os.sched_setaffinity(0, {max(allowed)})  # the last: systems do their own work on the first
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if movable:
            os.sched_setaffinity(0, allowed)


def interleave(calls: Mapping[str, Call], *, least: int, most: int, budget: float = 0.0) -> dict[str, list[float]]:
    """Seconds of each call, in every round each once: what disturbs the machine disturbs all.

    Args:
        least, most: rounds.
        budget: seconds; there are as many rounds as it has room for, between least and most.
    """
    for _ in range(WARM_UP):
        begin = time.perf_counter()
        for call in calls.values():
            call()
        round_seconds = time.perf_counter() - begin
    rounds = max(least, min(most, int(budget / round_seconds)))
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def training_call(layer: nn.Module, run: Callable[[], Tensor], slope: Tensor) -> Call:
    """Forward and backward: gradients of the layer's weights, none of the input.

    Args:
        run: the layer's output.
        slope: the gradient by the output, in place of a loss, whose own work would count.
    """
    parameters = list(layer.parameters())

    def call() -> None:
        for parameter in parameters:
            parameter.grad = None
        torch.autograd.backward([run()], [slope])

    return call


def matrix_calls() -> dict[str, Call]:
    """Products of two square matrices of `MATRIX_SIZE`, float32, by each library that this process can reach."""
    a, b, out = (torch.randn(MATRIX_SIZE, MATRIX_SIZE) for _ in range(3))
    calls: dict[str, Call] = {"torch.mm": lambda: torch.mm(a, b, out=out)}
    if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        calls["oneDNN linear"] = lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    if not core.why_absent():
        calls["elman's core"] = lambda: _core_product(a, b, out)
    return calls


def _core_product(a: Tensor, b: Tensor, out: Tensor) -> None:
    arrays = [core.Array(tensor.data_ptr(), MATRIX_SIZE, 1) for tensor in (a, b, out)]
    x, w, y = map(ctypes.byref, arrays)
    sizes = (MATRIX_SIZE, MATRIX_SIZE, MATRIX_SIZE)
    core.check(core.functions().elman_matmul(core.FLOAT32, torch.get_num_threads(), *sizes, x, w, None, y, 0))


def matrix_rate(seconds: float) -> float:
    """GFLOP/s of one call of `matrix_calls`."""
    return 2 * MATRIX_SIZE**3 / seconds / 1e9
