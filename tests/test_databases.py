"""Many services, databases and connections."""

from __future__ import annotations

from typing import Any

import pytest
import transaction
import ZODB
from persistent import Persistent
from persistent.mapping import PersistentMapping
from transaction import TransactionManager
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError

from lovely.remotetask.service import TaskService
from tests.support import (
    FakeEnvironment,
    ask,
    blocks_with_ids,
    counts,
    processing,
    put_service,
    register,
    wait_for_status,
    wait_until,
)


def owned_lanes(service: Any) -> list[Any]:
    """The lanes that some process has held, without the spare ones."""
    return [lane for lane in service._lanes if lane.owner]


def test_several_services(service: Any, db: Any) -> None:
    """Services of one database do not know each other's jobs."""
    root = service._p_jar.root()
    root["two"] = two = TaskService()
    two.__name__, two.__parent__ = "two", root
    transaction.commit()
    assert [service.add("echo"), two.add("echo"), service.add("echo")] == [1, 1, 2]
    transaction.commit()
    two.process()
    transaction.commit()
    assert (counts(service), counts(two)) == ({"queued": 2}, {"completed": 1})
    with processing(service), processing(two):
        wait_for_status(db, 2, "completed")
        assert service._threadName() != two._threadName()
    transaction.begin()
    assert (counts(service), counts(two)) == ({"completed": 2}, {"completed": 1})


def test_several_databases(tasks: None) -> None:
    """Services with equal object ids in several databases are kept apart."""
    dbs = [ZODB.DB(MappingStorage()) for _ in range(3)]
    services = [put_service(db) for db in dbs]
    assert len({service._p_oid for service in services}) == 1
    for number, service in enumerate(services):
        assert [service.add("echo") for _ in range(number + 1)][-1] == number + 1
    transaction.commit()
    with processing(services[1]):
        wait_for_status(dbs[1], 2, "completed")
        assert [service.isProcessing() for service in services] == [False, True, False]
    transaction.begin()
    assert [counts(service) for service in services] == [
        {"queued": 1},
        {"completed": 2},
        {"queued": 3},
    ]
    transaction.abort()
    for db in dbs:
        db.close()


def test_mounted_database(tasks: None) -> None:
    """A service may lie in a second database, mounted in the first."""
    databases: dict[str, Any] = {}
    main = ZODB.DB(MappingStorage(), database_name="main", databases=databases)
    other = ZODB.DB(MappingStorage(), database_name="other", databases=databases)
    root = main.open().root()
    mounted = root._p_jar.get_connection("other").root()
    mounted["folder"] = PersistentMapping()
    transaction.commit()
    root["mounted"] = folder = mounted["folder"]
    folder.__name__, folder.__parent__ = "mounted", root
    service = folder["service"] = TaskService()
    service.__name__, service.__parent__ = "service", folder
    transaction.commit()
    assert service._p_jar.db() is other
    assert service.add("echo", "here") == 1
    transaction.commit()
    with processing(service):
        wait_until(lambda: transaction.begin() and service.count("completed"))
    transaction.abort()
    main.close()
    other.close()


def test_two_connections_in_one_thread(service: Any, db: Any) -> None:
    """One thread may add through several connections at the same time."""
    manager = TransactionManager()
    connection = db.open(manager)
    other = connection.root()["service"]
    ids = [service.add("echo"), other.add("echo"), service.add("echo")]
    assert ids[2] == ids[0] + 1
    transaction.commit()
    ids += [other.add("echo"), service.add("echo")]
    manager.commit()
    transaction.commit()
    manager.begin()
    assert counts(other) == {"queued": 5}
    assert sorted(other.jobs) == sorted(ids)
    manager.abort()
    connection.close()


def test_two_databases_in_one_transaction(service: Any) -> None:
    """One transaction may add to services in two databases, and commit once."""
    db = ZODB.DB(MappingStorage())
    second = put_service(db)
    assert [service.add("echo"), second.add("echo")] == [1, 1]
    transaction.commit()
    assert counts(service) == counts(second) == {"queued": 1}
    transaction.abort()
    db.close()


def test_reopened(service: Any, db: Any, path: str) -> None:
    """A database that is closed and opened again goes on without a gap."""
    for _ in range(5):
        service.add("echo")
    transaction.commit()
    for expected in (6, 7, 8):
        transaction.abort()
        db.close()
        db = ZODB.DB(FileStorage(path))
        assert ask(db, lambda s: s.add("echo")) == expected
    lanes = ask(db, lambda s: len(owned_lanes(s)))
    db.close()
    assert lanes == 1


def test_conflicting_callers(service: Any, db: Any) -> None:
    """Of two callers that take the same job one gets a conflict."""
    runs: list[int] = []
    register("note", runs.append)
    service.add("note")
    transaction.commit()
    other = db.open(TransactionManager())
    other.root()["service"].process()
    service.process()
    transaction.commit()
    with pytest.raises(ConflictError):
        other.transaction_manager.commit()
    other.transaction_manager.abort()
    other.close()
    assert ask(db, counts) == {"completed": 1}


class Mixed(TaskService, Persistent):
    """A service with another persistent base, as applications make them."""


class Folderish(PersistentMapping, TaskService):
    """A service that holds other things as well, so it may be false."""

    def __init__(self) -> None:
        PersistentMapping.__init__(self)
        TaskService.__init__(self)


@pytest.mark.parametrize("factory", [Mixed, Folderish])
def test_mixed_in(db: Any, tasks: None, factory: Any) -> None:
    """Subclasses may mix in other persistent bases."""
    service = put_service(db, factory=factory)
    assert service.add("echo", 1) == 1
    transaction.commit()
    service.process()
    transaction.commit()
    service.add("echo", 2)
    transaction.commit()
    with processing(service):
        wait_for_status(db, 2, "completed")
    assert ask(db, counts) == {"completed": 2}


def test_blocks_of_lanes_that_are_retired(
    service: Any, db: Any, environment: FakeEnvironment
) -> None:
    """Of processes that are gone nothing stays: no lane and no block."""
    environment.name = "old/1/1"
    held = [db.open(TransactionManager()) for _ in range(4)]
    for connection in held:
        connection.root()["service"].add("echo")
    for connection in held:
        connection.transaction_manager.commit()
        connection.close()
    environment.gone.add("old")
    transaction.begin()
    service.process()
    transaction.commit()
    with transaction.manager:
        assert service._lanes.retire(environment.is_gone) == len(held) - 1
        assert service.clean() == 4
    assert blocks_with_ids(service) <= 1
    assert counts(service) == {}
