"""Jobs, workers and figures as what JSON knows, for the API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lovely.remotetask.attempts import Attempt, PastRun
from lovely.remotetask.calendars import Cron, Fields
from lovely.remotetask.job import CronJob, Job
from lovely.remotetask.schedule import Every
from lovely.remotetask.states import STATUSES
from lovely.remotetask.web.masking import Mask
from lovely.remotetask.web.words import between, duration, first_line, iso

if TYPE_CHECKING:
    from lovely.remotetask.health import WorkerState
    from lovely.remotetask.history import Minute
    from lovely.remotetask.service import TaskService

#: How many of the next runs of a cron job are told.
UPCOMING = 5
#: The fields of a schedule, and how people call them.
FIELDS = {
    "month": "month",
    "dayOfMonth": "day",
    "dayOfWeek": "weekday",
    "hour": "hour",
    "minute": "minute",
}
#: How much of an error is told in a list.
BRIEF = 300


def brief(job: Job, mask: Mask) -> dict[str, Any]:
    """A job in a list."""
    failure = job.failure
    error = None if failure is None else f"{failure.type}: {failure.message}"
    return {
        "id": job.id,
        "task": job.task,
        "status": job.status,
        "created": iso(job.created),
        "started": iso(job.started),
        "completed": iso(job.completed),
        "scheduled_for": iso(job.scheduledFor),
        "attempt": job.attempt,
        "error": None if error is None else mask.text(first_line(error), BRIEF),
    }


def full(service: TaskService, job: Job, mask: Mask) -> dict[str, Any]:
    """All of a job."""
    progress = service.progress(job.id)
    return {
        **brief(job, mask),
        "input": mask.value(job.input),
        "output": mask.value(job.output),
        "attempts": [_attempt(attempt, mask) for attempt in job.attempts],
        "progress": None
        if progress is None
        else {
            "fraction": progress.fraction,
            "message": mask.text(progress.message),
        },
        "schedule": schedule(job, mask) if isinstance(job, CronJob) else None,
    }


def schedule(job: CronJob, mask: Mask) -> dict[str, Any]:
    """When a cron job runs, and how that went."""
    return {
        "when": described(job),
        "paused": job.paused,
        "upcoming": [iso(moment) for moment in job.upcoming(UPCOMING)],
        "runs": [_run(run, mask) for run in job.runs],
    }


def described(job: CronJob) -> str:
    """A schedule in words."""
    schedule = job.schedule
    if isinstance(schedule, Every):
        return f"every {duration(schedule.interval / 1_000_000)}"
    if isinstance(schedule, Cron):
        return f"{schedule.expression} ({schedule.timezone})"
    if isinstance(schedule, Fields):
        given = [
            f"{label} {ranges(getattr(schedule, name))}"
            for name, label in FIELDS.items()
            if getattr(schedule, name)
        ]
        return f"{'; '.join(given)} ({schedule.timezone})"
    return "once"


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as people write them: ``1-3, 7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(
        f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run))
        for run in runs
    )


def worker(state: WorkerState) -> dict[str, Any]:
    """A worker, and what it does."""
    info, name = state
    return {
        "identity": info.identity,
        "host": info.host,
        "pid": info.pid,
        "state": name,
        "started": iso(info.started),
        "threads": info.threads,
        "held": list(info.held),
        "heartbeat": iso(info.heartbeat),
        "last_claim": iso(info.lastClaim),
    }


def status(service: TaskService) -> dict[str, Any]:
    """How the service is."""
    processing = service.processing
    return {
        "counts": {name: service.count(name) for name in STATUSES},
        "total": service.count(),
        "waiting": processing.waiting,
        "oldest": iso(processing.oldest),
        "stalled": processing.stalled,
        "workers": len(processing.workers),
    }


def minute(past: Minute) -> dict[str, Any]:
    """What was done in a minute."""
    return {
        "start": iso(past.start),
        "completed": past.completed,
        "failed": past.failed,
        "retried": past.retried,
        "waited": past.waited,
        "ran": past.ran,
    }


def _attempt(attempt: Attempt, mask: Mask) -> dict[str, Any]:
    failure = attempt.failure
    return {
        "number": attempt.number,
        "started": iso(attempt.started),
        "ended": iso(attempt.ended),
        "seconds": between(attempt.started, attempt.ended),
        "failure": None
        if failure is None
        else {
            "type": failure.type,
            "message": mask.text(failure.message),
            "traceback": mask.text(failure.traceback, 2 * 20_000),
        },
    }


def _run(run: PastRun, mask: Mask) -> dict[str, Any]:
    return {
        "planned": iso(run.planned),
        "started": iso(run.started),
        "ended": iso(run.ended),
        "outcome": run.outcome,
        "error": None if run.error is None else mask.text(run.error),
    }
