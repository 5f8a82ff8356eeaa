"""Spans of OpenTelemetry, from add to run; the extra ``otel`` installs its API.

`start` turns it on for this process.  Then a job that is added has the context of its
span with it, in its record, and the process that runs it goes on with that trace.
Only ``traceparent`` and ``tracestate`` are kept; without tracing, nothing is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import zope.event

from lovely.remotetask.additions import Additions
from lovely.remotetask.current import wrappers
from lovely.remotetask.errors import NotInstalled
from lovely.remotetask.events import JobAdded
from lovely.remotetask.interfaces import ICronJob

try:
    from opentelemetry import context, trace
    from opentelemetry.trace import Link, Span, SpanKind, TracerProvider
    from opentelemetry.trace.propagation.tracecontext import (
        TraceContextTextMapPropagator,
    )
except ModuleNotFoundError as error:
    raise NotInstalled(__name__, "otel") from error

if TYPE_CHECKING:
    from lovely.remotetask.current import Run
    from lovely.remotetask.job import Job
    from lovely.remotetask.service import TaskService

_propagator = TraceContextTextMapPropagator()


class Tracing:
    """Makes spans of what this process adds and runs."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("lovely.remotetask", tracer_provider=provider)
        # A span that is never ended is never exported.
        self._additions: Additions[Span] = Additions(lambda span: span.end())

    def __call__(self, event: object) -> None:
        """A subscriber: a job that is added gets the context of its span.

        The span ends when that is committed; if it never is, there is no span.
        """
        if type(event) is JobAdded:
            job = event.object
            span = self._tracer.start_span(
                f"add {job.task}",
                kind=SpanKind.PRODUCER,
                attributes=_attributes(event.service, job, "add", "send"),
            )
            carrier: dict[str, str] = {}
            _propagator.inject(carrier, trace.set_span_in_context(span))
            if carrier:
                job._trace = carrier
            if not (span.is_recording() and self._additions.note(event, span)):
                span.end()

    @contextmanager
    def around(self, run: Run) -> Iterator[None]:
        """A span for an attempt to run a job, with what it raises."""
        job = run.job
        added = _propagator.extract(job._trace or {}, context.Context())
        origin = trace.get_current_span(added).get_span_context()
        # What comes back for ever is no part of one trace.
        parent = context.Context() if ICronJob.providedBy(job) else added
        with self._tracer.start_as_current_span(
            f"run {job.task}",
            context=parent,
            kind=SpanKind.CONSUMER,
            attributes={
                **_attributes(run.service, job, "run", "process"),
                "lovely.remotetask.attempt": run.attempt,
            },
            links=[Link(origin)] if origin.is_valid else [],
        ):
            yield


def _attributes(
    service: TaskService, job: Job, name: str, kind: str
) -> dict[str, str | int]:
    """What the conventions for messaging ask for."""
    return {
        "messaging.system": "lovely.remotetask",
        "messaging.destination.name": service.__name__ or "",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.message.id": str(job.id),
        "lovely.remotetask.task": job.task,
    }


_lock = threading.Lock()
_tracing: Tracing | None = None


def start(provider: Any = None) -> None:
    """Trace what this process adds and runs, from now on.

    ``provider`` is a ``TracerProvider``; the one that is set for the process by
    default.  Started again, it goes on with this one alone.
    """
    global _tracing  # noqa: PLW0603 - there is one process
    stop()
    with _lock:
        _tracing = Tracing(provider)
        zope.event.subscribers.append(_tracing)
        wrappers.append(_tracing.around)


def stop() -> None:
    """Trace no more."""
    global _tracing  # noqa: PLW0603 - there is one process
    with _lock:
        if _tracing is not None:
            if _tracing in zope.event.subscribers:
                zope.event.subscribers.remove(_tracing)
            wrappers.remove(_tracing.around)
            _tracing = None
