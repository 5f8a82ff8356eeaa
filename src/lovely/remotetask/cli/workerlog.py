"""The log of ``remotetask worker``: a line for each job, as text or as JSON."""

from __future__ import annotations

import logging
from datetime import datetime

from lovely.remotetask import logs
from lovely.remotetask.cli.text import first_line, printable, printable_lines

#: What these say at INFO is of no use here.
TALKATIVE = ("ZEO", "relstorage")


class Text(logging.Formatter):
    """One line for a record; an exception that is logged with it follows.

    The traceback of a job is kept with the job, so a failure is one line, too.
    """

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created).astimezone()
        name = "" if record.name == "lovely.remotetask" else f" {record.name}:"
        line = printable(f"{record.levelname}{name} {first_line(record.getMessage())}")
        text = f"{when:%Y-%m-%d %H:%M:%S} {line}"
        if record.exc_info:
            lines = printable_lines(self.formatException(record.exc_info))
            text = "\n".join([text, *lines])
        return text


def set_up(style: str, level: str) -> None:
    """Log to standard error, from a level on."""
    handler = logs.handler(style)
    if style == "text":
        handler.setFormatter(Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in TALKATIVE if level == "info" else ():
        logging.getLogger(name).setLevel(logging.WARNING)
