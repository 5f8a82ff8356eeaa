"""A job is traced from where it is added to where it is run."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZODB
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from transaction.interfaces import TransientError
from ZODB.FileStorage import FileStorage

from lovely.remotetask import tracing
from lovely.remotetask.current import wrappers
from lovely.remotetask.retry import RetryPolicy
from lovely.remotetask.service import TaskService
from lovely.remotetask.session import Session
from lovely.remotetask.task import SimpleTask
from lovely.remotetask.workers import Lease
from tests.cli.commands import run
from tests.support import FakeEnvironment, echo, provide, put_service, register

ATTEMPT = "lovely.remotetask.attempt"


class Exporter(InMemorySpanExporter):
    """What was exported, by the names of the spans."""

    def named(self, name: str) -> list[ReadableSpan]:
        """The finished spans with a name."""
        return [span for span in self.get_finished_spans() if span.name == name]


@pytest.fixture
def provider() -> TracerProvider:
    """What makes spans."""
    return TracerProvider()


@pytest.fixture
def spans(provider: TracerProvider) -> Iterator[Exporter]:
    """What is exported while tracing is on."""
    exporter = Exporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.start(provider)
    yield exporter
    tracing.stop()
    provider.shutdown()


def work(service: Any, limit: int = 1) -> None:
    """Run what is due, as a worker does."""
    transaction.commit()
    with closing(Session(service._p_jar.db(), ["service"])) as session:
        key = session.register(1, Lease())
        for jobid in session.claim(key, limit).jobs:
            session.run(jobid, key)
        session.leave()
    transaction.begin()


def test_from_add_to_run(
    service: Any, provider: TracerProvider, spans: Exporter
) -> None:
    """The run goes on with the trace that the job was added in."""
    with provider.get_tracer("tests").start_as_current_span("request") as request:
        jobid = service.add("echo")
    work(service)
    [added], [ran] = spans.named("add echo"), spans.named("run echo")
    assert added.parent is not None
    assert ran.parent is not None
    assert added.parent.span_id == request.get_span_context().span_id
    assert ran.parent.span_id == added.context.span_id
    assert ran.context.trace_id == added.context.trace_id
    assert [link.context.span_id for link in ran.links] == [added.context.span_id]
    assert (added.kind, ran.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert ran.attributes == {
        "messaging.system": "lovely.remotetask",
        "messaging.destination.name": "service",
        "messaging.operation.name": "run",
        "messaging.operation.type": "process",
        "messaging.message.id": str(jobid),
        "lovely.remotetask.task": "echo",
        ATTEMPT: 1,
    }


def test_the_task_is_within(
    service: Any, provider: TracerProvider, spans: Exporter
) -> None:
    """Spans of the task, and jobs that it adds, belong to its run."""

    def outer(value: Any) -> None:
        with provider.get_tracer("tests").start_as_current_span("inner"):
            service.add("echo")

    register("outer", outer)
    service.add("outer")
    service.process()
    transaction.commit()
    [ran], [inner] = spans.named("run outer"), spans.named("inner")
    [added] = spans.named("add echo")
    assert inner.parent is not None
    assert inner.parent.span_id == ran.context.span_id
    assert added.context.trace_id == ran.context.trace_id
    assert len(spans.named("run echo")) == 1


def test_what_was_not_added(service: Any, spans: Exporter) -> None:
    """There is no span for a job that never came to be."""
    service.add("echo")
    transaction.abort()
    service.add("echo")
    before = transaction.savepoint()
    service.add("fail")
    transaction.savepoint()
    service.add("fail")
    before.rollback()
    assert spans.named("add echo") == []
    transaction.commit()
    assert len(spans.named("add echo")) == 1
    assert spans.named("add fail") == []


def test_what_a_failed_run_has_added(service: Any, spans: Exporter) -> None:
    """Nor is there one for what an attempt added and did not commit."""

    def outer(value: Any) -> None:
        service.add("echo")
        raise RuntimeError

    register("outer", outer)
    service.add("outer")
    work(service)
    assert len(spans.named("run outer")) == 1
    assert spans.named("add echo") == []


def test_without_a_database(spans: Exporter) -> None:
    """A job of a service that is in no database is added at once."""
    service = TaskService()
    service.__name__ = "apart"
    register("echo", echo)
    service.add("echo")
    service.process()
    [added], [ran] = spans.named("add echo"), spans.named("run echo")
    assert ran.context.trace_id == added.context.trace_id


def test_attempts(service: Any, environment: FakeEnvironment, spans: Exporter) -> None:
    """Each attempt has a span in the job's trace, and tells how it failed."""
    tried: list[int] = []

    def again(value: Any) -> None:
        tried.append(1)
        if len(tried) == 1:
            raise TransientError
        if len(tried) == 2:
            raise RuntimeError("no luck")

    provide("again", SimpleTask(again, retry=RetryPolicy(retries=1)))
    service.add("again")
    work(service)
    environment.now += 100
    work(service)
    runs = spans.named("run again")
    assert [span.attributes and span.attributes[ATTEMPT] for span in runs] == [1, 1, 2]
    assert [span.status.status_code for span in runs] == [
        StatusCode.ERROR,
        StatusCode.ERROR,
        StatusCode.UNSET,
    ]
    assert [
        event.attributes and event.attributes["exception.type"]
        for span in runs
        for event in span.events
    ] == ["transaction.interfaces.TransientError", "RuntimeError"]
    assert len({span.context.trace_id for span in runs}) == 1


def test_in_another_process(
    path: str, tasks: None, provider: TracerProvider, spans: Exporter, tmp_path: Path
) -> None:
    """A worker's process goes on with the trace of the process that added the job."""
    with closing(ZODB.DB(FileStorage(path))) as db:
        service = put_service(db, "tasks")
        with provider.get_tracer("tests").start_as_current_span("request"):
            service.add("echo", "a secret")
        transaction.commit()
        service._p_jar.close()
    [added], exported = spans.named("add echo"), tmp_path / "spans"
    setup = ["--setup", "tests.cli.application:traced"]
    worker = run(
        *("worker", "--database", path, "--burst", *setup), SPANS=str(exported)
    )
    assert worker.returncode == 0, worker.stderr
    [ran] = [json.loads(line) for line in exported.read_text().splitlines()]
    assert ran["name"] == "run echo"
    assert ran["context"]["trace_id"] == f"0x{added.context.trace_id:032x}"
    assert ran["parent_id"] == f"0x{added.context.span_id:016x}"
    assert "a secret" not in exported.read_text()


@pytest.mark.parametrize("task", ["fail", "unpicklable"])
def test_errors(service: Any, spans: Exporter, task: str) -> None:
    """What an attempt fails with is recorded."""
    register("unpicklable", lambda value: lambda: None)
    service.add(task)
    work(service)
    [ran] = spans.named(f"run {task}")
    assert ran.status.status_code is StatusCode.ERROR
    [event] = ran.events
    assert event.name == "exception"


def test_a_cron_job(
    service: Any, environment: FakeEnvironment, spans: Exporter
) -> None:
    """Each run of a cron job is a trace of its own, linked to where it was added."""
    service.addCronJob("echo", every=60)
    work(service)
    for _ in range(2):
        environment.now += 61
        work(service)
    [added], runs = spans.named("add echo"), spans.named("run echo")
    assert len(runs) == 2
    assert len({span.context.trace_id for span in (added, *runs)}) == 3
    for ran in runs:
        assert ran.parent is None
        assert [link.context.span_id for link in ran.links] == [added.context.span_id]


def test_added_without_tracing(service: Any, provider: TracerProvider) -> None:
    """A job has nothing of it without tracing, and is traced when it is run."""
    tracing.stop()
    jobid = service.add("echo")
    transaction.commit()
    job = service.jobs[jobid]
    assert b"trace" not in pickle.dumps(job.__getstate__())
    exporter = Exporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.start(provider)
    work(service)
    tracing.stop()
    [ran] = exporter.named("run echo")
    assert (ran.parent, list(ran.links)) == (None, [])


def test_run_without_tracing(service: Any, spans: Exporter) -> None:
    """A job that was added with tracing runs where there is none."""
    jobid = service.add("echo")
    tracing.stop()
    work(service)
    assert service.getStatus(jobid) == "completed"
    assert spans.named("run echo") == []


def test_no_sdk(service: Any) -> None:
    """Where only the API is installed, nothing is kept and nothing breaks."""
    tracing.start(trace.NoOpTracerProvider())
    jobid = service.add("echo")
    assert service.jobs[jobid]._trace is None
    work(service)
    tracing.stop()
    assert service.getStatus(jobid) == "completed"


def test_start_and_stop(service: Any, provider: TracerProvider) -> None:
    """To start again is to go on with another provider alone."""
    tracing.start(trace.NoOpTracerProvider())
    exporter = Exporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.start(provider)
    service.add("echo")
    service.process()
    transaction.commit()
    assert len(exporter.get_finished_spans()) == 2
    tracing.stop()
    tracing.stop()
    assert wrappers == []
