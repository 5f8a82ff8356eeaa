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


@implementer(interfaces.IRunEnded)
class RunEnded:
    """See `IRunEnded`."""

    def __init__(self, service: TaskService, job: Job, started: int) -> None:
        """An attempt of a job is about to end, which began then (microseconds)."""
        self.service: str = service.__name__ or ""
        self.jobid: int = job.id
        self.task: str = job.task
        self.attempt: int = job.attempt
        self.waited: float = max(0, started - job.waits_since) / 1_000_000
        self.started: int = started
        self.moment: int = started
        self.ran = 0.0
        self.outcome = ""

    @property
    def context(self) -> dict[str, Any]:
        """What log records of the run carry."""
        names = ("service", "jobid", "task", "attempt")
        return {name: getattr(self, name) for name in names}

    def end(self, outcome: str, moment: int) -> RunEnded:
        """How it has ended, and when (microseconds)."""
        self.outcome, self.moment = outcome, moment
        self.ran = max(0, moment - self.started) / 1_000_000
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.jobid!r}: {self.outcome}>"


@implementer(interfaces.IJobsRescued)
class JobsRescued:
    """See `IJobsRescued`."""

    def __init__(self, service: str, queued: list[int], failed: list[int]) -> None:
        self.service, self.queued, self.failed = service, queued, failed

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.queued!r} {self.failed!r}>"


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
