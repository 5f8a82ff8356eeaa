"""The pages that show: each a function of the request and the service.

They return what their template needs.  Each costs the same, however many jobs there
are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from lovely.remotetask import listing
from lovely.remotetask.job import CronJob, Job
from lovely.remotetask.queue import QueueReader
from lovely.remotetask.schedule import At, Delay
from lovely.remotetask.states import (
    COMPLETED,
    CRONJOB,
    DELAYED,
    ERROR,
    PROCESSING,
    REMOVABLE,
    STATUSES,
)
from lovely.remotetask.web import charts, values
from lovely.remotetask.web.fields import (
    Choice,
    Field,
    Integer,
    Moment,
    Text,
    read_texts,
)
from lovely.remotetask.web.verbs import BULK, VERBS, job_of, possible

if TYPE_CHECKING:
    from lovely.remotetask.current import Progress
    from lovely.remotetask.health import Processing
    from lovely.remotetask.history import Minute
    from lovely.remotetask.service import TaskService
    from lovely.remotetask.web.settings import Settings

Values = dict[str, Any]

#: How many jobs are on a page, and at how many is looked for them.
LIMIT, LOOK_AT = 50, 1000
#: How many failures, and jobs of a worker, are shown beside other things.
FEW = 6

FILTERS = (
    Field("status", Choice(STATUSES), "Only jobs with this status."),
    Field("task", Text(), "Only jobs of this task."),
    Field("text", Text(), "Only jobs with this text in their error."),
    Field("since", Moment(), "Only jobs that were added at this moment or later."),
    Field("until", Moment(), "Only jobs that were added before this moment."),
)
START = Field("start", Integer(1), "Where to go on: `next` of the page before.")


class Running(NamedTuple):
    """A job that runs: since when, if that is known, and how far it is."""

    job: Job
    since: datetime | None
    progress: Progress | None


def search(
    settings: Settings, service: TaskService, limit: int = LIMIT, **wanted: Any
) -> listing.Page:
    """A page of jobs.  No text is found that is not shown."""
    seen = settings.mask.error
    return listing.find(service, limit=limit, look_at=LOOK_AT, seen=seen, **wanted)


def counts_of(service: TaskService) -> dict[str, int]:
    """How many jobs have each status."""
    return {status: service.count(status) for status in STATUSES}


def overview(request: Any, service: TaskService) -> Values:
    """How the service is, at a glance."""
    minutes = service.history(60)
    failures = search(request.dashboard, service, FEW, status=ERROR)
    processing = service.processing
    return {
        "counts": counts_of(service),
        "processing": processing,
        "longest": longest(service, processing),
        "throughput": charts.throughput(minutes),
        "latency": charts.latency(minutes),
        "minutes": [minute for minute in minutes if _runs(minute) or minute.retried],
        "figures": _figures(minutes),
        "failures": failures.jobs,
    }


def _runs(minute: Minute) -> int:
    return minute.completed + minute.failed


def _figures(minutes: Sequence[Minute]) -> Values:
    """Sums and means of the last hour."""
    runs = sum(map(_runs, minutes))
    return {
        "runs": runs,
        "failed": sum(minute.failed for minute in minutes),
        "retried": sum(minute.retried for minute in minutes),
        "rate": runs / len(minutes) if minutes else 0.0,
        "waited": sum(m.waited for m in minutes) / runs if runs else None,
        "ran": sum(m.ran for m in minutes) / runs if runs else None,
    }


def longest(service: TaskService, processing: Processing) -> list[Running]:
    """The jobs that have been running for longest, as far as that is known."""
    held = [jobid for state in processing.workers for jobid in state.worker.held]
    began = ((service.runningSince(jobid), jobid) for jobid in held)
    known = sorted((moment, jobid) for moment, jobid in began if moment is not None)
    return [_running(service, jobid) for _, jobid in known[:FEW]]


def _running(service: TaskService, jobid: int) -> Running:
    since, progress = service.runningSince(jobid), service.progress(jobid)
    return Running(service.jobs[jobid], since, progress)


def jobs(request: Any, service: TaskService) -> Values:
    """Jobs, a page at a time, those that are looked for."""
    given = asked_for(request)
    wanted = read_texts((*FILTERS, START), given)
    page = search(request.dashboard, service, **wanted)
    filters = {name: text for name, text in given if name != "start"}
    return {
        "counts": counts_of(service),
        "page": page,
        "reached": None if page.next is None else service.jobs.get(page.next),
        "filters": filters,
        "tabs": tab_links(request, filters),
        "first": "start" not in wanted,
        "on": request.url_for("jobs", {**filters, "start": page.next}),
        "verbs": [
            VERBS[name]
            for name, statuses in BULK.items()
            if filters.get("status") in {None, *statuses}
        ],
        "tasks": sorted(service.getAvailableTasks()),
        "since": service.runningSince,
        "live_url": request.path_qs,
    }


#: What addresses may have, too: what was done.
_NOT_FILTERS = frozenset({"done", "count", "more"})


def asked_for(request: Any) -> list[tuple[str, str]]:
    """What an address asks for; what is empty in a form is not asked for."""
    pairs = request.GET.items()
    return [(name, text) for name, text in pairs if text and name not in _NOT_FILTERS]


def tab_links(request: Any, filters: dict[str, str]) -> dict[str, str]:
    """The same filters with another status each; ``''`` is for all."""
    others = {name: text for name, text in filters.items() if name != "status"}
    statuses = {status: {**others, "status": status} for status in STATUSES}
    return {
        "": request.url_for("jobs", others),
        **{status: request.url_for("jobs", q) for status, q in statuses.items()},
    }


def job(request: Any, service: TaskService) -> Values:
    """All of one job.  Raise UnknownJob."""
    jobid = int(request.matchdict["id"])
    found = job_of(service, jobid)
    mask, since = request.dashboard.mask, service.runningSince(jobid)
    return {
        "job": found,
        "shown": values.full(service, found, mask),
        "shown_traceback": mask.error,
        "attempts": list(reversed(found.attempts)),
        "progress": service.progress(jobid),
        "since": since,
        "cron": isinstance(found, CronJob),
        "verbs": possible(found),
        "over": found.status in REMOVABLE,
        "timeline": timeline(found, since),
        "worker": _worker_of(service, found),
        "described": values.described(found) if isinstance(found, CronJob) else None,
    }


def timeline(
    job: Job, since: datetime | None
) -> list[tuple[str, datetime | None, str]]:
    """What happened to a job: (what, when, status); the earliest first.

    ``since``: when the attempt that runs has begun, if that is known.
    """
    events = [("Added", job.created, "queued")]
    for attempt in job.attempts:
        number = f"Attempt {attempt.number}"
        events.append((f"{number} began", attempt.started, PROCESSING))
        if attempt.failure is None:
            events.append((f"{number} completed", attempt.ended, COMPLETED))
        else:
            events.append((f"{number} failed", attempt.ended, ERROR))
    if job.status == PROCESSING:
        events.append((f"Attempt {job.attempt} is running", since, PROCESSING))
    if job.scheduledFor is not None and job.status in {DELAYED, CRONJOB}:
        events.append(("Due", job.scheduledFor, job.status))
    return events


def _worker_of(service: TaskService, job: Job) -> Any:
    """Who has a job now, or None."""
    if job.status != PROCESSING:
        return None
    return next((w for w in service.workers if job.id in w.held), None)


def queue(request: Any, service: TaskService) -> Values:
    """What comes next."""
    minutes = service.history(15)
    processing = service.processing
    rate = sum(map(_runs, minutes)) / (60 * len(minutes)) if minutes else 0.0
    return {
        "counts": counts_of(service),
        "processing": processing,
        "upcoming": upcoming(service, LIMIT),
        "rate": rate * 60,
        "left": processing.waiting / rate if rate else None,
    }


def upcoming(service: TaskService, limit: int) -> list[Job]:
    """The next jobs that workers would take, the next first.  Looking is free."""
    reader = QueueReader(service)
    found: list[Job] = []
    # What a worker was lost with comes alone, so it is asked for more than once.
    while len(found) < limit and (more := reader.take(limit - len(found))):
        found += more
    return found


def schedule(request: Any, service: TaskService) -> Values:
    """Jobs that come back, and what waits for a time."""
    wanted = read_texts([START], asked_for(request))
    page = search(request.dashboard, service, status=CRONJOB, **wanted)
    running = search(request.dashboard, service, status=PROCESSING)
    delayed = search(request.dashboard, service, status=DELAYED)
    # Their runs are not over: some are tried again.
    crons = [job for job in (*running.jobs, *delayed.jobs) if comes_back(job)]
    first = "start" not in wanted
    return {
        "counts": counts_of(service),
        "crons": [*(crons if first else ()), *page.jobs],
        "described": values.described,
        "page": page,
        "first": first,
        "on": request.url_for("schedule", {"start": page.next}),
        "delayed": [job for job in delayed.jobs if not comes_back(job)][:FEW],
        "possible": possible,
        "live_url": request.path_qs,
    }


def comes_back(job: Job) -> bool:
    """Whether it runs again and again."""
    return isinstance(job, CronJob) and not isinstance(job.schedule, (At, Delay))


def workers(request: Any, service: TaskService) -> Values:
    """Who processes the service."""
    processing = service.processing
    return {
        "processing": processing,
        "held": {
            state.worker.identity: [
                _running(service, jobid) for jobid in state.worker.held[:FEW]
            ]
            for state in processing.workers
        },
        "stalled_after": timedelta(seconds=service.stalledAfter).total_seconds(),
    }
