"""Memory that training frees is kept for the next update, which asks for the same again."""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# of glibc's malloc.h: what `mallopt` sets
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
MOST_MAPPINGS = 65536  # glibc's own
LARGE = (
    32 << 20
)  # bytes from which a block is mapped by itself, and twice that at which the heap is trimmed: as far as glibc goes


@contextmanager
def memory_kept() -> Iterator[None]:
    """What is freed inside stays with the process; at the end it goes back to the system.

    By itself, glibc gives a block of 32 MB or more back as soon as it is freed. The next one is then cleared and mapped again, page
    by page, which for the large temporary tensors of an update takes longer than to compute on them. Elsewhere than with glibc,
    and where the environment says how it is to work, nothing changes.
    """
    if platform.libc_ver()[0] != "glibc" or _told():
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        libc.mallopt(MMAP_MAX, MOST_MAPPINGS)
        libc.mallopt(MMAP_THRESHOLD, LARGE)
        libc.mallopt(TRIM_THRESHOLD, 2 * LARGE)
        libc.malloc_trim(ctypes.c_size_t(0))


def _told() -> bool:
    """Whether somebody has chosen how malloc works."""
    chosen = any(name.startswith("MALLOC_") for name in os.environ)
    return chosen or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
