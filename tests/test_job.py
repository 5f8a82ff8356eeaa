"""A job's record: what is packed comes back as it was."""

from __future__ import annotations

from typing import Any

import pytest
import transaction

from lovely.remotetask import RetryPolicy
from lovely.remotetask.job import Failure, Job

#: The largest and the smallest numbers that a record can have.
LARGE = 2**63 - 1
EARLY = -62_135_596_800_000_000


def new() -> Job:
    """A job that nothing has happened to."""
    return Job(1, "echo", created=0)


def full() -> Job:
    """A job that everything has happened to."""
    job = Job(LARGE, "ünïcode", {"a": [1, None]}, created=EARLY)
    job.limit(RetryPolicy(retries=1), 2.5)
    job.enter("processing")
    job.attempt, job.claimant, job.crashes = 3, 7, 1
    job.queue_at(5)
    job.wait_until(6, relative=True)
    job.fail(Failure("E", "message", "traceback"), 0, LARGE)
    job.succeed("output", 0, 10)
    job.enter("completed")
    return job


@pytest.mark.parametrize("make", [new, full])
def test_a_record_holds_all(db: Any, make: Any) -> None:
    """What a job is, another connection sees."""
    expected = dict(vars(make()))
    db.open().root()["job"] = make()
    transaction.commit()
    with db.transaction() as connection:
        job = connection.root()["job"]
        job._p_activate()
        assert {name: vars(job).get(name) for name in expected} == expected
        assert set(vars(job)) - {"_status"} <= set(expected)


def test_what_is_volatile_is_not_stored() -> None:
    """Names that begin with _v_ stay out of the record, as always in the ZODB."""
    job = new()
    job._v_cached = lambda: None  # type: ignore[attr-defined]
    other = Job(0, "")
    other.__setstate__(job.__getstate__())
    assert other.__getstate__() == job.__getstate__()
    assert "_v_cached" not in vars(other)


def test_a_new_state_replaces_all(db: Any) -> None:
    """What a rolled back transaction had set is gone."""
    job = db.open().root()["job"] = new()
    transaction.commit()
    job.enter("processing")
    job.retry, job.claimant = RetryPolicy(), 5
    transaction.abort()
    assert (job.status, job.retry, job.claimant) == ("queued", None, None)


@pytest.mark.parametrize(
    "name", ["status", "error", "created", "started", "completed", "attempts"]
)
def test_what_can_not_be_set(name: str) -> None:
    """What a job's life consists of is only changed by the library."""
    with pytest.raises(AttributeError):
        setattr(full(), name, None)
