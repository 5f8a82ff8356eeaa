"""Events: what happens to jobs (see `IJobEvent`), and what is to begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from lovely.remotetask import interfaces

if TYPE_CHECKING:
    from lovely.remotetask.job import Job
    from lovely.remotetask.service import TaskService


class JobEvent:
    """Something happened to ``object``, a job of ``service``."""

    def __init__(self, object: Job, service: TaskService) -> None:
        self.object = object
        self.service = service

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.object!r}>"


@implementer(interfaces.IJobAdded)
class JobAdded(JobEvent):
    """See `IJobAdded`."""


@implementer(interfaces.IJobStarted)
class JobStarted(JobEvent):
    """See `IJobStarted`."""


@implementer(interfaces.IJobCompleted)
class JobCompleted(JobEvent):
    """See `IJobCompleted`."""


@implementer(interfaces.IJobFailed)
class JobFailed(JobEvent):
    """See `IJobFailed`."""


@implementer(interfaces.IJobCancelled)
class JobCancelled(JobEvent):
    """See `IJobCancelled`."""


@implementer(interfaces.IStartRemoteTasksEvent)
class StartRemoteTasks:
    """See `IStartRemoteTasksEvent`."""

    def __init__(self, database: Any, serviceNames: Sequence[str] | None = None):
        self.database = database
        self.serviceNames = serviceNames
