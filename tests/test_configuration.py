"""Services that are configured badly: a clear error at the start, and no thread."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import transaction
from ZODB.broken import find_global

from lovely.remotetask.errors import InvalidArgument, InvalidType, RemoteTaskError
from lovely.remotetask.processor import MultiProcessor, SimpleProcessor
from lovely.remotetask.retry import RetryPolicy
from tests.support import PATIENCE, processing

#: A class that was in the database and is gone, and what is left of an object of it.
Gone = find_global("gone.module", "Processor")


class Strict:
    """A processor that takes no arguments of its own."""

    def __init__(self, db: Any, path: list[str]) -> None:
        """What is given is enough."""

    def __call__(self) -> None:
        """End at once."""


def returns_nothing(db: Any, path: list[str], **arguments: Any) -> None:
    """A factory that forgets to return what it made."""


def start_fails(service: Any, error: type[Exception], match: str) -> None:
    """Starting raises an error; no thread runs, and the service is as before."""
    threads = set(threading.enumerate())
    with pytest.raises(error, match=match) as raised:
        service.startProcessing()
    assert isinstance(raised.value, RemoteTaskError)
    assert set(threading.enumerate()) <= threads
    assert not service.isProcessing()
    assert service.waitProcessing(timeout=0)


@pytest.mark.parametrize(
    ("factory", "error", "match"),
    [
        (None, InvalidType, "^processorFactory: a class of processors.*not None"),
        ("SimpleProcessor", InvalidType, "^processorFactory: .*'SimpleProcessor'"),
        (5, InvalidType, "^processorFactory: .*not 5"),
        (Gone, InvalidArgument, r"^processorFactory: gone\.module\.Processor can't be"),
        (Gone(), InvalidArgument, r"^processorFactory: gone\.module\.Processor can't"),
        (returns_nothing, InvalidType, "^processorFactory: returns_nothing returned"),
    ],
)
def test_bad_factory(
    service: Any, factory: Any, error: type[Exception], match: str
) -> None:
    """What can't make processors is refused, by the name of the attribute."""
    service.processorFactory = factory
    start_fails(service, error, match)
    transaction.abort()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (None, "^processorArguments: a dict of keyword arguments.*not None"),
        (["waitTime"], "^processorArguments: a dict"),
        ("waitTime", "^processorArguments: a dict"),
        (1.0, "^processorArguments: a dict"),
        ({1: 2}, "^processorArguments: a dict"),
        ({"waitTimes": 1}, "^processorArguments: .*Processor does not.*'waitTimes'"),
        ({"db": None}, "^processorArguments: .*Processor does not take .*'db'"),
    ],
)
@pytest.mark.parametrize("factory", [SimpleProcessor, MultiProcessor])
def test_bad_arguments(service: Any, factory: Any, arguments: Any, match: str) -> None:
    """Arguments that are no mapping, or that the factory does not take."""
    service.processorFactory, service.processorArguments = factory, arguments
    start_fails(service, InvalidType, match)
    transaction.abort()


def test_arguments_for_another_factory(service: Any) -> None:
    """Arguments that are left from another factory are told apart from it."""
    service.processorFactory = Strict
    start_fails(service, InvalidType, "^processorArguments: Strict does not take")
    transaction.abort()


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"maxThreads": 0}, InvalidArgument, "^maxThreads: "),
        ({"maxThreads": -1}, InvalidArgument, "^maxThreads: "),
        ({"maxThreads": "5"}, InvalidType, "^maxThreads: "),
        ({"waitTime": -1}, InvalidArgument, "^waitTime: "),
        ({"waitTime": "1"}, InvalidType, "^waitTime: "),
        ({"heartbeat": 0}, InvalidArgument, "^heartbeat: "),
        ({"heartbeat": -5}, InvalidArgument, "^heartbeat: "),
        ({"heartbeat": 10, "lease": 5}, InvalidArgument, "^lease: "),
        ({"lease": 1}, InvalidArgument, "^lease: "),
    ],
)
def test_bad_values(
    service: Any, arguments: Any, error: type[Exception], match: str
) -> None:
    """A value that makes no sense is refused by its own name."""
    service.processorFactory, service.processorArguments = MultiProcessor, arguments
    start_fails(service, error, match)
    transaction.abort()


@pytest.mark.parametrize("bound", [0.5, 1.0])
def test_a_stall_before_the_next_look(service: Any, bound: float) -> None:
    """Who waits for longer than a stall takes would always be called stalled."""
    service.stalledAfter = bound
    start_fails(
        service, InvalidArgument, r"^stalledAfter: .*longer than the waitTime, 1\.0"
    )
    service.stalledAfter = 1.5
    with processing(service):
        assert service.isProcessing()
    transaction.abort()


@pytest.mark.parametrize("policy", [None, "3", 2.5, RetryPolicy, True])
def test_bad_retry_policy(service: Any, policy: Any) -> None:
    """What is no policy, and no number of retries, is refused."""
    service.retryPolicy = policy
    start_fails(service, InvalidType, "^retryPolicy: a RetryPolicy or a number")
    service.retryPolicy = 2
    with processing(service):
        assert service.isProcessing()
    transaction.abort()


def test_start_again(service: Any) -> None:
    """After the mistake has been mended, the service starts as usual."""
    service.processorArguments = {"maxThreads": 2}
    start_fails(service, InvalidType, "^processorArguments: SimpleProcessor")
    service.processorFactory = MultiProcessor
    with processing(service):
        assert service.isProcessing()
    transaction.abort()


def test_what_runs_goes_on(service: Any) -> None:
    """A service that is being processed is left alone, whatever was set since."""
    service.startProcessing()
    service.processorFactory = None
    service.startProcessing()
    assert service.isProcessing()
    assert service.stopProcessing(wait=True, timeout=PATIENCE)
    start_fails(service, InvalidType, "^processorFactory: ")
    transaction.abort()
