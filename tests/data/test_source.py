"""Sources: kinds, compression, damage, zip members, standard input, frames."""

import gzip
import io
import sys
import zipfile
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from elman.data.source import Source, check_text
from elman.errors import DataError


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "txt", "ts"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_kind_by_suffix_and_bytes_decompressed(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"some.data.{kind.upper()}{suffix}"
    path.write_bytes(gzip.compress(b"content") if suffix else b"content")
    source = Source(path)
    assert (source.kind, source.name) == (kind, str(path))
    assert source.read() == b"content"
    assert source.read() == b"content"
    assert source.size() == path.stat().st_size


def test_gzip_is_known_by_content_not_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(gzip.compress(b"1,2\n"))
    assert Source(path).read() == b"1,2\n"


def test_format_overrides_and_unknown_kinds_list_the_valid(tmp_path: Path) -> None:
    path = tmp_path / "log.dat"
    path.write_bytes(b"1,2\n")
    assert Source(path, "csv").kind == "csv"
    with pytest.raises(DataError, match=r"log\.dat.*--format, one of csv, tsv, jsonl, parquet, txt, ts"):
        Source(path)
    with pytest.raises(DataError, match="no format 'cvs'; did you mean 'csv'"):
        Source(path, "cvs")


def test_missing_folder_and_empty(tmp_path: Path) -> None:
    (tmp_path / "hour.csv").write_bytes(b"")
    with pytest.raises(DataError, match=r"there is no file .*hours\.csv; did you mean .*hour\.csv"):
        Source(tmp_path / "hours.csv")
    with pytest.raises(DataError, match="is a folder"):
        Source(tmp_path)
    with pytest.raises(DataError, match=r"hour\.csv is empty"):
        Source(tmp_path / "hour.csv").open()
    (tmp_path / "empty.csv.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(DataError, match="is empty"):
        Source(tmp_path / "empty.csv.gz").open()


def test_damaged_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(bytes(range(256)) * 400)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"a\.csv\.gz is truncated"):
        Source(path).read()
    path.write_bytes(whole[:-6] + b"\x00\x01" + whole[-4:])
    with pytest.raises(DataError, match=r"a\.csv\.gz is damaged"):
        Source(path).read()


def test_zip_members(tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("part/a.csv", "1,2\n")
        archive.writestr("b.txt.gz", gzip.compress(b"words"))
    assert Source(f"{path}::part/a.csv").kind == "csv"
    assert Source(f"{path}::part/a.csv").read() == b"1,2\n"
    assert Source(f"{path}::b.txt.gz").read() == b"words"
    assert Source(f"{path}::part/a.csv").size() == 4
    with pytest.raises(DataError, match=r"holds 2 files; name one as .*::MEMBER.*part/a\.csv"):
        Source(path)
    with pytest.raises(DataError, match=r"no member 'a\.csv'; did you mean 'part/a\.csv'"):
        Source(f"{path}::a.csv")
    (tmp_path / "plain.csv").write_bytes(b"1")
    with pytest.raises(DataError, match=r"part of a \.zip file; plain\.csv is not one"):
        Source(f"{tmp_path / 'plain.csv'}::a")
    path.write_bytes(b"not a zip")
    with pytest.raises(DataError, match="cannot be opened as a zip"):
        Source(f"{path}::a.csv")


def test_standard_input_is_read_once_and_opened_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(b"a\n1\n"))))
    source = Source("-", "csv")
    assert source.read() == b"a\n1\n"
    assert source.read() == b"a\n1\n"
    with pytest.raises(DataError, match="standard input is; say so with --format"):
        Source("-")


def test_frames() -> None:
    for frame in (pl.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]})):
        source = Source(frame)
        assert source.kind == "frame"
        assert source.frame is frame
        assert source.size() is None
        assert Source.of(source) is source
    with pytest.raises(DataError, match=r"expected a path, '-' or a data frame.*got builtins\.dict"):
        Source({"a": [1]})  # type: ignore[arg-type]


def test_text_checks_name_line_and_byte() -> None:
    check_text("größe\n".encode(), "a.csv")
    with pytest.raises(DataError, match=r"a\.csv, line 2: expected UTF-8 text, got byte 0xf6 at byte 5"):
        check_text(b"ab\ngr\xf6\xdfe\n", "a.csv")
    with pytest.raises(DataError, match=r"a\.csv, line 2: .*NUL byte at byte 2"):
        check_text(b"a\n\x00", "a.csv")
    with pytest.raises(DataError, match="UTF-16"):
        check_text("a".encode("utf-16"), "a.csv")
