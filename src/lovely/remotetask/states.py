"""The life of a job: its statuses and the one table of transitions.

The strings are public: they are in databases and in applications' JavaScript.
"""

from __future__ import annotations

from collections.abc import Iterable

from lovely.remotetask.errors import InvalidArgument, InvalidTransition, InvalidType

STARTLATER = "start later"
QUEUED = "queued"
DELAYED = "delayed"
CRONJOB = "cronjob"
PROCESSING = "processing"
COMPLETED = "completed"
ERROR = "error"
CANCELLED = "cancelled"

#: All statuses.  The order is that of the counts on disk: append only.
STATUSES = (
    STARTLATER,
    QUEUED,
    DELAYED,
    CRONJOB,
    PROCESSING,
    COMPLETED,
    ERROR,
    CANCELLED,
)

#: What a new job may start as.
INITIAL = frozenset({STARTLATER, QUEUED, DELAYED, CRONJOB})

#: What a job may become, by what it is.
TRANSITIONS: dict[str, frozenset[str]] = {
    STARTLATER: frozenset({QUEUED, CANCELLED}),
    QUEUED: frozenset({PROCESSING, CANCELLED}),
    DELAYED: frozenset({PROCESSING, CANCELLED}),
    CRONJOB: frozenset({PROCESSING, CANCELLED}),
    PROCESSING: frozenset({COMPLETED, ERROR, DELAYED, QUEUED, CRONJOB, CANCELLED}),
    COMPLETED: frozenset(),
    ERROR: frozenset({QUEUED}),
    CANCELLED: frozenset({QUEUED}),
}

#: Waiting: ``cancel`` ends such a job at once.
CANCELLABLE = frozenset(
    status
    for status, targets in TRANSITIONS.items()
    if CANCELLED in targets and status != PROCESSING
)

#: Over: ``clean`` may remove such a job.
REMOVABLE = frozenset({COMPLETED, ERROR, CANCELLED})

#: Over, and not as wished: ``retry`` queues such a job.
RETRIABLE = frozenset({ERROR, CANCELLED})

#: Waiting for a time: such a job is in the schedule, not in the queue.
SCHEDULED = frozenset({DELAYED, CRONJOB})


def check_transition(old: str, new: str) -> None:
    """Raise InvalidTransition unless a job may go from ``old`` to ``new``."""
    if new not in TRANSITIONS[old]:
        allowed = ", ".join(sorted(TRANSITIONS[old])) or "nothing"
        raise InvalidTransition(
            f"A job can't go from {old!r} to {new!r}; it may become {allowed}."
        )


def check_removable(statuses: Iterable[str]) -> frozenset[str]:
    """The statuses as a set, if ``clean`` may remove jobs that have them."""
    try:
        wanted = frozenset([statuses] if isinstance(statuses, str) else statuses)
    except TypeError as error:
        raise InvalidType(
            f"status: statuses, each a str, are needed: {error}."
        ) from error
    refused = wanted - REMOVABLE
    if refused:
        raise InvalidArgument(
            f"status: jobs that are {', '.join(sorted(map(repr, refused)))} can't "
            f"be removed; only {', '.join(map(repr, sorted(REMOVABLE)))} can."
        )
    return wanted
