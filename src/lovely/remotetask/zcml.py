"""The directive ``task`` of ZCML, which registers tasks."""

from __future__ import annotations

import inspect
from typing import Any

from zope.component.zcml import utility
from zope.configuration.exceptions import ConfigurationError
from zope.configuration.fields import GlobalInterface, GlobalObject
from zope.interface import Interface, alsoProvides, implementer
from zope.schema import Float, TextLine

from lovely.remotetask import times
from lovely.remotetask.errors import RemoteTaskError
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.people import check_run_as
from lovely.remotetask.retry import RetryPolicy, check_policy
from lovely.remotetask.schemas import check_is_schema


class ITaskDirective(Interface):
    """Register a task."""

    name = TextLine(title="Name", description="The name that jobs ask for it by.")
    handler = GlobalObject(
        title="Handler",
        description=(
            "A function that takes the service, the job's id and its input; or a task, "
            "or a class of tasks, which is called without arguments."
        ),
    )
    provides = GlobalInterface(
        title="Interface",
        description="What it is registered as: the taskInterface of its services.",
        required=False,
        default=ITask,
    )
    retry = TextLine(
        title="Retries",
        description="How often to try again, or the dotted name of a RetryPolicy.",
        required=False,
    )
    timeout = Float(
        title="Time limit",
        description="Seconds after which the task is asked to stop.",
        required=False,
    )
    inputSchema = GlobalObject(
        title="Schema of inputs", description="An interface.", required=False
    )
    outputSchema = GlobalObject(
        title="Schema of outputs", description="An interface.", required=False
    )
    runAs = TextLine(
        title="Run as",
        description="For whom jobs are run: adder, whoever added them, or system.",
        required=False,
    )


#: What a directive can say of a task, besides its name.
OPTIONS = ("retry", "timeout", "inputSchema", "outputSchema", "runAs")


@implementer(ITask)
class ConfiguredTask:
    """A task as a directive says: what it does not say is as the handler has it."""

    inputSchema: Any = None
    outputSchema: Any = None

    def __init__(self, handler: Any, options: dict[str, Any]) -> None:
        """``options``: those of `OPTIONS` that are given."""
        self.handler = handler
        if ITask.providedBy(handler):
            own = {name: getattr(handler, name, None) for name in OPTIONS}
            options = own | options
        vars(self).update(options)

    def __call__(self, service: Any, jobid: int, input: Any) -> Any:
        return self.handler(service, jobid, input)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.handler!r}>"


def task(
    context: Any,
    name: str,
    handler: Any,
    *,
    provides: Any = ITask,
    retry: str | None = None,
    timeout: float | None = None,
    **options: Any,
) -> None:
    """Handle the directive.  Raise ConfigurationError."""
    if not name.strip():
        raise ConfigurationError("name: a task needs one.")
    try:
        if retry is not None:
            options["retry"] = _policy(context, retry)
        if timeout is not None:
            options["timeout"] = times.check_seconds("timeout", timeout)
        if "runAs" in options:
            check_run_as(options["runAs"])
        for schema in options.keys() & {"inputSchema", "outputSchema"}:
            check_is_schema(options[schema], schema)
    except RemoteTaskError as error:
        raise ConfigurationError(str(error)) from error
    component = _task(handler)
    if options or not provides.providedBy(component):
        component = ConfiguredTask(component, options)
        alsoProvides(component, provides)
    utility(context, provides, component, name=name)


def _policy(context: Any, text: str) -> RetryPolicy:
    """A policy from a number of retries or a dotted name."""
    if text.lstrip("-").isdecimal():
        return check_policy("retry", int(text))
    try:
        policy = context.resolve(text)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"retry: {text!r} is no number of retries, and no RetryPolicy: {error}"
        ) from error
    return check_policy("retry", policy)


def _task(handler: Any) -> Any:
    """The handler, or what it makes, if it can be called as a task."""
    if isinstance(handler, type):
        try:
            handler = handler()
        except Exception as error:
            raise ConfigurationError(
                f"handler: {handler!r} can't be called without arguments: {error}"
            ) from error
    try:
        inspect.signature(handler).bind(None, 1, None)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"handler: {handler!r} can't be called with a service, a job's id and an "
            f"input: {error}"
        ) from error
    return handler
