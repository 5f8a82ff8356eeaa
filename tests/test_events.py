"""Subscribers learn what happens to jobs, and can't break the service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import transaction
import zope.event
from zope.interface.verify import verifyObject

from lovely.remotetask import interfaces
from tests.support import counts, processing, wait_for_status, wait_until


@pytest.fixture
def events() -> Iterator[list[Any]]:
    """What is notified."""
    found: list[Any] = []
    zope.event.subscribers.append(found.append)
    yield found
    zope.event.subscribers.remove(found.append)


def told(events: list[Any]) -> list[tuple[str, int]]:
    """The names of the events and the jobs' ids."""
    mine = [event for event in events if interfaces.IJobEvent.providedBy(event)]
    return [(type(event).__name__, event.object.id) for event in mine]


def test_life_of_jobs(service: Any, events: list[Any]) -> None:
    """Jobs that are added, started, completed, failed or cancelled say so."""
    for task in ("echo", "fail", "echo"):
        service.add(task)
    service.cancel(3)
    service.process()
    assert told(events) == [
        ("JobAdded", 1),
        ("JobAdded", 2),
        ("JobAdded", 3),
        ("JobCancelled", 3),
        ("JobStarted", 1),
        ("JobCompleted", 1),
        ("JobStarted", 2),
        ("JobFailed", 2),
    ]


def test_what_events_carry(service: Any, events: list[Any]) -> None:
    """An event has the job and its service, and keeps to its interface."""
    service.add("echo")
    (event,) = events
    assert verifyObject(interfaces.IJobAdded, event)
    assert (event.object, event.service) == (service.jobs[1], service)
    assert repr(event) == "<JobAdded <Job 1>>"


def test_nothing_happened(service: Any, events: list[Any]) -> None:
    """What changes nothing is no event."""
    service.add("echo", startLater=True)
    service.cancel(1)
    events.clear()
    service.cancel(1)
    service.cancel(2)
    service.startJob(1)
    service.clean()
    assert told(events) == []


def raising(kind: Any) -> Callable[[Any], None]:
    """A subscriber that fails at one kind of event."""

    def subscriber(event: Any) -> None:
        if kind.providedBy(event):
            event.service.__parent__["spoilt"] = True
            raise RuntimeError("subscriber")

    return subscriber


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("kind", [interfaces.IJobStarted, interfaces.IJobCompleted])
def test_subscriber_fails_the_attempt(
    service: Any, kind: Any, background: bool
) -> None:
    """A subscriber to the start or the end that fails makes the attempt fail."""
    zope.event.subscribers.append(raising(kind))
    service.add("echo")
    transaction.commit()
    if background:
        with processing(service):
            wait_until(lambda: transaction.begin() and service.count("error"))
    else:
        service.process()
    transaction.commit()
    assert service.getError(1) == "subscriber"
    assert "spoilt" not in service.__parent__


@pytest.mark.parametrize("background", [False, True])
def test_subscriber_to_a_failure(
    service: Any, background: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A subscriber to a failure that fails is logged; its writes are undone."""
    zope.event.subscribers.append(raising(interfaces.IJobFailed))
    service.add("fail", "of its own")
    transaction.commit()
    if background:
        with processing(service):
            wait_until(lambda: transaction.begin() and service.count("error"))
    else:
        service.process()
    transaction.commit()
    assert service.getError(1) == "of its own"
    assert "error in a subscriber" in caplog.text
    assert "spoilt" not in service.__parent__


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_subscriber_that_would_end_a_worker(
    service: Any, db: Any, error: type[BaseException]
) -> None:
    """A subscriber to a failure can't end the thread that tells it."""

    def subscriber(event: Any) -> None:
        if interfaces.IJobFailed.providedBy(event):
            raise error

    zope.event.subscribers.append(subscriber)
    ids = [service.add("fail"), service.add("echo")]
    transaction.commit()
    with processing(service):
        for jobid, status in zip(ids, ["error", "completed"], strict=True):
            wait_for_status(db, jobid, status)


def test_subscriber_that_is_interrupted(service: Any) -> None:
    """KeyboardInterrupt in a subscriber goes to the caller who processes jobs."""

    def subscriber(event: Any) -> None:
        if interfaces.IJobFailed.providedBy(event):
            raise KeyboardInterrupt

    zope.event.subscribers.append(subscriber)
    jobid = service.add("fail")
    with pytest.raises(KeyboardInterrupt):
        service.process()
    assert service.getStatus(jobid) == "error"


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        (interfaces.IJobAdded, lambda service: service.add("echo")),
        (interfaces.IJobCancelled, lambda service: service.cancel(1)),
    ],
)
def test_subscriber_and_the_caller(service: Any, kind: Any, call: Any) -> None:
    """Whoever adds or cancels a job sees what a subscriber raises."""
    service.add("echo")
    transaction.commit()
    zope.event.subscribers.append(raising(kind))
    with pytest.raises(RuntimeError, match="subscriber"):
        call(service)
    transaction.abort()
    assert counts(service) == {"queued": 1}
