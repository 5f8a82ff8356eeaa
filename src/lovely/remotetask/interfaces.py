"""The contracts.

A *task* is a named callable; a *job* is one request to run it once.  A
*task service* owns jobs and the queue; a *processor* takes jobs of one service
and runs them.
"""

from zope.interface import Attribute, Interface
from zope.interface.interfaces import IObjectEvent

from lovely.remotetask.states import (
    CANCELLED,
    COMPLETED,
    CRONJOB,
    DELAYED,
    ERROR,
    PROCESSING,
    QUEUED,
    STARTLATER,
)

__all__ = [
    "CANCELLED",
    "COMPLETED",
    "CRONJOB",
    "DELAYED",
    "ERROR",
    "PROCESSING",
    "QUEUED",
    "STARTLATER",
    "IJob",
    "IJobAdded",
    "IJobCancelled",
    "IJobCompleted",
    "IJobEvent",
    "IJobFailed",
    "IJobStarted",
    "IProcessor",
    "ITask",
    "ITaskService",
]


class ITask(Interface):
    """A named callable, registered as a utility."""

    inputSchema = Attribute("An interface that the input provides, or None.")
    outputSchema = Attribute("An interface that the output provides, or None.")

    def __call__(service, jobid, input):
        """Do the work of one job and return its output.

        ``service``
            the `ITaskService` that the job belongs to.
        ``jobid``
            the id of the job, an int.
        ``input``
            what was given to `ITaskService.add`.

        Return anything that can be pickled, or None.  What the call writes to
        the database is committed together with the end of the job.

        Raise `lovely.remotetask.TaskError` to fail with a message.  Any other
        exception fails the job too; nothing that was written is kept.  A
        `transaction.interfaces.TransientError` (a conflict) makes the job run
        again at once, a limited number of times.
        """


class ITaskService(Interface):
    """The owner of jobs, of their queue and of their schedule.

    Everything here takes part in the caller's transaction: it holds if, and
    only if, that transaction commits.  The exceptions, which act at once, are
    `startProcessing`, `stopProcessing`, `isProcessing` and `waitProcessing`.

    Times given as ``now`` are seconds since the epoch (a number); without it
    the system's clock is asked.
    """

    __name__ = Attribute("The name in the parent, or None.")
    __parent__ = Attribute("What the service lies in, or None.")

    jobs = Attribute(
        "A read-only mapping of int id to `IJob`, in the order of ids. "
        "``keys``, ``values`` and ``items`` take ``min`` and ``max``."
    )
    taskInterface = Attribute(
        "The interface under which this service's tasks are registered."
    )
    processorFactory = Attribute(
        "Called with a ZODB.DB, the path of the service (a list of str) and "
        "`processorArguments`; returns an `IProcessor`."
    )
    processorArguments = Attribute("Keyword arguments for the processor, a dict.")
    retryPolicy = Attribute(
        "When failed jobs are tried again, a `lovely.remotetask.RetryPolicy`, "
        "unless a job or its task has one of its own."
    )
    retention = Attribute(
        "Which jobs that are over are removed by workers, now and then: a mapping "
        "of status to `lovely.remotetask.Keep`.  What has no entry is kept for ever. "
        "By default that is what is in error; the rest is kept for 30 days."
    )

    workers = Attribute(
        "Who processes the service, in any process: a list of "
        "`lovely.remotetask.workers.WorkerInfo`."
    )

    processing = Attribute(
        "Whether the service is processed as it should be, by whatever process: a "
        "`lovely.remotetask.health.Processing`.  Its cost does not depend on how "
        "many jobs wait."
    )
    stalledAfter = Attribute(
        "Seconds after which jobs that are due and that nobody takes are a stall, "
        "for `processing`.  More than any processor's ``waitTime``."
    )

    def getAvailableTasks():
        """The tasks that `add` accepts: a dict of name (str) to `ITask`."""

    def add(
        task,
        input=None,
        startLater=False,
        *,
        delay=None,
        at=None,
        retry=None,
        timeout=None,
    ):
        """Ask for a task to be run; return the id of the new job, an int.

        ``task``
            the name of a registered task, a str.
        ``input``
            handed to the task: anything that can be pickled.  A persistent
            object is stored by reference.
        ``startLater``
            if true, the job waits, as ``start later``, for `startJob`.
        ``delay``
            seconds to wait before the job is queued, a number from 0 on.
        ``at``
            the moment from which on the job may run, an aware datetime.
            A moment that has passed means at once.
        ``retry``
            when to try again after a failure: a RetryPolicy, or an int, so many
            retries.  Otherwise the task's policy holds, or the service's.
        ``timeout``
            seconds after which the task is asked to stop; see
            `lovely.remotetask.current`.  Otherwise the task's holds.

        Raise UnknownTask (a ValueError), InvalidType (a TypeError),
        InvalidArgument (a ValueError) or Unpicklable (a TypeError).  After an
        error nothing is added, and the transaction can go on.
        """

    def startJob(jobid):
        """Queue a job that was added with ``startLater``.

        Return True if it was ``start later`` and is now queued, else False.
        Raise UnknownJob (a KeyError).
        """

    def cancel(jobid):
        """End a job that has not begun: queued, waiting, delayed or scheduled.

        One that runs is asked to stop: it does if its task looks, with
        `lovely.remotetask.current`, and is never killed.  Ids that are not known,
        and jobs that are over, are ignored.
        """

    def retry(jobid):
        """Queue a job that is in error or cancelled, as if it were new.

        Return True if it was, else False.  Raise UnknownJob (a KeyError).
        """

    def retryAll():
        """`retry` all jobs that are in error; return how many."""

    def progress(jobid):
        """What a running job has reported: (fraction, message), or None.

        The fraction is a float from 0 to 1.  Raise UnknownJob (a KeyError).
        """

    def clean(status=(CANCELLED, ERROR, COMPLETED), limit=None):
        """Remove the jobs that have one of these statuses; return how many.

        ``limit``
            how many at most, the oldest first, an int.  So that many jobs can be
            removed in several transactions.

        Raise InvalidArgument (a ValueError) for a status of jobs that are not
        over, and for a limit below 0; InvalidType (a TypeError).
        """

    def getStatus(jobid):
        """The status of a job, a str.  Raise UnknownJob (a KeyError)."""

    def getResult(jobid):
        """What the task returned, or None.  Raise UnknownJob (a KeyError)."""

    def getError(jobid):
        """The message of the last failure, a str; ``'None'`` without one.

        Raise UnknownJob (a KeyError).
        """

    def count(status=None):
        """How many jobs have this status, or, with None, how many there are.

        An int; the cost does not depend on it.  Raise InvalidArgument (a
        ValueError) for what is no status.
        """

    def hasJobsWaiting(now=None):
        """Whether a job is due: queued, or scheduled for no later than now."""

    def claimNextJob(now=None):
        """Take the oldest job that is due; return its id, or None.

        The job is ``processing`` afterwards; `processNext` with its id runs it.
        """

    def processNext(now=None, jobid=None):
        """Run one job in this thread and in this transaction.

        Without ``jobid`` the oldest that is due.  Return True if there was
        one; with a ``jobid``, if that job is over now: one that is to start
        later, or that a processor has taken, is left alone.  What a failing job
        wrote is rolled back.  Raise UnknownJob (a KeyError).
        """

    def process(now=None):
        """Run jobs in this thread and transaction until none is due."""

    def startProcessing():
        """Start processing in the background, in a daemon thread.

        Needed after each start of the process.  A service that is being
        processed in this process stays so; one without a ``__parent__`` is
        left alone.

        Raise NotInDatabase; InvalidType (a TypeError) or InvalidArgument (a
        ValueError) if `processorFactory`, `processorArguments`, `retention` or
        `stalledAfter` make no sense.
        Then nothing has been started.
        """

    def stopProcessing(wait=False, timeout=None):
        """Stop processing in the background.

        The job that runs is finished first; jobs that were taken but have not
        begun go back to the queue.  With ``wait``, return when that is done,
        or after ``timeout`` seconds.  Return True if nothing runs any more.
        """

    def isProcessing():
        """Whether this process processes this service in the background."""

    def waitProcessing(timeout=None):
        """Wait until background processing has ended after `stopProcessing`.

        ``timeout`` is in seconds.  Return True if it has ended.
        """


class IJob(Interface):
    """One request to run a task once.

    All attributes are read-only for everybody but the library.  Times are
    aware datetimes in UTC.
    """

    id = Attribute("An int, from 1 on, unique in the service.")
    task = Attribute("The name of the task, a str.")
    status = Attribute("One of the status constants, a str.")
    input = Attribute("What the task is given.")
    output = Attribute("What the task returned, or None.")
    error = Attribute(
        "The last failure as text (type, message, traceback), or None; None "
        "too once the job has completed."
    )
    created = Attribute("When the job was added.")
    started = Attribute("When its last attempt began, or None.")
    completed = Attribute("When its last attempt ended, or None.")
    scheduledFor = Attribute("When it becomes due, if it was given a time, or None.")
    attempt = Attribute("How many attempts have begun, an int.")
    attempts = Attribute(
        "The last attempts, oldest first: a tuple of "
        "`lovely.remotetask.job.Attempt` (number, started, ended, failure)."
    )


class IProcessor(Interface):
    """Takes jobs of one service and runs them until it is stopped.

    Made with a ZODB.DB, the path of the service and keyword arguments.
    """

    running = Attribute("Whether the processor runs and has not been told to stop.")

    def __call__():
        """Run in the calling thread until `stop`."""

    def stop():
        """Ask the processor to end; return at once."""

    def hasJobsWaiting():
        """Whether a job is due."""

    def claimNextJob():
        """Take the oldest job that is due, and commit; its id, or None."""

    def processNext(jobid=None):
        """Take (unless ``jobid`` is one that was taken), run and finish a job.

        Return True if there was one.  Never raises what the task raised.
        """


class IJobEvent(IObjectEvent):
    """Something happened to a job, in the current transaction.

    A subscriber that raises an exception: for `IJobAdded` and `IJobCancelled`
    the caller sees it; for `IJobStarted` and `IJobCompleted` the attempt has
    failed; for `IJobFailed` it is logged.
    """

    object = Attribute("The `IJob`.")
    service = Attribute("The `ITaskService` that the job belongs to.")


class IJobAdded(IJobEvent):
    """A job was added."""


class IJobStarted(IJobEvent):
    """An attempt begins: the task is about to be called."""


class IJobCompleted(IJobEvent):
    """The task returned, and the job is about to be committed."""


class IJobFailed(IJobEvent):
    """The job ended in ``error``."""


class IJobCancelled(IJobEvent):
    """The job was cancelled."""
