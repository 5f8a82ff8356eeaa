"""Every error that the library raises by itself, under one root.

Each one says when it is raised and what to do.  Where an application may
already catch a built-in exception for the same mistake, the error is that
built-in exception too.
"""

from __future__ import annotations

from transaction.interfaces import TransientError
from ZODB.POSException import POSError

#: A message shows so much of what was given, at most (characters).
MOST_SHOWN = 100


def shown(value: object) -> str:
    """What was given, for a message: its repr, or the beginning of that."""
    try:
        text = repr(value)
    except ValueError:  # an int of thousands of digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


class RemoteTaskError(Exception):
    """The root of all errors of this library."""


class TaskError(RemoteTaskError):
    """A task gives up for a reason of its own.

    Tasks raise it, with a message for the person who looks at the job.  The
    job ends in status ``error`` and keeps the message.
    """


class JobCancelled(RemoteTaskError):
    """The job that is being run was cancelled.

    Raised by ``current().checkCancelled()`` within a task; let it pass.  The job
    ends in status ``cancelled``, and nothing that it wrote is kept.
    """


class JobTimeout(RemoteTaskError, TimeoutError):
    """The job that is being run has used up its time.

    Raised by ``current().checkCancelled()`` within a task; let it pass.  The
    attempt has failed.
    """


class NotInTask(RemoteTaskError, RuntimeError):
    """There is no current job, because no task is being run in this thread.

    Raised by ``current()``.  In a thread that a task has started, use what the
    task hands over.
    """


class UnknownTask(RemoteTaskError, ValueError):
    """No task is registered under the name that was asked for.

    Raised by ``add``; a job whose task has gone by the time it runs fails with
    it.  Register the task in every process that adds or runs its jobs, with the
    decorator ``task`` or as a named utility for the service's ``taskInterface``,
    and import the module that does so.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return (
            f"Task does not exist: {shown(self.name)}. Register it, with "
            f"@task({shown(self.name)}) above a function or with provideUtility(..., "
            f"ITask, name={shown(self.name)}), and import the module where that is "
            "done in each process that adds or runs such jobs."
        )


class UnknownJob(RemoteTaskError, KeyError):
    """The service has no job with this id.

    Raised by everything that is asked about one job.  The id is wrong, the
    transaction that added the job was aborted, or the job has been removed.
    """

    def __init__(self, jobid: object) -> None:
        super().__init__(jobid)
        self.jobid = jobid

    def __str__(self) -> str:
        return f"There is no job {shown(self.jobid)}."


class InvalidArgument(RemoteTaskError, ValueError):
    """An argument has the right type, but a value that makes no sense.

    The message names the argument and says what is accepted.
    """


class InvalidType(RemoteTaskError, TypeError):
    """An argument has a type that can't be used.

    The message names the argument and says what is accepted.
    """


class Unpicklable(RemoteTaskError, TypeError):
    """A job's input or output can't be stored in the database.

    It can't be pickled, or what is pickled can't be loaded again.

    Raised by ``add`` for an input; a job whose task returns such a value fails
    with it.  Use plain values, module-level classes, or persistent objects.
    """


class CannotLoad(RemoteTaskError):
    """A job's input or output is in the database, but can't be loaded.

    A class of it refuses what was stored, as an Enum does without the member.  Raised
    by ``job.input``, ``job.output`` and ``getResult``; an attempt to run such a job
    fails with it.  Give back to the class what it lacks, and try the job again.
    """

    def __init__(self, what: str, reason: BaseException) -> None:
        super().__init__(what, reason)
        self.what, self.reason = what, reason

    def __str__(self) -> str:
        return (
            f"{self.what} can't be loaded: {type(self.reason).__name__}: "
            f"{self.reason}. Give back to its classes what they lack, and try again."
        )


class InvalidTransition(RemoteTaskError):
    """A job can't go from its status to the one that was asked for.

    The library's own guard: if you see it, something changed the job's status
    behind the service's back.
    """


class LaneLost(RemoteTaskError, TransientError):
    """Another process has taken over what this one used to add jobs.

    It took this process for dead.  Try the transaction again, as after a
    conflict.
    """


class WorkerLost(RemoteTaskError):
    """A worker has been taken for lost, and its jobs were taken back.

    It was silent for longer than its lease: it was stopped, or could not reach
    the database.  Processors begin again as a new worker by themselves.
    """


class SchemaNotMet(InvalidArgument):
    """An input or an output does not meet the schema of its task.

    Raised by ``add`` and ``addCronJob`` for an input; a job whose task returns such
    an output fails with it.  ``problems`` names the fields and says what is wrong
    with each: pairs of str; the name is ``''`` for what concerns several.
    """

    def __init__(
        self, what: str, schema: str, problems: tuple[tuple[str, str], ...]
    ) -> None:
        super().__init__(what, schema, problems)
        self.what, self.schema, self.problems = what, schema, problems

    def __str__(self) -> str:
        wrong = [f"{name}: {why}" if name else why for name, why in self.problems]
        schema = self.schema or "its schema"
        return f"{self.what} does not meet {schema}. {'; '.join(wrong)}."


class PrincipalGone(RemoteTaskError, LookupError):
    """The principal for whom a job is to be run is not known any more.

    The job fails with it, and is not tried again by itself.  Add the job anew as
    somebody else, or let its task or the service run it as the system:
    ``runAs='system'``.
    """

    def __init__(self, principal: str) -> None:
        super().__init__(principal)
        self.principal = principal

    def __str__(self) -> str:
        return (
            f"The principal {self.principal!r}, who added the job, is not known here "
            "any more."
        )


class NotInDatabase(RemoteTaskError, LookupError):
    """The service has to be in a database for this.

    Put the service into the database and commit; processing in the background
    needs a database that other connections can read.
    """


class ServiceNotFound(RemoteTaskError, LookupError):
    """A processor found no task service at its path.

    The path is a list of names, from the root folder of the application or
    from the root of the database.
    """


class DatabaseTooOld(RemoteTaskError, POSError):
    """A service is as an older version of this library left it.

    Nothing can be done with it before it has been converted:
    ``lovely.remotetask.evolve.evolve(db)`` does that, or goes on with it.
    """

    def __init__(self, name: str, version: int, needed: int) -> None:
        super().__init__(name, version, needed)
        self.name, self.version, self.needed = name, version, needed

    def __str__(self) -> str:
        return (
            f"Task service {self.name!r} has state of version {self.version}; this "
            f"is {self.needed}. Convert it, with the application stopped: "
            "lovely.remotetask.evolve.evolve(db)"
        )


class DatabaseTooNew(RemoteTaskError, POSError):
    """A service has been written by a newer version of this library.

    Install that version, or a later one, here too.
    """

    def __init__(self, name: str, version: int, known: int) -> None:
        super().__init__(name, version, known)
        self.name, self.version, self.known = name, version, known

    def __str__(self) -> str:
        return (
            f"Task service {self.name!r} has state of version {self.version}; this "
            f"code knows versions up to {self.known}. Install a newer "
            "lovely.remotetask."
        )


class CannotConvert(RemoteTaskError):
    """Something in an old database can't be converted.

    What has been converted so far is kept; nothing is lost.  Mend what the message
    says, and go on with ``lovely.remotetask.evolve.evolve(db)``.
    """


class NotInstalled(RemoteTaskError, ImportError):
    """What was asked for needs a library that is not installed.

    The library comes with an extra of this one; the message says which.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(what, extra)
        self.what, self.extra = what, extra

    def __str__(self) -> str:
        return (
            f"{self.what} needs a library that is not installed. Install the extra "
            f"it comes with: pip install 'lovely.remotetask[{self.extra}]'"
        )


class RollbackImpossible(RemoteTaskError):
    """A failed job's writes can't be rolled back in this transaction.

    Raised by ``process`` and ``processNext`` when something else that takes
    part in the caller's transaction does not support savepoints.  Abort the
    transaction; run such jobs in a background processor instead.
    """
