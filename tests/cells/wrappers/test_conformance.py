"""The suite on every wrapper of the package, around several cells and around each other."""

import pytest

from elman.testing.wrappers import WRAPPERS, check_wrapper, uncovered_wrappers


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrapper(name: str) -> None:
    check_wrapper(WRAPPERS[name])


def test_every_wrapper_of_the_package_is_covered() -> None:
    assert uncovered_wrappers() == []


def test_a_wrapper_that_is_not_covered_is_told() -> None:
    without = {name: factory for name, factory in WRAPPERS.items() if "zoneout" not in name and "all" not in name}
    assert uncovered_wrappers(covered=without) == ["Zoneout"]
