"""An application's tasks, as ``--setup`` registers them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from lovely.remotetask import current
from tests.support import echo, fail, register

#: Where tasks tell that they have begun, and wait for being let go.
SIGNALS = "REMOTETASK_TEST_SIGNALS"

CALLS: list[Any] = []


def tasks() -> None:
    """Register tasks."""
    register("echo", echo)
    register("fail", fail)
    register("wait", wait)
    register("report", report)


def traced() -> None:
    """Register tasks, and write spans to a file, a line each."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

    from lovely.remotetask import tracing

    provider = TracerProvider()
    # It is open until the process ends.
    spans = Path(os.environ["SPANS"]).open("w", encoding="utf-8")  # noqa: SIM115
    exporter = ConsoleSpanExporter(
        out=spans, formatter=lambda span: span.to_json(indent=None) + "\n"
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.start(provider)
    tasks()


def with_database(db: Any) -> None:
    """Register tasks, by what is in the database."""
    CALLS.append(db)
    tasks()


def broken() -> None:
    """A registration that fails."""
    raise RuntimeError("no such luck")


class Idle:
    """A processor that ends at once."""

    def __init__(self, db: Any, path: Any, waitTime: float = 1.0) -> None:
        self.running = False

    def __call__(self) -> None:
        pass


def wait(name: Any) -> Any:
    """Wait until a file appears; tell by another one that it has begun."""
    directory = Path(os.environ[SIGNALS])
    (directory / f"{name} began").touch()
    end = time.monotonic() + 30
    while not (directory / f"{name} go").exists() and time.monotonic() < end:
        time.sleep(0.01)
    return name


def report(value: Any) -> Any:
    """Report progress, and wait."""
    current().progress(0.25, "reading [bold]chapter[/bold] 1")
    return wait(value)
