"""Signals of a plug-in's: who is told, who hears, and what if it fails."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import transaction
import ZODB

from lovely.remotetask import plugins, signals
from lovely.remotetask.wakeup import Bell, notify
from tests.support import ask, counts, in_child

OID, OTHER = b"\0" * 7 + b"\1", b"\0" * 7 + b"\2"


def rings(*bells: Bell) -> list[bool]:
    """Which bells have rung, without waiting."""
    return [bell.wait(0) for bell in bells]


class Wire:
    """Signals that note what is asked of them."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.rings: list[signals.Ring] = []
        self.closed = 0

    def send(self, oid: bytes) -> None:
        self.sent.append(oid)

    def listen(self, ring: signals.Ring) -> None:
        self.rings.append(ring)

    def close(self) -> None:
        self.closed += 1


class Plugin:
    """Knows some databases, and notes which it was asked about."""

    def __init__(self, *known: Any) -> None:
        self.wires = {id(db): Wire() for db in known}
        self.asked: list[int] = []

    def __call__(self, db: Any) -> Wire | None:
        self.asked.append(id(db))
        return self.wires.get(id(db))


class Failing:
    """Signals of which nothing works."""

    def fail(self, *args: Any) -> None:
        raise OSError("no wire")

    send = listen = close = fail


@pytest.fixture
def other() -> Any:
    """Another database."""
    return ZODB.DB(None)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install these plug-ins, and no others."""

    def install(*found: Any) -> None:
        monkeypatch.setattr(plugins, "load", {signals.GROUP: found}.get)

    return install


def test_who_is_told(db: Any, other: Any, install: Any) -> None:
    """A commit is sent by the signals of its database, the first that there are."""
    first, second = Plugin(db), Plugin(db, other)
    install(first, second)
    notify(db, OID)
    notify(other, OTHER)
    notify(ZODB.DB(None), OID)
    assert first.wires[id(db)].sent == [OID]
    assert [wire.sent for wire in second.wires.values()] == [[], [OTHER]]


def test_asked_once(db: Any, install: Any) -> None:
    """A plug-in is asked once about a database, whether it knows it or not."""
    for plugin in (Plugin(db), Plugin()):
        database = db if plugin.wires else ZODB.DB(None)
        install(plugin)
        for _ in range(3):
            notify(database, OID)
            Bell(database, OID)
        assert plugin.asked == [id(database)]


def test_a_commit_is_sent(service: Any, db: Any, install: Any) -> None:
    """A job is sent once it is committed, and what is aborted is not."""
    plugin = Plugin(db)
    install(plugin)
    wire = plugin.wires[id(db)]
    service.add("echo")
    assert wire.sent == []
    transaction.abort()
    assert wire.sent == []
    service.add("echo")
    service.add("echo")
    transaction.commit()
    assert wire.sent == [service._p_oid]


def test_who_hears(db: Any, install: Any) -> None:
    """A message rings the bells of its service, and one that names none rings all."""
    plugin = Plugin(db)
    install(plugin)
    mine, too, another = Bell(db, OID), Bell(db, OID), Bell(db, OTHER)
    (ring,) = plugin.wires[id(db)].rings
    ring(OID)
    assert rings(mine, too, another) == [True, True, False]
    mine.clear()
    ring(None)
    assert rings(mine, too, another) == [True, True, True]
    ring(b"unknown")


def test_after_the_database(install: Any) -> None:
    """What listens does not keep a database, and rings nothing after its end."""
    db = ZODB.DB(None)
    plugin = Plugin(db)
    install(plugin)
    bell = Bell(db, OID)
    (ring,) = plugin.wires[id(db)].rings
    db.close()
    del db
    gc.collect()
    ring(None)
    assert rings(bell) == [False]


def test_nobody_listens(db: Any, install: Any) -> None:
    """Where nobody waits for jobs, nobody listens for them."""
    plugin = Plugin(db)
    install(plugin)
    notify(db, OID)
    assert plugin.wires[id(db)].rings == []


def broken(db: Any) -> Any:
    """A plug-in that fails when it is asked."""
    raise OSError("no wire")


@pytest.mark.parametrize("plugin", [broken, lambda db: Failing()])
def test_what_fails(
    service: Any, db: Any, install: Any, caplog: Any, plugin: Any
) -> None:
    """A plug-in that fails does not fail a commit, nor what waits; it is logged."""
    install(plugin)
    bell = Bell(db, service._p_oid)
    assert "will not be heard" in caplog.text or plugin is broken
    service.add("echo")
    transaction.commit()
    assert ask(db, counts) == {"queued": 1}
    assert rings(bell) == [True]
    assert "no wire" in caplog.text
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_the_end(db: Any, other: Any, install: Any) -> None:
    """At the end of the interpreter all are closed, whatever one of them does."""
    plugin = Plugin(other)
    install(lambda database: Failing() if database is db else plugin(database))
    notify(db, OID)
    notify(other, OID)
    signals._close_all()
    assert plugin.wires[id(other)].closed == 1


def test_a_child(db: Any, install: Any) -> None:
    """A forked child asks for signals of its own, whatever its parent was doing."""
    plugin = Plugin(db)
    install(plugin)
    notify(db, OID)

    def child() -> list[int]:
        notify(db, OID)
        return [len(plugin.asked), len(plugin.wires[id(db)].sent)]

    with signals._lock:
        assert in_child(child) == [2, 2]
    assert plugin.wires[id(db)].sent == [OID]
