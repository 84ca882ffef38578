from pathlib import Path

import pytest

from elman.layers import PerStep, SequenceLayer
from elman.testing.discover import concrete_classes
from elman.testing.layers import uncovered_layers

PACKAGE = '''
from elman.layers import PerStep, SequenceLayer, Stack


class Mine(PerStep):
    """Public and finished."""


class _Private(PerStep):
    """Not for others."""


class Unfinished(SequenceLayer):
    """Abstract."""
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = "some_layers"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    (tmp_path / name / "mine.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_finds_the_public_finished_classes_that_a_package_defines(package: str) -> None:
    assert [found.__name__ for found in concrete_classes(package, SequenceLayer)] == ["Mine"]


def test_a_layer_without_a_factory_is_reported(package: str) -> None:
    assert uncovered_layers(package) == ["Mine"]
    assert {"Bidirectional", "PerStep", "Pooling", "Recurrent", "Stack"} <= set(
        uncovered_layers("elman.layers", covered={})
    )
    assert PerStep in concrete_classes("elman.layers", SequenceLayer)
