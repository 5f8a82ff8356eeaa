"""What became of attempts and runs: plain values, all of it text, numbers and dates."""

from __future__ import annotations

import traceback
from datetime import datetime
from typing import NamedTuple

#: So many characters of each text are kept.
KEPT_TEXT = 20_000


class Failure(NamedTuple):
    """Why an attempt failed, all of it text."""

    #: The name of the exception's class.
    type: str
    #: What it says.
    message: str
    #: As Python prints it, with what it was caused by.
    traceback: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Of an exception, whatever its methods do."""
        name = type(error).__name__
        try:
            message = str(error)
        except BaseException as unprintable:
            message = f"({name} can't be shown: {type(unprintable).__name__})"
        try:
            text = "".join(traceback.format_exception(error))
        except BaseException:
            text = f"{name}: {message}\n"
        return cls(name, _storable(message or name), _storable(text))

    def __str__(self) -> str:
        return f"{self.type}: {self.message}\n\n{self.traceback}"

    def for_log(self, *, briefly: bool) -> str:
        """As ``str``, or the message alone; in both cases without empty lines."""
        text = self.message if briefly else str(self)
        return "\n".join(line for line in text.splitlines() if line.strip())


class Attempt(NamedTuple):
    """One try to run a job."""

    #: Which one it was, from 1 on.
    number: int
    #: When it began; None where a worker was lost, as nobody knows when, or whether.
    started: datetime | None
    #: When it ended, or when the loss was noted.
    ended: datetime | None
    #: Why it failed; None if it succeeded.
    failure: Failure | None


def _storable(text: str) -> str:
    """Text that is not too long, without the surrogates that can't be encoded."""
    if len(text) > KEPT_TEXT:
        half = KEPT_TEXT // 2
        text = f"{text[:half]}\n[...]\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class PastRun(NamedTuple):
    """What became of one run of a cron job, its retries included."""

    #: When it was to run; None if it was asked for by `runNow` or by hand.
    planned: datetime | None
    #: When its last attempt began; None if there was none.
    started: datetime | None
    #: When that ended, likewise.
    ended: datetime | None
    #: ``completed``, ``error``, ``cancelled``, or ``skipped``: left out, because it
    #: was too late, because a later one made up for it, or because the run before
    #: it was not over.  Of several left out in a row, only the first is noted.
    outcome: str
    #: The error's message, or None.
    error: str | None = None

    @property
    def duration(self) -> float | None:
        """How long the last attempt took, in seconds, or None."""
        if self.started is None or self.ended is None:
            return None
        return (self.ended - self.started).total_seconds()
