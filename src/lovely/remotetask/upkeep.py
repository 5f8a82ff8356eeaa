"""What a worker does beside running jobs, and says once: for a processor's thread."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from lovely.remotetask.current import Progress, Run
from lovely.remotetask.environment import SET_BACK
from lovely.remotetask.errors import (
    InvalidArgument,
    InvalidType,
    ServiceNotFound,
    WorkerLost,
)
from lovely.remotetask.outages import is_outage
from lovely.remotetask.session import Session
from lovely.remotetask.sites import is_closed

if TYPE_CHECKING:
    from lovely.remotetask.crew import Crew

log = logging.getLogger("lovely.remotetask")

#: A worker that has not looked for jobs for so long after its waitTime, though a
#: thread is free, is stuck somewhere (seconds).
STALL_SECONDS = 30.0


def began(runs: dict[int, Run]) -> dict[int, int]:
    """When the jobs that run began: microseconds since the epoch by id."""
    moments = ((jobid, run.began) for jobid, run in runs.items())
    return {jobid: moment for jobid, moment in moments if moment is not None}


class Upkeep:
    """What one processor has shown and said so far."""

    def __init__(self, name: str) -> None:
        """``name``: of the service."""
        self._name = name
        self._shown: dict[int, Progress] = {}
        self._overdue: set[int] = set()
        self._stalled = self._differs = False
        #: What was last wrong with the service's retention, and with itself.
        self._complaint = ""
        self._missing = ""

    def start_anew(self) -> None:
        """Another worker follows, which has shown nothing yet."""
        self._shown = {}

    def missing(self, error: Exception) -> None:
        """Say, once, why the service can't be processed."""
        if str(error) != self._missing:
            # One that is not there may come; others have to be converted.
            may_come = isinstance(error, ServiceNotFound)
            level = logging.WARNING if may_come else logging.ERROR
            log.log(level, "%s can't be processed: %s", self._name, error)
        self._missing = str(error)

    def found(self) -> None:
        """The service can be processed."""
        self._missing = ""

    def notice_stall(self, crew: Crew, wait_time: float) -> None:
        """Say so, once, if no thread looks for jobs any more.

        ``wait_time``: how long a thread waits before it looks again (seconds).
        """
        seconds = crew.not_looked_for()
        stalled = seconds > wait_time + STALL_SECONDS
        if stalled and not self._stalled:
            log.error(
                "%s: nobody has looked for jobs for %d seconds, though a thread is "
                "free: it is stuck in the database or in a subscriber",
                self._name,
                seconds,
            )
        self._stalled = stalled

    def notice_clock(self, session: Session) -> None:
        """Say so, once, if this machine's clock is not what the storage's is."""
        differs = abs(session.ahead) > SET_BACK
        if differs and not self._differs:
            log.warning(
                "%s: the clocks of this machine and of the storage differ by %d "
                "seconds: what waits for a time may run too early or too late",
                self._name,
                abs(session.ahead),
            )
        self._differs = differs

    def prune(self, session: Session) -> bool:
        """Index and remove some jobs, if it is time; whether there may be more.

        Whatever goes wrong, the worker goes on without.  Raise WorkerLost, or what
        the storage raises when it fails.
        """
        try:
            return session.catch_up() or session.prune()
        except WorkerLost:
            raise
        except (InvalidType, InvalidArgument) as error:
            if str(error) != self._complaint:
                log.error("%s: no jobs are removed: %s", self._name, error)
            self._complaint = str(error)
        except Exception as error:
            if is_outage(error):
                raise
            if not is_closed(session.connection.db()):
                log.exception("%s: jobs could not be removed", self._name)
        finally:
            session.rest()
        return False

    def show_progress(self, session: Session, runs: dict[int, Run]) -> None:
        """Let others see how far jobs are; say once which have used up their time."""
        reported = {jobid: run.reported for jobid, run in runs.items() if run.reported}
        if reported != self._shown:
            session.show(reported)
            self._shown = reported
        overdue = {jobid for jobid, run in runs.items() if run.overdue}
        for jobid in overdue - self._overdue:
            log.warning(
                "%s: job %s of task %r has used up its time, %g seconds, and goes on",
                self._name,
                jobid,
                runs[jobid].task,
                runs[jobid].timeout,
                extra=dict(runs[jobid].context),
            )
        self._overdue = overdue
