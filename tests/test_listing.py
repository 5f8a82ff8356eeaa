"""Jobs are found among many, a page at a time, at a cost that does not grow."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
import transaction
from hypothesis import given
from hypothesis import strategies as st

from lovely.remotetask import listing
from lovely.remotetask.errors import InvalidArgument, InvalidType
from lovely.remotetask.interfaces import (
    CANCELLED,
    COMPLETED,
    CRONJOB,
    DELAYED,
    ERROR,
    PROCESSING,
    QUEUED,
    STARTLATER,
)
from lovely.remotetask.listing import Page, find
from lovely.remotetask.queue import QueueReader
from lovely.remotetask.session import Session
from lovely.remotetask.workers import Lease
from tests.support import FakeEnvironment, ask, put_service, register

STATUSES = [
    STARTLATER,
    QUEUED,
    DELAYED,
    CRONJOB,
    PROCESSING,
    COMPLETED,
    ERROR,
    CANCELLED,
]


def ids(page: Page) -> list[int]:
    """The ids of the jobs that were found."""
    return [job.id for job in page.jobs]


def pages(service: Any, **wanted: Any) -> list[Page]:
    """All pages, one after the other."""
    found = [find(service, **wanted)]
    while found[-1].next is not None:
        assert len(found) < 1000
        found.append(find(service, start=found[-1].next, **wanted))
    return found


def all_ids(service: Any, **wanted: Any) -> list[int]:
    """The ids of the jobs on all pages."""
    return [jobid for page in pages(service, **wanted) for jobid in ids(page)]


def some_of_each(service: Any, ballast: int = 0) -> dict[str, list[int]]:
    """Jobs of each status, committed; between them others that are completed."""

    def more() -> None:
        for _ in range(ballast):
            service.add("echo")
        service.process()
        transaction.commit()

    more()
    failed = [service.add("fail", n) for n in ("Paris", "Oslo", "Bern")]
    service.process()
    done = [service.add("echo", n) for n in range(3)]
    service.process()
    more()
    gone = [service.add("echo") for _ in range(3)]
    for jobid in gone:
        service.cancel(jobid)
    later = [service.add("echo", startLater=True) for _ in range(3)]
    held = [service.add("echo") for _ in range(3)]
    transaction.commit()
    with closing(Session(service._p_jar.db(), ["service"])) as session:
        key = session.register(1, Lease())
        assert session.claim(key, 3).jobs == held
        delayed = [service.add("echo", delay=1000 + n) for n in (3, 1, 2)]
        cron = [service.addCronJob("echo", hour=n) for n in (3, 1, 2)]
        service.pause(cron[1])
        transaction.commit()
        assert session.claim(key, 3).jobs == held  # and reads what waits for a time
        session._commit(read)
    queued = [service.add("echo") for _ in range(3)]
    transaction.commit()
    return {
        STARTLATER: later,
        QUEUED: queued,
        DELAYED: delayed,
        CRONJOB: cron,
        PROCESSING: held,
        COMPLETED: done,
        ERROR: failed,
        CANCELLED: gone,
    }


def read(service: Any) -> None:
    """Read the lanes, as a claim does."""
    reader = QueueReader(service)
    assert reader.take(1) == []
    reader.save()


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("status", STATUSES)
def test_by_status(service: Any, status: str, newest_first: bool) -> None:
    """Of each status all jobs are found, in both orders, on pages of any size."""
    jobs = sorted(some_of_each(service)[status], reverse=newest_first)
    for limit in (1, 2, 3, 50):
        wanted = {"status": status, "newest_first": newest_first, "limit": limit}
        found = pages(service, **wanted)
        assert [jobid for page in found for jobid in ids(page)] == jobs
        assert all(len(page.jobs) <= limit for page in found)


@pytest.mark.parametrize("newest_first", [True, False])
def test_all(service: Any, newest_first: bool) -> None:
    """Without a choice all jobs are found."""
    some_of_each(service, ballast=40)
    found = all_ids(service, newest_first=newest_first, limit=7)
    assert sorted(found) == list(service.jobs)
    assert found == sorted(found, reverse=newest_first)


@pytest.mark.parametrize("status", [*STATUSES[2:5], ERROR])
def test_what_is_rare_is_found_at_once(service: Any, status: str) -> None:
    """What is processed, waits for a time, or has failed is not looked for."""
    jobs = some_of_each(service, ballast=300)[status]
    page = find(service, status=status)
    assert page == Page([service.jobs[i] for i in sorted(jobs)[::-1]], None, 3)


def test_bounded(service: Any) -> None:
    """Elsewhere so many jobs are looked at, and the page says where to go on."""
    jobs = some_of_each(service, ballast=100)
    last = service.jobs.maxKey()
    page = find(service, status=CANCELLED, look_at=10)
    assert page == Page([], last - 10, 10)
    found = pages(service, status=CANCELLED, look_at=10)
    assert sum(page.looked_at for page in found) == service.count()
    assert sorted(i for page in found for i in ids(page)) == jobs[CANCELLED]


def test_nothing_to_find(service: Any) -> None:
    """Where the counts say that there is no such job, none is looked at."""
    for _ in range(100):
        service.add("echo")
    transaction.commit()
    assert find(service, status=COMPLETED) == Page([], None, 0)
    assert find(service, status=ERROR) == Page([], None, 0)


def loads_of(db: Any, question: Callable[[Any], Any]) -> int:
    """How many records a question to the service loads on a connection of its own."""
    connection = db.open(transaction.TransactionManager())
    connection.cacheMinimize()
    connection.getTransferCounts(clear=True)
    question(connection.root()["service"])
    loaded, _ = connection.getTransferCounts(clear=True)
    connection.transaction_manager.abort()
    connection.close()
    return int(loaded)


def test_time_does_not_grow(db: Any, tasks: None) -> None:
    """A page loads as much from 10,000 jobs as from 100, whatever is asked for."""
    loaded = []
    for ballast in (50, 5_000):
        some_of_each(put_service(db), ballast)
        loaded.append(
            {
                (status, newest_first): loads_of(
                    db,
                    partial(
                        find,
                        status=status,
                        newest_first=newest_first,
                        look_at=100,
                        limit=20,
                    ),
                )
                for status in (None, *STATUSES)
                for newest_first in (True, False)
            }
        )
    few, many = loaded
    assert {asked for asked in many if many[asked] > few[asked] + 40} == set()
    assert max(many.values()) < 220


def test_pages_from_the_middle(db: Any, service: Any) -> None:
    """To go on from anywhere costs as much as to begin."""
    for _ in range(5_000):
        service.add("echo")
    transaction.commit()
    for newest_first in (True, False):
        loaded = [
            loads_of(
                db, lambda s, start=start: find(s, start=start, limit=10, look_at=50)
            )
            for start in (None, 2_500, 100)
        ]
        assert max(loaded) < 130, newest_first


def test_start_that_is_gone(service: Any) -> None:
    """A page goes on also if the job to go on from was removed meanwhile."""
    jobs = [service.add("echo") for _ in range(40)]
    service.process()
    for newest_first in (True, False):
        page = find(service, limit=10, newest_first=newest_first)
        assert page.next is not None
        service._remove(service.jobs[page.next])
        rest = all_ids(service, start=page.next, newest_first=newest_first, limit=100)
        jobs.remove(page.next)
        assert sorted(ids(page) + rest) == jobs


def test_by_task(service: Any) -> None:
    """Only jobs of a task are found."""
    register("other", str)
    jobs = [service.add(name) for name in ("echo", "other", "echo", "other")]
    assert all_ids(service, task="other") == [jobs[3], jobs[1]]
    assert all_ids(service, task="nothing") == []


@pytest.mark.parametrize("text", ["oslo", "OSLO", "RuntimeError: Osl"])
def test_by_text(service: Any, text: str) -> None:
    """Jobs are found by a text in their error, in capitals or not."""
    failed = some_of_each(service)[ERROR]
    assert all_ids(service, text=text) == [failed[1]]
    assert all_ids(service, status=ERROR, text=text) == [failed[1]]
    assert all_ids(service, status=COMPLETED, text=text) == []


def test_by_a_text_that_is_seen(service: Any) -> None:
    """Who may not see all of an error does not find what they do not see."""
    failed = some_of_each(service)[ERROR]
    seen = {
        "runtimeerror": lambda error: error,
        "traceback": lambda error: error.partition("Traceback")[0],
    }
    found = [all_ids(service, text=text, seen=seen[text]) for text in seen]
    assert found == [all_ids(service, text="runtimeerror"), []]
    assert set(failed) <= set(found[0])


def test_an_empty_text_is_none(service: Any) -> None:
    """An empty text does not choose."""
    jobid = service.add("echo")
    assert all_ids(service, text="") == [jobid]


def test_by_time(service: Any, environment: FakeEnvironment) -> None:
    """Jobs are found by when they were added: from a moment on, and before another."""
    begun = datetime.fromtimestamp(environment.now, timezone.utc)
    for _ in range(5):
        service.add("echo")
        environment.now += 60
    since, until = begun + timedelta(minutes=1), begun + timedelta(minutes=3)
    assert all_ids(service, since=since) == [5, 4, 3, 2]
    assert all_ids(service, until=until) == [3, 2, 1]
    assert all_ids(service, since=since, until=until, newest_first=False) == [2, 3]


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ({"status": "done"}, InvalidArgument, "status: 'done' is none of"),
        ({"status": ["error"]}, InvalidArgument, "status: "),
        ({"task": 7}, InvalidType, "task: a str is needed, not int"),
        ({"text": b"x"}, InvalidType, "text: a str"),
        ({"since": 7}, InvalidType, "since: a datetime"),
        ({"until": datetime(2026, 1, 1)}, InvalidArgument, "until: .* no time zone"),  # noqa: DTZ001
        ({"start": "1"}, InvalidType, "start: an int"),
        ({"start": -1}, InvalidArgument, "start: 0 or more"),
        ({"limit": 0}, InvalidArgument, "limit: 1 or more"),
        ({"look_at": True}, InvalidType, "look_at: an int"),
    ],
)
def test_bad_input(
    service: Any, wanted: dict[str, Any], error: type[Exception], message: str
) -> None:
    """What makes no sense is refused, by name."""
    with pytest.raises(error, match=message):
        find(service, **wanted)


def test_ids_beyond_all_numbers(service: Any) -> None:
    """To go on from an id that can't be is to go on from the end."""
    jobid = service.add("echo")
    assert ids(find(service, start=2**80)) == [jobid]
    assert ids(find(service, start=2**80, newest_first=False)) == []
    service.add("fail")
    service.process()
    assert ids(find(service, start=2**80, status=ERROR)) == [2]
    assert ids(find(service, start=2**80, status=ERROR, newest_first=False)) == []


def test_what_is_not_read_yet(service: Any) -> None:
    """Jobs that wait for a time are found before a worker has seen them."""
    delayed = [service.add("echo", delay=100) for _ in range(3)]
    cron = [service.addCronJob("echo", hour=1) for _ in range(3)]
    transaction.commit()
    assert all_ids(service, status=DELAYED, limit=2) == delayed[::-1]
    assert all_ids(service, status=CRONJOB, limit=2) == cron[::-1]


def test_without_a_database(service: Any) -> None:
    """A service that is in no database can be searched, too."""
    alone = type(service)()
    jobs = [alone.add("echo") for _ in range(3)]
    failed = alone.add("fail")
    alone.process()
    assert all_ids(alone) == [failed, *jobs[::-1]]
    assert all_ids(alone, status=ERROR) == [failed]


def test_too_many_that_wait(service: Any, db: Any) -> None:
    """Where too many wait for a time, they are looked for, and all are found."""
    jobs = [service.add("echo", delay=1000) for _ in range(30)]
    transaction.commit()
    with closing(Session(db, ["service"])) as session:
        session.claim(session.register(1, Lease()), 1)
    transaction.begin()
    assert all_ids(service, status=DELAYED, look_at=20) == jobs[::-1]
    assert all_ids(service, status=DELAYED, look_at=40) == jobs[::-1]


def test_errors_that_are_not_counted(service: Any, db: Any) -> None:
    """A job that has just failed is found, on its worker's record."""
    jobs = [service.add("fail") for _ in range(3)]
    transaction.commit()
    with closing(Session(db, ["service"])) as session:
        key = session.register(1, Lease())
        assert session.claim(key, 3).jobs == jobs
        session.run(jobs[1], key)
        assert ask(db, lambda s: all_ids(s, status=ERROR)) == [jobs[1]]
        assert ask(db, lambda s: all_ids(s, status=PROCESSING)) == [jobs[2], jobs[0]]
        session.leave()
    assert ask(db, lambda s: all_ids(s, status=ERROR)) == [jobs[1]]
    assert ask(db, lambda s: all_ids(s, status=QUEUED)) == [jobs[2], jobs[0]]


@given(
    numbers=st.sets(st.integers(1, 60)),
    start=st.none() | st.integers(0, 70),
    newest_first=st.booleans(),
)
def test_order(numbers: set[int], start: int | None, newest_first: bool) -> None:
    """Ids from a start on come in the order that is asked for."""
    found = listing._in_order(numbers, start, newest_first=newest_first)
    assert found == sorted(found, reverse=newest_first)
    left = numbers - set(found)
    if start is None:
        assert not left
    else:
        assert all(i > start if newest_first else i < start for i in left)
