"""Jobs, workers and figures as what JSON knows, for the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lovely.remotetask.attempts import Attempt, PastRun
from lovely.remotetask.job import CronJob, Job
from lovely.remotetask.states import STATUSES
from lovely.remotetask.values import readable
from lovely.remotetask.web.masking import Mask
from lovely.remotetask.web.words import between, duration, exact, first_line, iso
from lovely.remotetask.wording import in_words

if TYPE_CHECKING:
    from lovely.remotetask.health import WorkerState
    from lovely.remotetask.history import Minute
    from lovely.remotetask.service import TaskService

#: How many of the next runs of a cron job are told.
UPCOMING = 5
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
        "input": mask.value(readable(job, "input")),
        "output": mask.value(readable(job, "output")),
        "running_since": iso(service.runningSince(job.id)),
        "attempts": [_attempt(attempt, mask) for attempt in job.attempts],
        "progress": None
        if progress is None
        else {
            "fraction": progress.fraction,
            "message": mask.text(progress.message),
        },
        "schedule": schedule(job, mask) if isinstance(job, CronJob) else None,
    }


def described(job: CronJob) -> str:
    """When a cron job runs, in words."""
    return in_words(job.schedule, span=duration, moment=exact)


def schedule(job: CronJob, mask: Mask) -> dict[str, Any]:
    """When a cron job runs, and how that went."""
    return {
        "when": described(job),
        "paused": job.paused,
        "upcoming": [iso(moment) for moment in job.upcoming(UPCOMING)],
        "runs": [_run(run, mask) for run in job.runs],
    }


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
            "traceback": mask.error(failure.traceback),
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
