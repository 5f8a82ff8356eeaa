"""What the service is given and can't use: a clear error, and nothing is broken."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import transaction
from persistent.mapping import PersistentMapping
from persistent.wref import WeakRef

from lovely.remotetask.errors import (
    InvalidArgument,
    InvalidType,
    RemoteTaskError,
    UnknownJob,
    UnknownTask,
    Unpicklable,
)
from lovely.remotetask.processor import SimpleProcessor
from tests.support import counts


class OneWay(Exception):
    """Can be pickled, but not loaded again."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)


class Refuses:
    """Can't be pickled, for a reason of its own."""

    def __reduce__(self) -> str:
        raise RuntimeError("not this one")


BAD_ADDS: list[tuple[str, dict[str, Any], type[Exception], type[Exception], str]] = [
    ("gone", {}, UnknownTask, ValueError, "Task does not exist: 'gone'"),
    ("gone", {}, UnknownTask, ValueError, r"@task\('gone'\).*provideUtility.*import"),
    ("", {}, UnknownTask, ValueError, "Task does not exist: ''"),
    ("x" * 9999, {}, UnknownTask, ValueError, r"Task does not exist: 'x{99}\.\.\."),
    ("\ud800", {}, UnknownTask, ValueError, "ud800"),
    (None, {}, InvalidType, TypeError, "task: .* not None"),
    (b"echo", {}, InvalidType, TypeError, "task: .* b'echo'"),
    (["echo"], {}, InvalidType, TypeError, "task: "),
    ("echo", {"delay": -1}, InvalidArgument, ValueError, "delay: .*-1"),
    ("echo", {"delay": float("nan")}, InvalidArgument, ValueError, "delay: .*nan"),
    ("echo", {"delay": float("inf")}, InvalidArgument, ValueError, "delay: .*inf"),
    ("echo", {"delay": 1e12}, InvalidArgument, ValueError, "delay: .*9999"),
    ("echo", {"delay": 10**400}, InvalidArgument, ValueError, r"delay: .*0{99}\.\.\."),
    ("echo", {"delay": 10**5000}, InvalidArgument, ValueError, "delay: .*<int>"),
    ("echo", {"timeout": 10**400}, InvalidArgument, ValueError, "timeout: "),
    ("echo", {"delay": "5"}, InvalidType, TypeError, "delay: .* not str"),
    ("echo", {"delay": True}, InvalidType, TypeError, "delay: .* not bool"),
    ("echo", {"delay": timedelta(1)}, InvalidType, TypeError, "delay: "),
    ("echo", {"at": datetime(2030, 1, 1)}, InvalidArgument, ValueError, "time zone"),  # noqa: DTZ001
    ("echo", {"at": 5}, InvalidType, TypeError, "at: .* not int"),
    (
        "echo",
        {"at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))},
        InvalidArgument,
        ValueError,
        "at: .*9999",
    ),
    ("echo", {"delay": 1, "startLater": True}, InvalidArgument, ValueError, "Only one"),
    (
        "echo",
        {"delay": 1, "at": datetime(2030, 1, 1, tzinfo=timezone.utc)},
        InvalidArgument,
        ValueError,
        "Only one",
    ),
    ("echo", {"input": lambda: 1}, Unpicklable, TypeError, "'echo' can't be stored"),
    ("echo", {"input": threading.Lock()}, Unpicklable, TypeError, "'echo'.*lock"),
    ("echo", {"input": [{1: Refuses()}]}, Unpicklable, TypeError, "not this one"),
    (
        "echo",
        {"input": {"error": OneWay("one", "two")}},
        Unpicklable,
        TypeError,
        "loaded again",
    ),
]


@pytest.mark.parametrize(
    ("task", "options", "errors", "message"),
    [
        pytest.param(*bad[:2], bad[2:4], bad[4], id=f"{n}-{bad[4]}")
        for n, bad in enumerate(BAD_ADDS)
    ],
)
def test_bad_add(
    service: Any,
    task: Any,
    options: dict[str, Any],
    errors: tuple[type[Exception], type[Exception]],
    message: str,
) -> None:
    """A bad add says what is wrong, and the transaction goes on as if it never was."""
    root = service._p_jar.root()
    assert service.add("echo", "before") == 1
    root["mine"] = "kept"
    with pytest.raises(RemoteTaskError, match=message) as caught:
        service.add(task, **options)
    assert all(isinstance(caught.value, error) for error in errors)
    assert service.add("echo", "after") == 2
    transaction.commit()
    assert root["mine"] == "kept"
    assert counts(service) == {"queued": 2}
    service.process()
    assert service.getResult(2) == "after"


def test_bad_add_first(service: Any) -> None:
    """A bad add alone leaves nothing to commit."""
    before = service._p_jar.db().storage.lastTransaction()
    for task, options, error, *_ in BAD_ADDS:
        with pytest.raises(error):
            service.add(task, **options)
    transaction.commit()
    assert service._p_jar.db().storage.lastTransaction() == before
    assert service.add("echo") == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (["queued"], ValueError),
        ("queued", ValueError),
        (["error", "no such status"], ValueError),
        ([None, "queued"], ValueError),
        ([1, "a", b"c"], ValueError),
        ([["error"]], TypeError),
        (None, TypeError),
        (5, TypeError),
    ],
)
def test_bad_clean(service: Any, status: Any, error: type[Exception]) -> None:
    """Clean refuses what it may not remove, and then removes nothing."""
    service.add("fail")
    service.process()
    with pytest.raises(error, match="status") as caught:
        service.clean(status)
    assert isinstance(caught.value, RemoteTaskError)
    transaction.commit()
    assert counts(service) == {"error": 1}


def test_clean_takes_one_status(service: Any) -> None:
    """A single status need not be put into a list."""
    service.add("fail")
    service.process()
    assert service.clean("completed") == 0
    assert service.clean("error") == 1


@pytest.mark.parametrize("status", ["gone", 5, b"queued", ["queued"]])
def test_bad_count(service: Any, status: Any) -> None:
    """Counting what is no status is refused, with a list of those that are."""
    with pytest.raises(InvalidArgument, match=r"status: .*'start later', 'queued'"):
        service.count(status)


@pytest.mark.parametrize(
    ("now", "error"),
    [
        (float("nan"), InvalidArgument),
        (float("-inf"), InvalidArgument),
        (1e12, InvalidArgument),  # maybe milliseconds
        (-1e12, InvalidArgument),
        pytest.param(10**5000, InvalidArgument, id="huge"),
        ("0", InvalidType),
        (datetime(2030, 1, 1, tzinfo=timezone.utc), InvalidType),
    ],
)
@pytest.mark.parametrize("verb", ["process", "processNext", "claimNextJob"])
def test_bad_now(service: Any, verb: str, now: Any, error: type[Exception]) -> None:
    """A time that is no number is refused, and no job is taken."""
    service.add("echo")
    with pytest.raises(error, match="now"):
        getattr(service, verb)(now)
    assert service.getStatus(1) == "queued"


@pytest.mark.parametrize(
    "call",
    [
        lambda service: service.getStatus(7),
        lambda service: service.getResult(7),
        lambda service: service.getError(7),
        lambda service: service.startJob(7),
        lambda service: service.processNext(jobid=7),
        lambda service: SimpleProcessor(service._p_jar.db(), ["service"]).processNext(
            7
        ),
    ],
)
def test_unknown_job(service: Any, call: Callable[[Any], Any]) -> None:
    """Whoever asks about a job that there is none of learns its id."""
    service.add("echo")
    transaction.commit()
    with pytest.raises(UnknownJob, match="There is no job 7") as caught:
        call(service)
    assert caught.value.jobid == 7
    transaction.abort()
    service.process()
    assert service.getStatus(1) == "completed"


def test_what_zodb_can_store(service: Any) -> None:
    """Persistent objects, references to them and classes are good input."""
    root = service._p_jar.root()
    root["thing"] = PersistentMapping(name="thing")
    transaction.commit()
    inputs = [root["thing"], [root["thing"]], WeakRef(root["thing"]), PersistentMapping]
    ids = [service.add("echo", value) for value in inputs]
    transaction.commit()
    service._p_jar.cacheMinimize()
    assert service.jobs[ids[0]].input is service.jobs[ids[1]].input[0] is root["thing"]
    assert service.jobs[ids[2]].input() is root["thing"]
    assert service.jobs[ids[3]].input is PersistentMapping


def test_input_of_another_connection(service: Any, db: Any) -> None:
    """An object of another connection to the database is refused at once."""
    manager = transaction.TransactionManager()
    other = db.open(manager)
    with pytest.raises(Unpicklable, match="another connection"):
        service.add("echo", {"root": other.root()})
    assert service.add("echo") == 1
    transaction.commit()
    other.close()


@pytest.mark.parametrize(
    ("waitTime", "error"),
    [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError), (None, TypeError)],
)
def test_bad_wait_time(db: Any, waitTime: Any, error: type[Exception]) -> None:
    """A processor refuses a time to wait that is none."""
    with pytest.raises(error, match="waitTime") as caught:
        SimpleProcessor(db, ["service"], waitTime=waitTime)
    assert isinstance(caught.value, RemoteTaskError)
