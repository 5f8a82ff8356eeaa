"""The log of ``remotetask worker``: a line for each job, as text or as JSON."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any

import zope.event

from lovely.remotetask.cli.text import duration, first_line, printable
from lovely.remotetask.events import JobCompleted

log = logging.getLogger("lovely.remotetask")

#: What every record has; the rest was given as ``extra``.
USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Text(logging.Formatter):
    """One line for a record; an exception that is logged with it follows."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created).astimezone()
        name = "" if record.name == "lovely.remotetask" else f" {record.name}:"
        # A job's traceback is kept with the job.
        line = printable(first_line(record.getMessage()))
        text = f"{when:%Y-%m-%d %H:%M:%S} {record.levelname}{name} {line}"
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return text


class Json(logging.Formatter):
    """A JSON object on one line, with all that is known."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, timezone.utc)
        found: dict[str, Any] = {
            "time": when.isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        more = {k: v for k, v in vars(record).items() if k not in USUAL}
        found |= {key: value for key, value in more.items() if not key.startswith("_")}
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        return json.dumps(found, default=repr)


def set_up(style: str, level: str) -> None:
    """Log to standard error, from a level on."""
    handler = logging.StreamHandler()
    handler.setFormatter(Json() if style == "json" else Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def log_jobs() -> None:
    """Log each job that completes, once that is committed."""
    zope.event.subscribers.append(_subscriber)


def _subscriber(event: Any) -> None:
    if isinstance(event, JobCompleted) and event.service._p_jar is not None:
        # What is logged later must not load anything of the transaction.
        job = event.object
        service = "/".join(filter(None, [getattr(event.service, "__name__", "")]))
        facts = {
            "service": service,
            "job": job.id,
            "task": job.task,
            "attempt": job.attempt,
            "status": "completed",
            "seconds": _seconds(job.started, job.completed),
            "waited": _seconds(job.scheduledFor or job.created, job.started),
        }
        manager = event.service._p_jar.transaction_manager
        manager.get().addAfterCommitHook(_completed, (facts,))


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    if start is None or end is None:
        return None
    return max(0.0, round((end - start).total_seconds(), 6))


def _completed(committed: bool, facts: dict[str, Any]) -> None:
    if committed:
        log.info(
            "job %s of task %r completed in %s",
            facts["job"],
            facts["task"],
            duration(facts["seconds"]),
            extra=facts,
        )
