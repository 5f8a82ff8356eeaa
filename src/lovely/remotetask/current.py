"""The job that runs in this thread, for the task: see `current`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from lovely.remotetask import times
from lovely.remotetask.environment import Environment
from lovely.remotetask.errors import (
    InvalidArgument,
    JobCancelled,
    JobTimeout,
    NotInTask,
)

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from lovely.remotetask.job import Job
    from lovely.remotetask.service import TaskService


_log = logging.getLogger("lovely.remotetask.job")

#: So many characters of a message are shown.
MOST_MESSAGE = 200


class Progress(NamedTuple):
    """How far a job is."""

    #: From 0 to 1.
    fraction: float
    #: What its task says of it, or an empty text.
    message: str


class Run:
    """One attempt to run a job, as its task sees it."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._asked = False
        self._deadline: float | None = None
        #: When the attempt began, in microseconds since the epoch; None unless its
        #: task runs.
        self.began: int | None = None
        #: How long its task took, in seconds; None unless that has returned.
        self.took: float | None = None
        #: How long it may take, in seconds; None without a limit.
        self.timeout: float | None = None
        #: What was last reported; None if nothing was.
        self.reported: Progress | None = None
        self.service: TaskService
        self.job: Job
        #: The number of the attempt, from 1 on.
        self.attempt = 0
        #: What its log records carry; before it begins, as far as it is known.
        self.context: Mapping[str, Any] = {}

    def begin(
        self, service: TaskService, job: Job, timeout: float | None, moment: int
    ) -> None:
        """The attempt begins, at a moment.  ``timeout`` is in seconds, or None."""
        self.service, self.job, self.attempt = service, job, job.attempt
        self.began = moment
        self.timeout = timeout
        if timeout is not None:
            self._deadline = self._environment.monotonic() + timeout
        # Read now: threads that the task starts may log, but not use the database.
        self.context = describe(service, job)

    @property
    def task(self) -> str:
        """The name of the job's task; any thread may ask."""
        return str(self.context.get("task", ""))

    def end(self) -> None:
        """The task is over: in a group, it waits for the others to be committed."""
        self._deadline = self.began = None

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """Its records carry service, job id, task and attempt."""
        return _Logger(_log, self.context)

    def ask_to_stop(self) -> None:
        """Someone has cancelled the job; any thread may call this."""
        self._asked = True

    @property
    def cancelled(self) -> bool:
        """Whether someone has cancelled the job."""
        return self._asked

    @property
    def overdue(self) -> float:
        """For how many seconds the job has been over its time; 0 if it is not."""
        deadline = self._deadline
        if deadline is None:
            return 0.0
        return max(0.0, self._environment.monotonic() - deadline)

    def checkCancelled(self) -> None:
        """Stop here if the job was cancelled, or has used up its time.

        To be called where it is good to stop.  Raise JobCancelled or
        JobTimeout; let it pass, and what the job wrote is undone.
        """
        if self.cancelled:
            raise JobCancelled("The job was cancelled while it was running.")
        if self.overdue:
            raise JobTimeout(f"The job took longer than {self.timeout:g} seconds.")

    def progress(self, fraction: float, message: str = "") -> None:
        """Report how far the job is: a fraction from 0 to 1, and a message.

        Others see it while the job runs, about once a second.  Of a message with
        more than 200 characters the first 199 are shown, and an ellipsis.

        Raise InvalidType (a TypeError) or InvalidArgument (a ValueError).
        """
        if times.check_seconds("fraction", fraction, unit="a number") > 1:
            raise InvalidArgument(f"fraction: from 0 to 1, not {fraction!r}.")
        text = str(message)
        if len(text) > MOST_MESSAGE:
            text = text[: MOST_MESSAGE - 1] + "\N{HORIZONTAL ELLIPSIS}"
        self.reported = Progress(float(fraction), text)


class _Logger(logging.LoggerAdapter):  # type: ignore[type-arg]
    """Adds the job to each record, beside what the caller gives."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


_current: ContextVar[Run | None] = ContextVar("lovely.remotetask", default=None)
#: Also before and after the task, until the run is committed.
_around: ContextVar[Run | None] = ContextVar("lovely.remotetask.run", default=None)


def describe(service: TaskService, job: Job) -> dict[str, Any]:
    """What log records of a run carry."""
    return {
        "service": service.__name__,
        "jobid": job.id,
        "task": job.task,
        "attempt": job.attempt,
    }


def context() -> Mapping[str, Any]:
    """What log records of the run in this thread carry; nothing if there is none."""
    run = _current.get() or _around.get()
    return {} if run is None else run.context


def current() -> Run:
    """The job that is being run: its ``service``, ``job``, ``attempt``, ``logger``,
    and ``checkCancelled()`` and ``progress(fraction, message)``.

    For tasks.  Raise NotInTask elsewhere.
    """
    run = _current.get()
    if run is None:
        raise NotInTask("No job is being run here: current() is for tasks.")
    return run


#: What other modules put around each attempt, within the transaction that it runs in:
#: called with the `Run`, for a context manager.
wrappers: list[Callable[[Run], AbstractContextManager[object]]] = []


@contextmanager
def wrapped(run: Run) -> Iterator[None]:
    """Within is the attempt, its task and its output."""
    with ExitStack() as stack:
        for wrapper in wrappers:
            stack.enter_context(wrapper(run))
        yield


class telling:  # noqa: N801 - used as a function
    """Within, log records are of this run, or of one within it."""

    _variable = _around

    def __init__(self, run: Run) -> None:
        self._run = run

    def __enter__(self) -> None:
        self._token = self._variable.set(self._run)

    def __exit__(self, *raised: object) -> None:
        self._variable.reset(self._token)


class running(telling):  # noqa: N801 - used as a function
    """Within, `current` is this run, which is over then."""

    _variable = _current

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        self._run.end()
