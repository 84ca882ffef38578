"""What all tests share."""

import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def built_in_timings() -> Iterator[None]:
    """Backends are chosen by the built-in table, here and in processes that tests start, not by one measured on this machine."""
    with tempfile.TemporaryDirectory() as empty, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELMAN_CACHE", empty)
        yield
