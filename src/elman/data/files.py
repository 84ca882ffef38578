"""Files written whole or not at all."""

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from elman.errors import ElmanError

READABLE = 0o666
"""What a new file's mode is before the umask; safetensors would make it private."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to; renamed onto it when the block ends well, removed when it does not.

    What is there already and not a file, such as /dev/stdout, is written to directly.

    Raises:
        ElmanError: the folder is missing, read-only or full.
    """
    check_writable(path)
    special = path.exists() and not path.is_file()
    beside = path if special else path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        if not special:
            beside.chmod(READABLE & ~_umask())
            beside.replace(path)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise ElmanError(f"{path}: cannot be written: {reason or error}") from error
    finally:
        if not special:
            with suppress(OSError):  # a read-only file system refuses this too; the reason above is the one to tell
                beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def check_writable(path: Path) -> None:
    """Raises ElmanError if no file can be at ``path``, before any work is done for it."""
    if path.is_dir():
        raise ElmanError(f"{path}: cannot be written: it is a folder")
    if not path.parent.is_dir():
        raise ElmanError(f"{path}: cannot be written: there is no folder {path.parent}")


def scratch_folder(owner: object) -> Path:
    """A folder for data larger than memory, gone when its owner is."""
    folder = tempfile.mkdtemp(prefix="elman-")
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
