"""How a cell is run over time: the plain loop, torch's own kernels, the cell's parallel scan, or the compiled core.

All give the result of the loop: outputs, final state and every gradient, to rounding.
"""

import functools
import warnings
from contextvars import ContextVar, Token
from types import TracebackType
from typing import NamedTuple

import torch
from torch import Tensor

from elman import core
from elman.cells.cell import Cell
from elman.cells.scan import loop
from elman.cells.wrappers.wrapper import innermost
from elman.engine.compile import Compiled, compile_cell
from elman.engine.kernels import run_native
from elman.engine.native import can_run
from elman.engine.trace import Untraceable
from elman.errors import SlowWarning, UsageError
from elman.layers.timings import faster
from elman.layers.vendor import run_vendor
from elman.registry import suggest
from elman.state import State, leaves

BACKENDS = ("auto", "loop", "torch", "scan", "native")

MUCH = 8  # times as many numbers in the state as in the output: seen with a matrix as memory, where the scan takes half the time
NOT_HERE = "the core runs float32 and float64 on the CPU, outside torch.func and forward differentiation"

_forced: ContextVar[str] = ContextVar("elman_backend", default="auto")


class backend:  # noqa: N801  (used as a function: `elman.backend("loop")`)
    """Force the backend of every `Recurrent`, from here on or inside a ``with`` block.

    Args:
        name: "auto" (the fastest that is right), "loop" (the definition), "torch" (torch's kernel, for a cell that is
            exactly torch's), "scan" (parallel over time, for a cell that has it) or "native" (the step, compiled for
            elman's core).
    Raises: UsageError if there is no such backend. A cell that cannot do the forced one says so when it is called.

    >>> with backend("loop"):
    ...     pass
    """

    def __init__(self, name: str) -> None:
        if name not in BACKENDS:
            raise UsageError(f"there is no backend {name!r}; {suggest(name, BACKENDS)}")
        self._token: Token[str] = _forced.set(name)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _forced.reset(self._token)


class Choice(NamedTuple):
    """The backend that runs a cell, and why, in words."""

    name: str
    reason: str


def possible_backends(cell: Cell) -> list[str]:
    """The backends that can run this cell, in the mode it is in."""
    return ["loop", *(name for name in ("torch", "scan", "native") if not _why_not(name, cell))]


def _why_not(name: str, cell: Cell, state: State | None = None) -> str:
    """Why this backend cannot run the cell; "" if it can."""
    inside = innermost(cell)
    if name == "torch":
        current = _is_current(inside, "vendor", of=("project", "gates", "step"))
        return "" if current and cell.vendor() is not None else "it is not exactly one of torch's"
    if name == "scan":
        current = _is_current(inside, "scan", of=("step",))
        return "" if current and cell.parallel else "it has no form that is parallel over time"
    compiled = _compile(cell, state)
    return compiled if isinstance(compiled, str) else ""


def _compile(cell: Cell, state: State | None) -> Compiled | str:
    """The cell's step, compiled; or why it cannot be."""
    if not core.available():
        return core.why_absent()
    try:
        return compile_cell(cell, _example(cell) if state is None else state)
    except Untraceable as reason:
        return str(reason)


def _example(cell: Cell) -> State:
    """A state of the cell's; the masks that a wrapper draws for it leave no trace in the random numbers to come."""
    with torch.random.fork_rng([]), torch.no_grad():
        state: State = cell.initial_state(1)
    return state


def _is_current(cell: Cell, form: str, of: tuple[str, ...]) -> bool:
    """Whether a faster form is that of this cell's own step: not if a subclass has changed the step and inherits the form."""

    def generation(method: str) -> int:
        return next(level for level, kind in enumerate(type(cell).__mro__) if method in vars(kind))

    return generation(form) <= min(map(generation, of))


def choose(cell: Cell, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> Choice:
    """The backend for this input (batch, time, input_size), whose values do not matter, and a state like this one.

    Args:
        lengths: as the layer got them; None if no row has padding.
    Raises: UsageError if one is forced that the cell does not have.
    """
    return decide(cell, x, state, lengths)[0]


def decide(
    cell: Cell, x: Tensor, state: State | None = None, lengths: Tensor | None = None
) -> tuple[Choice, Compiled | None]:
    """As `choose`, with the compiled step where that was asked for: `run` takes it."""
    forced = _forced.get()
    if forced != "auto":
        return Choice(forced, "forced"), _forced_step(forced, cell, x, state)
    if x.shape[1] <= 1:  # first, for streams: it asks nothing of the cell
        return Choice("loop", "a single step is fastest as it is"), None
    compiled = _compile(cell, state) if can_run(x) else NOT_HERE
    step, why_not_native = (None, compiled) if isinstance(compiled, str) else (compiled, "")
    return _fastest(cell, x, state, lengths, why_not_native), step


def _fastest(cell: Cell, x: Tensor, state: State | None, lengths: Tensor | None, why_not_native: str) -> Choice:
    name = type(cell).__name__
    if not _why_not("torch", cell):
        return _torch_or_native(cell, x, lengths, why_not_native)
    parallel = not _why_not("scan", cell)
    if not why_not_native and not (parallel and _carries_much(cell, state)):
        return Choice("native", f"{name} is compiled: a program of its step runs in elman's core")
    if parallel:
        return Choice("scan", f"{name} is parallel over time")
    if torch.is_grad_enabled() and core.available() and why_not_native != NOT_HERE:
        _warn_once(f"{name} trains by the plain loop, which is slow: {why_not_native}")
    return Choice("loop", f"{name} has no faster form: {why_not_native}")


def _carries_much(cell: Cell, state: State | None) -> bool:
    """Whether a step reads and writes far more state than it shows, which a form that is parallel over time need not."""
    rows = _example(cell) if state is None else state
    numbers = sum(leaf[0].numel() for leaf in leaves(rows) if len(leaf))
    return bool(numbers > MUCH * cell.output_size)


def _forced_step(forced: str, cell: Cell, x: Tensor, state: State | None) -> Compiled | None:
    """The compiled step, if that is what is forced. Raises UsageError if the cell does not have what is."""
    if forced == "native":
        compiled = _compile(cell, state) if can_run(x) else NOT_HERE
        step, reason = (None, compiled) if isinstance(compiled, str) else (compiled, "")
    else:
        step, reason = None, "" if forced == "loop" else _why_not(forced, cell)
    if reason:
        raise UsageError(
            f"{type(cell).__name__} cannot run on the backend {forced!r}: {reason}. "
            f"Possible: auto, {', '.join(possible_backends(cell))}"
        )
    return step


def _torch_or_native(cell: Cell, x: Tensor, lengths: Tensor | None, why_not_native: str) -> Choice:
    name, weights = type(cell).__name__, cell.vendor()
    assert weights is not None
    if why_not_native:
        return Choice("torch", f"{name} is exactly torch's, whose kernel is faster than the loop")
    if lengths is not None:
        return Choice("native", f"{name}, compiled, does no work on padding, which torch's kernel computes")
    if faster(weights.kind, x.shape[0], x.shape[1], cell.hidden_size, torch.is_grad_enabled()) == "native":
        return Choice(
            "native", f"{name}, compiled, is faster at this size than torch's kernel, by the table of timings"
        )
    return Choice("torch", f"{name} is exactly torch's, whose kernel is faster at this size, by the table of timings")


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, SlowWarning, stacklevel=5)


def run(
    choice: str, cell: Cell, x: Tensor, state: State, lengths: Tensor | None, compiled: Compiled | None = None
) -> tuple[Tensor, State]:
    """Run a cell over time: see `elman.cells.scan.loop`, whose arguments and result these are.

    Unlike there, x must be free of NaN in the padding: `elman.layers.Recurrent` sees to it.

    Args:
        compiled: the cell's step as it is now, if that is known.
    """
    if choice == "loop":
        return loop(cell, x, state, lengths)
    if choice == "scan":
        return cell.scan(x, state, lengths)
    if choice == "native":
        return run_native(cell, x, state, lengths, compiled)
    weights = cell.vendor()
    assert weights is not None
    return run_vendor(weights, x, state, lengths)
