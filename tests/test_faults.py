"""What was wrong in 0.5.2 and can't happen now; each test names the old fault."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest
import transaction
from persistent.mapping import PersistentMapping

from lovely.remotetask.processor import SimpleProcessor
from tests.support import (
    ask,
    counts,
    in_thread,
    processing,
    put_service,
    register,
    register_full,
    wait_for_status,
    wait_until,
)


def loads(connection: Any) -> int:
    """How many objects a connection has loaded since it was last asked."""
    return int(connection.getTransferCounts(clear=True)[0])


def written(db: Any) -> list[int]:
    """The sizes of the records of the last transaction."""
    transactions = db.storage.iterator(db.storage.lastTransaction())
    return [size for last in transactions for size in [len(r.data) for r in last]]


@pytest.mark.parametrize("background", [False, True])
def test_partial_writes(service: Any, db: Any, background: bool) -> None:
    """Fault 2: nothing that a failed task wrote is kept."""
    root = service._p_jar.root()
    root["mine"] = PersistentMapping()

    def half(service: Any, jobid: int, input: Any) -> None:
        mine = service.__parent__["mine"]
        mine["half"] = service.__parent__["new"] = PersistentMapping()
        service.add("echo")
        raise RuntimeError("only half done")

    register_full("half", half)
    jobid = service.add("half")
    transaction.commit()
    if background:
        with processing(service):
            wait_for_status(db, jobid, "error")
    else:
        root["before"] = 1
        service.process()
        transaction.commit()
        assert root["before"] == 1
    transaction.begin()
    assert service.getStatus(jobid) == "error"
    assert list(root["mine"]) == []
    assert "new" not in root
    assert counts(service) == {"error": 1}


def test_several_processors(everywhere: Any, tasks: None) -> None:
    """Fault 3: several processors on one database run each job once."""
    db, service = everywhere, put_service(everywhere)
    runs: list[int] = []
    register("note", runs.append)
    for number in range(120):
        service.add("note", number)
    transaction.commit()
    processors = [SimpleProcessor(db, ["service"]) for _ in range(3)]
    threads = [threading.Thread(target=processor) for processor in processors]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: ask(db, lambda s: s.count("completed")) == 120)
    finally:
        for processor in processors:
            processor.stop()
        for thread in threads:
            thread.join(20)
    assert sorted(runs) == list(range(120))


class Sick(Exception):
    """An exception that can neither be pickled nor shown."""

    def __reduce__(self) -> str:
        raise TypeError("no")

    def __str__(self) -> str:
        raise RuntimeError("sick")

    __repr__ = __str__


class OneWay(Exception):
    """An exception that can be pickled, but not loaded again: it wants two."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)


def return_one_way(value: Any) -> Any:
    return {"found": [OneWay("one", "two")]}


def put_one_way_into(value: Any) -> None:
    value["error"] = OneWay("one", "two")


def raise_sick(value: Any) -> None:
    raise Sick(lambda: value)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda value: lambda: 1, "can't be stored"),
        (lambda value: threading.Lock(), "can't be stored"),
        (raise_sick, "Sick can't be shown"),
        (return_one_way, "output .* could not be loaded again"),
        (put_one_way_into, "input .* could not be loaded again"),
    ],
)
@pytest.mark.parametrize("background", [False, True])
def test_unpicklable(
    service: Any, db: Any, background: bool, function: Any, message: str
) -> None:
    """Fault 4: an unpicklable result or exception ends one job, once."""
    runs = []

    def bad(value: Any) -> Any:
        runs.append(value)
        return function(value)

    register("bad", bad)
    ids = [service.add("bad", {}), service.add("echo", "behind")]
    transaction.commit()
    if background:
        with processing(service):
            wait_for_status(db, ids[1], "completed")
    else:
        service.process()
        transaction.commit()
    transaction.begin()
    assert service.getStatus(ids[0]) == "error"
    assert re.search(message, service.getError(ids[0]))
    assert service.getResult(ids[1]) == "behind"
    assert len(runs) == 1


def test_backlog_costs_nothing(service: Any, db: Any) -> None:
    """Faults 7, 8: what an add writes does not depend on the backlog."""
    sizes = {}
    for backlog in (20, 2_000):
        while service.count() < backlog:
            service.add("echo")
        transaction.commit()
        most = []
        for _ in range(20):
            service.add("echo", "x" * 20)
            transaction.commit()
            most.append(sum(written(db)))
        sizes[backlog] = sorted(most)
    assert sizes[2_000][10] < 1.2 * sizes[20][10]
    assert sizes[2_000][-1] < 1_500


@pytest.mark.parametrize("verb", ["add", "cancel", "claim and finish"])
def test_records_of_a_step(service: Any, db: Any, verb: str) -> None:
    """Fault 8: a step writes a few small records, not the queue."""
    for _ in range(1_000):
        service.add("echo")
    transaction.commit()
    steps = {
        "add": lambda: service.add("echo"),
        "cancel": lambda: service.cancel(990),
        "claim and finish": service.processNext,
    }
    steps[verb]()
    transaction.commit()
    most = {"add": 2, "cancel": 2, "claim and finish": 4}[verb]
    assert len(written(db)) <= most
    assert sum(written(db)) < 1_500


def test_cancel_loads_one_job(service: Any, db: Any) -> None:
    """Fault 9: neither cancel nor a count loads the other jobs."""
    for _ in range(1_000):
        service.add("echo")
    transaction.commit()
    connection = db.open(transaction.TransactionManager())
    other = connection.root()["service"]
    loads(connection)
    other.cancel(500)
    assert loads(connection) < 20
    assert (other.count(), other.count("cancelled"), len(other._queue)) == (
        1000,
        1,
        999,
    )
    assert loads(connection) < 20
    connection.transaction_manager.abort()
    connection.close()


def test_ids_beyond_32_bits(service: Any) -> None:
    """Fault 17: ids begin at 1, and go on past 2**31 and 2**32."""
    assert service.add("echo") == 1
    transaction.commit()
    service._lanes._sequence.number = 2**40
    transaction.commit()
    for _ in range(200):
        last = service.add("echo", "far")
    transaction.commit()
    assert last > 2**40
    assert service.jobs.maxKey() == last
    service.process()
    transaction.commit()
    assert service.getResult(last) == "far"
    assert counts(service) == {"completed": 201}
    assert service.clean() == 201


def test_no_exception_is_pickled(service: Any, path: str) -> None:
    """Fault 22: a failure is text, and no exception is in the database."""

    class LocalError(Exception):
        """Could not be pickled, nor found again."""

    def bad(value: Any) -> None:
        raise LocalError("once upon a time")

    register("bad", bad)
    jobid = service.add("bad")
    service.process()
    transaction.commit()
    data, _ = service._p_jar.db().storage.load(service.jobs[jobid]._p_oid)
    assert b"once upon a time" in data
    assert b"builtins" not in data
    assert b"cexceptions" not in data
    assert not any(line.startswith(b"ctests.") for line in data.splitlines())


def test_adds_do_not_conflict(everywhere: Any, tasks: None) -> None:
    """Fault 7: transactions that overlap can all add jobs."""
    db = everywhere
    put_service(db)
    connections = [db.open(transaction.TransactionManager()) for _ in range(6)]
    for round_ in range(5):
        for connection in connections:
            connection.transaction_manager.begin()
        ids = [c.root()["service"].add("echo", round_) for c in connections]
        for connection in connections:
            connection.transaction_manager.commit()
        assert len(set(ids)) == 6
    for connection in connections:
        connection.close()
    assert ask(db, counts) == {"queued": 30}
    assert in_thread(lambda: ask(db, lambda s: len(dict(s.jobs)))) == 30
