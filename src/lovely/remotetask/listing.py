"""Looking for jobs among many, a page at a time.

A page costs the same, however many jobs there are.  Where those with a status are
known, because they are few as a rule, they are found at once: what workers hold, the
schedule, the cron jobs, and what is in error.  Elsewhere so many jobs are looked at,
and the page says where to go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from lovely.remotetask import times
from lovely.remotetask.blocks import number_of
from lovely.remotetask.errors import InvalidArgument, InvalidType
from lovely.remotetask.job import Job
from lovely.remotetask.own import fetch
from lovely.remotetask.retention import check_number
from lovely.remotetask.states import CRONJOB, DELAYED, ERROR, PROCESSING, STATUSES

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

#: So many jobs are asked of the storage at once.
CHUNK = 50

_LAST_ID = 2**63 - 1


class Page(NamedTuple):
    """Some of the jobs that were looked for."""

    #: Those that were found; it may be none, and not the last page.
    jobs: list[Job]
    #: The id to go on from, as ``start``; None if there is nothing more to look at.
    next: int | None
    #: How many jobs were looked at for this page.
    looked_at: int


class Wanted(NamedTuple):
    """Which jobs are looked for; None leaves the choice open."""

    status: str | None = None
    task: str | None = None
    #: In the job's error; its case does not matter, and it is folded.
    text: str | None = None
    #: When it was added: from this moment on, and before that (microseconds).
    since: int | None = None
    until: int | None = None
    #: What is seen of an error, given all of it.
    seen: Callable[[str], str] | None = None

    def has(self, job: Job) -> bool:
        """Whether a job is one of them."""
        return (
            (self.status is None or job.status == self.status)
            and (self.task is None or job.task == self.task)
            and (self.since is None or job._created >= self.since)
            and (self.until is None or job._created < self.until)
            and (self.text is None or self._tells(job.error or ""))
        )

    def _tells(self, error: str) -> bool:
        """Whether the text is in an error, and in what is seen of it."""
        text = self.text or ""
        if text not in error.casefold():
            return False
        return self.seen is None or text in self.seen(error).casefold()


def find(
    service: TaskService,
    *,
    status: str | None = None,
    task: str | None = None,
    text: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    start: int | None = None,
    limit: int = 50,
    look_at: int = 1000,
    newest_first: bool = True,
    seen: Callable[[str], str] | None = None,
) -> Page:
    """Jobs of a service by the order of their ids; see `Page`.

    ``status``, ``task``
        only jobs with this status, and of this task, a str.
    ``text``
        only jobs with this text in their error, a str; its case does not matter.
    ``since``, ``until``
        only jobs that were added at or after the one moment, and before the other:
        aware datetimes.
    ``start``
        the id to begin with: `Page.next` of the page before, an int.
    ``limit``, ``look_at``
        how many jobs to return, and how many to look at, at most: ints from 1 on.
    ``newest_first``
        whether the ids descend.
    ``seen``
        what whoever asks may see of an error, a callable given all of it: else ``text``
        could be used to guess the rest.

    Raise InvalidArgument (a ValueError) or InvalidType (a TypeError).
    """
    wanted = Wanted(
        _check_status(status),
        _check_text("task", task),
        (_check_text("text", text) or "").casefold() or None,
        None if since is None else times.check_at(since, "since"),
        None if until is None else times.check_at(until, "until"),
        seen,
    )
    limit, look_at = _check_size("limit", limit), _check_size("look_at", look_at)
    if start is not None:
        start = min(check_number("start", start), _LAST_ID)
    found = _known(service, status, look_at, start, newest_first)
    if found is None:
        found = _all(service, start, newest_first)
    return _page(service, found, wanted, limit, look_at)


def failed_ids(service: TaskService) -> list[int] | None:
    """The ids of all jobs that are in error, the oldest first; None if not known."""
    found = _failed(service, None, newest_first=False)
    return None if found is None else list(found)


#: Ids and jobs, in the order in which they are looked at.
Items = Iterator[tuple[int, Job]]


def _page(
    service: TaskService, items: Items, wanted: Wanted, limit: int, look_at: int
) -> Page:
    """Go through jobs until there are enough."""
    found: list[Job] = []
    looked_at = 0
    while chunk := list(islice(items, CHUNK)):
        for index, (jobid, job) in enumerate(chunk):
            if looked_at == look_at or len(found) == limit:
                return Page(found, jobid, looked_at)
            if index == 0:
                fetch(job for _, job in chunk[: look_at - looked_at])
            looked_at += 1
            if wanted.has(job):
                found.append(job)
    return Page(found, None, looked_at)


def _all(service: TaskService, start: int | None, newest_first: bool) -> Items:
    """All jobs."""
    if not newest_first:
        yield from service.jobs.items(start)
        return
    last = None if start is None else number_of(start)
    for block in service.jobs.blocks_before(last):
        for jobid, job in reversed(list(enumerate(block.jobs, block.first_id))):
            if job is not None and (start is None or jobid <= start):
                yield jobid, job


def _known(
    service: TaskService,
    status: str | None,
    most: int,
    start: int | None,
    newest_first: bool,
) -> Items | None:
    """All jobs with a status, and maybe others, if it is known which they are."""
    if status is None:
        return None
    ids: Iterable[int] | None
    if not service.count(status):
        ids = ()
    elif status == ERROR:
        ids = _failed(service, start, newest_first=newest_first)
    else:
        ids = _few(service, status, most, start, newest_first=newest_first)
    return None if ids is None else _items(service, ids)


def _items(service: TaskService, ids: Iterable[int]) -> Items:
    jobs = ((jobid, service.jobs.get(jobid)) for jobid in ids)
    return ((jobid, job) for jobid, job in jobs if job is not None)


def _failed(
    service: TaskService, start: int | None, *, newest_first: bool
) -> Iterator[int] | None:
    """The ids of the jobs in error; None if an older version has left some out."""
    index = service._lanes.failed
    if index is None or not index.complete:
        return None
    held = _items(service, _held(service))
    unsettled = {jobid for jobid, job in held if job.status == ERROR}
    recent = _in_order(unsettled, start, newest_first=newest_first)
    # An id may be in both while the index is being made.
    kept = index.ids(start, newest_first=newest_first)
    return merge(recent, (i for i in kept if i not in unsettled), reverse=newest_first)


def _few(
    service: TaskService,
    status: str,
    most: int,
    start: int | None,
    *,
    newest_first: bool,
) -> list[int] | None:
    """The ids of the jobs with a status, if they are few; None if that is not known.

    What has been added and not been read yet is not among them, so it is counted.
    """
    places: dict[str, Callable[[TaskService], Iterable[int]]] = {
        PROCESSING: _held,
        DELAYED: _scheduled,
        CRONJOB: lambda service: service._timetable.cronjobs or (),
    }
    if status not in places:
        return None
    ids = set(islice(places[status](service), most + 1))
    if len(ids) > most:
        return None
    items = list(_items(service, ids))
    fetch(job for _, job in items)
    found = [jobid for jobid, job in items if job.status == status]
    if len(found) != service.count(status):
        return None
    return _in_order(found, start, newest_first=newest_first)


def _held(service: TaskService) -> Iterator[int]:
    return (jobid for worker in service._workers for jobid in worker.held)


def _scheduled(service: TaskService) -> Iterator[int]:
    return (jobid for _, jobid in service._schedule)


def _in_order(
    ids: Iterable[int], start: int | None, *, newest_first: bool
) -> list[int]:
    """Ids from ``start`` on."""
    if start is None:
        return sorted(ids, reverse=newest_first)
    kept = (i for i in ids if (i <= start if newest_first else i >= start))
    return sorted(kept, reverse=newest_first)


def _check_status(status: object) -> str | None:
    if status is not None and status not in STATUSES:
        known = ", ".join(map(repr, STATUSES))
        raise InvalidArgument(f"status: {status!r} is none of {known}.")
    return str(status) if status is not None else None


def _check_text(name: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InvalidType(f"{name}: a str is needed, not {type(value).__name__}.")
    return value


def _check_size(name: str, value: object) -> int:
    if check_number(name, value) == 0:
        raise InvalidArgument(f"{name}: 1 or more is needed, not 0.")
    return check_number(name, value)
