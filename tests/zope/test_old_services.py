"""An application with an old database is started."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import transaction
import ZODB
import zope.component.event
import zope.event
from ZODB.FileStorage import FileStorage
from zope.app.appsetup import product
from zope.generations.generations import evolveMinimumSubscriber
from zope.generations.interfaces import GenerationTooHigh
from zope.interface import classImplementsOnly, implementedBy
from zope.location.interfaces import IContained
from zope.processlifetime import DatabaseOpenedWithRoot
from zope.site.folder import Folder

from lovely.remotetask import TaskService, versions
from lovely.remotetask.errors import DatabaseTooOld
from lovely.remotetask.evolve import evolve
from lovely.remotetask.interfaces import ITaskService
from tests.old_records import OldDatabase
from tests.support import PATIENCE, ask, register, wait_for_status
from tests.zope.configuration import configure


def open_application(path: str) -> Any:
    """What an application does when it starts."""
    db = ZODB.DB(FileStorage(path))
    zope.event.notify(DatabaseOpenedWithRoot(db))
    return db


def test_services_are_converted_before_they_are_started(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the package's ZCML, what start-up is to start has been converted."""
    caplog.set_level(logging.INFO, "lovely.remotetask")
    configuration = product.saveConfiguration()
    configure()
    register("echo", str)
    old = OldDatabase()
    jobs = {7: old.job(7)}
    old.service(jobs, queue=jobs.values())
    old.write(path)
    product.setProductConfiguration("lovely.remotetask", {"autostart": "@service"})
    try:
        db = open_application(path)
    finally:
        product.restoreConfiguration(configuration)
    assert "service service on site root started" in caplog.text
    wait_for_status(db, 7, "completed")
    with db.transaction() as connection:
        service = connection.root()["service"]
        assert service.stopProcessing(wait=True, timeout=PATIENCE)
    transaction.abort()
    db.close()


@pytest.fixture
def undeclared() -> Iterator[None]:
    """As in a process that has made no service yet."""
    before = list(implementedBy(TaskService))
    classImplementsOnly(TaskService, ITaskService)
    yield
    classImplementsOnly(TaskService, *before)


@pytest.mark.usefixtures("undeclared")
def test_what_is_loaded_can_be_put_into_a_container(path: str) -> None:
    """A container takes a service from the database for what it is."""
    old = OldDatabase()
    old.service({7: old.job(7)})
    old.write(path)
    db = ZODB.DB(FileStorage(path))
    evolve(db)
    with db.transaction() as connection:
        service = connection.root()["service"]
        folder = connection.root()["folder"] = Folder()
        folder["tasks"] = service
        assert folder["tasks"] is service
        assert IContained.providedBy(service)
        assert (service.__parent__, service.__name__) == (folder, "tasks")
    db.close()


def test_who_converts_by_hand(path: str) -> None:
    """An application can leave out that generations evolve when it starts."""
    configure(first='<exclude package="zope.generations" file="subscriber.zcml" />')
    old = OldDatabase()
    old.service({7: old.job(7)})
    old.write(path)
    db = open_application(path)
    with pytest.raises(DatabaseTooOld):
        ask(db, lambda service: service.count())
    evolveMinimumSubscriber(DatabaseOpenedWithRoot(db))
    assert ask(db, lambda service: service.count()) == 1
    db.close()


def test_what_is_newer_stops_the_start(db: Any, service: Any) -> None:
    """Older code does not start an application with a newer database."""
    configure()
    zope.event.notify(DatabaseOpenedWithRoot(db))
    with db.transaction() as connection:
        generations = connection.root()["zope.generations"]
        generations["lovely.remotetask"] = versions.CURRENT + 1
    with pytest.raises(GenerationTooHigh):
        zope.event.notify(DatabaseOpenedWithRoot(db))
    assert ask(db, lambda service: service.count()) == 0
