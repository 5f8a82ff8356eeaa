"""Jobs as people and programs are shown them."""

from __future__ import annotations

import json
import pprint
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from lovely.remotetask.cli.output import when
from lovely.remotetask.cli.text import duration, first_line, iso, moment
from lovely.remotetask.job import Attempt, CronJob, Job, PastRun
from lovely.remotetask.schedule import Schedule
from lovely.remotetask.values import readable
from lovely.remotetask.wording import in_words

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

#: So many characters of an input or an output are shown, unless all is asked for.
MOST_SHOWN = 2000


def brief(job: Job) -> dict[str, Any]:
    """What a list has of a job, for programs."""
    failure = job.failure
    return {
        "id": job.id,
        "task": job.task,
        "status": job.status,
        "created": iso(job.created),
        "scheduled_for": iso(job.scheduledFor),
        "started": iso(job.started),
        "completed": iso(job.completed),
        "attempt": job.attempt,
        "error": None if failure is None else f"{failure.type}: {failure.message}",
    }


def full(service: TaskService, job: Job) -> dict[str, Any]:
    """All that is to be known of a job, for programs."""
    progress = service.progress(job.id)
    found = {
        **brief(job),
        "input": plain(readable(job, "input")),
        "output": plain(readable(job, "output")),
        "progress": None if progress is None else progress._asdict(),
        "traceback": job.error,
        "attempts": [_attempt(attempt) for attempt in job.attempts],
        "crashes": job.crashes,
        "timeout": job.timeout,
    }
    if isinstance(job, CronJob):
        found |= {
            "schedule": schedule(job.schedule),
            "paused": job.paused,
            "next": [iso(each) for each in job.upcoming(5)],
            "runs": [_run(run) for run in job.runs],
        }
    return found


def _attempt(attempt: Attempt) -> dict[str, Any]:
    failure = attempt.failure
    return {
        "number": attempt.number,
        "started": iso(attempt.started),
        "ended": iso(attempt.ended),
        "failure": None if failure is None else failure._asdict(),
    }


def _run(run: PastRun) -> dict[str, Any]:
    return {
        "planned": iso(run.planned),
        "started": iso(run.started),
        "ended": iso(run.ended),
        "outcome": run.outcome,
        "error": run.error,
    }


def plain(value: Any) -> Any:
    """A value as JSON has it; what JSON has not is told as Python would."""
    try:
        return json.loads(json.dumps(value, default=represented))
    except (TypeError, ValueError, RecursionError):
        return represented(value)


def represented(value: Any) -> str:
    """``repr``, of whatever is in the database."""
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__} that can't be shown: {type(error).__name__}>"


def pretty(value: Any, *, whole: bool) -> str:
    """A value in lines that fit a page."""
    try:
        text = pprint.pformat(value, width=76, compact=True)
    except Exception:
        text = represented(value)
    if len(text) > MOST_SHOWN and not whole:
        left = len(text) - MOST_SHOWN
        text = f"{text[:MOST_SHOWN]}\n[{left:,} more characters; --full shows them]"
    return text


def schedule(planned: Schedule) -> str:
    """When something runs, in words."""
    return in_words(planned, span=duration, moment=moment)


def outcome(job: CronJob) -> str:
    """What became of a cron job's last run, in words."""
    if not job.runs:
        return "-"
    last = job.runs[-1]
    ended = "" if last.ended is None else f" {when(last.ended)}"
    took = "" if last.duration is None else f" ({duration(last.duration)})"
    return f"{last.outcome}{ended}{took}"


def failed(job: Job) -> str:
    """Why a job has failed, in a line; empty if it has not."""
    failure = job.failure
    return "" if failure is None else f"{failure.type}: {first_line(failure.message)}"


def took(started: Any, ended: Any) -> str:
    """How long something took, in words."""
    if started is None or ended is None:
        return "-"
    span: timedelta = ended - started
    return duration(span.total_seconds())
