"""Stand-ins for applications' own tests; the library does not use them.

`TaskServiceStub` is a task service without a database and without threads, for
tests that want to see what has been asked for.  Its tasks are registered under
`ITaskStub`, so that real tasks stay out of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zope.interface import implementer

from lovely.remotetask.interfaces import ITask
from lovely.remotetask.service import TaskService


class ITaskStub(ITask):
    """What tasks of a `TaskServiceStub` are registered under."""


@implementer(ITask)
class ExceptionTask:
    """A task that always fails, with a ZeroDivisionError."""

    inputSchema = None
    outputSchema = None

    def __call__(self, service: Any, jobid: int, input: Any) -> Any:
        return 1 / 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class QueueStub:
    """A plain queue in memory, first in, first out."""

    def __init__(self) -> None:
        self._data: tuple[Any, ...] = ()

    def put(self, item: Any) -> None:
        """Add an item at the end."""
        self._data += (item,)

    def pull(self, index: int = 0) -> Any:
        """Remove and return the item at an index; IndexError if there is none."""
        item = self._data[index]
        index %= len(self._data)
        self._data = self._data[:index] + self._data[index + 1 :]
        return item

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._data)

    def __getitem__(self, index: Any) -> Any:
        return self._data[index]


class TaskServiceStub(TaskService):
    """A task service that processes jobs only when it is told to.

    Make one, register stub tasks as utilities for `ITaskStub`, let the
    application add jobs, and call ``process()``.
    """

    taskInterface = ITaskStub

    def startProcessing(self) -> None:
        """There is nothing to start: raise NotImplementedError."""
        raise NotImplementedError("A stub has no thread; call process().")

    def stopProcessing(self, wait: bool = False, timeout: float | None = None) -> bool:
        """There is nothing to stop: raise NotImplementedError."""
        raise NotImplementedError("A stub has no thread; call process().")

    def isProcessing(self) -> bool:
        """Never."""
        return False
