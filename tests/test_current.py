"""What a task can ask about its own job, and how it is asked to stop."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import transaction
import zope.event

from lovely.remotetask import RetryPolicy, current
from lovely.remotetask.errors import (
    InvalidArgument,
    InvalidType,
    JobCancelled,
    JobTimeout,
    NotInTask,
    UnknownJob,
)
from lovely.remotetask.events import JobCancelled as JobCancelledEvent
from lovely.remotetask.session import Session
from lovely.remotetask.task import SimpleTask
from lovely.remotetask.workers import Lease
from tests.races.interleaved import check_committed
from tests.support import (
    FakeEnvironment,
    ask,
    counts,
    in_thread,
    processing,
    provide,
    register,
    register_full,
    wait_for_status,
    wait_until,
)


class Gate:
    """Where a task waits; it looks whether it is to stop meanwhile, if told to."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        self.runs: list[Any] = []

    def wait(self, value: Any) -> None:
        """A task that does not look."""
        self.runs.append(current())
        self.reached.set()
        assert self.opened.wait(20)

    def look(self, value: Any) -> None:
        """A task that writes something, and looks."""
        self.runs.append(current())
        current().service.__parent__["written"] = True
        self.reached.set()

        def stopped() -> bool:
            current().checkCancelled()
            return self.opened.is_set()

        wait_until(stopped)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that the tasks ``wait`` and ``look`` wait at, open at the end."""
    gate = Gate()
    register("wait", gate.wait)
    register("look", gate.look)
    yield gate
    gate.opened.set()


def test_outside_a_task(service: Any) -> None:
    """Outside a task, and in a thread that a task has started, there is no job."""
    with pytest.raises(NotInTask, match="current\\(\\) is for tasks"):
        current()
    register("thread", lambda value: in_thread(current))
    jobid = service.add("thread")
    service.process()
    assert service.jobs[jobid].failure.type == "NotInTask"
    with pytest.raises(NotInTask):
        current()


def test_service_and_job(service: Any, environment: FakeEnvironment) -> None:
    """The task sees its service, its job, and the number of the attempt."""
    seen = []

    def look(service: Any, jobid: int, input: Any) -> None:
        run = current()
        assert run is current()
        assert run.service is service
        assert run.job is service.jobs[jobid]
        assert (run.cancelled, run.overdue) == (False, 0)
        run.checkCancelled()
        seen.append(run.attempt)
        raise RuntimeError

    register_full("look", look)
    jobid = service.add("look", retry=RetryPolicy(1, delay=1, jitter=0))
    transaction.commit()
    service.process()
    environment.now += 2
    service.process()
    assert seen == [1, 2]
    assert service.jobs[jobid].failure.type == "RuntimeError"


def test_one_job_within_another(service: Any) -> None:
    """A task that processes other jobs is the current one again afterwards."""
    seen = []

    def outer(service: Any, jobid: int, input: Any) -> None:
        service.process()
        seen.append(current().job.id)

    register_full("outer", outer)
    register("inner", lambda value: seen.append(current().job.id))
    ids = [service.add("outer"), service.add("inner")]
    service.process()
    assert seen == [ids[1], ids[0]]


def test_logger(service: Any, caplog: Any) -> None:
    """Records of the logger carry the job, beside what the task gives."""

    def speak(value: Any) -> None:
        current().logger.warning("half of %s", value, extra={"own": 1, "task": "mine"})
        current().logger.info("all of it")

    caplog.set_level(logging.INFO)
    register("speak", speak)
    jobid = service.add("speak", "it")
    service.process()
    first, second = [r for r in caplog.records if r.name == "lovely.remotetask.job"]
    assert first.getMessage() == "half of it"
    assert (first.service, first.jobid, first.attempt) == ("service", jobid, 1)
    assert (first.own, first.task, second.task) == (1, "mine", "speak")


def test_a_running_job_is_cancelled(service: Any, db: Any, gate: Gate) -> None:
    """A task that looks ends as cancelled, and nothing that it wrote is kept."""
    jobid = service.add("look", retry=5)
    transaction.commit()
    with processing(service):
        assert gate.reached.wait(20)
        transaction.begin()
        service.cancel(jobid)
        assert service.getStatus(jobid) == "processing"
        transaction.commit()
        wait_for_status(db, jobid, "cancelled")
        wait_until(lambda: not ask(db, lambda s: list(s._requests)))
    transaction.begin()
    assert "written" not in service.__parent__
    assert service.jobs[jobid].attempts[-1].failure.type == JobCancelled.__name__
    assert gate.runs[0].cancelled is True
    assert counts(service) == {"cancelled": 1}
    check_committed(db)


def test_a_task_that_does_not_look(service: Any, db: Any, gate: Gate) -> None:
    """A job that never looks is completed, although somebody has cancelled it."""
    jobid = service.add("wait")
    transaction.commit()
    with processing(service):
        assert gate.reached.wait(20)
        transaction.begin()
        service.cancel(jobid)
        transaction.commit()
        wait_until(lambda: gate.runs[0].cancelled)
        gate.opened.set()
        wait_for_status(db, jobid, "completed")
        wait_until(lambda: not ask(db, lambda s: list(s._requests)))
    check_committed(db)


def claimed(db: Any, service: Any, task: str) -> tuple[Session, int]:
    """A worker that has claimed a job of a task and not begun it."""
    jobid = service.add(task)
    transaction.commit()
    session = Session(db, ["service"])
    assert session.claim(session.register(1, Lease()), 1).jobs == [jobid]
    transaction.begin()
    return session, jobid


def test_cancelled_before_it_is_begun(service: Any, db: Any) -> None:
    """A job that was cancelled while it was claimed does not run at all."""
    runs: list[Any] = []
    register("note", runs.append)
    session, jobid = claimed(db, service, "note")
    service.cancel(jobid)
    transaction.commit()
    session.run(jobid, session.own_key)
    session.leave()
    session.close()
    assert runs == []
    assert ask(db, lambda s: s.getStatus(jobid)) == "cancelled"
    check_committed(db)


@pytest.mark.parametrize("here", [True, False])
def test_a_request_is_for_one_life(service: Any, db: Any, here: bool) -> None:
    """A cancelled job that is queued again runs, whoever has not tidied up."""
    session, jobid = claimed(db, service, "fail")
    service.cancel(jobid)
    transaction.commit()
    session.run(jobid, session.own_key)
    transaction.begin()
    assert service.getStatus(jobid) == "cancelled"
    assert service.retry(jobid) is True
    transaction.commit()
    if here:
        service.process()
        transaction.commit()
    else:
        assert session.claim(session.own_key, 1).jobs == [jobid]
        session.run(jobid, session.own_key)
    session.leave()
    session.close()
    assert ask(db, lambda s: s.getStatus(jobid)) == "error"
    check_committed(db)


@pytest.mark.parametrize("rescued", [True, False])
def test_cancelled_and_given_back(service: Any, db: Any, rescued: bool) -> None:
    """A job that is cancelled while it is claimed, and goes back, runs no more."""
    heard: list[Any] = []

    def hear(event: Any) -> None:
        if isinstance(event, JobCancelledEvent):
            heard.append(event.object.id)
            raise RuntimeError("a subscriber fails")

    zope.event.subscribers.append(hear)
    session, jobid = claimed(db, service, "echo")
    service.cancel(jobid)
    if rescued:
        service._workers.rescue(service, lambda worker: True)
    else:
        service._workers.give_back(service, session.own_key, [jobid])
    transaction.commit()
    assert session.requests() == set()
    session.close()
    assert heard == [jobid]
    assert ask(db, lambda s: s.getStatus(jobid)) == "cancelled"
    check_committed(db)


@pytest.mark.parametrize("how", ["task", "job", "both"])
def test_timeout(service: Any, db: Any, gate: Gate, how: str) -> None:
    """A task that looks when its time is over has failed, with all its writes."""
    task, job = {"task": (0.05, None), "job": (None, 0.05), "both": (900, 0.05)}[how]
    provide("limited", SimpleTask(gate.look, retry=0, timeout=task))
    jobid = service.add("limited", timeout=job)
    transaction.commit()
    with processing(service):
        wait_for_status(db, jobid, "error")
    transaction.begin()
    assert service.jobs[jobid].failure.type == JobTimeout.__name__
    assert service.getError(jobid) == "The job took longer than 0.05 seconds."
    assert "written" not in service.__parent__


def test_a_timeout_is_tried_again(service: Any) -> None:
    """A timeout is a failure like others: the policy says what follows."""
    provide("slow", SimpleTask(lambda value: wait_for_timeout(), timeout=0.001))
    jobid = service.add("slow", retry=1)
    service.process()
    assert service.getStatus(jobid) == "delayed"
    assert service.jobs[jobid].failure.type == "JobTimeout"


def wait_for_timeout() -> None:
    """Wait until the current job is overdue, and look."""
    wait_until(lambda: current().overdue)
    current().checkCancelled()


@pytest.mark.parametrize(
    ("bad", "error"),
    [(-1, InvalidArgument), (math.nan, InvalidArgument), ("9", InvalidType)],
)
def test_bad_timeouts(service: Any, bad: Any, error: type[Exception]) -> None:
    """A timeout is a number of seconds from 0 on."""
    with pytest.raises(error, match="timeout: a number of seconds"):
        service.add("echo", timeout=bad)
    with pytest.raises(error, match="timeout: a number of seconds"):
        SimpleTask(len, timeout=bad)
    assert counts(service) == {}


def test_overdue_jobs_go_on(service: Any, db: Any, gate: Gate, caplog: Any) -> None:
    """A job that is over its time is reported once, and never killed."""
    jobid = service.add("wait", timeout=0.125)
    transaction.commit()
    text = f"service: job {jobid} of task 'wait' has used up its time, 0.125 seconds"
    with processing(service):
        wait_until(lambda: text in caplog.text)
        assert ask(db, lambda s: s.getStatus(jobid)) == "processing"
        assert gate.runs[0].overdue > 0
        assert gate.runs[0].timeout == 0.125
        gate.opened.set()
        wait_for_status(db, jobid, "completed")
    assert caplog.text.count(text) == 1


def test_progress_is_visible(service: Any, db: Any) -> None:
    """Others see the last progress of a job while it runs, and none afterwards."""
    shown, more = threading.Event(), threading.Event()

    def work(value: Any) -> None:
        current().progress(0.25)
        assert shown.wait(20)
        current().progress(1, "nearly")
        assert more.wait(20)

    register("work", work)
    jobid = service.add("work")
    transaction.commit()
    assert service.progress(jobid) is None
    with processing(service):
        wait_until(lambda: ask(db, lambda s: s.progress(jobid)) == (0.25, ""))
        shown.set()
        wait_until(lambda: ask(db, lambda s: s.progress(jobid)) == (1.0, "nearly"))
        more.set()
        wait_for_status(db, jobid, "completed")
        assert ask(db, lambda s: s.progress(jobid)) is None


def test_since_when_it_runs(service: Any, db: Any, gate: Gate) -> None:
    """Others see when a running job began, from the next heartbeat on."""
    service.processorArguments = {"heartbeat": 0.02, "lease": 60}
    jobid = service.add("wait")
    transaction.commit()
    assert service.runningSince(jobid) is None
    with processing(service):
        began = wait_until(lambda: ask(db, lambda s: s.runningSince(jobid)))
        gate.opened.set()
        wait_for_status(db, jobid, "completed")
        assert ask(db, lambda s: s.runningSince(jobid)) is None
    assert ask(db, lambda s: s.jobs[jobid].started) == began


def test_since_when_it_runs_again(service: Any, db: Any) -> None:
    """What a heartbeat told of one attempt is not taken for the next one's."""
    session, jobid = claimed(db, service, "fail")
    session.beat(began={jobid: session.environment.stamp()})
    assert ask(db, lambda s: s.runningSince(jobid)) is not None
    session.run(jobid, session.own_key)
    transaction.begin()
    assert service.retry(jobid)
    transaction.commit()
    assert session.claim(session.own_key, 1).jobs == [jobid]
    assert ask(db, lambda s: s.runningSince(jobid)) is None
    session.beat()  # it only shows that the worker lives
    session.beat(began={jobid: session.environment.stamp()})
    assert ask(db, lambda s: s.runningSince(jobid)) is not None
    session.leave()
    session.close()
    with pytest.raises(UnknownJob):
        ask(db, lambda s: s.runningSince(77))


def test_long_messages_are_cut(service: Any) -> None:
    """What is written while a job runs does not become large."""
    reported: list[Any] = []

    def tell(length: int) -> None:
        current().progress(0.5, "x" * length)
        reported.append(current().reported.message)

    register("tell", tell)
    for length in (200, 201, 10**6):
        service.add("tell", length)
    service.process()
    cut = "x" * 199 + "\N{HORIZONTAL ELLIPSIS}"
    assert reported == ["x" * 200, cut, cut]


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (-0.1, InvalidArgument),
        (1.1, InvalidArgument),
        (math.nan, InvalidArgument),
        ("half", InvalidType),
        (None, InvalidType),
    ],
)
def test_bad_progress(service: Any, bad: Any, error: type[Exception]) -> None:
    """A fraction that is none is refused, and the last good one stays."""

    def work(value: Any) -> Any:
        current().progress(0.5, "half")
        with pytest.raises(error, match=r"^fraction: "):
            current().progress(bad)
        return tuple(current().reported or ())

    register("work", work)
    jobid = service.add("work")
    service.process()
    assert service.getResult(jobid) == (0.5, "half")
