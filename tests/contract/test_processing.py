"""The contract of a service: processing in the calling thread."""

from __future__ import annotations

from typing import Any

import pytest
from transaction.interfaces import TransientError

from lovely.remotetask.errors import UnknownJob
from tests.contract.worlds import World
from tests.support import FakeEnvironment, FullTask, counts, provide, register, statuses


def test_result(here: World) -> None:
    """What the task returns is the job's result."""
    jobid = here.service.add("echo", ["spam", {"n": 1}])
    here.settle()
    here.service.process()
    here.settle()
    job = here.service.jobs[jobid]
    assert job.status == "completed"
    assert here.service.getResult(jobid) == job.output == ["spam", {"n": 1}]
    assert here.service.getError(jobid) == "None"
    assert job.created <= job.started <= job.completed
    assert [(a.number, a.failure) for a in job.attempts] == [(1, None)]


def test_failure(here: World) -> None:
    """A failure is kept as text: its message, its type and its traceback."""
    jobid = here.service.add("fail", "no such luck")
    here.settle()
    here.service.process()
    here.settle()
    job = here.service.jobs[jobid]
    assert (job.status, job.output) == ("error", None)
    assert here.service.getError(jobid) == "no such luck"
    assert type(job.error) is str
    assert job.error.startswith("RuntimeError: no such luck")
    assert "raise RuntimeError(value)" in job.error
    (attempt,) = job.attempts
    assert attempt.started <= attempt.ended
    assert attempt.failure.type == "RuntimeError"


def test_task_gets_service_id_and_input(here: World) -> None:
    """A task is called with the service, the id and the input."""
    calls: list[tuple[Any, int, Any]] = []
    task = FullTask(lambda *arguments: calls.append(arguments))
    provide("record", task, here.service.taskInterface)
    jobid = here.service.add("record", "input")
    here.settle()
    here.service.process()
    ((service, called, input),) = calls
    assert (service.__class__, called, input) == (type(here.service), jobid, "input")


def test_order(here: World) -> None:
    """Jobs run in the order they were added, over many blocks."""
    order: list[int] = []
    register("note", order.append, here.service.taskInterface)
    for number in range(40):
        here.service.add("note", number)
        if number % 7 == 0:
            here.settle()
    here.service.process()
    assert order == list(range(40))


def test_a_job_may_add_jobs(here: World) -> None:
    """What a job adds is processed too."""

    def more(service: Any, jobid: int, depth: int) -> int | None:
        return service.add("more", depth - 1) if depth else None

    provide("more", FullTask(more), here.service.taskInterface)
    here.service.add("more", 3)
    here.settle()
    here.service.process()
    here.settle()
    assert [here.service.getResult(n) for n in (1, 2, 3, 4)] == [2, 3, 4, None]


def test_waiting_jobs(here: World) -> None:
    """Whether something is due can be asked without changing anything."""
    assert not here.service.hasJobsWaiting()
    here.service.add("echo")
    here.settle()
    assert here.service.hasJobsWaiting()
    assert here.service.hasJobsWaiting()
    here.service.process()
    assert not here.service.hasJobsWaiting()


def test_claim_then_process(here: World) -> None:
    """A job that has been claimed is processing until it is processed by id."""
    assert here.service.claimNextJob() is None
    first, second = here.service.add("echo", 1), here.service.add("echo", 2)
    here.settle()
    assert here.service.claimNextJob() == first
    here.settle()
    assert counts(here.service) == {"processing": 1, "queued": 1}
    assert here.service.claimNextJob() == second
    assert here.service.claimNextJob() is None
    assert here.service.processNext(jobid=second) is True
    here.settle()
    assert here.service.getStatus(first) == "processing"
    assert here.service.processNext(jobid=first) is True
    here.settle()
    assert counts(here.service) == statuses(here.service) == {"completed": 2}


def test_process_next(here: World) -> None:
    """One job at a time can be processed: the next one or a given one."""
    ids = [here.service.add("echo", n) for n in range(3)]
    here.settle()
    assert here.service.processNext(jobid=ids[1]) is True
    here.settle()
    assert here.service.processNext() is True
    assert here.service.getStatus(ids[0]) == "completed"
    assert here.service.processNext() is True
    assert here.service.processNext() is False
    assert counts(here.service) == {"completed": 3}
    with pytest.raises(UnknownJob):
        here.service.processNext(jobid=99)


@pytest.mark.parametrize("start", [None, 0])
def test_delays_count_from_a_given_time(here: World, start: int | None) -> None:
    """With a time of one's own, a delay counts from that time."""
    here.service.add("echo", delay=10)
    here.settle()
    if start is not None:
        here.service.process(start)
        here.settle()
        for now, status in [(0, "delayed"), (9, "delayed"), (10, "completed")]:
            assert here.service.hasJobsWaiting(now) is (now == 10)
            here.service.process(now)
            here.settle()
            assert here.service.getStatus(1) == status
    else:
        here.service.process(9)
        assert here.service.getStatus(1) == "delayed"


def test_due_jobs_are_in_order(here: World, environment: FakeEnvironment) -> None:
    """What is due comes in the order of its times, merged with the queue."""
    order: list[str] = []
    register("note", order.append, here.service.taskInterface)
    here.service.add("note", "late", delay=9)
    here.service.add("note", "soon", delay=3)
    here.settle()
    environment.now += 5
    here.service.add("note", "queued")
    here.settle()
    environment.now += 10
    here.service.process()
    assert order == ["soon", "queued", "late"]


def test_conflicts_run_again(here: World, environment: FakeEnvironment) -> None:
    """A task that raises a conflict runs again, after a pause."""
    tries = iter([TransientError("1"), TransientError("2")])

    def stubborn(value: Any) -> Any:
        error = next(tries, None)
        if error is not None:
            raise error
        return value

    register("stubborn", stubborn, here.service.taskInterface)
    here.service.add("stubborn", "done")
    here.settle()
    here.service.process()
    assert here.service.getResult(1) == "done"
    assert len(environment.slept) == 2
    assert here.service.jobs[1].attempt == 1


def test_conflicts_for_ever(here: World, environment: FakeEnvironment) -> None:
    """A task that always conflicts ends in error, and others go on."""

    def hopeless(value: Any) -> None:
        raise TransientError("again and again")

    register("hopeless", hopeless, here.service.taskInterface)
    here.service.add("hopeless")
    here.service.add("echo")
    here.settle()
    here.service.process()
    assert here.service.getError(1) == "again and again"
    assert counts(here.service) == {"error": 1, "completed": 1}


def test_counts(here: World) -> None:
    """Counts by status agree with the jobs, after each step."""
    steps = [
        (lambda s: s.add("echo"), {"queued": 1}),
        (lambda s: s.add("echo", startLater=True), {"queued": 1, "start later": 1}),
        (lambda s: s.add("fail"), {"queued": 2, "start later": 1}),
        (lambda s: s.claimNextJob(), {"processing": 1, "queued": 1, "start later": 1}),
        (lambda s: s.startJob(2), {"processing": 1, "queued": 2}),
        (lambda s: s.cancel(2), {"processing": 1, "queued": 1, "cancelled": 1}),
        (
            lambda s: s.processNext(jobid=1),
            {"completed": 1, "queued": 1, "cancelled": 1},
        ),
        (lambda s: s.process(), {"completed": 1, "error": 1, "cancelled": 1}),
        (lambda s: s.clean(["cancelled"]), {"completed": 1, "error": 1}),
        (lambda s: s.clean(), {}),
    ]
    for step, expected in steps:
        step(here.service)
        here.settle()
        assert counts(here.service) == statuses(here.service) == expected


def test_queue(here: World) -> None:
    """The queue is a sequence of the jobs that are queued."""
    assert len(here.service._queue) == 0
    with pytest.raises(IndexError):
        here.service._queue[-1]
    for n in range(20):
        here.service.add("echo", n)
        here.settle()
    here.service.cancel(5)
    here.service.processNext()
    here.settle()
    assert len(here.service._queue) == 18
    assert here.service._queue[-1].id == 20
    assert [job.id for job in here.service._queue][:5] == [2, 3, 4, 6, 7]
