"""The tail of the data in a run folder."""

from pathlib import Path

import numpy as np
import pytest

from elman.data.series import Series, SeriesColumns, SeriesSet
from elman.data.series_store import load_series, save_series
from elman.data.times import Frequency
from elman.errors import RunError

HOURLY = Frequency("microsecond", 3_600_000_000)


def made(lengths: dict[str, int], *, statics: int = 2, steps: bool = False) -> SeriesSet:
    rng, series = np.random.default_rng(0), []
    for id, length in lengths.items():
        values = rng.normal(size=(length, 3))
        values[rng.random(values.shape) < 0.3] = np.nan
        times = np.arange(length) if steps else HOURLY.add(np.datetime64("2024-01-01", "us"), np.arange(length))
        series.append(Series(id, times, values, np.array([1.5, np.nan])[:statics]))
    static = tuple(f"s{i}" for i in range(statics))
    frequency = Frequency("step") if steps else HOURLY
    return SeriesSet(tuple(series), ("a",), ("b",), ("c",), static, frequency, SeriesColumns(("a",)), timed=not steps)


@pytest.mark.parametrize("steps", [False, True])
@pytest.mark.parametrize("statics", [2, 0])
def test_everything_comes_back(tmp_path: Path, steps: bool, statics: int) -> None:
    data = made({"": 7, "ü 'x'": 1, "b": 30}, statics=statics, steps=steps)
    save_series(data, tmp_path / "tail.safetensors", most=1000)
    again = load_series(tmp_path / "tail.safetensors")
    assert list(again) == ["", "ü 'x'", "b"]
    for one in data.series:
        other = again[one.id]
        assert other.id == one.id
        assert other.times.dtype == one.times.dtype
        for a, b in ((one.times, other.times), (one.values, other.values), (one.static, other.static)):
            np.testing.assert_array_equal(a, b)


def test_the_last_rows_are_kept_the_same_share_of_each(tmp_path: Path) -> None:
    data = made({"long": 900, "short": 90, "tiny": 10})
    save_series(data, tmp_path / "tail", most=100)
    again = load_series(tmp_path / "tail")
    assert {id: len(one) for id, one in again.items()} == {"long": 90, "short": 9, "tiny": 1}
    for one in data.series:
        np.testing.assert_array_equal(again[one.id].times, one.times[-len(again[one.id]) :])
        np.testing.assert_array_equal(again[one.id].values, one.values[-len(again[one.id]) :])


def test_memory_mapped_values_are_saved(tmp_path: Path) -> None:
    data = made({"a": 50, "b": 20})
    save_series(data.spill(tmp_path / "spilled"), tmp_path / "tail", most=60)
    np.testing.assert_array_equal(load_series(tmp_path / "tail")["b"].values, data.series[1].values[-17:])


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "garbage"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "tail.safetensors"
    save_series(made({"a": 50}), path, most=100)
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "truncated": whole[:-9], "garbage": b"\xff" * 99}[damage])
    with pytest.raises(RunError, match=r"tail\.safetensors: .*expected the series that `elman fit` wrote"):
        load_series(path)
