"""Values that can't be loaded any more: whose trouble that is."""

from __future__ import annotations

import enum
import sys
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import transaction
from persistent.mapping import PersistentMapping
from ZODB.POSException import ConflictError

from lovely.remotetask import NO_RETRY, RetryPolicy, values
from lovely.remotetask.errors import CannotLoad
from lovely.remotetask.states import CANCELLED, COMPLETED, ERROR
from lovely.remotetask.task import SimpleTask
from tests.support import ask, fail, processing, provide, register_full, wait_for_status


class Colour(enum.Enum):
    """A class that may lose its member."""

    RED = 1


class Note:
    """A class that can be told to refuse what it has stored, as an Enum may."""

    strict = False

    def __reduce__(self) -> Any:
        return (Note.load, ())

    @classmethod
    def load(cls) -> Note:
        """What pickle calls."""
        if cls.strict:
            raise ValueError("an old note")
        return cls()


@pytest.mark.parametrize(
    "value",
    [
        None,
        [1, 2.0, 3j, "text", b"bytes", True],
        {"a": [{"b": ({1, 2}, frozenset("c"))}], 2: None},
        [date(2026, 1, 2), timedelta(1), datetime(1, 1, 1), Decimal(1)],  # noqa: DTZ001
        datetime(2026, 1, 2, tzinfo=timezone.utc),
        [PersistentMapping()],
    ],
)
def test_plain(value: Any) -> None:
    """What every Python can load stays in the record of the job."""
    assert values.kept(value) is value


def deep() -> list[Any]:
    """A list in itself."""
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    "value",
    [
        Colour.RED,
        {"a": [Colour.RED]},
        {Colour.RED: 1},
        Note(),
        int,
        datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/Vienna")),
        deep(),
    ],
)
def test_not_plain(value: Any) -> None:
    """What needs a class gets a record, and is the same when it is asked for."""
    held = values.kept(value)
    assert type(held) is values.Value
    assert values.loaded(held, "it") is value


@pytest.fixture
def refused(db: Any, service: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ids of three jobs; the input of the second can't be loaded."""
    service.retryPolicy = NO_RETRY
    ids = [service.add("echo", input) for input in (1, [Note()], 3)]
    transaction.commit()
    monkeypatch.setattr(Note, "strict", True)
    db.cacheMinimize()
    return ids


@pytest.mark.parametrize("group", [False, True])
def test_the_job_fails_alone(
    db: Any, service: Any, refused: list[int], *, group: bool
) -> None:
    """Those around it run; and it can be run when its class is well again."""
    service.processorArguments = {"waitTime": 0.01, "groupFinish": group}
    transaction.commit()
    with processing(service):
        for jobid, status in zip(refused, (COMPLETED, ERROR, COMPLETED), strict=True):
            wait_for_status(db, jobid, status)
    transaction.begin()
    broken = refused[1]
    expected = f"The input of job {broken} can't be loaded: ValueError: an old note"
    assert expected in service.getError(broken)
    Note.strict = False
    service.retry(broken)
    service.process()
    assert type(service.getResult(broken)[0]) is Note


def test_it_can_be_looked_at(service: Any, refused: list[int]) -> None:
    """Whoever asks for the value is told; nothing else is in the way."""
    job = service.jobs[refused[1]]
    with pytest.raises(CannotLoad, match="an old note"):
        _ = job.input
    assert "an old note" in repr(values.readable(job, "input"))
    assert values.readable(job, "output") is None
    service.cancel(job.id)
    transaction.commit()
    assert service.clean(CANCELLED) == 1
    transaction.commit()


def test_results(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with an output."""
    register_full("note", lambda service, jobid, input: Note())
    jobid = service.add("note")
    service.process()
    transaction.commit()
    monkeypatch.setattr(Note, "strict", True)
    service._p_jar.cacheMinimize()
    with pytest.raises(CannotLoad, match=f"The output of job {jobid} "):
        service.getResult(jobid)


def test_changes_by_a_failed_attempt(service: Any) -> None:
    """An attempt does not see what one before has changed in its input."""
    seen = []

    def change(service: Any, jobid: int, input: list[Any]) -> None:
        seen.append(len(input))
        input.append(1)
        if len(seen) % 3:
            raise ConflictError

    register_full("change", change)
    for input in ([], [Colour.RED]):
        service.add("change", input)
        transaction.commit()
        service.process()
        transaction.commit()
    assert seen == [0, 0, 0, 1, 1, 1]


def test_what_a_task_adds_to_its_input(service: Any) -> None:
    """It moves to a record of its own, if it needs that now."""
    register_full("add", lambda service, jobid, input: input.append(Colour.RED))
    jobid = service.add("add", [])
    transaction.commit()
    service.process()
    transaction.commit()
    service._p_jar.cacheMinimize()
    job = service.jobs[jobid]
    assert job.input == [Colour.RED]
    assert type(job._input) is values.Value


@pytest.mark.parametrize("refused", [False, True])
def test_a_retry_policy(
    service: Any, db: Any, monkeypatch: pytest.MonkeyPatch, *, refused: bool
) -> None:
    """A job that is to be tried again after what is gone by now holds up no other."""
    program = ModuleType("program")
    monkeypatch.setitem(sys.modules, "program", program)
    program.Busy = type("Busy", (Exception,), {"__module__": "program"})  # type: ignore[attr-defined]
    policy = RetryPolicy(retries=7, on=program.Busy)
    service.retryPolicy = NO_RETRY
    provide("fail", SimpleTask(fail))
    jobid, other = service.add("fail", 1, retry=policy), service.add("echo")
    transaction.commit()
    assert ask(db, lambda s: s.jobs[jobid].retry) == policy
    if refused:
        monkeypatch.setitem(sys.modules, "program", Refusing("program"))
    else:
        del program.Busy
    db.cacheMinimize()
    with processing(service):
        wait_for_status(db, jobid, ERROR)
        wait_for_status(db, other, COMPLETED)


class Refusing(ModuleType):
    """A module that is not what it was."""

    def __getattr__(self, name: str) -> Any:
        raise ValueError(name)
