"""The log of ``remotetask worker``: a line for each job, as text or as JSON."""

from __future__ import annotations

import logging
from datetime import datetime

from lovely.remotetask import logs
from lovely.remotetask.cli.text import first_line, printable, printable_lines
from lovely.remotetask.outages import is_outage

#: What these say at INFO is of no use here.
TALKATIVE = ("ZEO", "relstorage")


class Text(logging.Formatter):
    """One line for a record; an exception that is logged with it follows.

    The traceback of a job is kept with the job, so a failure is one line, too.
    """

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created).astimezone()
        name = "" if record.name == "lovely.remotetask" else f" {record.name}:"
        # What the library says names the job already.
        job = "" if record.name == "lovely.remotetask" else logs.job_of(record)
        message = f"{first_line(record.getMessage())}{job}"
        line = printable(f"{record.levelname}{name} {message}")
        text = f"{when:%Y-%m-%d %H:%M:%S} {line}"
        if record.exc_info:
            lines = printable_lines(self.formatException(record.exc_info))
            text = "\n".join([text, *lines])
        return text


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a record is none of those by which ZODB tells an outage at each try.

    The worker says so itself, when it begins, now and then, and when it is over.
    """
    error = record.exc_info[1] if record.exc_info else None
    return record.name != "ZODB.Connection" or error is None or not is_outage(error)


def set_up(style: str, level: str) -> None:
    """Log to standard error, from a level on."""
    handler = logs.handler(style)
    handler.addFilter(_is_news)
    if style == "text":
        handler.setFormatter(Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in TALKATIVE if level == "info" else ():
        logging.getLogger(name).setLevel(logging.WARNING)
