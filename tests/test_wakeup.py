"""Bells: who is woken by what has been committed, here and elsewhere."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZODB
from ZODB.tests.MVCCMappingStorage import MVCCMappingStorage

from lovely.remotetask import processing as background
from lovely.remotetask.wakeup import Bell, Listener, notify
from tests.integration.program import Effect
from tests.integration.site import Site, site
from tests.storages import open_database
from tests.support import (
    ask,
    in_thread,
    processing,
    put_service,
    wait_for_status,
    wait_until,
)

OID, OTHER = b"\0" * 7 + b"\1", b"\0" * 7 + b"\2"


class Adapter:
    """A database's adapter that notes what it is told."""

    base = "what else an adapter has"

    def __init__(self) -> None:
        self.told: list[Any] = []

    def invalidate(self, tid: bytes, oids: Any) -> None:
        self.told.append((tid, list(oids)))

    def invalidateCache(self) -> None:
        self.told.append("all")


class Told:
    """A storage that notes who wants to be told."""

    def __init__(self) -> None:
        self.listeners: list[Any] = []

    def registerDB(self, listener: Any) -> None:
        self.listeners.append(listener)


class Database:
    """As much of a database as a bell needs."""

    def __init__(self) -> None:
        self.storage, self._mvcc_storage = Told(), Adapter()


@pytest.fixture
def told() -> Iterator[Database]:
    """A database whose storage tells what others change."""
    database = Database()
    yield database
    # Bells are kept by database only as long as it lives.
    assert len(database.storage.listeners) <= 1


def rings(*bells: Bell) -> list[bool]:
    """Which bells have rung, without waiting."""
    return [bell.wait(0) for bell in bells]


def test_a_bell(db: Any) -> None:
    """A bell that has rung does so until it is cleared, for whoever waits."""
    bell = Bell(db, OID)
    assert rings(bell) == [False]
    bell.ring()
    assert rings(bell, bell) == [True, True]
    bell.clear()
    assert rings(bell) == [False]


def test_whom_a_commit_wakes(db: Any, told: Database) -> None:
    """A notification rings all bells of that service in that database."""
    mine, too = Bell(db, OID), Bell(db, OID)
    other, elsewhere = Bell(db, OTHER), Bell(told, OID)
    notify(db, OID)
    assert rings(mine, too, other, elsewhere) == [True, True, False, False]
    notify(Database(), OID)
    assert rings(other, elsewhere) == [False, False]


def test_bells_are_not_kept(db: Any) -> None:
    """A bell that nobody waits on any more is forgotten."""
    kept, gone = Bell(db, OID), Bell(db, OID)
    gone.ring = lambda: pytest.fail("it rings")  # type: ignore[method-assign]
    del gone
    gc.collect()
    notify(db, OID)
    assert rings(kept) == [True]


def test_one_listener(told: Database) -> None:
    """However many bells a database has, it listens once."""
    bells = [Bell(told, OID), Bell(told, OID), Bell(told, OTHER)]
    (listener,) = told.storage.listeners
    assert isinstance(listener, Listener)
    listener.invalidateCache()
    assert rings(*bells) == [True] * 3


def test_all_is_passed_on(told: Database) -> None:
    """The adapter hears all that the storage says, once, and can be asked."""
    bell = Bell(told, OID)
    (listener,) = told.storage.listeners
    listener.invalidate(b"1", iter([OID, OTHER]))
    listener.invalidateCache()
    listener.invalidate(b"2", {OID: 1})
    assert told._mvcc_storage.told == [(b"1", [OID, OTHER]), "all", (b"2", [OID])]
    assert listener.base == Adapter.base
    with pytest.raises(AttributeError):
        listener.nothing  # noqa: B018 - that it raises is what is tested
    assert rings(bell) == [True]


def test_what_is_of_interest(told: Database) -> None:
    """A change elsewhere rings the bells that are interested in it, and no others."""
    mine, other, none = Bell(told, OID), Bell(told, OTHER), Bell(told, OTHER)
    mine.interest, other.interest = frozenset([b"a", b"b"]), frozenset([b"c"])
    (listener,) = told.storage.listeners
    listener.invalidate(b"1", [b"x", b"y"])
    assert rings(mine, other, none) == [False] * 3
    listener.invalidate(b"2", [b"x", b"b"])
    assert rings(mine, other, none) == [True, False, False]


def test_interest_holds_for_what_can_be_read_once(told: Database) -> None:
    """Changed object ids that come as an iterator are looked at all the same."""
    bell = Bell(told, OID)
    bell.interest = frozenset([OID])
    (listener,) = told.storage.listeners
    listener.invalidate(b"1", iter([OID]))
    assert rings(bell) == [True]


def test_after_the_database(told: Database) -> None:
    """A listener that outlives its database rings nothing, and still passes on."""
    adapter = Adapter()
    listener = Listener(Database(), adapter)
    gc.collect()
    listener.invalidate(b"1", [OID])
    assert adapter.told == [(b"1", [OID])]


def test_a_storage_with_snapshots_of_its_own(tasks: None) -> None:
    """Where there are no news from others, jobs of this process run at once."""
    db = ZODB.DB(MVCCMappingStorage())
    service = put_service(db)
    service.processorArguments, service.stalledAfter = {"waitTime": 60}, 120
    transaction.commit()
    with processing(service):
        jobid = service.add("echo")
        transaction.commit()
        wait_for_status(db, jobid, "completed")
    transaction.abort()
    db.close()


def test_a_signal_that_is_lost(
    service: Any, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that nobody has heard of is found by the next look."""
    monkeypatch.setattr(Bell, "ring", lambda bell: None)
    with processing(service):
        for _ in range(3):
            jobid = service.add("echo")
            transaction.commit()
            wait_for_status(db, jobid, "completed")
    transaction.abort()


def wait_until_idle(service: Any) -> None:
    """Wait until a service's processor knows what to listen to, and sleeps."""
    running = background.of(service)
    assert running is not None
    processor = running._processor

    def asleep() -> bool:
        bell = processor._bell
        return bool(bell and bell.interest and not bell.wait(0))

    wait_until(asleep)


@pytest.fixture(
    params=[pytest.param("ZEO", marks=pytest.mark.zeo), pytest.param("PostgreSQL")]
)
def found(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A service that others use too, processed here; it hardly looks for jobs."""
    with site(tmp_path, request.param) as found:
        found.service.processorArguments = {"waitTime": 3600}
        found.service.stalledAfter = 7200
        transaction.commit()
        with processing(found.service):
            wait_until_idle(found.service)
            yield found


def test_another_process_wakes_it(found: Site) -> None:
    """A job that another process commits is begun long before the next look."""
    with found.run("produce", 3, 1) as producer:
        assert producer.line() == "ready"
        producer.tell("go")
        assert producer.line().startswith("3 ")
        found.wait_for_count("completed", 3, seconds=20)
    found.check()


def test_another_client_wakes_it(found: Site) -> None:
    """So is each job of another database object, as its lane grows and moves."""
    for number in range(1, 5):
        wait_until_idle(found.service)
        in_thread(lambda: add_elsewhere(found.address))
        found.wait_for_count("completed", number, seconds=20)
    found.check()


def add_elsewhere(address: str) -> None:
    """Commit a job by a client of its own."""
    db = open_database(address)
    try:
        ask(db, lambda service: service.add("count", Effect()))
    finally:
        db.close()
