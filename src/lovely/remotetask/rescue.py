"""Taking back jobs from workers that are lost, and from calls that came to nothing.

A call runs jobs in its caller's transaction.  If a task commits by itself there, a
worker stands for the call in the database from then on, until the caller's
transaction ends.  If that is aborted, the job goes back to its place.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from lovely.remotetask.claims import MOST_CRASHES, Rescued
from lovely.remotetask.execution import announce_failure

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService
    from lovely.remotetask.workers import Worker

log = logging.getLogger("lovely.remotetask")

#: Calls of this process of which a task has committed by itself, and that are not
#: over: the identities of the workers that stand for them.
_open_calls: set[str] = set()


def begin_call(identity: str) -> None:
    """A worker stands for a call from now on."""
    _open_calls.add(identity)


def end_call(identity: str, transaction: Any) -> None:
    """The call is over as soon as its caller's transaction is."""
    if identity in _open_calls:
        transaction.addAfterCommitHook(lambda _: _open_calls.discard(identity))
        transaction.addAfterAbortHook(_open_calls.discard, (identity,))


def rescue(service: TaskService, is_lost: Callable[[Worker], bool]) -> list[Rescued]:
    """Take back the jobs of lost workers, and of calls that came to nothing.

    The latter are no crashes, and no attempts.
    """
    for worker in service._workers:
        if worker.is_call and _came_to_nothing(service, worker):
            service._workers.leave(service, worker.key)
    rescued = service._workers.rescue(service, is_lost)
    for found in rescued:
        if found.failed:
            announce_failure(service, service.jobs[found.jobid])
    return rescued


def _came_to_nothing(service: TaskService, worker: Worker) -> bool:
    identity = worker.identity
    ours = identity.rpartition("/")[0] == service.environment.process()
    return ours and identity not in _open_calls


def report(where: str, rescued: Iterable[Rescued]) -> None:
    """Log what has been taken back of a service, ``where``, one by one."""
    for found in rescued:
        job = (where, found.jobid, found.task)
        tags = {
            "service": where.rpartition("/")[2],
            "jobid": found.jobid,
            "task": found.task,
            "attempt": found.attempt,
        }
        if found.failed:
            log.error(
                "%s: job %s of task %r is given up: %s", *job, found.reason, extra=tags
            )
        else:
            log.warning(
                "%s: job %s of task %r is queued again: %s That is crash %s of %s.",
                *job,
                found.reason,
                found.crashes,
                MOST_CRASHES,
                extra=tags,
            )
