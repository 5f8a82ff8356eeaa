"""Log records that tell which job they belong to.

What the library says of a run, and what a task says through ``current().logger``,
carries the attributes in ``FIELDS`` anyway.  `JobFilter` gives them to the records of
all other loggers, too; `JSONFormatter` writes them.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Any, TextIO

from lovely.remotetask.current import context
from lovely.remotetask.errors import InvalidArgument

#: What a record of a run carries: the service's name, the job's id, the name of its
#: task, and the number of the attempt.
FIELDS = ("service", "jobid", "task", "attempt")

#: What all records have.
_USUAL = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}

#: How lines look; see `handler`.
FORMATS = ("text", "json")


class JobFilter(logging.Filter):
    """Gives each record the job that runs in its thread; None where there is none.

    For a handler: ``handler.addFilter(JobFilter())``.  Formats can then name the
    attributes: ``%(service)s %(jobid)s %(task)s %(attempt)s``.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let all pass."""
        told = context()
        for name in FIELDS:
            if not hasattr(record, name):
                setattr(record, name, told.get(name))
        return True


class JSONFormatter(logging.Formatter):
    """Writes each record as one line of JSON.

    ``time`` (UTC, ISO 8601), ``level``, ``logger``, ``message``; what else the record
    carries, as what is in ``FIELDS``, unless it is None; ``exception``, if there is
    one, and ``stack``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        more = {n: v for n, v in vars(record).items() if n not in _USUAL}
        line |= {n: v for n, v in more.items() if v is not None and n not in line}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        try:
            return json.dumps(line, default=_text, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            # What JSON has no words for is somewhere in it.
            return json.dumps({str(name): _text(line[name]) for name in line})


def _text(value: object) -> str:
    """Of whatever a record was given."""
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"


def job_of(record: logging.LogRecord) -> str:
    """What a line of text says at its end of the job, if there is one."""
    if getattr(record, "jobid", None) is None:
        return ""
    told = {name: _text(getattr(record, name, None)) for name in FIELDS}
    shown = (f"{n}={v if v.isprintable() else ascii(v)}" for n, v in told.items())
    return f" [{' '.join(shown)}]"


class TextFormatter(logging.Formatter):
    """Writes time, level, logger and message, and of a run the job."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line."""
        return super().formatMessage(record) + job_of(record)


def handler(form: str = "text", stream: TextIO | None = None) -> logging.Handler:
    """A handler for the root logger of a worker, with the jobs in its lines.

    ``form``
        ``'text'`` or ``'json'``.
    ``stream``
        where to write; standard error by default.

    Raise InvalidArgument (a ValueError).
    """
    if form not in FORMATS:
        known = " or ".join(map(repr, FORMATS))
        raise InvalidArgument(f"form: {known} is needed, not {form!r}.")
    found = logging.StreamHandler(stream or sys.stderr)
    found.setFormatter(JSONFormatter() if form == "json" else TextFormatter())
    found.addFilter(JobFilter())
    return found
