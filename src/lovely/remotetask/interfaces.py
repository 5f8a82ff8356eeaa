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
    "ICronJob",
    "IJob",
    "IJobAdded",
    "IJobCancelled",
    "IJobCompleted",
    "IJobEvent",
    "IJobFailed",
    "IJobStarted",
    "IJobsRescued",
    "IProcessor",
    "IRunEnded",
    "IStartRemoteTasksEvent",
    "ITask",
    "ITaskService",
]


class ITask(Interface):
    """A named callable, registered as a utility.

    It may also have attributes ``retry`` (a RetryPolicy or a number of retries),
    ``timeout`` (seconds) and ``runAs`` (see `ITaskService`), for all of its jobs.
    """

    inputSchema = Attribute(
        "What inputs have to meet: an interface with fields of zope.schema, or a "
        "field; None for no check.  A dict has the fields as items, another object as "
        "attributes."
    )
    outputSchema = Attribute("What outputs have to meet, likewise.")

    def __call__(service, jobid, input):
        """Do the work of one job and return its output.

        ``service``
            the `ITaskService` that the job belongs to.
        ``jobid``
            the id of the job, an int.
        ``input``
            what was given to `ITaskService.add`: a value of the attempt's own.  To
            change what is stored, let it be a persistent object.

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

    Times given as ``now`` are seconds since the epoch (a number), in the years 1
    to 9999; without it the system's clock is asked.  Another one is an InvalidType
    (a TypeError) or an InvalidArgument (a ValueError).

    For a service that an older version has left, everything raises DatabaseTooOld
    until it is converted; for one of a newer version, DatabaseTooNew.
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

    runAs = Attribute(
        "For whom jobs are run: ``'adder'``, the principal who added the job, or "
        "``'system'``; unless its task has a ``runAs``."
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
        InvalidArgument (a ValueError), SchemaNotMet (a ValueError) or Unpicklable (a
        TypeError).  After an error nothing is added, and the transaction can go on.
        """

    def addCronJob(  # noqa: PLR0917 - its old, public shape
        task,
        input=None,
        minute=(),
        hour=(),
        dayOfMonth=(),
        month=(),
        dayOfWeek=(),
        delay=None,
        *,
        cron=None,
        every=None,
        at=None,
        timezone=None,
        missed="latest",
        grace=None,
        overlap="skip",
        retry=None,
        timeout=None,
    ):
        """Ask for a task to be run on a schedule; return the id of the new job.

        The job keeps its id.  Between its runs it is ``cronjob``; an error does not
        end it.

        ``task``, ``input``, ``retry``, ``timeout``
            as for `add`.  A run that failed is tried again if that is before the
            next one that is planned.
        ``minute``, ``hour``, ``dayOfMonth``, ``month``, ``dayOfWeek``
            an int, or several: due when all that are given match.  Monday is 0.
            Fields smaller than the smallest that is given have their first value.
        ``cron``
            an expression as cron has it, a str: ``"*/5 8-18 * * mon-fri"``.
        ``every``
            an interval of real time: a timedelta, or a number of seconds.
        ``delay``, ``at``
            once, after so many seconds, or at a moment, an aware datetime.  Until
            then the job is ``delayed``; then it is over, as others are.
        ``timezone``
            of fields and ``cron``: the name of a time zone; UTC by default.
        ``missed``
            what becomes of runs that could not begin when they were due:
            ``'latest'``: one run makes up for all; ``'skip'``: none is made up
            for; ``'all'``: each is, at most the 100 latest ones.
        ``grace``
            seconds that a run may be late; later it is left out.  With ``'skip'``
            60 by default.
        ``overlap``
            if a run is due while the one before it is not over: ``'skip'`` it,
            or ``'queue'`` one more to begin then.

        Give just one kind of schedule.  Raise UnknownTask (a ValueError),
        InvalidArgument (a ValueError), InvalidType (a TypeError), SchemaNotMet (a
        ValueError), Unpicklable (a TypeError), or NotInstalled if nothing is there
        that reads ``cron``.  After an error nothing is added.
        """

    def reschedule(jobid):
        """Plan a cron job anew from now on, after `ICronJob.update`.

        What becomes of a run that has begun stays so.  A job that waits keeps its
        status until its next run, also if it runs once now, or no longer only once.
        Return True, or False if the job is over.  Raise UnknownJob (a KeyError);
        InvalidArgument (a ValueError), also if it is no cron job.
        """

    def pause(jobid):
        """Let no other run of a cron job begin that is planned.

        One that has begun is finished, its retries too.  Return and raise as
        `reschedule`.
        """

    def resume(jobid):
        """Let a cron job that was paused go on: it is planned anew from now on.

        Return and raise as `reschedule`.
        """

    def runNow(jobid):
        """Run a cron job at once, or once more if it is running, whatever is planned.

        Also if it is paused.  Return and raise as `reschedule`.
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

    def remove(jobid):
        """Remove a job that is over.

        Return True if it was over, else False.  Raise UnknownJob (a KeyError).
        """

    def retryAll():
        """`retry` all jobs that are in error; return how many."""

    def progress(jobid):
        """What a running job has reported: (fraction, message), or None.

        The fraction is a float from 0 to 1, the message a str.  Raise UnknownJob (a
        KeyError).
        """

    def runningSince(jobid):
        """When the attempt that runs has begun, an aware datetime.

        None if none runs, or if the worker's next heartbeat is to tell: that is why
        short runs cost nothing.  Raise UnknownJob (a KeyError).
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
        """What the task returned, or None.

        Raise UnknownJob (a KeyError), or CannotLoad if its classes refuse what was
        stored.
        """

    def getError(jobid):
        """The message of the last failure, a str; ``'None'`` without one.

        Raise UnknownJob (a KeyError).
        """

    def count(status=None):
        """How many jobs have this status, or, with None, how many there are.

        An int; the cost does not depend on it.  Raise InvalidArgument (a
        ValueError) for what is no status.
        """

    def history(minutes=60):
        """What became of the runs of the last minutes, up to and with this one.

        A list of `lovely.remotetask.history.Minute`, one for each minute, the oldest
        first.  Workers keep it for a day, in all processes; what was run by `process`
        and `processNext` is not in it.

        ``minutes``
            how many, an int from 1 to 1440.

        Raise InvalidArgument (a ValueError) or InvalidType (a TypeError).
        """

    def hasJobsWaiting(now=None):
        """Whether a job is due: queued, or scheduled for no later than now; a bool."""

    def claimNextJob(now=None):
        """Take the oldest job that is due; return its id, an int, or None.

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
        left alone, which is logged.

        Raise NotInDatabase; InvalidType (a TypeError) or InvalidArgument (a
        ValueError) if `processorFactory`, `processorArguments`, `retention`,
        `retryPolicy` or `stalledAfter` make no sense.
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
    input = Attribute(
        "What the task is given.  CannotLoad is raised if its classes refuse what was "
        "stored."
    )
    output = Attribute("What the task returned, or None; or CannotLoad, likewise.")
    error = Attribute(
        "The last failure as text (type, message, traceback), or None; None "
        "too once the job has completed."
    )
    principal = Attribute(
        "The id of the principal who added the job, a str; None if it was the "
        "system, or if nothing here knows principals."
    )
    created = Attribute("When the job was added.")
    started = Attribute("When its last attempt began, or None.")
    completed = Attribute("When its last attempt ended, or None.")
    scheduledFor = Attribute("When it becomes due, if it was given a time, or None.")
    attempt = Attribute("How many attempts have begun, an int.")
    attempts = Attribute(
        "The last attempts, oldest first: a tuple of "
        "`lovely.remotetask.job.Attempt` (number, started, ended, failure).  Where a "
        "worker was lost, the failure says so, and ``started`` is None."
    )


class ICronJob(IJob):
    """A job that comes back on a schedule, and keeps its id.

    ``output`` and ``error`` are the last ones, ``started`` and ``completed`` those of
    the last attempt.  ``scheduledFor`` is when it runs next; None while it is paused,
    and when it is over.
    """

    minute = Attribute("The minutes that it is due at, a tuple; () if not given.")
    hour = Attribute("The hours, likewise.")
    dayOfMonth = Attribute("The days of the month, likewise.")
    month = Attribute("The months, likewise.")
    dayOfWeek = Attribute("The days of the week, likewise; Monday is 0.")
    delay = Attribute("The delay in seconds, if it was given one, or None.")
    schedule = Attribute("What it is due by, a `lovely.remotetask.schedule.Schedule`.")
    policy = Attribute(
        "What becomes of runs that could not begin in time, a "
        "`lovely.remotetask.planning.RunPolicy`."
    )
    paused = Attribute("Whether it is paused.")
    runFor = Attribute(
        "The moment that the last run was planned for; None if somebody asked for it."
    )
    runs = Attribute(
        "The last runs, oldest first: a tuple of at most 10 "
        "`lovely.remotetask.job.PastRun` (planned, started, ended, outcome, error)."
    )

    def update(
        minute=(),
        hour=(),
        dayOfMonth=(),
        month=(),
        dayOfWeek=(),
        delay=None,
        *,
        cron=None,
        every=None,
        at=None,
        timezone=None,
        missed=None,
        grace=None,
        overlap=None,
    ):
        """Change the schedule, which is given as for `ITaskService.addCronJob`.

        What is planned already stays so, until `ITaskService.reschedule`.  Without a
        schedule, only the rest is changed; what is None there stays, and so does the
        zone.  Of fields and of ``cron``, the zone may be given alone.  Raise as
        ``addCronJob``; after an error nothing is changed.
        """

    def timeOfNextCall(now=None):
        """When it is due after ``now``: seconds since the epoch, an int, or None.

        By the schedule alone, not by what is planned.
        """

    def upcoming(n):
        """The next moments that are planned, at most ``n``: aware datetimes.

        ``n`` is from 0 to 100,000.  Raise InvalidArgument or InvalidType.
        """


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


class IStartRemoteTasksEvent(Interface):
    """Services are to be processed from now on: the start-up follows directives."""

    database = Attribute("The ZODB.DB that the services are in.")
    serviceNames = Attribute(
        "What to start, a list of ``SITE@SERVICE``; None for what is configured."
    )


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
    """The task returned, and its job or run is about to be committed."""


class IJobFailed(IJobEvent):
    """The job ended in ``error``, or a run of a cron job failed for good."""


class IJobCancelled(IJobEvent):
    """The job was cancelled."""


class IRunEnded(Interface):
    """A worker has ended an attempt to run a job, and that is committed.

    Of plain values, outside of any transaction, in the worker's process.  What
    subscribers raise is logged.
    """

    service = Attribute("The name of the service, a str.")
    jobid = Attribute("The job's id, an int.")
    task = Attribute("The name of the task, a str.")
    attempt = Attribute("Which attempt it was, an int from 1 on.")
    outcome = Attribute(
        "``completed``; ``error`` if it failed for good; ``delayed`` if it failed and "
        "is tried again; or ``cancelled``."
    )
    started = Attribute("When it began, in microseconds since the epoch.")
    moment = Attribute("When it ended, likewise.")
    waited = Attribute("Seconds from when it was due to when it began, a float.")
    ran = Attribute("Seconds that it took, a float.")


class IJobsRescued(Interface):
    """A worker has taken back what lost workers held, and that is committed.

    As for `IRunEnded`.
    """

    service = Attribute("The name of the service, a str.")
    queued = Attribute("The ids of the jobs that are queued again, a list.")
    failed = Attribute("The ids of those that are in error, a list.")
