"""Ready-made tasks, and the way from a function to a task."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, TypeVar

import zope.component
from zope.interface import implementer

from lovely.remotetask import times
from lovely.remotetask.errors import InvalidArgument, InvalidType, TaskError
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.people import check_run_as
from lovely.remotetask.retry import RetryPolicy, check_policy

__all__ = ["EchoTask", "SimpleTask", "TaskError", "task"]

Function = TypeVar("Function", bound=Callable[..., Any])


@implementer(ITask)
class SimpleTask:
    """A task that calls a function of one argument, the job's input."""

    # Of those that are in databases, and were made when there was only the function.
    retry: RetryPolicy | None = None
    timeout: float | None = None
    inputSchema: Any = None
    outputSchema: Any = None
    runAs: str | None = None

    def __init__(
        self,
        func: Callable[[Any], Any],
        *,
        retry: RetryPolicy | int | None = None,
        timeout: float | None = None,
        inputSchema: Any = None,
        outputSchema: Any = None,
        runAs: str | None = None,
    ) -> None:
        """``retry``: when failed jobs are tried again, a policy or a number.

        ``timeout``: seconds after which the task is asked to stop.  Without
        them the service's policy holds, and there is no limit.

        ``inputSchema`` and ``outputSchema`` as in `ITask`; ``runAs`` as in
        `ITaskService`, whose own holds without.
        """
        self.func = func
        self.retry = None if retry is None else check_policy("retry", retry)
        if timeout is not None:
            times.check_seconds("timeout", timeout)
        self.timeout = timeout
        self.inputSchema, self.outputSchema = inputSchema, outputSchema
        if runAs is not None:
            check_run_as(runAs)
        self.runAs = runAs

    def __call__(self, service: Any, jobid: int, input: Any) -> Any:
        return self.func(input)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.func!r}>"


@implementer(ITask)
class EchoTask:
    """A task that returns its input: to see whether a service works."""

    inputSchema = None
    outputSchema = None

    def __call__(self, service: Any, jobid: int, input: Any) -> Any:
        return input

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class task:
    """Make a function of one argument a task, and register it.

    ``@task('name')`` above a function registers a `SimpleTask` that calls it
    as a global utility for `ITask`; the function itself stays what it is.
    Import the module in every process that adds or runs such jobs.

    It stands in for this module as ``lovely.remotetask.task`` (a package has one
    attribute of a name), so it carries the module's classes.

    Raise InvalidType (a TypeError) or InvalidArgument (a ValueError) for what
    is no name.
    """

    SimpleTask: ClassVar[type[SimpleTask]] = SimpleTask
    EchoTask: ClassVar[type[EchoTask]] = EchoTask
    TaskError: ClassVar[type[TaskError]] = TaskError

    def __init__(
        self,
        name: str,
        *,
        retry: RetryPolicy | int | None = None,
        timeout: float | None = None,
        inputSchema: Any = None,
        outputSchema: Any = None,
        runAs: str | None = None,
    ) -> None:
        """The arguments behind ``name`` are those of `SimpleTask`."""
        if not isinstance(name, str):
            raise InvalidType(
                f"name: a str is needed, not {type(name).__name__}; "
                "write @task('name')."
            )
        if not name:
            raise InvalidArgument("name: a task needs one.")
        self.name = name
        self._make = partial(
            SimpleTask,
            retry=retry,
            timeout=timeout,
            inputSchema=inputSchema,
            outputSchema=outputSchema,
            runAs=runAs,
        )

    def __call__(self, function: Function) -> Function:
        if not callable(function):
            raise InvalidType(f"A function is needed, not {function!r}.")
        zope.component.getGlobalSiteManager().registerUtility(
            self._make(function), ITask, name=self.name
        )
        return function
