"""What applications' tests are given."""

from __future__ import annotations

from typing import Any

import pytest

from lovely.remotetask.testing import (
    ExceptionTask,
    ITaskStub,
    QueueStub,
    TaskServiceStub,
)
from tests.support import echo, provide, register


def test_stub_has_its_own_tasks(tasks: None) -> None:
    """A stub sees stub tasks alone."""
    service = TaskServiceStub()
    assert service.getAvailableTasks() == {}
    register("mine", echo, ITaskStub)
    assert list(service.getAvailableTasks()) == ["mine"]
    service.add("mine", 5)
    service.process()
    assert service.getResult(1) == 5


def test_stub_has_no_thread() -> None:
    """A stub can't be started, and says so."""
    service = TaskServiceStub()
    with pytest.raises(NotImplementedError, match="process"):
        service.startProcessing()
    with pytest.raises(NotImplementedError, match="process"):
        service.stopProcessing()
    assert service.isProcessing() is False


def test_exception_task() -> None:
    """A task that always fails, fails."""
    service = TaskServiceStub()
    provide("fail", ExceptionTask(), ITaskStub)
    service.add("fail")
    service.process()
    assert "division by zero" in service.getError(1)
    assert repr(ExceptionTask()) == "<ExceptionTask>"


def test_queue_stub() -> None:
    """A queue is first in, first out, unless told otherwise."""
    queue: Any = QueueStub()
    for item in "abcd":
        queue.put(item)
    assert (len(queue), queue[-1], list(queue)) == (4, "d", ["a", "b", "c", "d"])
    assert [queue.pull(), queue.pull(-1), queue.pull(1)] == ["a", "d", "c"]
    assert list(queue) == ["b"]
    queue.pull()
    with pytest.raises(IndexError):
        queue.pull()
