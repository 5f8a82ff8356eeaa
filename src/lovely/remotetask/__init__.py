"""A task queue that lives in the application's own ZODB."""

from lovely.remotetask.current import current
from lovely.remotetask.errors import RemoteTaskError, TaskError
from lovely.remotetask.retention import Keep
from lovely.remotetask.retry import NO_RETRY, RetryPolicy
from lovely.remotetask.service import TaskService
from lovely.remotetask.task import EchoTask, SimpleTask, task

__all__ = [
    "NO_RETRY",
    "EchoTask",
    "Keep",
    "RemoteTaskError",
    "RetryPolicy",
    "SimpleTask",
    "TaskError",
    "TaskService",
    "current",
    "task",
]
