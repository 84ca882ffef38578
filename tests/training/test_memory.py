"""Memory that is kept is not faulted in again."""

import platform
import resource

import pytest
import torch

from elman.training.memory import memory_kept

SIZE = 64 << 20
PAGES = SIZE // resource.getpagesize()
HUGE = 1 / 1024  # huge pages, where the system gives them unasked, are a five-hundredth as many

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")


@pytest.fixture(autouse=True)
def _as_glibc_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)


def faults_of(times: int) -> float:
    """Pages that a large block takes from the system, as a share of its own pages: the mean of so many."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.empty(SIZE // 4).fill_(1.0)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / times / PAGES


def test_blocks_are_used_again_inside_only() -> None:
    with memory_kept():
        inside = faults_of(64)  # the first ones are new, until there is room beside what is small and stays
    assert inside < 0.5
    assert faults_of(8) > max(inside, HUGE)


def test_an_end_by_an_exception_counts() -> None:
    with pytest.raises(ZeroDivisionError), memory_kept():
        raise ZeroDivisionError
    assert faults_of(8) > HUGE


def test_what_the_environment_says_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "8")
    outside = faults_of(8)
    with memory_kept():
        assert faults_of(64) > 0.9 * outside
