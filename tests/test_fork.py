"""A process that forks: the child has nothing of its parent's queue."""

from __future__ import annotations

import os
from typing import Any

import pytest
import transaction
import ZODB
import zope.event
from ZODB.FileStorage import FileStorage

from lovely.remotetask import processing as background
from lovely.remotetask import producers, signals, wakeup
from tests.support import (
    ask,
    counts,
    in_child,
    processing,
    put_service,
    register,
    wait_for_status,
)


def test_child_opens_the_database(path: str, tasks: None) -> None:
    """A child that opens the database goes on where its parent stopped."""
    db = ZODB.DB(FileStorage(path))
    service = put_service(db)
    assert service.add("echo") == 1
    transaction.commit()
    with processing(service):
        wait_for_status(db, 1, "completed")
    transaction.abort()
    db.close()

    def child() -> Any:
        db = ZODB.DB(FileStorage(path))
        mine = ask(db, lambda s: s.add("echo"))
        with db.transaction() as connection:
            service = connection.root()["service"]
            assert not service.isProcessing()
            with processing(service):
                wait_for_status(db, mine, "completed")
        found = ask(db, counts)
        db.close()
        return [mine, found]

    mine, found = in_child(child)
    assert found == {"completed": 2}
    db = ZODB.DB(FileStorage(path))
    assert ask(db, lambda s: s.add("echo")) not in (1, mine)
    assert ask(db, counts) == {"queued": 1, "completed": 2}
    db.close()


def test_fork_while_processing(path: str, tasks: None, tmp_path: Any) -> None:
    """A child of a process whose threads run can process a service of its own."""
    db = ZODB.DB(FileStorage(path))
    service = put_service(db)

    def child() -> Any:
        mine = put_service(ZODB.DB(FileStorage(str(tmp_path / "child.fs"))))
        mine.add("echo")
        transaction.commit()
        with processing(mine):
            wait_for_status(mine._p_jar.db(), 1, "completed")
        return [service.isProcessing(), ask(mine._p_jar.db(), counts)]

    with processing(service):
        jobid = service.add("echo")
        transaction.commit()
        wait_for_status(db, jobid, "completed")
        assert in_child(child) == [False, {"completed": 1}]
        jobid = service.add("echo")
        transaction.commit()
        wait_for_status(db, jobid, "completed")
    transaction.abort()
    db.close()


def test_a_job_forks(service: Any, db: Any) -> None:
    """A job that forks and whose child exits does not disturb the processor."""
    register("fork", lambda value: in_child(lambda: [value, "from the child"]))
    jobid = service.add("fork", "hello")
    transaction.commit()
    with processing(service):
        wait_for_status(db, jobid, "completed")
    assert ask(db, lambda s: s.getResult(jobid)) == ["hello", "from the child"]


class Message(Exception):
    """What a child raises."""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, 0),
        (SystemExit(), 0),
        (SystemExit(3), 3),
        (SystemExit("a message"), 1),
        (Message("a message"), 1),
    ],
)
@pytest.mark.parametrize("here", [False, True])
def test_a_child_does_not_come_back(
    service: Any, db: Any, capfd: Any, error: Any, status: int, *, here: bool
) -> None:
    """The child of a task ends with the task; the job is done once, by its parent."""
    parent = os.getpid()

    def fork(value: Any) -> int:
        pid = os.fork()
        if pid == 0:
            if error is not None:
                raise error
            return -1
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def never_here() -> None:
        """Else the child would go on with the tests."""
        if os.getpid() != parent:
            os._exit(99)

    register("fork", fork)
    jobid = service.add("fork")
    transaction.commit()
    if here:
        try:
            service.process()
        finally:
            never_here()
        transaction.commit()
    else:
        zope.event.subscribers.append(lambda event: never_here())
        with processing(service):
            wait_for_status(db, jobid, "completed")
    assert ask(db, lambda s: s.getResult(jobid)) == status
    printed = "a message" in capfd.readouterr().err
    assert printed == ("a message" in map(str, getattr(error, "args", ())))


def test_locks_of_the_parent(tmp_path: Any, tasks: None) -> None:
    """A lock that another thread held at the fork does not stop the child."""

    def child() -> str:
        mine = put_service(ZODB.DB(FileStorage(str(tmp_path / "child.fs"))))
        mine.add("echo")
        transaction.commit()
        with processing(mine):
            wait_for_status(mine._p_jar.db(), 1, "completed")
        return "done"

    with background._lock, producers._pools_lock, wakeup._lock, signals._lock:
        assert in_child(child) == "done"


def test_child_starts_nothing_by_itself(service: Any) -> None:
    """No thread of the parent is taken for one of the child."""
    with processing(service):
        assert in_child(service.isProcessing) is False
        assert in_child(lambda: service.stopProcessing(wait=True, timeout=5)) is True
        assert service.isProcessing()
