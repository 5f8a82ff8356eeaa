"""Applications as they were written for version 0.5.2: what they do still works."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import transaction
import zope.component
import zope.component.event
from persistent import Persistent
from ZODB.POSException import ConflictError
from zope.component import getUtility
from zope.component.hooks import getSite, setHooks, setSite
from zope.container.contained import Contained
from zope.interface import implementer
from zope.lifecycleevent import ObjectAddedEvent, ObjectRemovedEvent
from zope.security.management import (
    endInteraction,
    getInteraction,
    newInteraction,
    queryInteraction,
)
from zope.site.folder import Folder, rootFolder
from zope.site.site import LocalSiteManager

import lovely.remotetask
import lovely.remotetask.interfaces
import lovely.remotetask.processor
import lovely.remotetask.task
from lovely import remotetask
from lovely.remotetask.interfaces import (
    CANCELLED,
    COMPLETED,
    CRONJOB,
    DELAYED,
    ERROR,
    ITask,
    ITaskService,
)
from lovely.remotetask.testing import ITaskStub, QueueStub, TaskServiceStub
from tests.support import PATIENCE, wait_until
from tests.zope.users import Participation, User, know_users


@pytest.fixture
def root(db: Any) -> Iterator[Any]:
    """A root folder that is a site, and the current one."""
    setHooks()
    root = db.open().root()["Application"] = rootFolder()
    root.setSiteManager(LocalSiteManager(root))
    transaction.commit()
    setSite(root)
    yield root
    endInteraction()
    setSite(None)


# A content management system: services in the site manager, functions as tasks.


def install_task_service(name: str, utility: str, threads: int) -> Any:
    """As a generation of the application does."""
    manager = zope.component.getSiteManager()
    manager[name] = lovely.remotetask.TaskService()
    manager.registerUtility(manager[name], ITaskService, name=utility)
    tasks = manager[name]
    tasks.processorFactory = lovely.remotetask.processor.MultiProcessor
    tasks.processorArguments = {"maxThreads": threads}
    transaction.commit()
    return tasks


class Description(Persistent):
    """What is to be called, for whom and where."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments
        interaction = queryInteraction()
        self.principal = interaction and interaction.participations[0].principal.id
        self.site = getSite()


@implementer(ITask)
class AsyncFunction:
    """Calls functions; it commits, and tries conflicts again, by itself."""

    def __call__(self, service: Any, jobid: int, input: Any) -> None:
        for _ in range(3):
            old_site = getSite()
            try:
                setSite(input.site)
                if input.principal is not None:
                    self.log_in(input.principal)
                input.function(*input.arguments)
                transaction.commit()
                return
            except ConflictError:
                transaction.abort()
            except Exception:
                transaction.abort()
                return
            finally:
                setSite(old_site)

    def log_in(self, principal: str) -> None:
        """Act for a principal."""
        user = User(principal)
        getInteraction().participations[0].setPrincipal(user)


def call(*arguments: Any) -> str:
    """Have a function called, or call it at once if this is a job; which it was."""
    interaction = queryInteraction()
    if interaction is not None:
        request = interaction.participations[0]
        if isinstance(request, lovely.remotetask.processor.ProcessorRequest):
            arguments[0](*arguments[1:])
            return "now"
    tasks = getUtility(lovely.remotetask.interfaces.ITaskService, name="events")
    tasks.add("async", Description(*arguments))
    return "later"


def process(name: str = "events") -> Any:
    """Have the last job run in the background, as such applications test it."""
    transaction.commit()
    tasks = getUtility(ITaskService, name=name)
    tasks.processorArguments["waitTime"] = 0
    last = tasks._queue[-1]
    tasks.startProcessing()
    thread = next(t for t in threading.enumerate() if t.name == tasks._threadName())
    assert thread.daemon

    def is_over() -> bool:
        transaction.abort()
        return last.status in {COMPLETED, ERROR}

    try:
        wait_until(is_over)
    finally:
        tasks.stopProcessing()
        thread.join(PATIENCE)
    transaction.abort()
    return last


@pytest.fixture
def events(root: Any) -> Any:
    """The service of that application."""
    zope.component.provideUtility(AsyncFunction(), name="async")
    return install_task_service("tasks.events", "events", 1)


COMPUTED: list[Any] = []


def conflict(*arguments: Any) -> None:
    """Met by somebody else's change, each time."""
    COMPUTED.append(arguments)
    raise ConflictError


def increment(obj: Any, then: Any = None) -> None:
    """Change an object; then fail, perhaps."""
    obj.count = getattr(obj, "count", 0) + 1
    COMPUTED.append((obj._p_oid, getSite().__name__))
    if then is not None:
        raise then


def call_again() -> None:
    """What is called within a job is called at once, for the same user."""
    user = getInteraction().participations[0].principal.id
    COMPUTED.append((user, call(COMPUTED.append, user)))


@pytest.fixture(autouse=True)
def computed() -> Iterator[list[Any]]:
    """What functions have done."""
    yield COMPUTED
    COMPUTED.clear()


def test_conflicts_are_retried_by_the_task(events: Any, computed: list[Any]) -> None:
    """A task may commit and abort by itself; that runs it once, and no more."""
    assert call(conflict) == "later"
    assert process().status == COMPLETED
    assert computed == [(), (), ()]


def test_what_a_task_aborts(events: Any, root: Any, computed: list[Any]) -> None:
    """What a task has aborted itself is undone, and the job is over."""
    root["news"] = Folder()
    call(increment, root["news"], ValueError("no"))
    assert process().error is None
    assert not hasattr(root["news"], "count")
    call(increment, root["news"])
    assert process().status == COMPLETED
    assert root["news"].count == 1
    assert computed == [(root["news"]._p_oid, None)] * 2


def test_users(events: Any, computed: list[Any]) -> None:
    """A task finds the request in the interaction, and logs its user in there."""
    know_users("ann")
    newInteraction(Participation(User("ann")))
    call(call_again)
    endInteraction()
    process()
    assert computed == ["ann", ("ann", "now")]


def test_in_the_thread_of_a_test(events: Any, root: Any) -> None:
    """Tests call process() within an interaction of theirs."""
    know_users("zope.user")
    user = User("zope.user")
    newInteraction(Participation(user))
    root["news"] = Folder()
    call(increment, root["news"])
    call(increment, root["news"])
    assert len(events._queue) == 2
    events.process()
    assert (root["news"].count, len(events._queue)) == (2, 0)
    assert getInteraction().participations[0].principal is user


def test_jobs_for_later(events: Any) -> None:
    """A content object remembers the job that publishes it, and may take it back."""
    jobid = events.addCronJob("async", "a text", delay=24 * 3600 + 5)
    events.process()
    for unknown in (None, "", jobid + 1):
        assert unknown not in events.jobs
    assert jobid in events.jobs
    assert events.getStatus(jobid) == DELAYED
    events.cancel(jobid)
    assert events.getStatus(jobid) == CANCELLED
    events.cancel(jobid)
    events.cancel("undefined")
    with pytest.raises(KeyError):
        events.getStatus("undefined")


def test_without_services(events: Any) -> None:
    """A later generation of the application unregisters its services."""
    manager = zope.component.getSiteManager()
    for name, _ in list(manager.getUtilitiesFor(ITaskService)):
        assert manager.unregisterUtility(provided=ITaskService, name=name)
    del manager["tasks.events"]
    transaction.commit()
    assert zope.component.queryUtility(ITaskService, "events") is None


# A news aggregator: content objects that are tasks.


@implementer(ITask)
class Updater(Contained, Persistent):
    """Fetches the news of a source, each hour; lies in that source."""

    jobid: int | None = None
    fetched = 0

    def __call__(self, service: Any, jobid: int, input: Any) -> int:
        self.fetched += 1
        return self.fetched


def add_updater(updater: Any, event: Any) -> None:
    """It is registered under a dotted name, and has a cron job."""
    name = f"{updater.__parent__.__name__}.updater"
    getSite().getSiteManager().registerUtility(updater, ITask, name=name)
    service = getUtility(ITaskService, name="cron")
    updater.jobid = service.addCronJob(name, (), minute=(17,))


def remove_updater(updater: Any, event: Any) -> None:
    """Its job ends with it."""
    service = getUtility(ITaskService, name="cron")
    service.cancel(updater.jobid)
    service.clean()
    name = f"{updater.__parent__.__name__}.updater"
    assert getSite().getSiteManager().unregisterUtility(updater, ITask, name=name)


def test_objects_as_tasks(root: Any) -> None:
    """A persistent object of a site is a task, and changes when its job runs."""
    service = install_task_service("cron", "cron", 1)
    root["source"] = Folder()
    root["source"]["updater"] = updater = Updater()
    add_updater(updater, ObjectAddedEvent(updater))
    transaction.commit()
    assert list(service.getAvailableTasks()) == ["source.updater"]
    job = service.jobs[updater.jobid]
    assert (job.status, job.minute) == (CRONJOB, (17,))
    service.process(service.environment.time() + 3600)
    transaction.commit()
    assert (updater.fetched, job.status, job.output) == (1, CRONJOB, 1)
    remove_updater(updater, ObjectRemovedEvent(updater))
    transaction.commit()
    assert dict(service.jobs) == {}


# A mail package: the service without a name, and delays.


@implementer(ITask)
class RemoteMail(Persistent, Contained):
    """Sends a mail."""

    def __call__(self, service: Any, jobid: int, input: Any) -> None:
        COMPUTED.append(dict(**input))


def test_mails(root: Any, computed: list[Any]) -> None:
    """A mail is sent some time later, by the one service that there is."""
    manager = zope.component.getSiteManager()
    manager["default"]["mail"] = RemoteMail()
    manager.registerUtility(manager["default"]["mail"], ITask, name="remotemail")
    manager["default"]["tasks"] = remotetask.TaskService()
    manager.registerUtility(manager["default"]["tasks"], ITaskService)
    service = getUtility(ITaskService)
    jobid = service.addCronJob("remotemail", {"subject": "Hello"}, delay=60)
    service.process()
    assert computed == []
    service.process(service.environment.time() + 60)
    assert computed == [{"subject": "Hello"}]
    assert service.getStatus(jobid) == COMPLETED


# Add-ons: services of their own kind, which are started when they are added.


class IExampleTask(zope.interface.Interface):
    """What the service takes for its tasks."""


class Item(Persistent):
    """A base of that system's objects."""

    id = ""

    def getId(self) -> str:
        """The name of the item."""
        return self.id


class ExampleService(remotetask.TaskService, Item):
    """A service that starts itself, if it can."""

    taskInterface = IExampleTask
    processorArguments = {"waitTime": 0.05}  # noqa: RUF012 - its old, public shape

    def __init__(self) -> None:
        super().__init__()
        if getattr(self, "__parent__", None):
            self.startProcessing()


@implementer(IExampleTask)
class ExampleTask:
    """Its task."""

    def __call__(self, service: Any, jobid: int, input: Any) -> Any:
        return f"{input} is done"


def test_started_in_the_transaction_that_adds_it(root: Any) -> None:
    """A savepoint gives the service its database; it runs once that is committed."""
    zope.component.provideUtility(ExampleTask(), name="example")
    manager = root.getSiteManager()
    manager["example"] = service = ExampleService()
    service.id = "example"
    manager.registerUtility(service, ITaskService, name="Example")
    transaction.savepoint()
    service.startProcessing()
    try:
        assert service.isProcessing()
        assert getUtility(ITaskService, name="Example") is service
        jobid = service.add("example", "china")
        transaction.commit()

        def is_over() -> bool:
            transaction.abort()
            return bool(service.getStatus(jobid) == COMPLETED)

        wait_until(is_over)
        assert service.getResult(jobid) == "china is done"
        assert service.getId() == "example"
    finally:
        assert service.stopProcessing(wait=True, timeout=PATIENCE)


# Tests with stand-ins.


def test_stubs() -> None:
    """A service without a database and threads has stub tasks alone."""
    service = TaskServiceStub()
    echo = remotetask.task.SimpleTask(lambda input: input)
    assert service.getAvailableTasks() == {}
    zope.component.provideUtility(echo, provides=ITaskStub, name="echo")
    zope.component.provideUtility(echo, name="real")
    assert service.getAvailableTasks() == {"echo": echo}
    assert echo(service, 1, input={"foo": "blah"}) == {"foo": "blah"}
    with pytest.raises(ValueError, match=r"^Task does not exist"):
        service.add("undefined", {"foo": "bar"})
    jobid = service.add("echo", {"foo": "bar"})
    service.process()
    assert service.getResult(jobid) == {"foo": "bar"}
    assert repr(dict(service.jobs)) == "{1: <Job 1>}"
    queue = QueueStub()
    queue.put(1)
    assert (queue.pull(), len(queue)) == (1, 0)
