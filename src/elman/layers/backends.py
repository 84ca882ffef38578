"""How a cell is run over time: the plain loop, torch's own kernels, or the cell's parallel scan.

All give the result of the loop: outputs, final state and every gradient, to rounding.
"""

from contextvars import ContextVar, Token
from types import TracebackType
from typing import NamedTuple

import torch
from torch import Tensor

from elman.cells.cell import Cell, VendorWeights
from elman.cells.padding import real_steps, zero_padding
from elman.cells.scan import final, loop
from elman.cells.wrappers.wrapper import innermost
from elman.errors import UsageError
from elman.registry import suggest
from elman.state import State, leaves, unflatten

BACKENDS = ("auto", "loop", "torch", "scan")

# Added to a gate before its sigmoid, it gives exactly 0 or 1 in every float type, with a gradient of exactly 0.
SATURATED = 1e4

_forced: ContextVar[str] = ContextVar("elman_backend", default="auto")


class backend:  # noqa: N801  (used as a function: `elman.backend("loop")`)
    """Force the backend of every `Recurrent`, from here on or inside a ``with`` block.

    Args:
        name: "auto" (the fastest that is right), "loop" (the definition), "torch" (torch's kernel, for a cell that is
            exactly torch's) or "scan" (parallel over time, for a cell that has it).
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
    """The backends that can run this cell."""
    inside = innermost(cell)
    names = ["loop"]
    if _is_current(inside, "vendor", of=("project", "gates", "step")) and cell.vendor() is not None:
        names.append("torch")
    if _is_current(inside, "scan", of=("step",)) and cell.parallel:
        names.append("scan")
    return names


def _is_current(cell: Cell, form: str, of: tuple[str, ...]) -> bool:
    """Whether a faster form is that of this cell's own step: not if a subclass has changed the step and inherits the form."""

    def generation(method: str) -> int:
        return next(level for level, kind in enumerate(type(cell).__mro__) if method in vars(kind))

    return generation(form) <= min(map(generation, of))


def choose(cell: Cell, time: int) -> Choice:
    """The backend for this many time steps. Raises UsageError if one is forced that the cell does not have."""
    forced = _forced.get()
    if forced == "auto" and time <= 1:  # first, for streams: it asks nothing of the cell
        return Choice("loop", "a single step is fastest as it is")
    name, possible = type(cell).__name__, possible_backends(cell)
    if forced in possible:
        return Choice(forced, "forced")
    if forced != "auto":
        lacks = {"torch": "it is not exactly one of torch's", "scan": "it has no form that is parallel over time"}
        raise UsageError(
            f"{name} cannot run on the backend {forced!r}: {lacks[forced]}. Possible: auto, {', '.join(possible)}"
        )
    if "torch" in possible:
        return Choice("torch", f"{name} is exactly torch's, whose kernel is faster than the loop")
    if "scan" in possible:
        return Choice("scan", f"{name} is parallel over time")
    return Choice("loop", f"{name} has no faster form")


def run(choice: str, cell: Cell, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
    """Run a cell over time: see `elman.cells.scan.loop`, whose arguments and result these are.

    Unlike there, x must be free of NaN in the padding: `elman.layers.Recurrent` sees to it.
    """
    if choice == "loop":
        return loop(cell, x, state, lengths)
    if choice == "scan":
        return cell.scan(x, state, lengths)
    weights = cell.vendor()
    assert weights is not None
    return _run_vendor(weights, x, state, lengths)


def _run_vendor(weights: VendorWeights, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
    if x.shape[0] == 0 or x.shape[1] == 0:  # which torch's kernels refuse
        return x.new_zeros(*x.shape[:2], weights.weight_hh.shape[1]), state
    weight_ih = weights.weight_ih
    if lengths is not None:
        hold = _hold(weights)
        if hold is not None:
            padding = ~real_steps(lengths, x.shape[1])
            x = torch.cat([x, padding[..., None].to(x.dtype)], dim=-1)
            weight_ih = torch.cat([weight_ih, hold[:, None]], dim=1)
    parameters = [weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh]
    given = list(leaves(state))
    count = 2 if weights.kind == "lstm" else 1
    masks = given[count:]  # of a wrapper, from training: in evaluation they do nothing, and stay
    first = [leaf[None].contiguous() for leaf in given[:count]]
    y, last = _call_kernel(weights.kind, x, first, parameters)
    if lengths is None:
        return y, unflatten(state, iter([*last, *masks]))
    hidden = final(y, first[0][0], lengths)
    return zero_padding(y, lengths), unflatten(state, iter([hidden, *last[1:], *masks]))


def _hold(weights: VendorWeights) -> Tensor | None:
    """The weight (gates*H,) of an input that is 1 on padding and keeps the state from moving there.

    An LSTM's forget gate becomes 1 and its input gate 0, so that its final cell is the one after the last real step. A
    relu network is switched off, since it could grow to infinity over the padding. The others are bounded: they may run
    on, for their final state is read from the outputs.
    """
    signs = {"lstm": (-1.0, 1.0, 0.0, 0.0), "rnn_relu": (-1.0,)}.get(weights.kind)
    if signs is None:
        return None
    bias = weights.bias_ih
    return bias.new_tensor(signs).mul(SATURATED).repeat_interleave(len(bias) // len(signs))


def _call_kernel(kind: str, x: Tensor, first: list[Tensor], parameters: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    # The kernels' `train` is about keeping what the backward pass needs; without dropout it changes no value.
    keep = torch.is_grad_enabled()
    if kind == "lstm":
        y, hidden, cell = torch.lstm(x, first, parameters, True, 1, 0.0, keep, False, True)
        return y, [hidden[0], cell[0]]
    kernel = {"gru": torch.gru, "rnn_tanh": torch.rnn_tanh, "rnn_relu": torch.rnn_relu}[kind]
    y, hidden = kernel(x, first[0], parameters, True, 1, 0.0, keep, False, True)
    return y, [hidden[0]]
