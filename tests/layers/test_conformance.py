"""The suite on every layer of the package; a layer that it does not cover is a failure."""

import pytest

from elman.testing import check_layer
from elman.testing.layers import LAYERS, uncovered_layers


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str) -> None:
    check_layer(LAYERS[name])


def test_every_layer_of_the_package_is_covered() -> None:
    assert uncovered_layers() == []
