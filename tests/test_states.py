"""The table of transitions."""

from __future__ import annotations

import pytest

from lovely.remotetask import interfaces
from lovely.remotetask.errors import InvalidTransition
from lovely.remotetask.job import Job
from lovely.remotetask.states import (
    CANCELLABLE,
    INITIAL,
    REMOVABLE,
    STATUSES,
    TRANSITIONS,
    check_transition,
)


def test_strings_are_public() -> None:
    """The strings never change: they are in databases and in browsers."""
    assert STATUSES == (
        "start later",
        "queued",
        "delayed",
        "cronjob",
        "processing",
        "completed",
        "error",
        "cancelled",
    )
    names = ("STARTLATER", "QUEUED", "DELAYED", "CRONJOB", "PROCESSING")
    names += ("COMPLETED", "ERROR", "CANCELLED")
    assert tuple(getattr(interfaces, name) for name in names) == STATUSES


def test_table_is_complete() -> None:
    """Every status has a row, and every status can be reached."""
    assert set(TRANSITIONS) == set(STATUSES)
    reached = set(INITIAL)
    for _ in STATUSES:
        reached |= {new for old in reached for new in TRANSITIONS[old]}
    assert reached == set(STATUSES)


def test_sets_follow_from_the_table() -> None:
    """What waits can be cancelled, what is over can be removed, nothing else."""
    assert {"start later", "queued", "delayed", "cronjob"} == CANCELLABLE
    assert {"completed", "error", "cancelled"} == REMOVABLE


@pytest.mark.parametrize("old", STATUSES)
@pytest.mark.parametrize("new", STATUSES)
def test_only_the_table_counts(old: str, new: str) -> None:
    """A job enters a status exactly if the table allows it."""
    job = Job(1, "task")
    job.enter(old, new=True)
    if new in TRANSITIONS[old]:
        check_transition(old, new)
        job.enter(new)
        assert job.status == new
    else:
        with pytest.raises(InvalidTransition, match=f"from '{old}' to '{new}'"):
            job.enter(new)
        assert job.status == old
