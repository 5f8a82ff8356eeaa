"""Who may do what with services and jobs, through security proxies."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import transaction
import zope.component
from persistent import Persistent
from zope.interface import Interface
from zope.schema import Int
from zope.security import management
from zope.security.checker import ProxyFactory, getCheckerForInstancesOf
from zope.security.interfaces import (
    ForbiddenAttribute,
    IPermission,
    Unauthorized,
)
from zope.security.proxy import isinstance as isinstance_
from zope.security.proxy import removeSecurityProxy
from zope.security.simplepolicies import ParanoidSecurityPolicy
from zope.site.folder import Folder

from lovely.remotetask import (
    Keep,
    RetryPolicy,
    SimpleTask,
    TaskError,
    TaskService,
    current,
)
from lovely.remotetask.errors import Unpicklable
from lovely.remotetask.interfaces import ICronJob, IJob, ITaskService
from lovely.remotetask.job import CronJob, Job
from lovely.remotetask.processor import MultiProcessor
from lovely.remotetask.table import JobTable
from tests.support import (
    processing,
    provide,
    register,
    wait_for_status,
    wait_until,
)
from tests.zope.configuration import configure
from tests.zope.users import User, acting_as

SUBMIT, VIEW, MANAGE = (
    f"lovely.remotetask.{name}" for name in ("Submit", "View", "Manage")
)

#: All that the contract of services has; zope.security gives anybody the names.
SERVICE = {
    SUBMIT: {"add", "addCronJob", "startJob", "cancel"},
    VIEW: {
        *("jobs", "getAvailableTasks", "getStatus", "getResult", "getError"),
        *("progress", "count", "history", "hasJobsWaiting", "isProcessing"),
        *("workers", "processing", "runningSince"),
    },
    MANAGE: {
        *("reschedule", "pause", "resume", "runNow", "retry", "retryAll"),
        *("remove", "clean"),
        *("claimNextJob", "processNext", "process"),
        *("startProcessing", "stopProcessing", "waitProcessing"),
        *("taskInterface", "processorFactory", "processorArguments"),
        *("retryPolicy", "retention", "stalledAfter", "runAs"),
    },
}
#: All that the contract of cron jobs has, which is more than that of jobs.
JOB = {
    VIEW: {
        *("id", "task", "status", "input", "output", "error", "principal"),
        *("created", "started", "completed", "scheduledFor", "attempt", "attempts"),
        *("minute", "hour", "dayOfMonth", "month", "dayOfWeek", "delay"),
        *("paused", "runFor", "runs", "schedule", "policy"),
        *("timeOfNextCall", "upcoming"),
    },
    MANAGE: {"update"},
}
TABLE = {
    VIEW: {
        *("__getitem__", "__contains__", "__iter__", "__len__"),
        *("get", "keys", "values", "items", "minKey", "maxKey"),
    }
}
#: What the library alone uses.
FORBIDDEN = ["_queue", "_add", "_writer", "_lanes", "environment", "_p_jar"]

PERMISSIONS = [SUBMIT, VIEW, MANAGE]


class Policy(ParanoidSecurityPolicy):  # type: ignore[misc]
    """Whoever acts may do what is in their list."""

    def checkPermission(self, permission: str, object: Any) -> bool:
        return all(
            permission in participation.principal.permissions
            for participation in self.participations
        )


@pytest.fixture(autouse=True)
def configured() -> Iterator[None]:
    """The package's ZCML, and a policy."""
    configure()
    before = management.setSecurityPolicy(Policy)
    yield
    management.setSecurityPolicy(before)
    vars(management.thread_local).clear()


def acting_with(*permissions: str) -> Any:
    """Within, somebody acts who has these permissions."""
    user = User("somebody")
    user.permissions = permissions  # type: ignore[attr-defined]
    return acting_as(user)


def by_name(table: dict[str, set[str]]) -> dict[str, str]:
    """The permission for each name."""
    return {name: permission for permission, names in table.items() for name in names}


def names_of(interface: Any) -> set[str]:
    """All names of a contract, but for the two that are known to anybody."""
    return {*interface.names(all=True)} - {"__name__", "__parent__"}


def cases(table: dict[str, set[str]], interface: Any = None) -> list[tuple[str, str]]:
    names = by_name(table)
    wanted = names_of(interface) if interface else names
    return sorted((name, names[name]) for name in wanted)


@pytest.mark.parametrize("id", PERMISSIONS)
def test_permissions_are_defined(id: str) -> None:
    """The three permissions can be granted, and say what they are for."""
    permission = zope.component.getUtility(IPermission, id)
    assert permission.title
    assert permission.description


@pytest.mark.parametrize(
    ("cls", "table", "interface"),
    [
        (TaskService, SERVICE, ITaskService),
        (CronJob, JOB, ICronJob),
        (Job, {VIEW: names_of(IJob)}, IJob),
        (JobTable, TABLE, None),
    ],
)
def test_every_name_has_its_permission(
    cls: type, table: dict[str, set[str]], interface: Any
) -> None:
    """Each name of the contract needs the permission in the table; no other is open."""
    declared = dict(getCheckerForInstancesOf(cls).get_permissions)
    assert declared == by_name(table)
    assert interface is None or declared.keys() == names_of(interface)


def test_nothing_can_be_set() -> None:
    """Nobody sets attributes through a proxy."""
    for cls in (TaskService, Job, CronJob, JobTable):
        assert dict(getCheckerForInstancesOf(cls).set_permissions or {}) == {}


def objects() -> dict[str, Any]:
    """A service, a job, a cron job and the table, behind proxies."""
    service = TaskService()
    job, cron = service.add("echo", 1), service.addCronJob("echo", minute=5)
    found = {
        "service": service,
        "job": service.jobs[job],
        "cron": service.jobs[cron],
        "table": service.jobs,
    }
    return {name: ProxyFactory(thing) for name, thing in found.items()}


ALL_CASES = {
    "service": cases(SERVICE),
    "job": cases(JOB, IJob),
    "cron": cases(JOB),
    "table": cases(TABLE),
}


@pytest.mark.parametrize("thing", ALL_CASES)
def test_who_gets_what(thing: str) -> None:
    """A name is had by those with its permission, and by no others."""
    proxied = objects()[thing]
    for name, needed in ALL_CASES[thing]:
        check_who_gets(proxied, name, needed)


def check_who_gets(proxied: Any, name: str, needed: str) -> None:
    """A name of an object is had with this permission alone."""
    others = [permission for permission in PERMISSIONS if permission != needed]
    for permissions in ([], others, ["zope.View", "zope.ManageContent"]):
        with acting_with(*permissions), pytest.raises(Unauthorized):
            getattr(proxied, name)
    with acting_with(needed):
        getattr(proxied, name)
    with acting_with(*PERMISSIONS), pytest.raises(ForbiddenAttribute):
        setattr(proxied, name, None)


@pytest.mark.parametrize("thing", ALL_CASES)
def test_what_nobody_gets(thing: str) -> None:
    """What is the library's own is forbidden, whatever one may do."""
    proxied = objects()[thing]
    for name in [*FORBIDDEN, "__dict__", "__setstate__"]:
        with acting_with(*PERMISSIONS), pytest.raises(ForbiddenAttribute):
            getattr(proxied, name)


#: What anonymous callers might try: each changes or reveals something.
ATTEMPTS: list[Callable[[Any, Any, Any], Any]] = [
    lambda service, job, cron: service.add("echo", 1),
    lambda service, job, cron: service.addCronJob("echo", minute=1),
    lambda service, job, cron: service.clean(),
    lambda service, job, cron: service.cancel(1),
    lambda service, job, cron: service.jobs,
    lambda service, job, cron: service.getResult(1),
    lambda service, job, cron: service.processNext(jobid=1),
    lambda service, job, cron: service.startProcessing(),
    lambda service, job, cron: job.input,
    lambda service, job, cron: cron.update(minute=1),
]


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_anonymous(attempt: Callable[[Any, Any, Any], Any]) -> None:
    """Fault 21: who has no permission changes nothing and learns nothing."""
    things = objects()
    service = removeSecurityProxy(things["service"])
    before = [(job.id, job.status) for job in service.jobs.values()]
    with acting_with(), pytest.raises(Unauthorized):
        attempt(things["service"], things["job"], things["cron"])
    assert [(job.id, job.status) for job in service.jobs.values()] == before


def test_submit() -> None:
    """Who submits gets plain ids, may start and cancel, and sees nothing."""
    service = ProxyFactory(TaskService())
    with acting_with(SUBMIT):
        jobid = service.add("echo", {"a": 1}, startLater=True)
        assert type(jobid) is int
        assert type(service.addCronJob("echo", minute=5)) is int
        assert service.startJob(jobid) is True
        service.cancel(jobid)
        with pytest.raises(Unauthorized):
            service.getStatus(jobid)
    with acting_with(VIEW):
        assert service.getStatus(jobid) == "cancelled"


def fail(input: Any) -> None:
    """A task's function that always gives up."""
    raise TaskError(input)


def test_view() -> None:
    """Who views sees all of a job, behind proxies, however it was reached."""
    register("fail", fail)
    plain = TaskService()
    plain.add("echo", {"a": [1]})
    plain.add("fail", "Oh!")
    plain.addCronJob("echo", every=60)
    plain.process(2**31)
    service = ProxyFactory(plain)
    with acting_with(VIEW):
        jobs = service.jobs
        found = [
            *jobs.values(),
            *(job for _, job in jobs.items()),
            jobs[1],
            jobs.get(1),
        ]
        assert all(type(job) is type(service) for job in found)
        assert all(isinstance_(job, Job) for job in found)
        assert list(jobs) == list(jobs.keys()) == [1, 2, 3]
        assert (len(jobs), 1 in jobs, 9 in jobs, jobs.minKey()) == (3, True, False, 1)
        assert [job.id for job in jobs.values(2, 2)] == [2]
        assert dict(jobs)[1].input["a"][0] == 1
        assert (jobs[1].output["a"][0], service.getResult(1)["a"][0]) == (1, 1)
        (attempt,) = jobs[2].attempts
        assert (attempt.number, attempt.failure.message) == (1, "Oh!")
        assert "TaskError" in str(attempt.failure)
        assert attempt.failure.traceback in jobs[2].error
        run = jobs[3].runs[-1]
        assert run.outcome == "completed"
        assert run.duration >= 0
        assert len(jobs[3].upcoming(2)) == 2
        with pytest.raises(ForbiddenAttribute):
            jobs[1].input["a"].append(2)
        with pytest.raises(Unauthorized):
            jobs[3].update(minute=1)


#: What values have for the library alone.
INTERNAL = {"sets"}


def read(proxied: Any) -> int:
    """Read a value with all that it is made of; how many parts there are."""
    plain = removeSecurityProxy(proxied)
    parts: list[Any] = []
    if isinstance(plain, Mapping):
        parts += [proxied[key] for key, _ in proxied.items()]
    elif isinstance(plain, (list, tuple)):
        parts.extend(proxied)
    names = {*getattr(plain, "_fields", ())}
    if dataclasses.is_dataclass(plain) and not isinstance(plain, type):
        names |= {field.name for field in dataclasses.fields(plain)} - INTERNAL
    parts += [getattr(proxied, name) for name in names]
    return 1 + sum(map(read, parts))


def test_values() -> None:
    """All values that services and jobs have can be read, and tuples be unpacked."""
    register("fail", fail)
    plain = TaskService()
    plain.retention = {**plain.retention, "error": Keep(number=5)}
    plain.add("fail", "Oh!", retry=RetryPolicy(retries=0, on=OSError))
    for schedule in (
        {"minute": (5, 6), "overlap": "queue"},
        {"cron": "*/5 * * * *", "timezone": "Europe/Berlin"},
        {"every": 60},
        {"at": datetime(2099, 1, 1, tzinfo=timezone.utc)},
    ):
        plain.addCronJob("echo", {"a": [1]}, **schedule)
    plain.process(plain.environment.time() + 3600)
    service = ProxyFactory(plain)
    with acting_with(VIEW, MANAGE):
        values = [getattr(service, name) for name in SERVICE[VIEW] | SERVICE[MANAGE]]
        for job in service.jobs.values():
            names = JOB[VIEW] if isinstance_(job, CronJob) else names_of(IJob)
            values += [getattr(job, name) for name in names]
        assert sum(map(read, (*values, service.history(2)))) > 200
        schedule = service.jobs[3].schedule
        assert (schedule.expression, schedule.timezone) == (
            "*/5 * * * *",
            "Europe/Berlin",
        )
        assert len(schedule.upcoming(0, 3)) == 3
        assert service.jobs[2].policy.overlap == "queue"
        assert service.retention["error"].number == 5
        default = ProxyFactory(TaskService()).retention
        assert (dict(default), len(default)) == (dict(TaskService.retention), 2)
        assert [read(keep) for keep in default.values()] == [3, 3]


def test_what_was_read_can_be_given() -> None:
    """Fields and the like that come from behind a proxy are taken by the service."""
    service = TaskService()
    proxied = ProxyFactory(service)
    with acting_with(*PERMISSIONS):
        first = proxied.addCronJob("echo", minute=(5, 6), hour=[7])
        job = proxied.jobs[first]
        second = proxied.addCronJob("echo", minute=job.minute, hour=job.hour)
        job.update(dayOfWeek=ProxyFactory([1]), minute=job.minute)
    assert service.jobs[second].minute == (5, 6)
    assert service.jobs[second].hour == (7,)
    assert (service.jobs[first].dayOfWeek, service.jobs[first].minute) == ((1,), (5, 6))


class IPicture(Interface):
    """A schema."""

    width = Int(min=1)


def test_what_is_proxied_is_not_kept() -> None:
    """A proxy is checked like what is behind it, but it can't be stored."""
    provide("picture", SimpleTask(ProxyFactory, outputSchema=IPicture))
    provide("paint", SimpleTask(str, inputSchema=IPicture))
    service = TaskService()
    with acting_with(*PERMISSIONS), pytest.raises(Unpicklable, match="_Proxy"):
        service.add("paint", ProxyFactory({"width": 1}))
    jobid = service.add("picture", {"width": 1})
    service.process()
    assert "_Proxy" in service.getError(jobid)


def test_tasks() -> None:
    """The tasks can be looked at through a proxy, but not be called."""
    configure('<remotetask:task name="work" handler=".handlers.convert" />')
    register("shout", str.upper)
    service = ProxyFactory(TaskService())
    with acting_with(*PERMISSIONS):
        tasks = service.getAvailableTasks()
        assert sorted(tasks) == ["echo", "shout", "work"]
        for name in tasks:
            assert tasks[name].inputSchema is None
            assert tasks[name].outputSchema is None
            with pytest.raises(ForbiddenAttribute):
                tasks[name](service, 1, "hello")


def test_how_it_is_processed(db: Any, service: Any) -> None:
    """Who views sees who processes a service, and how far jobs are."""
    go_on: list[Any] = []

    def work(input: Any) -> None:
        current().progress(0.5, "half")
        wait_until(lambda: go_on)

    register("work", work)
    jobid = service.add("work")
    transaction.commit()
    proxied = ProxyFactory(service)

    def progress() -> Any:
        transaction.begin()
        with acting_with(VIEW):
            return proxied.progress(jobid)

    with processing(service):
        shown = wait_until(progress)
        with acting_with(VIEW):
            fraction, message = shown
            assert (fraction, message, shown.fraction) == (0.5, "half", 0.5)
            (worker,) = proxied.workers
            assert (worker.threads, worker.held[0]) == (1, jobid)
            assert worker.lease.seconds > worker.lease.heartbeat
            (state,) = proxied.processing.workers
            assert state.worker.pid == worker.pid
            assert state.state == "busy"
            assert proxied.processing.stalled is False
            assert read((proxied.workers, proxied.processing)) > 30
        go_on.append(True)
        wait_for_status(db, jobid, "completed")


def test_manage() -> None:
    """Who manages changes schedules, and sees how the service is set up."""
    service = ProxyFactory(TaskService())
    with acting_with(SUBMIT):
        jobid = service.addCronJob("echo", minute=5)
    with acting_with(MANAGE, VIEW):
        service.jobs[jobid].update(minute=6)
        assert service.reschedule(jobid) is True
        assert service.jobs[jobid].minute[0] == 6
        assert service.retryPolicy.retries == RetryPolicy().retries
        assert service.processorArguments["waitTime"] == 1.0
        assert service.runAs == "adder"
        assert service.clean() == 0


class Base(Persistent):
    """Another persistent base."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = True


class OwnService(TaskService, Base):
    """A service as applications have them."""

    processorFactory = MultiProcessor
    processorArguments = {"maxThreads": 2}  # noqa: RUF012


def test_subclass(db: Any) -> None:
    """A subclass is closed until it is declared, like the service, by one line."""
    register("echo", str)
    connection = db.open()
    root = connection.root()
    root["tasks"] = service = OwnService()
    service.__parent__, service.__name__ = root, "tasks"
    transaction.commit()
    with acting_with(*PERMISSIONS), pytest.raises(ForbiddenAttribute):
        ProxyFactory(service).add("echo", 1)
    configure(
        '<class class="tests.zope.test_permissions.OwnService">'
        '<require like_class="lovely.remotetask.TaskService" /></class>'
    )
    proxied = ProxyFactory(service)
    with acting_with(SUBMIT, MANAGE):
        jobid = proxied.add("echo", 1)
        transaction.commit()
        proxied.startProcessing()
    job = ProxyFactory(service.jobs[jobid])
    try:
        with pytest.raises(Unauthorized), acting_with(SUBMIT):
            assert job.status
        # Without users that anything knows, the job ends for want of its principal.
        wait_until(lambda: transaction.begin() and service.getStatus(jobid) == "error")
        assert service.ready
    finally:
        with acting_with(MANAGE):
            assert proxied.stopProcessing(wait=True, timeout=20) is True


def test_traversal(db: Any) -> None:
    """What is reached through a proxied folder is proxied all the way."""
    configure(
        '<include package="zope.security" file="permissions.zcml" />'
        '<class class="zope.site.folder.Folder">'
        '<require permission="zope.View" attributes="__getitem__" /></class>'
    )
    folder = db.open().root()["folder"] = Folder()
    folder["tasks"] = TaskService()
    transaction.commit()
    with acting_with("zope.View", SUBMIT, VIEW):
        service = ProxyFactory(folder)["tasks"]
        jobid = service.add("echo", {"a": 1})
        assert type(jobid) is int
        assert type(service.jobs[jobid]) is type(service.jobs) is type(service)
        assert (service.__name__, type(service.__parent__)) == ("tasks", type(service))
        with pytest.raises(Unauthorized):
            service.clean()
    with acting_with("zope.View"), pytest.raises(Unauthorized):
        service.jobs  # noqa: B018
    assert folder["tasks"].getStatus(jobid) == "queued"


def rows_of_the_documentation() -> dict[str, set[str]]:
    """The names of a service that the reference lists, by permission."""
    page = Path(__file__).parents[2] / "docs" / "reference" / "zope.rst"
    rows = re.findall(
        r"\* - ``(lovely\.remotetask\.\w+)``\n     - (.*)\n",
        page.read_text(encoding="utf-8"),
    )
    return {row: set(re.findall(r"``(\w+)``", names)) for row, names in rows}


def test_documentation() -> None:
    """The reference has the same table."""
    assert rows_of_the_documentation() == SERVICE
