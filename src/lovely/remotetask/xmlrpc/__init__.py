"""The service over XML-RPC.

Each method's docstring is what ``methodHelp`` tells a client.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any, TypeVar
from xmlrpc.client import Fault

import transaction
from transaction.interfaces import TransientError
from zope.publisher.xmlrpc import XMLRPCView
from zope.security.proxy import removeSecurityProxy

from lovely.remotetask.errors import (
    InvalidArgument,
    InvalidType,
    RemoteTaskError,
    UnknownJob,
    UnknownTask,
)
from lovely.remotetask.xmlrpc import values

logger = logging.getLogger("lovely.remotetask")

#: An argument that was not given.
_NONE = object()

Method = TypeVar("Method", bound=Callable[..., Any])

#: What the faults' codes mean; those of the publisher itself are below 0.
BAD_ARGUMENT, UNKNOWN_TASK, UNKNOWN_JOB, NOT_POSSIBLE, FAILED = 1, 2, 3, 4, 5

CODES: tuple[tuple[type[BaseException], int], ...] = (
    (UnknownTask, UNKNOWN_TASK),
    (UnknownJob, UNKNOWN_JOB),
    (InvalidArgument, BAD_ARGUMENT),
    (InvalidType, BAD_ARGUMENT),
    (RemoteTaskError, NOT_POSSIBLE),
)

#: The names of the methods and what they return and take, in XML-RPC's words.
SIGNATURES: dict[str, list[list[str]]] = {}


def method(returns: str, *takes: str, optional: int = 0) -> Callable[[Method], Method]:
    """Publish a method; the last ``optional`` arguments can be left out."""

    def publish(function: Method) -> Method:
        least = len(takes) - optional
        SIGNATURES[function.__name__] = [
            [returns, *takes[:count]] for count in range(least, len(takes) + 1)
        ]
        published: Method = _faults(function)
        return published

    return publish


def _faults(function: Any) -> Any:
    """The method with errors as faults, and without what it did before one.

    A fault is returned: what is raised goes to the application's views for errors,
    which need not know XML-RPC.
    """
    signature = inspect.signature(function)

    # The publisher counts parameters, and knows nothing of *arguments.
    @functools.wraps(function)
    def call(
        self: Any,
        _1: Any = _NONE,
        _2: Any = _NONE,
        _3: Any = _NONE,
        _4: Any = _NONE,
        _5: Any = _NONE,
        _6: Any = _NONE,
        _7: Any = _NONE,
        _8: Any = _NONE,
        _9: Any = _NONE,
    ) -> Any:
        arguments = (_1, _2, _3, _4, _5, _6, _7, _8, _9)
        try:
            given = [values.incoming(a) for a in arguments if a is not _NONE]
            _check_number(function.__name__, signature, given)
            return function(self, *given)
        except RemoteTaskError as error:
            code = next(code for kind, code in CODES if isinstance(error, kind))
            fault = Fault(code, values.text(str(error)))
        except TransientError:
            raise  # the publisher tries again
        except Exception:
            logger.exception("XML-RPC: %s failed", function.__name__)
            fault = Fault(FAILED, "The call failed; the log of the server says why.")
        transaction.abort()
        return fault

    return call


def _check_number(name: str, signature: inspect.Signature, given: list[Any]) -> None:
    """Raise InvalidArgument, if a method does not take so many arguments."""
    try:
        signature.bind(None, *given)
    except TypeError as error:
        names = ", ".join(list(signature.parameters)[1:])
        raise InvalidArgument(f"{name}({names}): {error}.") from error


class TaskServiceXMLRPC(XMLRPCView):
    """What a client can ask of a service."""

    @property
    def _service(self) -> Any:
        # The permission for the method has been checked.
        return removeSecurityProxy(self.context)

    @method("array")
    def getAvailableTasks(self) -> list[str]:
        """Get the names of all tasks that the service has, sorted."""
        return sorted(map(values.text, self._service.getAvailableTasks()))

    @method("int", "string", "any", "boolean", optional=2)
    def add(self, task: Any, input: Any = None, startLater: Any = False) -> int:
        """Add a job: ask for a task to be run with an input; get the job's id.

        The input is nothing, if it is left out.  With startLater the job waits
        for startJob.
        """
        if not isinstance(startLater, (bool, int)):
            raise InvalidType("startLater: a boolean is needed.")
        return int(self._service.add(task, input, bool(startLater)))

    @method("int", "string", "any", "struct")
    def addCronJob(self, task: Any, input: Any = None, *schedule: Any) -> int:
        """Add a job that is run on a schedule; get its id.

        The schedule is a struct of one kind: minute, hour, dayOfMonth, month and
        dayOfWeek, each an int or an array of them, Monday is 0; or cron, an
        expression; or every or delay, in seconds; or at, a date in UTC.  It may
        have timezone, missed, grace, overlap, retry and timeout as well.  In
        place of the struct, minute, hour, dayOfMonth, month, dayOfWeek and delay
        can be given one after the other.
        """
        return int(self._service.addCronJob(task, input, **_schedule(schedule)))

    @method("boolean", "int")
    def startJob(self, jobid: Any) -> bool:
        """Queue a job that was added with startLater; whether it was one."""
        return bool(self._service.startJob(_id(jobid)))

    @method("boolean", "int")
    def cancel(self, jobid: Any) -> bool:
        """Cancel a job that is not over; one that runs is asked to stop.

        The result is always true; ids that are not known are ignored.
        """
        self._service.cancel(_id(jobid))
        return True

    @method("string", "int")
    def getStatus(self, jobid: Any) -> str:
        """Get the status of a job: queued, processing, completed, error, ..."""
        return str(self._service.getStatus(_id(jobid)))

    @method("any", "int")
    def getResult(self, jobid: Any) -> Any:
        """Get what the task returned, or nil."""
        output = self._service.getResult(_id(jobid))
        return values.outgoing(output, f"The result of job {jobid}")

    @method("string", "int")
    def getError(self, jobid: Any) -> str:
        """Get the message of the job's last failure; 'None' without one."""
        return values.text(self._service.getError(_id(jobid)))

    @method("int", "string", optional=1)
    def count(self, status: Any = None) -> int:
        """Count the jobs that have a status, or all."""
        return int(self._service.count(status))

    @method("array")
    def listMethods(self) -> list[str]:
        """Get the names of all methods, sorted."""
        return sorted(SIGNATURES)

    @method("string", "string")
    def methodHelp(self, name: Any) -> str:
        """Get what a method does."""
        return inspect.getdoc(getattr(type(self), _method(name))) or ""

    @method("array", "string")
    def methodSignature(self, name: Any) -> list[list[str]]:
        """Get what a method returns and takes: an array of types for each way."""
        return SIGNATURES[_method(name)]


def _id(jobid: Any) -> int:
    """An argument, if it can be an id."""
    if isinstance(jobid, bool) or not isinstance(jobid, int):
        raise InvalidType(f"jobid: an int is needed, not {jobid!r}.")
    return jobid


def _method(name: Any) -> str:
    """An argument, if it is the name of a method."""
    if not isinstance(name, str) or name not in SIGNATURES:
        raise InvalidArgument(f"There is no method {name!r}; listMethods has them.")
    return name


_FIELDS = ("minute", "hour", "dayOfMonth", "month", "dayOfWeek", "delay")
_KEYWORDS = frozenset(
    {*_FIELDS, "cron", "every", "at", "timezone", "missed", "grace", "overlap"}
    | {"retry", "timeout"}
)


def _schedule(given: tuple[Any, ...]) -> dict[str, Any]:
    """The keywords of addCronJob, from a struct or from one field after the other."""
    if len(given) == 1 and isinstance(given[0], dict):
        schedule: dict[str, Any] = given[0]
    elif len(given) <= len(_FIELDS):
        schedule = dict(zip(_FIELDS, given, strict=False))
    else:
        raise InvalidArgument(f"At most {', '.join(_FIELDS)} can be given.")
    unknown = sorted(schedule.keys() - _KEYWORDS)
    if unknown:
        raise InvalidArgument(f"Unknown: {', '.join(unknown)}.")
    return schedule
