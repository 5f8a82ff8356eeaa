"""What is kept of a failure."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import pytest

from lovely.remotetask import errors
from lovely.remotetask.errors import RemoteTaskError, TaskError
from lovely.remotetask.job import KEPT_FAILURES, Failure, Job
from tests.support import (
    Farewell,
    register,
    run_all,
)


@pytest.fixture(params=["background", "here"])
def run(request: pytest.FixtureRequest, service: Any) -> Any:
    """A function that commits, processes all jobs, and commits or waits."""
    return partial(run_all, service, here=request.param == "here")


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        Farewell("goodbye"),
        GeneratorExit(),
        TaskError("for a reason"),
        RecursionError("too deep"),
        MemoryError(),
        StopIteration(5),
        OSError(2, "no such file"),
    ],
    ids=repr,
)
def test_any_exception(service: Any, run: Any, error: BaseException) -> None:
    """Whatever a task raises ends its job, and only that."""

    def throw(value: Any) -> None:
        raise error

    register("throw", throw)
    ids = [service.add("throw"), service.add("echo", "next")]
    run()
    assert [service.getStatus(jobid) for jobid in ids] == ["error", "completed"]
    job = service.jobs[ids[0]]
    assert job.attempts[-1].failure.type == type(error).__name__
    assert job.error.startswith(f"{type(error).__name__}: ")
    assert "in throw" in job.error


def test_failures_are_logged(
    service: Any, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure is logged with the service, the job, the task and the traceback."""
    caplog.set_level(logging.INFO, "lovely.remotetask")
    jobid = service.add("fail", "out of order")
    run()
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    text = record.getMessage()
    assert record.name == "lovely.remotetask"
    begin = f"service: job {jobid} of task 'fail' failed: RuntimeError: out of order"
    assert text.startswith(f"{begin}\nTraceback")
    assert text.endswith("\nRuntimeError: out of order")


def test_no_empty_lines_are_logged(
    service: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What is logged of a failure is one block, whatever the exception says."""

    def chain(value: Any) -> None:
        try:
            raise ValueError("first\n\n")
        except ValueError as error:
            raise TaskError("one\n \n\ntwo\n") if value else KeyError from error

    register("chain", chain)
    for value in (False, True):
        service.add("chain", value)
    service.process()
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "ValueError: first\n" in messages[0]
    assert messages[1].endswith("failed: one\ntwo")
    assert not any(not line.strip() for text in messages for line in text.split("\n"))


class Unruly(Exception):
    """An exception with a text that causes trouble."""

    def __init__(self, text: Any) -> None:
        super().__init__()
        self.text = text

    def __str__(self) -> str:
        if isinstance(self.text, BaseException):
            raise self.text
        return str(self.text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plain", "plain"),
        ("", "Unruly"),
        ("\udcff", "\\udcff"),
        ("\x00\x1b[31m", "\x00\x1b[31m"),
        (ValueError(), "(Unruly can't be shown: ValueError)"),
        (SystemExit(), "(Unruly can't be shown: SystemExit)"),
    ],
)
def test_unruly_messages(service: Any, text: Any, message: str, run: Any) -> None:
    """Any message can be kept, whatever is in it."""

    def throw(value: Any) -> None:
        raise Unruly(text)

    register("throw", throw)
    jobid = service.add("throw")
    run()
    service._p_jar.cacheMinimize()
    assert service.getError(jobid) == message
    assert service.jobs[jobid].error.encode("utf-8")


def test_long_messages() -> None:
    """Of a text without end, beginning and end are kept."""
    failure = Failure.of(ValueError("x" * 1_000_000 + "end"))
    assert len(str(failure)) < 100_000
    assert "end" in failure.traceback[-10:]
    assert "[...]" in failure.traceback


def test_last_failures_only(service: Any) -> None:
    """Of many failed attempts the last few are kept."""
    job = Job(1, "task")
    for number in range(1, 20):
        job.attempt = number
        job.fail(Failure("Error", f"number {number}", ""), number, number + 1)
    numbers = [attempt.number for attempt in job.attempts]
    assert numbers == list(range(20 - KEPT_FAILURES, 20))
    assert job.failure.message == "number 19"


def test_root_of_errors() -> None:
    """All of the library's errors have one root, and say what to do."""
    found = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and value.__module__ == errors.__name__
    ]
    assert len(found) > 5
    for error in found:
        assert issubclass(error, RemoteTaskError)
        assert error.__doc__
