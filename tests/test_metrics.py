"""Metrics tell what is in the services, and what has happened in the process."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
import transaction
import zope.event
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_metrics,
)
from prometheus_client.parser import text_string_to_metric_families
from transaction.interfaces import TransientError

from lovely.remotetask import metrics, own
from lovely.remotetask.errors import InvalidArgument, InvalidType
from lovely.remotetask.events import RunEnded
from lovely.remotetask.metrics import Runs, Services, make_app, serve
from lovely.remotetask.retry import RetryPolicy
from lovely.remotetask.session import Session
from lovely.remotetask.task import SimpleTask
from lovely.remotetask.workers import Lease
from tests.support import (
    PATIENCE,
    FakeEnvironment,
    ask,
    in_child,
    open_connections,
    provide,
    put_service,
    register,
    wait_until,
)


@pytest.fixture
def runs() -> Iterator[CollectorRegistry]:
    """What is counted in this process from now on."""
    registry, counted = CollectorRegistry(), Runs()
    registry.register(counted)
    counted.start()
    yield registry
    counted.stop()


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for the process's registry makes a new one."""
    monkeypatch.setattr(metrics, "_process", None)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """A sample of the service, or None."""
    labels = {"service": "service", **labels}
    return registry.get_sample_value(f"remotetask_{name}", labels)


def shown(db: Any, *names: str) -> CollectorRegistry:
    """What is in the database."""
    registry = CollectorRegistry()
    registry.register(Services(db, [[name] for name in names or ["service"]]))
    return registry


def run(service: Any, *tasks: str) -> list[int]:
    """Add jobs and run them as a worker does; their ids."""
    ids = [service.add(task) for task in tasks]
    transaction.commit()
    with closing(Session(service._p_jar.db(), ["service"])) as session:
        key = session.register(1, Lease())
        for jobid in session.claim(key, len(ids)).jobs:
            session.run(jobid, key)
        session.leave()
    return ids


# What is in the database


def test_jobs_and_workers(db: Any, service: Any, environment: FakeEnvironment) -> None:
    """Jobs by status, workers by what they do, the oldest, and heartbeats."""
    environment.now = datetime.now(timezone.utc).timestamp()
    service.add("echo", startLater=True)
    waiting = [service.add("echo") for _ in range(4)]
    transaction.commit()
    environment.now += 5
    with closing(Session(db, ["service"])) as session:
        key = session.register(1, Lease())
        session.beat()
        session.claim(key, 1)
        found = shown(db)
        assert value(found, "up") == 1
        assert value(found, "jobs", status="queued") == len(waiting) - 1
        assert value(found, "jobs", status="processing") == 1
        assert value(found, "jobs", status="start later") == 1
        assert value(found, "jobs", status="error") == 0
        assert value(found, "workers", state="busy") == 1
        assert value(found, "workers", state="idle") == 0
        assert value(found, "stalled") == 0
        assert value(found, "oldest_waiting_seconds") == pytest.approx(5, abs=0.1)
        identity = ask(db, lambda s: s.workers[0].identity)
        age = value(found, "heartbeat_age_seconds", worker=identity)
        assert age is not None
        assert 0 <= age < 20
        session.leave()
    assert value(shown(db), "workers", state="busy") == 0
    assert open_connections(db) == 1  # the test's


def test_nothing_waits(db: Any, service: Any) -> None:
    """Where nothing waits, the oldest has waited for no time."""
    assert value(shown(db), "oldest_waiting_seconds") == 0


def test_a_stall(db: Any, service: Any, environment: FakeEnvironment) -> None:
    """It is told that nobody takes the jobs that are due."""
    service.add("echo")
    transaction.commit()
    environment.now += 100
    found = shown(db)
    assert value(found, "stalled") == 1
    assert value(found, "oldest_waiting_seconds") == pytest.approx(100, abs=0.1)


def test_a_service_that_is_gone(db: Any, service: Any) -> None:
    """What can't be read is told, and the others are shown."""
    found = shown(db, "service", "other")
    assert value(found, "up") == 1
    assert value(found, "up", service="other") == 0
    assert value(found, "jobs", service="other", status="queued") is None
    assert open_connections(db) == 1


def test_a_server_that_does_not_answer(
    db: Any, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked for is told in time, and one connection waits for the server."""
    monkeypatch.setattr(metrics, "PATIENCE", 0.01)
    answer, opened = threading.Event(), []
    original = db.open

    def waiting(**arguments: Any) -> Any:
        opened.append(arguments)
        assert answer.wait(PATIENCE)
        return original(**arguments)

    monkeypatch.setattr(db, "open", waiting)
    found = shown(db, "service", "other")
    for _ in range(3):
        assert value(found, "up") == 0
        assert value(found, "up", service="other") == 0
        assert value(found, "jobs", status="queued") is None
    assert len(opened) == 1
    answer.set()
    wait_until(lambda: value(found, "up") == 1)


def test_several_services(db: Any, service: Any) -> None:
    """Services are told apart by their names."""
    other = put_service(db, "other")
    other.add("echo")
    transaction.commit()
    found = shown(db, "service", "other")
    assert value(found, "jobs", status="queued") == 0
    assert value(found, "jobs", service="other", status="queued") == 1
    with pytest.raises(InvalidArgument, match="by their names"):
        shown(db, "other", "other")


@pytest.mark.parametrize("bad", ["service", []])
def test_bad_path(db: Any, bad: Any) -> None:
    """A path is a list of names."""
    with pytest.raises(InvalidType, match="paths: each is a list of names"):
        make_app(db, bad)


# What happens in the process


def test_runs(service: Any, runs: CollectorRegistry) -> None:
    """Runs are counted by task and outcome, with how long they took and waited."""
    run(service, "echo", "echo", "fail")
    assert value(runs, "runs_total", task="echo", outcome="completed") == 2
    assert value(runs, "runs_total", task="fail", outcome="failed") == 1
    assert value(runs, "run_seconds_count", task="echo") == 2
    assert value(runs, "run_seconds_bucket", task="echo", le="3600.0") == 2
    assert value(runs, "waiting_seconds_count", task="fail") == 1


def test_retries(service: Any, runs: CollectorRegistry) -> None:
    """A run that is tried again is counted as such."""
    provide("again", SimpleTask(lambda value: 1 / 0, retry=RetryPolicy(retries=1)))
    run(service, "again")
    assert value(runs, "runs_total", task="again", outcome="retried") == 1


def test_adds(service: Any, runs: CollectorRegistry) -> None:
    """Jobs are counted when they are committed, and not if they never are."""
    service.add("echo")
    service.add("echo")
    assert value(runs, "jobs_added_total", task="echo") is None
    transaction.commit()
    assert value(runs, "jobs_added_total", task="echo") == 2
    service.add("echo")
    transaction.abort()
    service.add("fail")
    transaction.commit()
    assert value(runs, "jobs_added_total", task="echo") == 2
    assert value(runs, "jobs_added_total", task="fail") == 1


def test_adds_that_are_taken_back(service: Any, runs: CollectorRegistry) -> None:
    """What a rollback to a savepoint undoes was never added."""
    service.add("echo")
    before = transaction.savepoint()
    service.add("echo")
    transaction.savepoint()
    service.add("fail")
    before.rollback()
    service.add("echo")
    transaction.commit()
    assert value(runs, "jobs_added_total", task="echo") == 2
    assert value(runs, "jobs_added_total", task="fail") is None


def test_adds_without_a_database(service: Any, runs: CollectorRegistry) -> None:
    """A service that is in no database is not counted."""
    type(service)().add("echo")
    assert value(runs, "jobs_added_total", task="echo") is None


def test_rescues(
    db: Any, service: Any, environment: FakeEnvironment, runs: CollectorRegistry
) -> None:
    """Jobs that were taken back from lost workers are counted."""
    service.add("echo")
    transaction.commit()
    with closing(Session(db, ["service"])) as lost:
        key = lost.register(1, Lease())
        lost.claim(key, 1)
        environment.gone = {ask(db, lambda s: s.workers[0].identity)}
    with closing(Session(db, ["service"])) as other:
        other.register(1, Lease())
        other.rescue()
    assert value(runs, "jobs_rescued_total", outcome="queued") == 1
    assert value(runs, "jobs_rescued_total", outcome="failed") == 0


@pytest.fixture
def conflicting() -> None:
    """A task, ``conflicting``, that meets two conflicts."""
    tried: list[int] = []

    def conflicting(value: Any) -> None:
        tried.append(1)
        if len(tried) < 3:
            raise TransientError

    register("conflicting", conflicting)


def test_conflicts(service: Any, conflicting: None, runs: CollectorRegistry) -> None:
    """Conflicts that are followed by another try are counted."""
    before = runs.get_sample_value("remotetask_conflicts_total")
    assert before == own.conflicts()
    run(service, "conflicting")
    assert runs.get_sample_value("remotetask_conflicts_total") == own.conflicts()
    assert own.conflicts() == before + 2


def test_nothing_is_zero(service: Any, runs: CollectorRegistry) -> None:
    """From its first number on, a task has one for each outcome."""
    run(service, "echo")
    assert value(runs, "runs_total", task="echo", outcome="completed") == 1
    for outcome in ("failed", "retried", "cancelled"):
        assert value(runs, "runs_total", task="echo", outcome=outcome) == 0


def test_nobody_asks(
    service: Any, runs: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs are counted, and not kept, also where nobody asks for their number."""
    monkeypatch.setattr(metrics, "AT_ONCE", 2)
    [counted] = [s for s in zope.event.subscribers if isinstance(s, Runs)]
    run(service, "echo", "echo", "echo")
    assert len(counted._runs) == 1
    assert value(runs, "runs_total", task="echo", outcome="completed") == 3
    assert len(counted._runs) == 0


def test_too_many_tasks(
    service: Any, runs: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many tasks there are, the numbers do not grow without end."""
    monkeypatch.setattr(metrics, "MOST_TASKS", 1)
    run(service, "echo", "fail", "echo")
    assert value(runs, "runs_total", task="echo", outcome="completed") == 2
    assert value(runs, "runs_total", task="fail", outcome="failed") is None
    assert value(runs, "runs_total", task="(others)", outcome="failed") == 1
    assert value(runs, "run_seconds_count", task="(others)") == 1
    assert value(runs, "jobs_added_total", task="(others)") == 1


def test_fork(service: Any, conflicting: None, runs: CollectorRegistry) -> None:
    """A child counts from zero on, though its parent's threads are counting."""
    run(service, "echo", "conflicting")
    assert own.conflicts() > 0

    def child() -> list[float | None]:
        found = [value(runs, "runs_total", task="echo", outcome="completed")]
        zope.event.notify(RunEnded(service, service.jobs[1], 0).end("completed", 1))
        found.append(value(runs, "runs_total", task="echo", outcome="completed"))
        return [*found, own.conflicts()]

    [counted] = [s for s in zope.event.subscribers if isinstance(s, Runs)]
    with counted._lock, own._lock:
        assert in_child(child) == [None, 1, 0]
    assert value(runs, "runs_total", task="echo", outcome="completed") == 1


def test_start_and_stop() -> None:
    """To start twice is to start once, and so it is with stopping."""
    counted, before = Runs(), len(zope.event.subscribers)
    counted.start()
    counted.start()
    assert len(zope.event.subscribers) == before + 1
    counted.stop()
    counted.stop()
    assert len(zope.event.subscribers) == before


# Over HTTP


def names_in(text: str) -> set[str]:
    """The names of the metrics in an answer."""
    return {family.name for family in text_string_to_metric_families(text)}


def ask_app(app: metrics.Application, method: str = "GET") -> tuple[str, str]:
    """The status and the text that an application answers with."""
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": "/metrics"}
    setup_testing_defaults(environ)
    statuses: list[str] = []
    body = app(environ, lambda status, headers: statuses.append(status))
    return statuses[0], b"".join(body).decode()


def test_app(db: Any, service: Any) -> None:
    """The application shows all of it, and answers to GET alone."""
    app = make_app(db, ["service"])
    run(service, "echo")
    status, text = ask_app(app)
    found = names_in(text)
    assert status == "200 OK"
    assert {"remotetask_jobs", "remotetask_runs", "remotetask_conflicts"} <= found
    assert ask_app(app, "POST")[0].startswith("405")


def test_two_apps_count_once(db: Any, service: Any) -> None:
    """However many applications there are in a process, a run is one run."""
    apps = [make_app(db, ["service"]) for _ in range(2)]
    run(service, "echo")
    line = 'remotetask_runs_total{outcome="completed",service="service",task="echo"}'
    for app in apps:
        assert f"{line} 1.0" in ask_app(app)[1]


def test_tasks_that_have_not_run(db: Any, service: Any) -> None:
    """The first failure of a task is seen: there was a zero before."""
    _, text = ask_app(make_app(db, ["service"]))
    line = 'remotetask_runs_total{outcome="failed",service="service",task="fail"} 0.0'
    assert line in text.splitlines()


def test_open_metrics(db: Any, service: Any) -> None:
    """What is shown in the newer format passes its strict parser, too."""
    run(service, "echo", "fail")
    shown = metrics._shown(db, [["service"]])
    found = list(open_metrics(generate_latest(shown).decode()))
    assert "remotetask_run_seconds" in {family.name for family in found}


def test_hostile_names(db: Any, service: Any) -> None:
    """Whatever a task is called, the answer can be read."""
    name = 'evil"} 1\nremotetask_up{service="x\\ü'
    register(name, lambda value: None)
    app = make_app(db, ["service"])
    run(service, name)
    _, text = ask_app(app)
    samples = [s for f in text_string_to_metric_families(text) for s in f.samples]
    assert name in {sample.labels.get("task") for sample in samples}
    assert "x\\ü" not in {sample.labels.get("service") for sample in samples}


def test_serve(db: Any, service: Any) -> None:
    """A thread serves the metrics on a port, and ends."""
    with (
        serve(db, ["service"], port=0) as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        assert "remotetask_up" in names_in(answer.read().decode())
    assert open_connections(db) == 1
