"""Signals over PostgreSQL: what is sent is heard, and what fails costs time only."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import transaction
import ZODB
from ZODB.DemoStorage import DemoStorage

from lovely.remotetask import postgresql
from lovely.remotetask.postgresql.line import Line, Waker
from lovely.remotetask.wakeup import Bell, notify
from tests.programs import program
from tests.storages import open_database, open_storage, store
from tests.support import in_child, in_thread, put_service, wait_until

OID, OTHER = b"\0" * 7 + b"\1", b"\0" * 7 + b"\2"

#: Adds a job, or more, and is gone.
ADD = """
import sys, transaction
from tests.storages import open_database
from tests.support import echo, register
register("echo", echo)
db = open_database(sys.argv[1])
service = db.open().root()["service"]
print("ready", flush=True)
sys.stdin.readline()
service.add("echo")
transaction.commit()
"""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A new database."""
    with store("PostgreSQL", tmp_path) as address:
        yield address


@pytest.fixture
def opened(address: str) -> Iterator[Callable[..., Any]]:
    """What opens database objects, which are closed at the end."""
    found: list[Any] = []

    def opened(where: str = address) -> Any:
        found.append(open_database(where))
        return found[-1]

    yield opened
    transaction.abort()
    for db in found:
        db.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost connections are opened again at once, nearly."""
    monkeypatch.setattr(postgresql, "RETRY_FIRST", 0.01)
    monkeypatch.setattr(postgresql, "RETRY_MOST", 0.05)


def query(address: str, statement: str) -> list[Any]:
    """Ask the server itself."""
    with closing(psycopg2.connect(address.partition(":")[2])) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []


def lines(address: str) -> list[int]:
    """The server's processes that serve signals."""
    ours = "datname = current_database() AND application_name = 'lovely.remotetask'"
    found = query(address, f"SELECT pid FROM pg_stat_activity WHERE {ours}")
    return [pid for (pid,) in found]


def cut(address: str) -> None:
    """End all connections that serve signals; wait until they are gone."""
    gone = lines(address)
    assert gone
    for pid in gone:
        query(address, f"SELECT pg_terminate_backend({pid}, 10000)")


def threads() -> list[threading.Thread]:
    """The threads that serve signals."""
    return [t for t in threading.enumerate() if t.name == "remotetasks-signals"]


def listening(db: Any, oid: bytes = OID) -> Bell:
    """A bell that hears what others send: it has rung once, and is still again."""
    bell = Bell(db, oid)
    assert bell.wait(20), "it does not listen"
    bell.clear()
    return bell


def test_others_hear(opened: Any) -> None:
    """A message reaches the bells of its service in all others with the database."""
    first, second, sender = opened(), opened(), opened()
    one, two, another = listening(first), listening(second), Bell(first, OTHER)
    notify(sender, OID)
    assert one.wait(20)
    assert two.wait(20)
    assert not another.wait(0)
    one.clear()
    notify(sender, OTHER)
    assert another.wait(20)
    assert not one.wait(0)


def test_a_process_that_ends_at_once(address: str, tasks: None, opened: Any) -> None:
    """A job is heard of though its process ends right after the commit."""
    db = opened()
    service = put_service(db)
    bell = listening(db, service._p_oid)
    with program("-c", ADD, address) as adding:
        assert adding.line() == "ready"
        adding.tell("go")
        assert bell.wait(20)
        assert adding.finish() == 0


def test_a_database_that_is_closed_at_once(opened: Any) -> None:
    """What was sent is heard though the database is closed right after it."""
    bell = listening(opened())
    sender = opened()
    notify(sender, OID)
    sender.close()
    assert bell.wait(20)


def test_a_lost_connection(address: str, quick: None, opened: Any) -> None:
    """Who listened does so again, and looks once: something may have been missed."""
    bell, sender = listening(opened()), opened()
    before = lines(address)
    cut(address)
    assert bell.wait(20)
    bell.clear()
    assert not set(before) & set(lines(address))
    notify(sender, OID)
    assert bell.wait(20)


def test_a_sender_is_cut_off(
    address: str, quick: None, opened: Any, caplog: Any
) -> None:
    """Who has lost its connection sends on a new one, and nobody has to wait."""
    bell, sender = listening(opened()), opened()
    (listener,) = lines(address)
    notify(sender, OTHER)
    wait_until(lambda: len(lines(address)) == 2)
    (first,) = set(lines(address)) - {listener}
    query(address, f"SELECT pg_terminate_backend({first}, 10000)")
    notify(sender, OID)
    assert bell.wait(20)
    assert listener in lines(address)
    assert first not in lines(address)
    assert "no signals over PostgreSQL" in caplog.text


def test_a_message_that_is_not_sent(
    quick: None, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that could not be sent is sent on the next connection."""
    bell, sender = listening(opened()), opened()
    original, failed = Line.send, threading.Event()

    def send(self: Line, oids: set[bytes]) -> None:
        if not failed.is_set():
            failed.set()
            raise psycopg2.OperationalError("server closed the connection")
        original(self, oids)

    monkeypatch.setattr(Line, "send", send)
    notify(sender, OID)
    assert bell.wait(20)
    assert failed.is_set()


def test_no_connection(
    address: str, quick: None, opened: Any, monkeypatch: Any, caplog: Any
) -> None:
    """Where none can be had, commits go on, and it is tried until there is one."""
    bell, sender = listening(opened()), opened()
    tried: list[int] = []
    original = Line.__init__

    def refuse(self: Line, connect: Any) -> None:
        tried.append(1)
        if len(tried) < 4:
            raise psycopg2.OperationalError("too many connections")
        original(self, connect)

    monkeypatch.setattr(Line, "__init__", refuse)
    notify(sender, OID)
    assert bell.wait(20)
    told = [r.getMessage() for r in caplog.records if r.name == "lovely.remotetask"]
    kind = "no signals over PostgreSQL, trying again in {} seconds: OperationalError"
    assert told == [kind.format(pause) for pause in ("0.01", "0.02", "0.04")]


def test_no_password_is_logged(address: str, quick: None, caplog: Any) -> None:
    """Whatever happens to the connection, the log has no password."""
    caplog.set_level(logging.DEBUG)
    db = open_database(f"{address} password=sesame")
    bell = listening(db)
    cut(address)
    assert bell.wait(20)
    db.close()
    assert "no signals over PostgreSQL" in caplog.text
    assert "sesame" not in caplog.text


def test_the_server_answers_no_more(
    address: str, quick: None, opened: Any, monkeypatch: Any
) -> None:
    """A line that was cut without a word is found out, and opened again."""
    bell = listening(opened())
    checks: list[int] = []

    def check(self: Line) -> None:
        checks.append(1)
        if len(checks) == 1:
            raise psycopg2.OperationalError("could not receive data from server")

    monkeypatch.setattr(Line, "check", check)
    monkeypatch.setattr(postgresql, "CHECK", 0)
    monkeypatch.setattr(postgresql, "TICK", 0.01)
    assert bell.wait(20)
    wait_until(lambda: len(checks) > 1)


def test_a_check(opened: Any) -> None:
    """To check a line is to ask the server: it fails if there is none."""
    line = Line(opened().storage._adapter.connmanager.open)
    line.check()
    line.close()
    with pytest.raises(psycopg2.InterfaceError):
        line.check()


def test_one_thread(opened: Any) -> None:
    """A database has a thread for signals, once there is something to send."""
    db = opened()
    assert threads() == []
    notify(db, OID)
    (thread,) = threads()
    assert thread.daemon
    notify(db, OTHER)
    bells = [Bell(db, OID), Bell(db, OTHER)]
    assert all(bell.wait(20) for bell in bells)
    assert threads() == [thread]


@pytest.mark.parametrize("closed", [True, False])
def test_the_thread_ends(address: str, closed: bool) -> None:
    """It ends with the database, if that is closed or just forgotten."""
    db = open_database(address)
    listening(db)
    (thread,) = threads()
    if closed:
        db.close()
        notify(db, OID)
        Bell(db, OTHER)
    else:
        storage = db.storage
        del db
        gc.collect()
    thread.join(10)
    assert not thread.is_alive()
    assert threads() == []
    wait_until(lambda: lines(address) == [])
    if not closed:
        storage.close()


def test_no_thread_can_be_started(opened: Any, monkeypatch: Any, caplog: Any) -> None:
    """Where a thread can't be started, commits go on; the next one tries again."""
    bell, sender = listening(opened()), opened()

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        notify(sender, OID)
    assert "can't start new thread" in caplog.text
    notify(sender, OID)
    assert bell.wait(20)


def test_many_make_few(opened: Any, monkeypatch: Any) -> None:
    """What is committed while a message is on its way goes into the next one."""
    db = opened()
    sent: list[set[bytes]] = []
    first, go_on = threading.Event(), threading.Event()

    def send(self: Line, oids: set[bytes]) -> None:
        sent.append(oids)
        first.set()
        assert go_on.wait(20)

    monkeypatch.setattr(Line, "send", send)
    notify(db, OID)
    assert first.wait(20)
    for _ in range(1000):
        notify(db, OID)
        notify(db, OTHER)
    go_on.set()
    wait_until(lambda: len(sent) > 1)
    assert sent == [{OID}, {OID, OTHER}]


def test_own_messages(opened: Any) -> None:
    """A line hears what others send, not what it sends itself."""
    connect = opened().storage._adapter.connmanager.open
    with closing(Line(connect)) as one, closing(Line(connect)) as two:
        one.listen()
        two.listen()
        one.send({OID, OTHER})
        assert one.heard() == set()
        assert heard(two) == {OID, OTHER}
        assert two.heard() == set()


def heard(line: Line) -> set[bytes | None]:
    """What a line hears, when it hears something."""

    def hear() -> set[bytes | None]:
        line.wait(1)
        return line.heard()

    found: set[bytes | None] = wait_until(hear)
    return found


def test_what_is_no_message(address: str, opened: Any) -> None:
    """What somebody else sends may mean anything."""
    with closing(Line(opened().storage._adapter.connmanager.open)) as line:
        line.listen()
        query(address, f"SELECT pg_notify('{line._channel}', 'hello')")
        assert heard(line) == {None}


def test_databases_apart(tmp_path: Path, opened: Any) -> None:
    """What is sent in one database is not heard in another of the server."""
    with store("PostgreSQL", tmp_path) as elsewhere:
        far = opened(elsewhere)
        mine, last, near = listening(far), Bell(far, OTHER), listening(opened())
        notify(opened(), OID)
        assert near.wait(20)
        notify(opened(elsewhere), OTHER)
        assert last.wait(20)
        assert not mine.wait(0)


@pytest.mark.parametrize("kind", ["FileStorage", "SQLite"])
def test_other_kinds(tmp_path: Path, kind: str) -> None:
    """A database that is kept elsewhere has no such signals."""
    with store(kind, tmp_path) as address:
        db = open_database(address)
        assert postgresql.signals(db) is None
        db.close()


class Wrapper:
    """As a storage that compresses wraps another one."""

    def __init__(self, base: Any) -> None:
        self.base = base


def test_storages_in_storages(address: str) -> None:
    """What is wrapped has signals; changes that are kept elsewhere have none."""
    storage = open_storage(address)
    wrapped = ZODB.DB(None)
    wrapped.storage, own = Wrapper(storage), wrapped.storage
    assert postgresql.signals(wrapped) is not None
    wrapped.storage = own
    wrapped.close()
    demo = ZODB.DB(DemoStorage(base=storage))
    assert postgresql.signals(demo) is None
    demo.close()
    storage.close()


def test_a_child(address: str, opened: Any) -> None:
    """A forked child has nothing of its parent's, and may have signals itself."""
    db = opened()
    bell = listening(db)
    (before,) = lines(address)
    (parents,) = postgresql._running
    waker: Any = parents._waker

    def child() -> list[Any]:
        wakers = [waker.fileno(), *postgresql._running]
        mine = open_database(address)
        notify(mine, OID)
        in_thread(lambda: listening(mine))
        mine.close()
        wait_until(lambda: threads() == [])
        return [wakers, len(lines(address))]

    assert in_child(child) == [[-1], 1]
    assert bell.wait(20)
    bell.clear()
    assert lines(address) == [before]
    notify(opened(), OID)
    assert bell.wait(20)


def test_a_waker() -> None:
    """A waker never blocks nor fails, however often and late it is called."""
    waker = Waker()
    for _ in range(100_000):
        waker.wake()
    waker.clear()
    waker.clear()
    waker.close()
    waker.wake()
