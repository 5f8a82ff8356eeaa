"""A service in a site: its place, its tasks, its processor, its claims."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import transaction
import zope.component
import zope.component.hooks
from persistent import Persistent
from zope.interface import implementer
from zope.site.folder import Folder
from zope.site.site import LocalSiteManager

from lovely.remotetask.callers import next_job
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.service import TaskService
from tests import sites
from tests.sites import THREAD, Gate, done, status
from tests.support import (
    echo,
    processing,
    provide,
    put_service,
    register,
)


@pytest.fixture
def site(db: Any) -> Any:
    """A site in Zope's root folder."""
    return sites.make_site(db)


@pytest.fixture
def service(site: Any, tasks: None) -> Any:
    """A service in the site."""
    return sites.put_service(site)


@implementer(ITask)
class LocalTask(Persistent):
    """A task that lies in a site, and says in which one it runs."""

    def __call__(self, service: Any, jobid: int, input: Any) -> Any:
        site = zope.component.hooks.getSite()
        return [self, None if site is None else site.__name__, input]


def test_container_does_not_wrap(service: Any, site: Any) -> None:
    """A container takes a service as it is, and gives it its place."""
    folder = site.getSiteManager()["default"]
    assert type(service) is TaskService
    assert service.__parent__ is folder
    assert (service.__name__, service.jobs) == ("testTaskService1", {})


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate, open at the end."""
    gate = Gate()
    register("wait", gate)
    yield gate
    gate.opened.set()


def test_processor_arguments(service: Any) -> None:
    """Class and arguments of the processor can be chosen, on an instance too."""
    made: list[Any] = []

    def factory(db: Any, path: list[str], **arguments: Any) -> SimpleProcessor:
        made.append((path, arguments))
        return SimpleProcessor(db, path, **arguments)

    service.processorFactory = factory
    service.processorArguments = {"waitTime": 0.05}
    with processing(service):
        assert made == [
            (
                ["site1", "++etc++site", "default", "testTaskService1"],
                {"waitTime": 0.05},
            )
        ]
    transaction.abort()


def test_old_shape_of_arguments(service: Any, db: Any) -> None:
    """The processor's class and arguments are kept in the database."""
    service.processorFactory = SimpleProcessor
    service.processorArguments = {"waitTime": 0.5}
    transaction.commit()
    service._p_jar.cacheMinimize()
    assert service.processorFactory is SimpleProcessor
    assert service.processorArguments == {"waitTime": 0.5}


@pytest.mark.parametrize("hooks", [False, True])
def test_tasks_of_the_nearest_site(service: Any, site: Any, hooks: bool) -> None:
    """A task may be a persistent utility of the site that the service lies in."""
    if hooks:
        zope.component.hooks.setHooks()
    manager = site.getSiteManager()
    manager["default"]["task"] = local = LocalTask()
    manager.registerUtility(local, ITask, "local")
    transaction.commit()
    assert sorted(service.getAvailableTasks()) == ["echo", "fail", "local"]
    here = service.add("local", "here")
    service.process()
    assert service.getResult(here) == [local, "site1", "here"]
    jobid = service.add("local", "there")
    transaction.commit()
    with processing(service):
        assert done(service, jobid) == "completed"
    assert service.getResult(jobid)[1:] == ["site1", "there"]
    assert service.getResult(jobid)[0] is local


def test_site_is_restored(service: Any, site: Any, db: Any) -> None:
    """After a job the site is what it was, also if the job failed or changed it."""
    zope.component.hooks.setHooks()
    other = Folder()
    other.setSiteManager(LocalSiteManager(other))
    zope.component.hooks.setSite(other)
    register("wander", lambda value: zope.component.hooks.setSite(None))
    for name in ("echo", "fail", "wander"):
        service.add(name)
        service.process()
        assert zope.component.hooks.getSite() is other


def test_task_is_gone(service: Any, site: Any) -> None:
    """A job whose task is gone by the time it runs is in error, with its name."""
    ids = [service.add("echo"), service.add("fail", "still there")]
    transaction.commit()
    zope.component.getGlobalSiteManager().unregisterUtility(provided=ITask, name="echo")
    service.process()
    assert "Task does not exist: 'echo'" in service.getError(ids[0])
    assert service.getError(ids[1]) == "still there"


def test_own_task_interface(db: Any) -> None:
    """A subclass may keep its tasks under an interface of its own."""

    class IOther(ITask):
        """For tasks of the subclass."""

    class Other(TaskService):
        taskInterface = IOther

    service = Other()
    register("echo", str)
    register("mine", str.upper, IOther)
    assert list(service.getAvailableTasks()) == ["mine"]
    service.add("mine", "x")
    service.process()
    assert service.getResult(1) == "X"


def test_class_attributes_of_tasks(service: Any) -> None:
    """What a task is need not be more than a callable with three arguments."""
    provide("plain", lambda service, jobid, input: (jobid, input))
    jobid = service.add("plain", "x")
    service.process()
    assert service.getResult(jobid) == (jobid, "x")


def test_claims_leave_nothing(service: Any) -> None:
    """Jobs that are claimed and processed one by one leave no worker behind."""
    for _ in range(5):
        service.add("echo")
    transaction.commit()
    while (jobid := service.claimNextJob()) is not None:
        assert service.processNext(jobid=jobid)
        transaction.commit()
    assert service.count("completed") == 5
    assert service.workers == []


def test_many_cancelled_in_front(service: Any, db: Any) -> None:
    """A job behind thousands of cancelled ones is found at once."""
    for _ in range(2_500):
        service.cancel(service.add("echo"))
    last = service.add("echo")
    transaction.commit()
    processor = SimpleProcessor(db, ["site1", *THREAD.split(".")[2:]])
    assert service.hasJobsWaiting()
    assert processor.hasJobsWaiting()
    assert processor.processNext() is True
    assert status(service, last) == "completed"
    assert processor.processNext() is False


def test_many_cancelled_here(service: Any) -> None:
    """So it is in the calling thread."""
    for _ in range(2_500):
        service.cancel(service.add("echo"))
    last = service.add("echo")
    assert service.claimNextJob() == last


def test_a_processors_job_is_left_alone(service: Any) -> None:
    """What a processor has taken can't be run by a call as well."""
    jobid = service.add("echo", 1)
    key = service._workers.register(service)
    service._workers.claim(service, key, [next_job(service)])
    assert service.processNext(jobid=jobid) is False
    assert service.getStatus(jobid) == "processing"


def test_a_job_to_start_later_is_left_alone(service: Any) -> None:
    """A job that was not started can't be run by its id."""
    jobid = service.add("echo", 1, startLater=True)
    assert service.processNext(jobid=jobid) is False
    assert service.getStatus(jobid) == "start later"


def test_clean_removes_all(db: Any) -> None:
    """Of many jobs none is passed over, though blocks are dropped on the way."""
    register("echo", echo)
    service = put_service(db, "many")
    for _ in range(8000):
        service.cancel(service.add("echo"))
    service.process()
    assert service.clean() == 8000
    assert list(service.jobs) == []
