"""Databases for the command: closed, as a user names them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZODB
from ZODB.FileStorage import FileStorage

from lovely.remotetask.states import QUEUED
from tests.cli import application
from tests.storages import ZeoServer, zeo_server
from tests.support import put_service

#: Does something with a service in a database that is closed before and after.
Within = Callable[[Callable[[Any], Any]], Any]


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Ctrl-C is not ignored, as it is in a shell's background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings from outside, and a path for modules of one's own."""
    for name in ("DATABASE", "ZCONFIG", "SERVICE", "SETUP", "ZCML", "CONFIG"):
        monkeypatch.delenv(f"REMOTETASK_{name}", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)


def fill(service: Any) -> None:
    """Add jobs 1 to 7, one of each status but ``processing``."""
    service.add("echo", {"n": 1})
    service.add("fail", "no [red]luck[/red]\nsecond line")
    transaction.commit()
    service.process()
    service.add("echo", 3)
    service.add("echo", 4, startLater=True)
    service.add("echo", 5, delay=3600)
    service.addCronJob("echo", 6, every=90)
    service.cancel(service.add("echo", 7))
    transaction.commit()
    assert service.getStatus(3) == QUEUED


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A FileStorage with a service, ``tasks``, and a job of each status but one."""
    path = tmp_path / "Data.fs"
    application.tasks()
    db = ZODB.DB(FileStorage(str(path)))
    fill(put_service(db, "tasks"))
    transaction.abort()
    db.close()
    return path


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A FileStorage with nothing in it."""
    path = tmp_path / "Empty.fs"
    ZODB.DB(FileStorage(str(path))).close()
    return path


@pytest.fixture
def within(file: Path) -> Within:
    """Do something with the service in the file, and commit."""

    def do(work: Callable[[Any], Any]) -> Any:
        db = ZODB.DB(FileStorage(str(file)))
        try:
            with db.transaction() as connection:
                return work(connection.root()["tasks"])
        finally:
            db.close()

    return do


@pytest.fixture
def server(file: Path) -> Iterator[ZeoServer]:
    """A ZEO server of that file."""
    with zeo_server(str(file)) as server:
        yield server


@pytest.fixture
def uri(server: ZeoServer) -> str:
    """Where that server is."""
    return f"zeo://127.0.0.1:{server.port}"
