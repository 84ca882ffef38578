"""Files are written whole or not at all."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from elman.data.files import replacing, write_text
from elman.errors import ElmanError


def test_written_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "ä\n")
    write_text(path, "ö\r\n")
    assert path.read_bytes() == "ö\r\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_appears_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with replacing(path) as beside:
        save_file({"x": np.arange(3)}, beside)
        assert not path.exists()
        assert beside.parent == path.parent  # one file system: the renaming is atomic
    np.testing.assert_array_equal(load_file(path)["x"], np.arange(3))


def write_half(path: Path, error: BaseException) -> None:
    with replacing(path) as beside:
        beside.write_text("half of the ne", encoding="utf-8")
        raise error


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_failure_leaves_the_old_file_and_no_part(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    expected = ElmanError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        write_half(path, error)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_without_an_old_file_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stop"):
        write_half(tmp_path / "a.txt", ValueError("stop"))
    assert list(tmp_path.iterdir()) == []


def test_text_that_cannot_be_encoded_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("where", ["no-such-folder/a.txt", "a-file/a.txt", "a-folder"])
def test_where_nothing_can_be_written(tmp_path: Path, where: str) -> None:
    (tmp_path / "a-file").write_text("x", encoding="utf-8")
    (tmp_path / "a-folder").mkdir()
    with pytest.raises(ElmanError, match=f"{where}: cannot be written: "):
        write_text(tmp_path / where, "x")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a-file", "a-folder"]
