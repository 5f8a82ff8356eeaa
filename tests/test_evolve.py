"""Finding services, and taking them from one version to the next."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZODB
import zope.component
from persistent import Persistent
from persistent.mapping import PersistentMapping
from ZODB.FileStorage import FileStorage
from zope.configuration import xmlconfig
from zope.generations.generations import evolve as evolve_generations
from zope.generations.interfaces import IInstallableSchemaManager, ISchemaManager
from zope.interface.verify import verifyObject
from zope.site import LocalSiteManager
from zope.site.folder import Folder, rootFolder

import lovely.remotetask.evolve
from lovely.remotetask import generations, versions
from lovely.remotetask.conversion import Done
from lovely.remotetask.errors import (
    DatabaseTooNew,
    DatabaseTooOld,
    InvalidArgument,
    InvalidType,
    ServiceNotFound,
)
from lovely.remotetask.evolve import STEPS, Evolved, Progress, evolve, find_services
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.service import TaskService
from tests.old_records import OldDatabase
from tests.support import ask, counts, processing, put_service, wait_until

Open = Callable[[OldDatabase], Any]


@pytest.fixture
def open_old(path: str) -> Iterator[Open]:
    """Writes an old database and opens it."""
    databases: list[Any] = []

    def open_old(old: OldDatabase) -> Any:
        old.write(path)
        databases.append(ZODB.DB(FileStorage(path)))
        return databases[0]

    yield open_old
    transaction.abort()
    for db in databases:
        db.close()


@pytest.fixture
def old() -> OldDatabase:
    """Two services in the root of a database, with 3 jobs and with one."""
    old = OldDatabase()
    for name, number in ("service", 3), ("other", 1):
        jobs = {jobid: old.job(jobid) for jobid in range(1, number + 1)}
        old.service(jobs, queue=jobs.values(), name=name)
    return old


def versions_of(db: Any) -> dict[str, int]:
    """The versions of the services in the root of a database."""
    with versions.evolving(), db.transaction() as connection:
        services = dict(connection.root())
        for service in services.values():
            service._p_activate()
        found = {name: versions.of(service) for name, service in services.items()}
        connection.cacheMinimize()
    return found


def test_there_is_a_step_to_each_version() -> None:
    """The current version is that to which the last step leads."""
    assert len(STEPS) == versions.CURRENT


def test_all_services_are_converted(old: OldDatabase, open_old: Open) -> None:
    """What is converted is told, with how many jobs there are."""
    db = open_old(old)
    done = evolve(db)
    assert sorted(done) == [Evolved("other", 0, 1, 0), Evolved("service", 0, 3, 0)]
    assert versions_of(db) == {"service": 1, "other": 1}
    assert ask(db, counts) == {"queued": 3}


def test_services_can_be_named(old: OldDatabase, open_old: Open) -> None:
    """With their paths, only those services are converted."""
    db = open_old(old)
    assert evolve(db, [["other"]]) == [Evolved("other", 0, 1, 0)]
    assert versions_of(db) == {"service": 0, "other": 1}
    with pytest.raises(DatabaseTooOld):
        ask(db, counts)
    with pytest.raises(ServiceNotFound):
        evolve(db, [["service"], ["gone"]])
    assert versions_of(db) == {"service": 0, "other": 1}


def test_progress_is_told(old: OldDatabase, open_old: Open) -> None:
    """After each commit it is told how far the conversion has come."""
    told: list[Progress] = []
    evolve(open_old(old), [["service"]], batch=2, progress=told.append)
    assert {found[:2] for found in told} == {("service", 0)}
    done = [found.done for found in told]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 6)
    assert {found.total for found in told} == {6}


def test_a_log_tells_what_is_done(
    old: OldDatabase, open_old: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what is converted."""
    caplog.set_level(logging.INFO, "lovely.remotetask")
    evolve(open_old(old), [["service"]])
    assert "service service: converting from version 0" in caplog.text
    assert "service service: converted, 3 jobs" in caplog.text


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (InvalidType, {"batch": "5"}),
        (InvalidType, {"batch": True}),
        (InvalidArgument, {"batch": 0}),
        (InvalidArgument, {"timezone": "Mars"}),
        (InvalidType, {"timezone": 5}),
    ],
)
def test_bad_arguments_are_refused(
    db: Any, error: type[Exception], arguments: Any
) -> None:
    """Arguments that make no sense are refused at once."""
    with pytest.raises(error, match=next(iter(arguments))):
        evolve(db, **arguments)


# Versions


def test_a_new_service_is_of_the_current_version(db: Any, service: Any) -> None:
    """There is nothing to do for it."""
    assert versions_of(db) == {"service": versions.CURRENT}
    last = db.lastTransaction()
    (done,) = evolve(db)
    assert done == Evolved("service", 1, 0, 0)
    assert db.lastTransaction() == last


def test_a_newer_service_is_refused(
    db: Any, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older code says that it does not know what it finds, and changes nothing."""
    service.add("echo")
    transaction.commit()
    service._version = 2
    transaction.commit()
    last = db.lastTransaction()
    message = r"version 2; this code knows .* 1"
    with pytest.raises(DatabaseTooNew, match=message):
        ask(db, counts)
    for paths in (None, [["service"]]):
        with pytest.raises(DatabaseTooNew, match=message):
            evolve(db, paths)
    assert db.lastTransaction() == last


def test_a_processor_waits_for_the_conversion(
    db: Any, service: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A processor says what is wrong, runs nothing, and begins when it is right."""
    jobid = service.add("echo")
    service._version = 0
    transaction.commit()
    with processing(service):
        wait_until(lambda: "service can't be processed: Task service" in caplog.text)
        own = [r.levelname for r in caplog.records if r.name == "lovely.remotetask"]
        assert own == ["ERROR"]
        with versions.evolving(), db.transaction() as connection:
            found = connection.root()["service"]
            assert found.getStatus(jobid) == "queued"
            found._version = versions.CURRENT
        wait_until(
            lambda: ask(db, lambda service: service.getStatus(jobid)) == "completed"
        )


class Doubling:
    """A step that doubles a number, and takes several transactions for it."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def __call__(self, service: Any) -> Done:
        service.left = vars(service).get("left", 4) - self.batch
        if service.left > 0:
            return Done(False, 4 - service.left, 4)
        del service.left
        service.number *= 2
        return Done(True, 4, 4)


def test_steps_follow_each_other(
    db: Any, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step leads to the next version; each version is noted when it is reached."""
    monkeypatch.setattr(versions, "CURRENT", 3)
    steps = (*STEPS, Doubling, Doubling)
    monkeypatch.setattr(lovely.remotetask.evolve, "STEPS", steps)
    service.number = 5
    transaction.commit()
    told: list[tuple[int, int]] = []

    def interrupt(progress: Progress) -> None:
        told.append((progress.version, progress.done))
        if len(told) in {1, 3}:
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            evolve(db, batch=2, progress=interrupt)
    assert versions_of(db) == {"service": 2}
    with pytest.raises(DatabaseTooOld, match="version 2; this is 3"):
        ask(db, counts)
    assert evolve(db, batch=2, progress=interrupt) == [Evolved("service", 2, 0, 0)]
    assert told == [(1, 2), (1, 4), (2, 2), (2, 4)]
    assert ask(db, lambda service: service.number) == 20
    assert not ask(db, lambda service: hasattr(service, "left"))


# Finding them


class Container(Persistent):
    """Holds objects, and can't always say which."""

    def __init__(self, broken: bool = False, **items: Any) -> None:
        self.items, self.broken = items, broken

    def values(self) -> Any:
        if self.broken:
            raise RuntimeError("out of order")
        return self.items.values()


def test_services_are_found_wherever_they_are(
    db: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In folders and sites, among the utilities of sites, and in plain mappings."""
    monkeypatch.setattr(lovely.remotetask.evolve, "CACHED", 2)
    made: dict[str, TaskService] = {}

    def make(name: str) -> TaskService:
        made[name] = TaskService()
        made[name].name = name  # type: ignore[attr-defined]
        return made[name]

    connection = db.open()
    root = connection.root()
    root["plain"] = make("plain")
    root["mapping"] = PersistentMapping({"deep": {"deeper": make("deeper")}})
    root["itself"] = root["mapping"]
    root["broken"] = Container(broken=True)
    root["container"] = Container(a=make("container"))
    root["folder"] = app = rootFolder()
    app["a"] = Folder()
    app["a"]["tasks"] = make("folder")
    app["a"]["site"] = site = Folder()
    site.setSiteManager(LocalSiteManager(site))
    manager = site.getSiteManager()
    manager["default"]["tasks"] = make("site")
    manager.registerUtility(make("utility"), ITaskService, name="elsewhere")
    manager.registerUtility(manager["default"]["tasks"], ITaskService, name="again")
    transaction.commit()
    with db.transaction() as other:
        found = [service.name for service in find_services(other.root())]
    assert sorted(found) == sorted(made)
    assert "a Container can't be searched" in caplog.text


def test_services_in_mounted_databases_are_converted(
    old: OldDatabase, tmp_path: Path
) -> None:
    """A service may be in a database that another one refers to."""
    old.write(tmp_path / "mounted.fs")
    databases: dict[str, Any] = {}
    main = ZODB.DB(None, databases=databases, database_name="main")
    mounted = ZODB.DB(
        FileStorage(str(tmp_path / "mounted.fs")),
        databases=databases,
        database_name="mounted",
    )
    with main.transaction() as connection:
        other = connection.get_connection("mounted")
        connection.root()["mounted"] = other.root()
    assert sorted(done.jobs for done in evolve(main)) == [1, 3]
    assert versions_of(mounted) == {"service": 1, "other": 1}
    main.close()
    mounted.close()


# zope.generations


@pytest.fixture
def manager() -> Any:
    """The schema manager, registered as its ZCML does."""
    manager = generations.schemaManager
    zope.component.provideUtility(manager, ISchemaManager, name="lovely.remotetask")
    return manager


def generation_of(db: Any) -> int:
    with db.transaction() as connection:
        found: int = connection.root()["zope.generations"]["lovely.remotetask"]
        return found


def test_the_schema_manager_is_one(manager: Any) -> None:
    """It has what zope.generations needs, and says what it does."""
    assert verifyObject(IInstallableSchemaManager, manager)
    assert "version 1" in manager.getInfo(1)


@pytest.mark.parametrize("key", ["zope.generations", "zope.app.generations", None])
def test_generations_convert_services(
    old: OldDatabase, open_old: Open, manager: Any, key: str | None
) -> None:
    """The application's start converts them, whether a generation is known or not."""
    db = open_old(old)
    if key:
        with db.transaction() as connection:
            known = PersistentMapping({"lovely.remotetask": 0})
            connection.root()[key] = known
    evolve_generations(db, "EVOLVEMINIMUM")
    assert generation_of(db) == 1
    assert ask(db, counts) == {"queued": 3}
    last = db.lastTransaction()
    evolve_generations(db, "EVOLVEMINIMUM")
    assert db.lastTransaction() == last


def test_zcml_registers_the_schema_manager() -> None:
    """``generations.zcml`` is all that is to be included."""
    xmlconfig.string(
        '<configure xmlns="http://namespaces.zope.org/zope">'
        '<include package="zope.component" file="meta.zcml" />'
        '<include package="lovely.remotetask" file="generations.zcml" />'
        "</configure>"
    )
    found = zope.component.getUtility(ISchemaManager, name="lovely.remotetask")
    assert found is generations.schemaManager


def test_new_databases_need_nothing(db: Any, manager: Any) -> None:
    """A database without services is of the current generation."""
    evolve_generations(db, "EVOLVEMINIMUM")
    assert generation_of(db) == 1
    put_service(db, "service")
    evolve_generations(db, "EVOLVEMINIMUM")
    assert ask(db, counts) == {}
