"""Fixtures: every test starts with nothing registered and nothing open."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZODB
import ZODB.BaseStorage
import zope.component

# Subscribes itself, when it is imported first, which must not be within a test.
import zope.component.event
import zope.component.hooks
import zope.event
from ZODB.FileStorage import FileStorage
from zope.component.globalregistry import base

from lovely.remotetask.service import TaskService
from lovely.remotetask.session import Session
from tests.cron import Scene
from tests.storages import KINDS, Stores
from tests.support import (
    Clocks,
    FakeEnvironment,
    StorageTime,
    echo,
    fail,
    put_service,
    register,
)


def left_over(before: set[threading.Thread], seconds: float = 10.0) -> list[Any]:
    """The threads that a test has left, after some time to end."""
    end = time.monotonic() + seconds
    threads = set(threading.enumerate()) - before
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return [thread for thread in threads if thread.is_alive()]


@pytest.fixture(autouse=True)
def clean_slate() -> Iterator[None]:
    """A global component registry, a transaction and threads of one's own."""
    kept, subscribers = dict(vars(base)), list(zope.event.subscribers)
    threads = set(threading.enumerate())
    base.__init__("base")  # type: ignore[misc]
    transaction.abort()
    yield
    transaction.manager.explicit = False
    transaction.abort()
    zope.component.hooks.setSite(None)
    zope.component.hooks.resetHooks()
    zope.component.getSiteManager.reset()
    zope.event.subscribers[:] = subscribers
    vars(base).clear()
    vars(base).update(kept)
    assert left_over(threads) == []


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """Stores that tests use one after the other."""
    opened = Stores(tmp_path_factory.mktemp("stores"))
    yield opened
    opened.close()


@pytest.fixture
def tasks() -> None:
    """Two tasks: ``echo`` returns its input, ``fail`` raises it as a message."""
    register("echo", echo)
    register("fail", fail)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> FakeEnvironment:
    """What services take for the clock and for the operating system."""
    environment = FakeEnvironment()
    monkeypatch.setattr(TaskService, "environment", environment)
    return environment


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A file for a FileStorage."""
    return str(tmp_path / "Data.fs")


@pytest.fixture
def db(path: str) -> Iterator[Any]:
    """A database in a FileStorage."""
    database = ZODB.DB(FileStorage(path))
    yield database
    transaction.manager.explicit = False
    transaction.abort()
    database.close()


@pytest.fixture(params=KINDS)
def everywhere(request: pytest.FixtureRequest, stores: Stores) -> Iterator[Any]:
    """A database in a storage of each kind; in its root there may be leftovers."""
    database = stores.database(request.param)
    yield database
    transaction.abort()
    database.close()


@pytest.fixture
def service(db: Any, tasks: None) -> Any:
    """A committed service in the database's root, with two tasks."""
    return put_service(db)


@pytest.fixture
def scene(service: Any, environment: FakeEnvironment) -> Scene:
    """A service with a fake clock, for cron jobs."""
    return Scene(service, environment)


@pytest.fixture
def session(scene: Scene) -> Iterator[Session]:
    """A worker of the scene, which stays."""
    with scene.worker() as session:
        yield session


@pytest.fixture
def clocks(service: Any, monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """Clocks that stand still until they are told to advance."""
    clocks = Clocks()
    monkeypatch.setattr(type(service), "environment", clocks)
    monkeypatch.setattr(ZODB.BaseStorage, "time", StorageTime(clocks))
    return clocks
