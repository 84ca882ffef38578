"""The suite on every registered task with every encoder; a task that it does not cover is a failure."""

import pytest

from elman.models.build import encoder_names
from elman.tasks.task import TASKS
from elman.testing import check_task
from elman.testing.tasks import uncovered_tasks

LIKE_ANOTHER = {"regress": "classify"}  # the same model and data: a few encoders tell what there is to tell


@pytest.mark.parametrize("encoder", encoder_names())
@pytest.mark.parametrize("task", [name for name in TASKS.names() if name not in LIKE_ANOTHER])
def test_trains_and_streams(task: str, encoder: str) -> None:
    check_task(task, [encoder])


@pytest.mark.parametrize("task", LIKE_ANOTHER)
def test_task(task: str) -> None:
    check_task(task, ["gru", "lstm", "tcn"])


@pytest.mark.parametrize("task", [name for name in TASKS.names() if TASKS.get(name).reads_whole])
def test_both_ways(task: str) -> None:
    """Learned from whole sequences; refused by a stream."""
    check_task(task, ["gru", "tcn"], bidirectional=True)


def test_every_task_is_covered() -> None:
    assert uncovered_tasks() == []
