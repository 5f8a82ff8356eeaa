"""The contract of a service: adding jobs and asking about them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from zope.interface.verify import verifyObject

from lovely.remotetask import errors
from lovely.remotetask.interfaces import IJob, ITaskService
from tests.contract.worlds import World
from tests.support import FakeEnvironment, counts, register, statuses


def test_interfaces(here: World) -> None:
    """A service and its jobs keep to their interfaces."""
    here.service.add("echo")
    here.settle()
    assert verifyObject(ITaskService, here.service)
    assert verifyObject(IJob, here.service.jobs[1])


def test_ids_count_from_one(here: World) -> None:
    """One caller gets the ids 1, 2, 3, ..., over many blocks."""
    ids = []
    for _ in range(10):
        ids += [here.service.add("echo") for _ in range(5)]
        here.settle()
    assert ids == list(range(1, 51))
    assert list(here.service.jobs) == ids


def test_new_job(here: World, environment: FakeEnvironment) -> None:
    """A new job is queued, and has nothing but what it was given."""
    jobid = here.service.add("echo", {"foo": "bar"})
    here.settle()
    job = here.service.jobs[jobid]
    assert (job.id, job.task, job.input) == (1, "echo", {"foo": "bar"})
    assert job.status == here.service.getStatus(jobid) == "queued"
    assert job.created == datetime.fromtimestamp(environment.now, timezone.utc)
    assert job.started is job.completed is job.scheduledFor is None
    assert job.output is job.error is here.service.getResult(jobid) is None
    assert here.service.getError(jobid) == "None"
    assert (job.attempt, job.attempts) == (0, ())
    assert repr(job) == "<Job 1>"


def test_start_later(here: World) -> None:
    """A job that is to start later waits until it is started, once."""
    jobid = here.service.add("echo", 1, startLater=True)
    here.settle()
    assert here.service.getStatus(jobid) == "start later"
    assert not here.service.hasJobsWaiting()
    here.service.process()
    assert here.service.getStatus(jobid) == "start later"
    assert here.service.startJob(jobid) is True
    here.settle()
    assert here.service.getStatus(jobid) == "queued"
    assert here.service.startJob(jobid) is False
    here.service.process()
    assert here.service.startJob(jobid) is False
    assert here.service.getStatus(jobid) == "completed"


def test_started_later_is_queued_later(here: World) -> None:
    """A job's place in the queue is that of when it was started."""
    order: list[str] = []
    register("note", order.append, here.service.taskInterface)
    first = here.service.add("note", "first", startLater=True)
    here.service.add("note", "second")
    here.settle()
    here.service.startJob(first)
    here.service.add("note", "third")
    here.settle()
    here.service.process()
    assert order == ["second", "first", "third"]


@pytest.mark.parametrize("options", [{}, {"startLater": True}, {"delay": 5}])
def test_cancel(here: World, options: dict[str, object]) -> None:
    """A job that has not begun can be cancelled, and is not run any more."""
    jobid = here.service.add("fail", **options)
    here.settle()
    here.service.cancel(jobid)
    here.settle()
    here.service.process()
    assert here.service.getStatus(jobid) == "cancelled"
    assert counts(here.service) == {"cancelled": 1}
    assert not here.service.startJob(jobid)


def test_cancel_ignores_what_is_over(here: World) -> None:
    """Finished jobs and unknown ids are left alone by cancel."""
    done, failed = here.service.add("echo"), here.service.add("fail")
    here.service.process()
    here.settle()
    for jobid in (done, failed, 99, 0, -1, None, "1"):
        here.service.cancel(jobid)
    assert here.service.getStatus(done) == "completed"
    assert here.service.getStatus(failed) == "error"


@pytest.mark.parametrize("verb", ["getStatus", "getResult", "getError", "startJob"])
@pytest.mark.parametrize("jobid", [0, 2, -1, 2**31, 2**70, None, "1", True, 1.0])
def test_unknown_ids(here: World, verb: str, jobid: object) -> None:
    """An unknown id is a KeyError of the library's own that names it."""
    here.service.add("echo")
    here.settle()
    with pytest.raises(KeyError) as caught:
        getattr(here.service, verb)(jobid)
    assert isinstance(caught.value, errors.UnknownJob)
    assert repr(jobid) in str(caught.value)


def test_available_tasks(here: World) -> None:
    """The tasks that may be added are listed by name."""
    tasks = here.service.getAvailableTasks()
    assert sorted(tasks) == ["echo", "fail"]
    assert tasks["echo"](here.service, 1, "input") == "input"


def test_delay(here: World, environment: FakeEnvironment) -> None:
    """A delayed job waits until it is due."""
    jobid = here.service.add("echo", delay=10)
    here.settle()
    job = here.service.jobs[jobid]
    assert job.status == "delayed"
    assert job.scheduledFor == job.created + timedelta(seconds=10)
    for seconds, status in [(0, "delayed"), (9.999, "delayed"), (0.001, "completed")]:
        environment.now += seconds
        here.service.process()
        here.settle()
        assert here.service.getStatus(jobid) == status


def test_at(here: World, environment: FakeEnvironment) -> None:
    """A job may be given the moment when it becomes due, in any time zone."""
    moment = datetime(2001, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=7)))
    jobid = here.service.add("echo", at=moment)
    here.settle()
    assert here.service.jobs[jobid].scheduledFor == moment
    environment.now = moment.timestamp() - 0.001
    assert not here.service.hasJobsWaiting()
    environment.now = moment.timestamp()
    assert here.service.hasJobsWaiting()


def test_at_in_the_past(here: World) -> None:
    """A moment that has passed means at once."""
    moment = datetime(1969, 2, 3, tzinfo=timezone.utc)
    jobid = here.service.add("echo", at=moment)
    assert here.service.getStatus(jobid) == "queued"


def test_clean(here: World) -> None:
    """Clean removes what is over, and says how many that were."""
    for task in ("echo", "fail", "echo", "echo"):
        here.service.add(task)
    here.service.cancel(4)
    here.settle()
    here.service.process()
    here.service.add("echo")
    here.settle()
    assert here.service.clean(["error"]) == 1
    here.settle()
    assert list(here.service.jobs) == [1, 3, 4, 5]
    assert here.service.clean() == 3
    here.settle()
    assert counts(here.service) == statuses(here.service) == {"queued": 1}
    assert here.service.add("echo") == 6
    with pytest.raises(KeyError):
        here.service.getStatus(1)


def test_remove(here: World) -> None:
    """Remove takes away one job that is over, and says whether it did."""
    for task in ("echo", "fail", "echo"):
        here.service.add(task)
    here.settle()
    assert not here.service.remove(1)
    here.service.process()
    here.settle()
    assert here.service.remove(1)
    assert here.service.remove(2)
    here.settle()
    assert list(here.service.jobs) == [3]
    assert counts(here.service) == statuses(here.service) == {"completed": 1}
    with pytest.raises(errors.UnknownJob):
        here.service.remove(1)


@pytest.mark.parametrize(
    "status", ["queued", "processing", "start later", "delayed", "cronjob", "gone"]
)
def test_clean_refuses(here: World, status: str) -> None:
    """Jobs that are not over can't be removed."""
    here.service.add("echo")
    here.service.process()
    with pytest.raises(ValueError, match=status) as caught:
        here.service.clean(["completed", status])
    assert isinstance(caught.value, errors.InvalidArgument)
    assert here.service.count("completed") == 1
