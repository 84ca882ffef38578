"""The suite on every registered task with every registered cell; a task that it does not cover is a failure."""

import pytest

from elman.tasks.task import TASKS
from elman.testing import check_task
from elman.testing.tasks import uncovered_tasks


@pytest.mark.parametrize("name", TASKS.names())
def test_task(name: str) -> None:
    check_task(name)


def test_every_task_is_covered() -> None:
    assert uncovered_tasks() == []
