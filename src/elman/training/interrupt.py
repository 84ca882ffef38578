"""Ctrl-C and SIGTERM while training: the one file that handles signals of whoever wants it to end."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASK = signal.SIGUSR1
"""By which one process of a training asks another to end; only those that expect it handle it."""


class Interrupt:
    """A wish to end: the first signal makes it known, a second one interrupts at once, but for `ASK`, which may come anew."""

    def __init__(self) -> None:
        self.wanted = False

    def __call__(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.wanted and number != ASK:
            raise KeyboardInterrupt
        self.wanted = True


def at_once(*_: object) -> None:
    """A handler for processes that others may ask to end: what writes the model down then is not interrupted again."""
    for one in (ASK, signal.SIGINT):
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt


DEFERRED = {
    signal.SIGINT: (signal.default_int_handler, at_once),
    signal.SIGTERM: (signal.SIG_DFL,),
    ASK: (at_once,),
}
"""Signals, and the handlers that give way: what another program has set up, or ignores, stays."""


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Inside, SIGTERM does what Ctrl-C does, for a process that only waits for others."""
    is_ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )
    if is_ours:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def deferred() -> Iterator[Interrupt]:
    """Inside, Ctrl-C and SIGTERM wait to be asked for. Only in the main thread, the only one that signals reach."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {one: signal.getsignal(one) for one, ours in DEFERRED.items() if signal.getsignal(one) in ours}
    for one in before:
        signal.signal(one, interrupt)
    try:
        yield interrupt
    finally:
        for one, handler in before.items():
            # who asked does so again after a while: the model is being written then
            after = signal.SIG_IGN if one == ASK and interrupt.wanted else handler
            if signal.getsignal(one) is interrupt:
                signal.signal(one, after)
