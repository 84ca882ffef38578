"""The suite on every registered cell; a cell that is not registered, and so not covered, is a failure."""

import pytest

from elman.cells import CELLS
from elman.testing import check_cell
from elman.testing.cells import unregistered_cells


@pytest.mark.parametrize("name", CELLS.names())
def test_cell(name: str) -> None:
    check_cell(name)


def test_elman_with_relu() -> None:
    check_cell("elman", nonlinearity="relu")


def test_every_cell_of_the_package_is_registered() -> None:
    assert unregistered_cells() == []
