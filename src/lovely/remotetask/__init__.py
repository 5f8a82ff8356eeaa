"""A task queue that lives in the application's own ZODB."""

from lovely.remotetask.errors import RemoteTaskError, TaskError
from lovely.remotetask.service import TaskService
from lovely.remotetask.task import EchoTask, SimpleTask, task

__all__ = [
    "EchoTask",
    "RemoteTaskError",
    "SimpleTask",
    "TaskError",
    "TaskService",
    "task",
]
