"""Signals that wait, and those that do not."""

import signal
import threading

import pytest

from elman.training.interrupt import ASK, at_once, deferred, ended_by_sigterm

HANDLED = (signal.SIGINT, signal.SIGTERM, ASK)


def handlers() -> list[object]:
    return [signal.getsignal(one) for one in HANDLED]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_waits_and_the_second_does_not(number: signal.Signals) -> None:
    before = handlers()
    with deferred() as interrupt:
        wanted = [interrupt.wanted]
        signal.raise_signal(number)
        wanted.append(interrupt.wanted)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert wanted == [False, True]
    assert handlers() == before


def test_handlers_of_others_stay() -> None:
    heard: list[int] = []
    before = [
        signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.signal(signal.SIGTERM, lambda one, _: heard.append(one)),
    ]
    try:
        with deferred() as interrupt:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            assert signal.getsignal(ASK) == signal.SIG_DFL
    finally:
        for one, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(one, handler)
    assert heard == [signal.SIGTERM]
    assert not interrupt.wanted


def test_who_asks_may_do_so_again() -> None:
    """Where it is expected: before, it interrupts at once; afterwards, the model is being written."""
    before = signal.signal(ASK, at_once)
    try:
        with deferred() as interrupt:
            signal.raise_signal(ASK)
            signal.raise_signal(ASK)
            assert interrupt.wanted
        signal.raise_signal(ASK)
    finally:
        signal.signal(ASK, before)


def test_what_changed_a_handler_inside_is_right() -> None:
    """As where another process is lost, see `elman.training.processes.connected`."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        with deferred():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_leave_signals_alone() -> None:
    before, inside = handlers(), list[object]()

    def trains() -> None:
        with deferred() as interrupt, ended_by_sigterm():
            inside.extend([*handlers(), interrupt.wanted])

    thread = threading.Thread(target=trains)
    thread.start()
    thread.join()
    assert inside == [*before, False]


def test_who_waits_is_ended_by_sigterm() -> None:
    before = handlers()
    with pytest.raises(KeyboardInterrupt), ended_by_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert handlers() == before
