"""Log records of a run tell which job they belong to."""

from __future__ import annotations

import contextvars
import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import transaction
import zope.event

from lovely import remotetask
from lovely.remotetask import logs
from lovely.remotetask.current import Run
from lovely.remotetask.errors import InvalidArgument
from lovely.remotetask.interfaces import IJobEvent, IJobFailed, IRunEnded
from lovely.remotetask.runs import Thread
from lovely.remotetask.session import Session
from lovely.remotetask.workers import Lease
from tests.support import FakeEnvironment, NoSavepoints, ask, register, register_full

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


@pytest.mark.parametrize("group", [False, True])
def test_around_the_task(
    service: Any, written: io.StringIO, group: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So do records from before the task to the commit, whoever writes them."""

    def note(event: Any) -> None:
        if IJobEvent.providedBy(event):
            elsewhere.warning("told of %s", type(event).__name__)

    commit = Thread.commit

    def committing(thread: Thread) -> None:
        elsewhere.warning("committing")
        commit(thread)

    monkeypatch.setattr(Thread, "commit", committing)
    first, second = service.add("echo"), service.add("fail")
    transaction.commit()
    zope.event.subscribers.append(note)
    with closing(Session(service._p_jar.db(), ["service"])) as session:
        key = session.register(1, Lease())
        jobs = session.claim(key, 2).jobs
        if group:
            runs = {jobid: Run(session.environment) for jobid in jobs}
            session.run_group(runs, key, lambda: True)
        else:
            for jobid in jobs:
                session.run(jobid, key)
        session.leave()
    found = [line for line in lines(written) if line["logger"] == elsewhere.name]
    told = [(job_of(line), line["message"]) for line in found]
    of_first, of_second = ("service", first, "echo", 1), ("service", second, "fail", 1)
    committed = [] if group else [(of_first, "committing")]
    assert sorted(told) == sorted(
        [
            (of_first, "told of JobStarted"),
            (of_first, "told of JobCompleted"),
            *committed,
            (of_second, "told of JobStarted"),
            (of_second, "told of JobFailed"),
        ]
    )


def test_by_hand(service: Any, written: io.StringIO) -> None:
    """So do those of a run by hand."""

    def note(event: Any) -> None:
        if IJobFailed.providedBy(event):
            elsewhere.warning("told")

    zope.event.subscribers.append(note)
    jobid = service.add("fail")
    service.process()
    told = next(line for line in lines(written) if line["message"] == "told")
    assert job_of(told) == ("service", jobid, "fail", 1)


def test_threads(service: Any, written: io.StringIO) -> None:
    """So do those of a task's own threads, if they have a copy of its context."""

    def outer(value: Any) -> None:
        run = contextvars.copy_context().run
        thread = threading.Thread(target=run, args=(elsewhere.warning, "beside"))
        thread.start()
        thread.join()

    register("outer", outer)
    [jobid] = run_in_worker(service, "outer")
    assert job_of(lines(written)[0]) == ("service", jobid, "outer", 1)


def test_an_abort_that_fails(service: Any, written: io.StringIO) -> None:
    """What goes wrong when writes are undone tells the job, too."""

    class Broken(NoSavepoints):
        def abort(self, transaction: Any) -> None:
            raise OSError("no way back")

    def join(value: Any) -> None:
        transaction.get().join(Broken())
        raise RuntimeError

    register("join", join)
    [jobid] = run_in_worker(service, "join")
    line = next(line for line in lines(written) if "aborting" in line["message"])
    assert line["message"] == "service: error while aborting the writes of a job"
    assert job_of(line) == ("service", jobid, "join", 1)


def test_a_rescue(
    service: Any, environment: FakeEnvironment, written: io.StringIO
) -> None:
    """What is said of a job whose worker was lost tells which attempt that was."""
    jobid = service.add("echo")
    transaction.commit()
    db = service._p_jar.db()
    with closing(Session(db, ["service"])) as lost:
        lost.claim(lost.register(1, Lease()), 1)
        environment.gone = {ask(db, lambda s: s.workers[0].identity)}
    with closing(Session(db, ["service"])) as other:
        other.register(1, Lease())
        other.rescue()
    [line] = lines(written)
    assert "is queued again" in line["message"]
    assert job_of(line) == ("service", jobid, "echo", 1)


def test_a_subscriber_to_the_end_that_fails(service: Any, written: io.StringIO) -> None:
    """What a subscriber to the end of a run raises names the service and the job."""

    def broken(event: Any) -> None:
        if IRunEnded.providedBy(event):
            raise RuntimeError("no metrics today")

    zope.event.subscribers.append(broken)
    [jobid] = run_in_worker(service, "echo")
    line = next(line for line in lines(written) if "subscriber" in line["message"])
    assert line["message"].startswith("service: error in a subscriber to <RunEnded")
    assert job_of(line) == ("service", jobid, "echo", 1)


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


class Unprintable:
    """What can't be shown."""

    def __str__(self) -> str:
        raise ValueError("not even this")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), "nan"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (10**5000, "<int>"),
        (Unprintable(), "<Unprintable>"),
    ],
    ids=["no number", "keys", "large", "unprintable"],
)
def test_what_json_has_no_words_for(
    written: io.StringIO, value: Any, expected: str
) -> None:
    """Whatever a record was given, it is a line of JSON that others can read."""
    elsewhere.warning("odd", extra={"odd": value})

    def no_constants(name: str) -> None:
        raise AssertionError(name)

    line = json.loads(written.getvalue(), parse_constant=no_constants)
    assert (line["odd"], line["message"]) == (expected, "odd")


def test_what_contains_itself(written: io.StringIO) -> None:
    """A circle is shown as Python does; a stack that was asked for is there."""
    circle: list[Any] = []
    circle.append(circle)
    elsewhere.warning("odd", extra={"odd": circle}, stack_info=True)
    [line] = lines(written)
    assert line["odd"] == "[[...]]"
    assert line["stack"].startswith("Stack (most recent call last)")


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


@pytest.mark.parametrize("written", ["text"], indirect=True)
def test_hostile_names_in_text(service: Any, written: io.StringIO) -> None:
    """A name with line breaks begins no line of its own."""
    register("evil\n2026-01-01 ERROR", lambda value: elsewhere.warning("mine"))
    [jobid] = run_in_worker(service, "evil\n2026-01-01 ERROR")
    first = written.getvalue().splitlines()[0]
    shown = r"'evil\n2026-01-01 ERROR'"
    assert first.endswith(f" [service=service jobid={jobid} task={shown} attempt=1]")


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
