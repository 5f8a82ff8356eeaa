"""Log records of a run tell which job they belong to."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import transaction
import zope.event

from lovely import remotetask
from lovely.remotetask import logs
from lovely.remotetask.errors import InvalidArgument
from lovely.remotetask.interfaces import IJobFailed
from lovely.remotetask.session import Session
from lovely.remotetask.workers import Lease
from tests.support import register, register_full

elsewhere = logging.getLogger("tests.elsewhere")


@pytest.fixture
def written(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """What a handler writes; it is made for ``json``, or for what is asked for."""
    stream = io.StringIO()
    handler = logs.handler(getattr(request, "param", "json"), stream)
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    """The lines of JSON."""
    return [json.loads(line) for line in written.getvalue().splitlines()]


def run_in_worker(service: Any, *tasks: str) -> list[int]:
    """Run jobs as a worker does; their ids."""
    ids = [service.add(task) for task in tasks]
    transaction.commit()
    with closing(Session(service._p_jar.db(), ["service"])) as session:
        key = session.register(1, Lease())
        for jobid in session.claim(key, len(ids)).jobs:
            session.run(jobid, key)
        session.leave()
    transaction.begin()
    return ids


def job_of(line: dict[str, Any]) -> tuple[Any, ...]:
    """What tells the job."""
    return tuple(line.get(name) for name in logs.FIELDS)


def test_the_library(service: Any, written: io.StringIO) -> None:
    """The library says how each run ended, and of which job it was."""
    good, bad = run_in_worker(service, "echo", "fail")
    first, second = lines(written)
    assert first["message"].startswith(
        f"service: job {good} of task 'echo' completed in "
    )
    assert second["message"].startswith(
        f"service: job {bad} of task 'fail' failed: Runtime"
    )
    assert (first["level"], second["level"]) == ("INFO", "ERROR")
    assert job_of(first) == ("service", good, "echo", 1)
    assert job_of(second) == ("service", bad, "fail", 1)
    assert first["time"].endswith("+00:00")
    assert first["logger"] == "lovely.remotetask"
    assert (first["seconds"] >= 0, first["waited"] > 0) == (True, True)


def test_the_task(service: Any, written: io.StringIO) -> None:
    """What a task says carries the job, by its own logger or by any other."""

    def say(value: Any) -> None:
        remotetask.current().logger.info("by mine")
        elsewhere.warning("by another")

    register("say", say)
    [jobid] = run_in_worker(service, "say")
    mine, another, _ = lines(written)
    assert (mine["message"], another["message"]) == ("by mine", "by another")
    assert job_of(mine) == job_of(another) == ("service", jobid, "say", 1)


def test_no_run(written: io.StringIO) -> None:
    """Outside of a run there is no job to tell."""
    elsewhere.warning("alone")
    [line] = lines(written)
    assert set(line) == {"time", "level", "logger", "message"}


def test_one_run_after_the_other(service: Any, written: io.StringIO) -> None:
    """A job that is run by a job has records of its own."""

    def outer(service: Any, jobid: int, input: Any) -> None:
        service.processNext(jobid=service.add("inner"))
        elsewhere.warning("outer")

    register_full("outer", outer)
    register("inner", lambda value: elsewhere.warning("inner"))
    [jobid] = run_in_worker(service, "outer")
    inner, outside = lines(written)[:2]
    assert job_of(inner) == ("service", jobid + 1, "inner", 1)
    assert job_of(outside) == ("service", jobid, "outer", 1)


def test_a_subscriber_that_fails(service: Any, written: io.StringIO) -> None:
    """So do records of what goes wrong with an event of the job."""

    def broken(event: Any) -> None:
        if IJobFailed.providedBy(event):
            raise RuntimeError("no mail today")

    zope.event.subscribers.append(broken)
    [jobid] = run_in_worker(service, "fail")
    line = next(line for line in lines(written) if "subscriber" in line["message"])
    assert job_of(line) == ("service", jobid, "fail", 1)
    assert "no mail today" in line["exception"]


def test_a_record_keeps_its_own(written: io.StringIO) -> None:
    """What a record tells already is not changed."""
    elsewhere.warning("mine", extra={"jobid": 7, "task": "other"})
    [line] = lines(written)
    assert (line["jobid"], line["task"]) == (7, "other")


def test_hostile_content_stays_on_its_line() -> None:
    """Whatever is logged is one line of JSON."""
    written = io.StringIO()
    # A logger that no other handler hears: they could not write what it says.
    apart = logging.Logger("apart")  # noqa: LOG001 - it is to have no parent
    apart.addHandler(logs.handler("json", written))
    text = 'first\nsecond "quoted" \x1b[31m \u2028 ü \ud800'
    apart.warning("%s", text, extra={"task": object()})
    assert written.getvalue().count("\n") == 1
    [line] = lines(written)
    assert line["message"] == text
    assert line["task"].startswith("<object object")


@pytest.mark.parametrize("written", ["text"], indirect=True)
def test_text(service: Any, written: io.StringIO) -> None:
    """As text, a line ends with the job, if there is one."""
    [jobid] = run_in_worker(service, "echo")
    elsewhere.warning("alone")
    first, second = written.getvalue().splitlines()
    assert first.endswith(f" [service=service jobid={jobid} task=echo attempt=1]")
    assert second.endswith("tests.elsewhere: alone")


def test_a_format_of_ones_own(service: Any) -> None:
    """With the filter, formats can name the job, also where there is none."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(logs.JobFilter())
    handler.setFormatter(logging.Formatter("%(jobid)s %(message)s"))
    elsewhere.addHandler(handler)
    register("say", lambda value: elsewhere.warning("here"))
    [jobid] = run_in_worker(service, "say")
    elsewhere.warning("there")
    elsewhere.removeHandler(handler)
    assert stream.getvalue().splitlines() == [f"{jobid} here", "None there"]


def test_standard_error_is_the_default() -> None:
    """Without a stream it is standard error that is written to."""
    handler = logs.handler()
    assert isinstance(handler, logging.StreamHandler)
    assert handler.stream is sys.stderr


def test_unknown_format() -> None:
    """A format that does not exist is refused."""
    with pytest.raises(InvalidArgument, match="form: 'text' or 'json' is needed"):
        logs.handler("xml")
