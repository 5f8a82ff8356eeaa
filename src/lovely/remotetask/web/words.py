"""How times, numbers and states are put into words, for people."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from markupsafe import Markup

#: The units of a duration, in seconds; the first two that count are shown.
UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))

#: What a status means, for people: (label, symbol, what it says).
STATUSES = {
    "queued": ("Queued", "queue", "waits for a worker"),
    "processing": ("Running", "run", "a worker has it"),
    "completed": ("Completed", "check", "went well"),
    "error": ("Failed", "cross", "ended in an error"),
    "delayed": ("Delayed", "clock", "waits for its time"),
    "cronjob": ("Scheduled", "repeat", "comes back on a schedule"),
    "start later": ("Held", "hold", "waits for somebody to start it"),
    "cancelled": ("Cancelled", "stop", "was cancelled"),
    # Of runs, not of jobs.
    "skipped": ("Skipped", "skip", "was left out"),
}

#: The same for workers.
WORKERS = {
    "idle": ("Idle", "hold", "has nothing to do"),
    "working": ("Working", "run", "has a thread to spare"),
    "busy": ("Busy", "run", "all its threads have jobs"),
    "stalled": ("Stalled", "cross", "takes no jobs, though some are due"),
    "silent": ("Silent", "cross", "its heart does not beat"),
}


def number(value: float) -> str:
    """A number with its thousands apart."""
    if isinstance(value, int) or value == int(value):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.2f}"


def duration(seconds: float | None) -> str:
    """A time that passed: two units at most."""
    if seconds is None:
        return "\N{EN DASH}"
    if seconds < 0.0005:
        return "0 ms" if seconds <= 0 else "< 1 ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    left = round(seconds)
    parts: list[str] = []
    for unit, size in UNITS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(filter(None, parts))


def between(begin: datetime | None, end: datetime | None) -> float | None:
    """Seconds from one moment to another, or None."""
    if begin is None or end is None:
        return None
    return max(0.0, (end - begin).total_seconds())


def distance(moment: datetime, now: datetime) -> str:
    """How long ago, or how far off: ``3 min ago``, ``in 2 h``."""
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    text = _whole(abs(seconds))
    return f"{text} ago" if seconds > 0 else f"in {text}"


def _whole(seconds: float) -> str:
    """A time in whole seconds: if it showed more, the line would never rest."""
    return duration(float(int(seconds))).replace(".0 s", " s")


def ago(moment: datetime | None, now: datetime) -> Markup:
    """A moment as people say it, with the moment itself for who wants it."""
    if moment is None:
        return Markup("\N{EN DASH}")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        iso(moment), exact(moment), distance(moment, now)
    )


def since(moment: datetime, now: datetime) -> Markup:
    """For how long something has been going on, with the moment when it began."""
    seconds = (now - moment).total_seconds()
    text = _whole(seconds) if seconds >= 1 else "a moment"
    return Markup('<time datetime="{}" title="since {}">{}</time>').format(
        iso(moment), exact(moment), text
    )


def at(moment: datetime | None) -> Markup:
    """A moment, to the second."""
    if moment is None:
        return Markup("\N{EN DASH}")
    return Markup('<time datetime="{}">{}</time>').format(iso(moment), exact(moment))


def exact(moment: datetime) -> str:
    """A moment as it is shown: in UTC, as all of them."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(moment: datetime | None) -> str | None:
    """A moment as machines read it."""
    return None if moment is None else moment.astimezone(timezone.utc).isoformat()


def plural(count: int, one: str, many: str | None = None) -> str:
    """``1 job``, ``2 jobs``."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def first_line(text: str | None) -> str:
    """What an error says first."""
    return next(iter((text or "").splitlines()), "")


FILTERS: dict[str, Any] = {
    "number": number,
    "duration": duration,
    "ago": ago,
    "since": since,
    "at": at,
    "iso": iso,
    "plural": plural,
    "first_line": first_line,
}
