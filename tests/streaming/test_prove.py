"""A proof that can fail: every kind of difference between a stream and the whole sequence."""

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pytest

from elman.data.codec import Array, Codec, Json, Memory, Push, Steps
from elman.errors import ElmanError
from elman.state import NumpyState
from elman.stepper import Arrays
from elman.streaming import StreamSession
from elman.streaming.prove import TOLERANCE, prove


class Sums(Codec):
    """A number in, the sum so far out."""

    kind = "sums"

    def push(self, row: Push, memory: Memory) -> Steps:
        return Steps({"x": np.array([cast(float, row.x)])}, memory)

    def answer(self, output: Array, memory: Memory) -> Json:  # noqa: ARG002
        return {"sum": [float(output)], "of": "all"}

    def to_json(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Sums":  # noqa: ARG003
        return cls()


class Adds:
    def begin(self, context: Arrays, batch_size: int) -> NumpyState:  # noqa: ARG002
        return np.zeros(batch_size)

    def step(self, inputs: Arrays, state: NumpyState) -> tuple[Array, NumpyState]:
        total = inputs["x"] + state
        return total, total


VALUES = [1.0, 2.0, -5.0, 4.0]


def whole(**changed: Json) -> list[tuple[Push, Json]]:
    """Every row with the sum up to it; some answer changed at the third."""
    answers: list[dict[str, Json]] = [{"sum": [total], "of": "all"} for total in np.cumsum(VALUES).tolist()]
    answers[2] |= changed
    return [(Push(x), answer) for x, answer in zip(VALUES, answers, strict=True)]


def test_equal_answers_are_proved() -> None:
    session = StreamSession(Sums(), Adds())
    session.push(100.0)  # forgotten: a proof begins anew
    proof = prove(session, whole())
    assert proof.holds
    assert (proof.steps, proof.numbers, proof.largest, proof.scale) == (4, 4, 0.0, 3.0)
    assert 0 < proof.p50 <= proof.p99


@pytest.mark.parametrize("wrong", [-2.0 + 1e-3, -2.0 - 2 * 3 * TOLERANCE, math.nan, math.inf])
def test_a_wrong_answer_is_not(wrong: float) -> None:
    proof = prove(StreamSession(Sums(), Adds()), whole(sum=[wrong]))
    assert not proof.holds
    assert proof.largest > 0


def test_a_stream_that_answers_nan_is_not_proved() -> None:
    rows = [(Push(math.nan), cast(Json, {"sum": [math.nan], "of": "all"}))]
    assert not prove(StreamSession(Sums(), Adds()), rows).holds


def test_a_difference_within_float32_is() -> None:
    assert prove(StreamSession(Sums(), Adds()), whole(sum=[-2.0 + 0.5 * 3 * TOLERANCE])).holds


def test_nothing_is_no_proof() -> None:
    assert not prove(StreamSession(Sums(), Adds()), []).holds


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"of": "some"}, r"y\.of = 'all'"),
        ({"sum": [1.0, 2.0]}, r"y\.sum = \[-2\.0\]"),
        ({"more": 1.0}, r"answered y = "),
    ],
)
def test_another_shape_is_an_error(changed: dict[str, Json], where: str) -> None:
    with pytest.raises(ElmanError, match=where):
        prove(StreamSession(Sums(), Adds()), whole(**changed))
