"""Shares of batches, and processes that fail."""

import functools
import os
import signal
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from elman.data.batch import Batch
from elman.errors import DataError, TrainingError
from elman.state import leaves
from elman.training.processes import ALONE, Processes, launch


class Shares(Processes):
    """One of several processes, as far as its rows go."""

    def __init__(self, rank: int, count: int) -> None:
        self.rank, self.count = rank, count

    def sum(self, *numbers: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def sum_gradients(self, model: torch.nn.Module) -> None:
        raise NotImplementedError

    def first(self, value: object) -> object:  # type: ignore[override]
        raise NotImplementedError

    def agree(self, wish: bool) -> bool:
        raise NotImplementedError

    def gather(self, state: object, total: int) -> object:  # type: ignore[override]
        raise NotImplementedError


@pytest.mark.parametrize(("total", "count"), [(7, 1), (7, 2), (7, 3), (3, 3), (2, 5), (1, 2), (32, 5)])
def test_every_row_counts_once(total: int, count: int) -> None:
    all_of_them = [Shares(rank, count) for rank in range(count)]
    rows = np.arange(total)
    counted = np.concatenate([rows[one.rows(total)] for one in all_of_them if one.counts(total)])
    assert counted.tolist() == rows.tolist()
    assert all(len(rows[one.rows(total)]) > 0 for one in all_of_them)  # the spare ones work along, for nothing


def test_a_part_of_a_batch_knows_the_whole() -> None:
    x = torch.arange(10).reshape(5, 2)
    batch = Batch({"x": x}, {"y": -x}, torch.tensor([2, 2, 1, 0, 2]), torch.tensor([True] * 5), {"z": x[:, 0]})
    part = Shares(1, 2).part(batch)
    assert part.whole is batch
    assert torch.equal(part.inputs["x"], x[2:])
    assert torch.equal(part.targets["y"], -x[2:])
    assert torch.equal(part.context["z"], x[2:, 0])
    assert part.lengths.tolist() == [1, 0, 2]
    assert ALONE.part(batch) is batch.whole is batch
    state = leaves(Shares(1, 2).select((x, (-x,))))
    assert [torch.equal(own, whole[2:]) for own, whole in zip(state, (x, -x), strict=True)] == [True, True]


def in_second(action: Callable[[], None], processes: Processes) -> None:
    """What two processes do: they count, and after a while something happens to the second one."""
    for number in range(10_000):
        processes.sum(torch.ones(()))
        if number == 5 and processes.rank == 1:
            action()


def vanish() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise DataError("what it says")


def fill() -> None:
    raise OSError(28, "No space left on device", "run/file")


def exhaust() -> None:
    raise MemoryError("not enough memory")


def press() -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_lost_process_ends_the_others() -> None:
    with pytest.raises(TrainingError, match=r"process 2 of 2 was lost: it was ended by SIGKILL; .*`--resume`"):
        launch(2, functools.partial(in_second, vanish))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "error", "said"),
    [
        (fail, DataError, "what it says"),
        (fill, OSError, "No space left on device: 'run/file'"),
        (exhaust, MemoryError, "not enough memory"),
        (press, KeyboardInterrupt, None),
    ],
)
def test_what_one_raises_is_raised(action: Callable[[], None], error: type[BaseException], said: str | None) -> None:
    with pytest.raises(error, match=said):
        launch(2, functools.partial(in_second, action))
