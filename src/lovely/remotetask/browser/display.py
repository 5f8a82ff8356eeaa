"""Values and times as text for people.  The templates escape it."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from lovely.remotetask.states import PROCESSING
from lovely.remotetask.wording import in_words, neighbours

#: What is shown in a cell of a table, and on a job's own page (characters).
CELL, PAGE = 90, 20_000


def _limits(items: int, characters: int) -> reprlib.Repr:
    """A repr() that looks at so many items and characters at most."""
    limits = reprlib.Repr()
    limits.maxlevel = 5
    limits.maxdict = limits.maxlist = limits.maxtuple = items
    limits.maxset = limits.maxfrozenset = limits.maxdeque = limits.maxarray = items
    limits.maxstring = limits.maxother = limits.maxlong = characters
    return limits


_CELL, _PAGE = _limits(6, CELL // 2), _limits(500, PAGE)


def short(value: Any) -> str:
    """A value in a few words."""
    return _shown(_CELL, value, CELL)


def full(value: Any) -> str:
    """A value as far as one may want to read it."""
    return _shown(_PAGE, value, PAGE)


def _shown(limits: reprlib.Repr, value: Any, most: int) -> str:
    try:
        text = limits.repr(value)
    except Exception as error:  # whatever an application's object does
        text = f"({type(value).__name__}, can't be shown: {type(error).__name__})"
    return cut(text, most)


def cut(text: str, most: int) -> str:
    """A text, or its beginning; lone surrogates can't be sent."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= most else f"{text[: most - 1]}…"


def failure(value: Any, most: int) -> str:
    """What went wrong, in a line; empty if nothing did."""
    return "" if value is None else cut(f"{value.type}: {value.message}", most)


def moment(value: datetime | None) -> str:
    """A moment, in UTC; empty if there is none."""
    return "" if value is None else f"{value:%Y-%m-%d %H:%M:%S}"


def seconds(value: float | None) -> str:
    """How long something took or takes."""
    if value is None:
        return ""
    if value < 1:
        return f"{1000 * max(value, 0):.0f} ms"
    if value < 59.95:  # what is shown as 60 is a minute
        return f"{value:.1f} s"
    whole = round(value)
    for unit, size, small, smaller in (
        ("d", 86_400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    raise AssertionError(value)  # a minute is the least


def took(job: Any) -> str:
    """How long the last attempt of a job took, if it has ended."""
    if job.started is None or job.completed is None or job.status == PROCESSING:
        return ""
    return seconds((job.completed - job.started).total_seconds())


def numbers(values: Iterable[int]) -> str:
    """Numbers as the forms take them: ``1 5-8``."""
    parts = neighbours(sorted(values))
    return " ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def schedule(job: Any) -> str:
    """When a cron job runs, in words."""
    return in_words(job.schedule, span=seconds, moment=moment)


def policy(job: Any) -> str:
    """What becomes of a cron job's runs that can't begin in time; in few words."""
    missed = {
        "latest": "one run makes up for all",
        "all": "each is made up for",
        "skip": "are left out",
    }[job.policy.missed]
    grace = job.policy.grace
    return missed + (f"; one may be {seconds(grace)} late" if grace else "")
