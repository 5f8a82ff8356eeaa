"""Connections, transactions, and databases that are away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import transaction
from webtest import TestApp
from ZODB.POSException import ConflictError, StorageError

from lovely.remotetask import own
from lovely.remotetask.web.store import Store
from tests.storages import open_database, store
from tests.support import open_connections, put_service
from tests.web.support import api, dashboard, run_all, token_of

PAGES = ["/", "/jobs", "/jobs/1", "/queue", "/schedule", "/workers"]


@pytest.fixture
def app(db: Any, service: Any) -> TestApp:
    """A dashboard on which jobs can be changed, with a job that has failed."""
    service.add("fail")
    run_all(service)
    return dashboard(db, allow_changes=True, tasks=["echo"])


@pytest.mark.parametrize("address", [*PAGES, "/nope", "/jobs/7", "/jobs?limit=x"])
def test_connections_are_closed(db: Any, app: TestApp, address: str) -> None:
    """Each request gives its connection back, whatever came of it."""
    before = open_connections(db), db.lastTransaction()
    app.get(address, status="*")
    assert (open_connections(db), db.lastTransaction()) == before


def test_the_callers_transaction_is_its_own(app: TestApp, service: Any) -> None:
    """What the thread has begun by itself is neither committed nor aborted."""
    service.title = "changed"
    app.get("/")
    app.post("/jobs/1/retry", {"csrf_token": token_of(app)}, status=303)
    assert service.title == "changed"
    transaction.abort()
    assert not hasattr(service, "title")


def test_conflicts_are_tried_again(
    db: Any, service: Any, app: TestApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that met another's is done again, on what is there then."""
    tries = []

    def retry(self: Any, jobid: int) -> bool:
        tries.append(jobid)
        if len(tries) < 3:
            raise ConflictError
        return real(self, jobid)

    real = type(service).retry
    monkeypatch.setattr(type(service), "retry", retry)
    app.post("/jobs/1/retry", {"csrf_token": token_of(app)}, status=303)
    transaction.begin()
    assert service.getStatus(1) == "queued"
    assert len(tries) == 3


def test_conflicts_that_do_not_end(
    service: Any, app: TestApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After many, it says that it was not done; nothing is."""

    def retry(self: Any, jobid: int) -> bool:
        raise ConflictError

    monkeypatch.setattr(type(service), "retry", retry)
    monkeypatch.setattr(own, "LONGEST_PAUSE", 0)
    page = app.post("/jobs/1/retry", {"csrf_token": token_of(app)}, status=503)
    assert "Try again" in page
    assert page.headers["Retry-After"]
    assert api(app, "POST", "/jobs/1/retry", status=503).json["status"] == 503


def test_two_at_once(db: Any, service: Any, app: TestApp) -> None:
    """Of several who retry a job at once, one does so, and none fails."""
    jobs = [service.add("fail") for _ in range(20)]
    run_all(service)
    store = Store(db, "service")
    done: list[int] = []

    def retry_all() -> None:
        for jobid in jobs:
            done.extend([jobid] * store.change(lambda s, i=jobid: s.retry(i), "", ""))

    threads = [threading.Thread(target=retry_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == jobs


def test_a_service_that_is_not_there(db: Any) -> None:
    """Where there is no service, it says which one is missing; it may come yet."""
    app = dashboard(db, "site/tasks")
    page = app.get("/", status=503)
    assert "site/tasks" in page
    assert 'data-hx-get="/"' in page
    assert app.get("/api/v1/status", status=503).json["status"] == 503
    assert app.get("/readyz", status=503).json == {"status": "not ready"}
    assert app.get("/healthz").json == {"status": "alive"}


@pytest.mark.parametrize("address", [*PAGES, "/api/v1/status", "/readyz"])
def test_a_storage_that_fails(
    db: Any, app: TestApp, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the storage can't be reached, it says so, and goes on when it can."""

    def fail(*arguments: Any) -> Any:
        raise StorageError("it is gone")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "reading", fail)
        answer = app.get(address, status=503)
        assert "it is gone" not in answer.text
        if address in PAGES:
            # The page goes on asking.
            assert f'data-hx-get="{address}"' in answer
            assert "The database can't be reached" in answer.text.replace("&#39;", "'")
    app.get(address)


@pytest.fixture
def server(tmp_path: Any) -> Iterator[Any]:
    """The address of a ZEO server, which ends at the end."""
    with store("ZEO", str(tmp_path)) as address:
        yield address


@pytest.mark.zeo
def test_over_zeo(server: Any, tasks: None) -> None:
    """The dashboard works on a server's database, beside those who use it."""
    db, other = open_database(server), open_database(server)
    put_service(db).add("fail")
    transaction.commit()
    app = dashboard(other, allow_changes=True)
    assert "#1" in app.get("/queue")
    app.post("/jobs/1/cancel", {"csrf_token": token_of(app)}, status=303)
    assert "Cancelled" in app.get("/jobs/1")
    transaction.abort()
    for database in (db, other):
        database.close()
