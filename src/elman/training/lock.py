"""One training at a time in a run folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from elman.errors import ElmanError, UsageError

NAME = "checkpoints/lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """No other training in a run folder inside the block. The system releases the lock of a process that is killed.

    Raises:
        UsageError: another process trains there. ElmanError: the lock cannot be written.
    """
    path = folder / NAME
    descriptor = _acquire(path)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        with suppress(OSError):
            path.parent.rmdir()  # unless there is a checkpoint
        os.close(descriptor)


def check_free(folder: Path) -> None:
    """Raises UsageError if a process trains in this folder now."""
    with suppress(FileNotFoundError, PermissionError):
        descriptor = os.open(folder / NAME, os.O_RDONLY)
        try:
            _lock(descriptor, fcntl.LOCK_SH, folder)
        finally:
            os.close(descriptor)


def _acquire(path: Path) -> int:
    """The open file that is locked."""
    try:
        path.parent.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise ElmanError(f"{path}: cannot be written: {error.strerror or error}") from error
    try:
        _lock(descriptor, fcntl.LOCK_EX, path.parent.parent)
        if not _is_at(path, descriptor):  # whoever had it has removed it since
            os.close(descriptor)
            return _acquire(path)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
    except BaseException as error:
        with suppress(OSError):
            os.close(descriptor)
        if isinstance(error, OSError):
            raise ElmanError(f"{path}: cannot be written: {error.strerror or error}") from error
        raise
    return descriptor


def _lock(descriptor: int, kind: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        number = os.pread(descriptor, 20, 0).decode(errors="replace")
        raise UsageError(
            f"{folder}: is being trained by {f'process {number}' if number else 'another process'}; "
            "wait for its end, or choose another `--out`"
        ) from None
    except OSError:
        pass  # a file system that knows no locks


def _is_at(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False
