"""Where raw data comes from: a file, a member of a zip file, standard input, or a data frame or arrays in memory."""

import difflib
import gzip
import io
import shutil
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NoReturn, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from elman.data.arrays import Arrays
from elman.errors import DataError
from elman.registry import suggest

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    DataInput: TypeAlias = "str | Path | pl.DataFrame | pd.DataFrame | Arrays | Source"
else:
    DataInput = Any

KINDS = ("csv", "tsv", "jsonl", "parquet", "txt", "ts")
LARGEST = 1e100
"""Numbers beyond this size are no measurements, and sums of their squares are infinite."""

FRAME = "frame"
ARRAYS = "arrays"

_GZIP_MAGIC = b"\x1f\x8b"
_FRAME_LIBRARIES = ("polars", "pandas")


class Source:
    """One thing to read, opened as often as needed; what comes out is decompressed bytes.

    Args:
        data: a path, ``FILE.zip::MEMBER``, ``-`` for standard input, a polars or pandas data frame, or `Arrays`.
        format: one of `KINDS`; overrides the suffix. Standard input has no suffix, so it must be given there.

    Attributes:
        name: what messages call it: the path as given, "standard input", "data frame" or "arrays".
        kind: one of `KINDS`, or "frame", or "arrays".
        frame: the data frame, or None.
        arrays: the arrays, or None.

    Raises: DataError if the file is missing or a folder, or if its kind cannot be told.
    """

    def __init__(self, data: DataInput, format: str | None = None) -> None:
        if isinstance(data, Source):
            raise TypeError("this is a Source already; use Source.of to accept both")
        self.frame: Any = None
        self.arrays: Arrays | None = None
        self._path: Path | None = None
        self._member: str | None = None
        self._spool: IO[bytes] | None = None
        if isinstance(data, Arrays):
            self.name, self.kind, self.arrays = "arrays", ARRAYS, data
            return
        if not isinstance(data, str | Path):
            self._take_frame(data)
            return
        if str(data) == "-":
            self.name = "standard input"
            self.kind = _known_kind(format, self.name) if format else _no_kind(self.name)
            return
        self.name = str(data)
        self._path, self._member = _split_member(str(data))
        _require_file(self._path)
        if self._member is not None or self._path.suffix.lower() == ".zip":
            self._require_member()
        self.kind = _known_kind(format, self.name) if format else _kind_of(self._member or self._path.name, self.name)

    @classmethod
    def of(cls, data: DataInput, format: str | None = None) -> "Source":
        """``data`` itself if it is a Source, else a Source of it."""
        return data if isinstance(data, Source) else cls(data, format)

    def open(self) -> BinaryIO:
        """The decompressed bytes from the beginning. Raises DataError if empty; damage, when it is reached."""
        raw = self._open_raw()
        compressed = raw.peek(2)[:2] == _GZIP_MAGIC
        stream: IO[bytes] = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if compressed else raw
        checked = io.BufferedReader(_Checked(stream, raw, self.name))
        if not checked.peek(1):
            raise DataError(f"{self.name} is empty")
        return checked

    def read(self) -> bytes:
        """All decompressed bytes."""
        with self.open() as stream:
            return stream.read()

    def size(self) -> int | None:
        """Bytes on disk, as they lie there (perhaps compressed); None for standard input and data frames."""
        if self._path is None:
            return None
        if self._member is None:
            return self._path.stat().st_size
        with self._archive() as archive:
            return archive.getinfo(self._member).file_size

    def _take_frame(self, frame: Any) -> None:
        library = type(frame).__module__.partition(".")[0]
        if library not in _FRAME_LIBRARIES or type(frame).__name__ != "DataFrame":
            raise DataError(
                f"expected a path, '-' or a data frame of polars or pandas, got {type(frame).__module__}."
                f"{type(frame).__qualname__}; wrap arrays as elman.data.arrays.Arrays(x, y)"
            )
        self.name, self.kind, self.frame = "data frame", FRAME, frame

    def _open_raw(self) -> io.BufferedReader:
        if self.frame is not None:
            raise TypeError("a data frame has no bytes; read it with elman.data.tables.read_table")
        if self.arrays is not None:
            raise TypeError("arrays have no bytes; read them with elman.data.arrays.read_arrays")
        if self._path is None:
            return Path(self._spooled_stdin()).open("rb")
        if self._member is not None:
            return self._open_member()
        try:
            return self._path.open("rb")
        except OSError as error:
            raise DataError(f"cannot read {self.name}: {error.strerror}") from error

    def _spooled_stdin(self) -> str:
        """Standard input can be read once; a temporary file lets it be opened again."""
        if self._spool is None:
            self._spool = tempfile.NamedTemporaryFile(prefix="elman-")  # noqa: SIM115  (lives as long as this Source)
            shutil.copyfileobj(sys.stdin.buffer, self._spool)
            self._spool.flush()
        return self._spool.name

    def _archive(self) -> zipfile.ZipFile:
        assert self._path is not None
        if self._path.suffix.lower() != ".zip":
            raise DataError(f"{self.name}: FILE::MEMBER names a part of a .zip file; {self._path.name} is not one")
        try:
            return zipfile.ZipFile(self._path)
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"{self._path} cannot be opened as a zip file: {error}") from error

    def _require_member(self) -> None:
        with self._archive() as archive:
            members = [info.filename for info in archive.infolist() if not info.is_dir()]
        if self._member is None:
            raise DataError(f"{self.name} holds {len(members)} files; name one as {self.name}::MEMBER. {_few(members)}")
        if self._member not in members:
            raise DataError(f"{self._path} has no member {self._member!r}; {suggest(self._member, members[:50])}")

    def _open_member(self) -> io.BufferedReader:
        assert self._member is not None
        archive = self._archive()
        try:
            return io.BufferedReader(_Checked(archive.open(self._member), archive, self.name))
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise DataError(f"{self.name} cannot be read from the zip file: {error}") from error


class _Checked(io.RawIOBase):
    """A stream whose damage (truncation, a wrong checksum) is reported as a DataError that names the source."""

    def __init__(self, stream: IO[bytes], owner: Any, name: str) -> None:
        super().__init__()
        self._stream = stream
        self._owner = owner
        self._source_name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except EOFError as error:
            raise DataError(
                f"{self._source_name} is truncated: the compressed data ends too early; copy it again"
            ) from error
        except (gzip.BadGzipFile, zlib.error, zipfile.BadZipFile) as error:
            raise DataError(f"{self._source_name} is damaged: {error}; copy it again") from error
        except OSError as error:
            raise DataError(f"cannot read {self._source_name}: {error.strerror or error}") from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        self._owner.close()
        super().close()


def check_text(data: bytes, name: str) -> None:
    """Raise a DataError that names line and byte if ``data`` is not UTF-8 text or holds NUL bytes."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{name} is UTF-16; expected UTF-8. Save it as UTF-8")
    if not data.isascii():
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                not_utf8(name, data.count(b"\n", 0, error.start) + 1, data[error.start], error.start)
            ) from error
    if (position := data.find(0)) >= 0:
        raise DataError(nul_byte(name, data.count(b"\n", 0, position) + 1, position))


def too_large(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which numbers are infinite or beyond `LARGEST`; missing ones (NaN) are not."""
    large: NDArray[np.bool_] = np.abs(values) > LARGEST
    return large


def size_fault(value: float) -> tuple[str, str]:
    """What a number of those is, and what was expected, for messages."""
    if not np.isfinite(value):
        return "infinite", "a finite number"
    return "too large", f"a number up to {LARGEST:g} in size"


def not_utf8(name: str, line: int, byte: int, position: int) -> str:
    """The message about a byte that is not UTF-8; ``position`` counts bytes from 0."""
    return (
        f"{name}, line {line}: expected UTF-8 text, got byte 0x{byte:02x} at byte {position}; "
        "save the file as UTF-8 (mixed encodings are not accepted)"
    )


def nul_byte(name: str, line: int, position: int) -> str:
    """The message about a NUL byte in text."""
    return f"{name}, line {line}: expected text, got a NUL byte at byte {position}; the file is damaged or not text"


def _split_member(text: str) -> tuple[Path, str | None]:
    if "::" not in text or Path(text).exists():
        return Path(text), None
    file, _, member = text.partition("::")
    return Path(file), member


def _require_file(path: Path) -> None:
    if path.is_dir():
        raise DataError(f"expected a file, but {path} is a folder")
    if not path.exists():
        raise DataError(f"there is no file {path}{_near(path)}")


def _near(path: Path) -> str:
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""


def _kind_of(file_name: str, name: str) -> str:
    suffixes = [suffix.lower().removeprefix(".") for suffix in Path(file_name).suffixes]
    if suffixes and suffixes[-1] == "gz":
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in KINDS else _no_kind(name)


def _known_kind(format: str, name: str) -> str:
    if format not in KINDS:
        raise DataError(f"{name}: there is no format {format!r}; {suggest(format, KINDS)}")
    return format


def _no_kind(name: str) -> NoReturn:
    raise DataError(f"cannot tell what kind of data {name} is; say so with --format, one of {', '.join(KINDS)}")


def _few(names: list[str]) -> str:
    listed = ", ".join(names[:8])
    return f"Members: {listed}, ..." if len(names) > 8 else f"Members: {listed}"
