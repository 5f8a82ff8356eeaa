"""Which jobs are in error is known, whatever becomes of them."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
import transaction
from transaction.interfaces import TransientError
from ZODB.utils import get_pickle_metadata, p64, u64

from lovely.remotetask.failed import FailedJobs
from lovely.remotetask.interfaces import ERROR
from lovely.remotetask.listing import find
from lovely.remotetask.session import Session
from lovely.remotetask.workers import Lease
from tests.races.interleaved import check_committed, clients
from tests.support import ask, fail, processing, register, wait_until


def indexed(service: Any) -> list[int]:
    """The ids that the index has."""
    return list(service._lanes.failed.ids(newest_first=False))


def fill(service: Any, failed: int, others: int = 0) -> list[int]:
    """Commit jobs that have failed, and others; the ids of the former."""
    jobs = [service.add("fail") for _ in range(failed)]
    for _ in range(others):
        service.add("echo")
    service.process()
    transaction.commit()
    return jobs


def as_before(service: Any) -> None:
    """Let the service be as one that was stored before there was an index."""
    service._lanes.failed = None
    del service._lanes.failed
    transaction.commit()


def worker(db: Any) -> Any:
    """A registered worker."""
    session = Session(db, ["service"])
    session.register(1, Lease())
    return closing(session)


def catch_up(session: Session) -> int:
    """Let a worker complete the index; the number of transactions."""
    turns = 1
    while session.catch_up():
        turns += 1
        assert turns < 100
    return turns


def test_ids_come_and_go(service: Any, db: Any) -> None:
    """An id is there as long as the job is in error."""
    one, two, three = fill(service, 3, 20)
    assert indexed(service) == [one, two, three]
    service.retry(two)
    assert indexed(service) == [one, three]
    service._remove(service.jobs[three])
    assert indexed(service) == [one]
    transaction.commit()
    check_committed(db)
    assert service.retryAll() == 1
    service.process()
    assert indexed(service) == [one, two]
    assert service.clean([ERROR], limit=1) == 1
    assert indexed(service) == [two]
    assert service.clean() == 21
    assert indexed(service) == []
    transaction.commit()
    check_committed(db)


def test_a_savepoint_takes_it_back(service: Any) -> None:
    """What is rolled back has not failed."""
    savepoint = transaction.savepoint()
    fill_id = service.add("fail")
    service.process()
    assert indexed(service) == [fill_id]
    savepoint.rollback()
    assert indexed(service) == []


def test_a_failure_writes_the_job_alone(service: Any, db: Any) -> None:
    """The index is written by the worker's next claim, and only after failures."""
    fill(service, 1, 1)
    jobs = [service.add(name) for name in ("fail", "echo", "fail", "echo", "echo")]
    transaction.commit()
    seen = db.storage.lastTransaction()

    def written() -> list[list[str]]:
        nonlocal seen
        found = db.storage.iterator(p64(u64(seen) + 1))
        result = [sorted(get_pickle_metadata(r.data)[1] for r in t) for t in found]
        seen = db.storage.lastTransaction()
        return result

    with worker(db) as session:
        key = session.own_key
        written()
        claim = ["Block", "Head", "Job", "Worker"]
        assert session.claim(key, 1).jobs == jobs[:1]
        assert written() == [claim]
        session.run(jobs[0], key)
        assert written() == [["Job"]]
        assert session.claim(key, 1).jobs == jobs[1:2]
        assert written() == [["Block", "Head", "Job", "LLTreeSet", "Worker"]]
        session.run(jobs[1], key)
        assert written() == [["Job"]]
        session.claim(key, 1)
        assert written() == [claim]
        session.leave()
    check_committed(db)


def test_retry_all_loads_what_failed_only(service: Any, db: Any) -> None:
    """To find what is in error costs nothing for other jobs."""
    fill(service, 1, 1_000)
    fill(service, 1)
    connection = db.open(transaction.TransactionManager())
    connection.cacheMinimize()
    connection.getTransferCounts(clear=True)
    assert connection.root()["service"].retryAll() == 2
    assert connection.getTransferCounts()[0] < 100
    connection.transaction_manager.abort()
    connection.close()


def test_workers_that_fail_at_the_same_time(service: Any, db: Any) -> None:
    """Failures are noted without a conflict, however many workers have them."""
    jobs = fill(service, 8)
    service.retryAll()
    transaction.commit()
    with worker(db) as one, worker(db) as two, clients(db, 2) as (first, second):
        for session in (one, two):
            for jobid in session.claim(session.own_key, 4).jobs:
                session.run(jobid, session.own_key)
        for client, session in ((first, one), (second, two)):
            client.abort()
            workers = client.service._workers
            workers.give_back(client.service, session.own_key, [])
        first.commit()
        second.commit()
        transaction.begin()
        assert indexed(service) == jobs
        one.leave()
        two.leave()
    check_committed(db)


# Services that were stored before there was an index


def test_an_older_service_is_indexed(
    service: Any, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker finds what has failed before, in small transactions."""
    old = fill(service, 3, 300)
    old += fill(service, 2)
    as_before(service)
    monkeypatch.setattr("lovely.remotetask.session.MOST_LOOKED_AT", 50)
    assert [job.id for job in find(service, status=ERROR).jobs] == old[::-1]
    with worker(db) as session:
        assert session.catch_up()
        transaction.begin()
        new = fill(service, 2)
        assert find(service, status=ERROR).looked_at > 100
        assert catch_up(session) > 4
        assert catch_up(session) == 1
        transaction.begin()
        assert indexed(service) == [*old, *new]
        assert find(service, status=ERROR).looked_at == 7
        session.leave()
    check_committed(db)


def test_before_it_is_begun(service: Any, db: Any) -> None:
    """Until a worker has begun, the verbs work without an index."""
    as_before(service)
    old = fill(service, 3, 3)
    assert service.retry(old[0])
    assert service.retryAll() == 2
    service.process()
    assert service.clean([ERROR]) == 3
    transaction.commit()
    check_committed(db)


def test_the_second_worker_leaves_it_to_the_first(service: Any, db: Any) -> None:
    """Only one worker at a time completes the index."""
    old = fill(service, 3)
    as_before(service)
    with worker(db) as first, worker(db) as second:
        assert not second.catch_up()
        assert ask(db, lambda s: s._lanes.failed.rest) == 0
        first.leave()
        catch_up(second)
        second.leave()
    assert ask(db, indexed) == old


@pytest.mark.parametrize("verb", ["retry", "remove"])
@pytest.mark.parametrize("indexer_first", [True, False])
def test_indexed_and_changed_at_a_time(
    service: Any, db: Any, verb: str, indexer_first: bool
) -> None:
    """A job is not indexed as failed while it ceases to be."""
    [jobid] = fill(service, 1)
    as_before(service)
    with clients(db, 2) as (user, indexer):
        indexer.service._lanes.index_failed()
        indexer.commit()
        user.abort()
        if verb == "retry":
            user.service.retry(jobid)
        else:
            user.service.clean([ERROR])
        indexer.service._lanes.failed.catch_up(1000)
        first, second = (indexer, user) if indexer_first else (user, indexer)
        first.commit()
        with pytest.raises(TransientError):
            second.commit()
    check_committed(db)


def test_a_failure_while_the_index_is_begun(service: Any, db: Any) -> None:
    """Who fails a job without having seen the index does not leave it out."""
    as_before(service)
    with clients(db, 2) as (late, indexer):
        late.service.add("fail")
        late.commit()
        indexer.abort()
        late.service.process()
        indexer.service._lanes.index_failed().catch_up(1000)
        indexer.commit()
        with pytest.raises(TransientError):
            late.commit()
        late.abort()
        late.service.process()
        late.commit()
        assert indexed(late.service) == [1]
    check_committed(db)


def test_a_processor_does_it(service: Any, db: Any) -> None:
    """A service is indexed in the background, and processed meanwhile."""
    old = fill(service, 20, 100)
    as_before(service)
    register("fail", fail)
    service.add("fail")
    transaction.commit()
    with processing(service):
        wait_until(lambda: ask(db, is_complete))
        wait_until(lambda: ask(db, lambda s: s.count(ERROR)) == 21)
    assert ask(db, indexed) == [*old, old[-1] + 101]
    check_committed(db)


def is_complete(service: Any) -> bool:
    index: FailedJobs | None = service._lanes.failed
    return index is not None and index.complete
