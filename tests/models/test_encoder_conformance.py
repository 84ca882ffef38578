"""The suite on every registered encoder; an encoder that is not registered, and so not covered, is a failure."""

import pytest

from elman.models.encoder import ENCODERS
from elman.testing.encoders import check_encoder, unregistered_encoders

SMALL: list[tuple[str, dict[str, int | str]]] = [
    ("mlp", {"layers": 3, "window": 4, "activation": "gelu"}),
    ("mlp", {"layers": 1, "window": 1, "activation": "none"}),
    ("cnn", {"layers": 2, "kernel": 3}),
    ("cnn", {"layers": 1, "kernel": 1}),
    ("tcn", {"layers": 3, "kernel": 2}),
    ("tcn", {"layers": 1, "kernel": 4}),
    ("transformer", {"layers": 2, "window": 4, "heads": 2}),
    ("transformer", {"layers": 1, "window": 5, "heads": 4, "feed_forward": "swiglu"}),
    ("transformer", {"layers": 1, "window": 1}),
    ("ssm", {"layers": 1, "state_size": 3, "expand": 1, "kernel": 1}),
]
"""Windows shorter than the sequences of the suite, which those of the defaults are not."""


@pytest.mark.parametrize("name", ENCODERS.names())
def test_encoder(name: str) -> None:
    check_encoder(name)


@pytest.mark.parametrize(("name", "options"), SMALL)
def test_options(name: str, options: dict[str, int | str]) -> None:
    check_encoder(name, **options)


def test_every_encoder_of_the_package_is_registered() -> None:
    assert unregistered_encoders() == []
