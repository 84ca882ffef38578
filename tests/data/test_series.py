"""Sets of series: where roles stand, parts, spilling to disk."""

from pathlib import Path

import numpy as np
import pytest

from elman.data.series import Role, Series, SeriesColumns, SeriesSet
from elman.data.times import Frequency

ROLES: tuple[Role, ...] = ("targets", "past", "future")


@pytest.fixture
def data() -> SeriesSet:
    rng = np.random.default_rng(0)
    series = tuple(
        Series(name, np.arange(length), rng.normal(size=(length, 4)), np.empty(0))
        for name, length in [("a", 5), ("b", 1), ("c", 30)]
    )
    return SeriesSet(series, ("y",), ("p", "q"), ("f",), (), Frequency("step"), SeriesColumns(("y",)))


def test_roles_stand_one_after_the_other(data: SeriesSet) -> None:
    assert data.columns == ("y", "p", "q", "f")
    assert data.lengths == [5, 1, 30]
    expected = {"targets": slice(0, 1), "past": slice(1, 3), "future": slice(3, 4)}
    assert {role: data.positions(role) for role in ROLES} == expected


def test_parts_are_views(data: SeriesSet) -> None:
    part = data.series[2].part(3, 7)
    assert part.id == "c"
    np.testing.assert_array_equal(part.times, [3, 4, 5, 6])
    np.testing.assert_array_equal(part.values, data.series[2].values[3:7])
    assert np.shares_memory(part.values, data.series[2].values)


def test_spilled_values_are_memory_mapped_and_equal(data: SeriesSet, tmp_path: Path) -> None:
    mapped = data.spill(tmp_path / "new" / "cache")
    assert mapped.columns == data.columns
    for memory, disk in zip(data.series, mapped.series, strict=True):
        assert isinstance(disk.values, np.memmap)
        assert disk.id == memory.id
        np.testing.assert_array_equal(disk.values, memory.values)
        np.testing.assert_array_equal(disk.part(1, 3).values, memory.part(1, 3).values)
