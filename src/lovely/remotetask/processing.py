"""Which services this process processes in the background."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ZODB.broken import Broken

from lovely.remotetask.errors import InvalidArgument, InvalidType
from lovely.remotetask.people import check_run_as
from lovely.remotetask.retention import check_retention
from lovely.remotetask.retry import check_policy
from lovely.remotetask.sites import database_of, path_of
from lovely.remotetask.times import check_seconds

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

#: How long the interpreter's exit waits for jobs that run, and then for them to
#: be given back (seconds).
EXIT_SECONDS = 10.0
ABANDON_SECONDS = 5.0

_lock = threading.Lock()
_running: WeakKeyDictionary[Any, dict[tuple[str, ...], Background]] = (
    WeakKeyDictionary()
)


class Background:
    """A processor in a daemon thread."""

    def __init__(self, processor: Any, name: str, previous: Background | None) -> None:
        self._processor = processor
        self._previous = previous
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.running = True  # type: ignore[attr-defined]
        self.thread.start()

    def _run(self) -> None:
        # A processor that was stopped may still be busy with its last job: one
        # after the other, so that jobs keep their order.
        if self._previous is not None:
            self._previous.thread.join()
            self._previous = None
        self._processor()

    @property
    def running(self) -> bool:
        """Whether it runs and has not been told to stop."""
        told: bool = self.thread.running  # type: ignore[attr-defined]
        return self.thread.is_alive() and told

    def stop(self) -> None:
        """Tell it to stop; return at once."""
        self.thread.running = False  # type: ignore[attr-defined]
        stop = getattr(self._processor, "stop", None)
        if stop is not None:
            stop()

    def abandon(self) -> None:
        """Tell it to give back the jobs that still run; return at once.

        So is one told that it waits for.
        """
        previous = self._previous
        if previous is not None:
            previous.abandon()
        abandon = getattr(self._processor, "abandon", self.stop)
        abandon()

    def wait(self, timeout: float | None) -> bool:
        """Wait until it has ended, at most so many seconds; whether it has.

        A job can't wait for its own end.
        """
        threads = [self.thread, *getattr(self._processor, "threads", ())]
        if threading.current_thread() not in threads:
            self.thread.join(timeout)
        return not self.thread.is_alive()


def start(service: TaskService) -> None:
    """Process a service in the background, unless that is so already."""
    db, path = database_of(service), path_of(service)
    with _lock:
        found = _running.setdefault(db, {})
        previous = found.get(tuple(path))
        if previous is not None and previous.running:
            return
        processor = make_processor(service, db, path)
        found[tuple(path)] = Background(processor, service._threadName(), previous)


def make_processor(
    service: TaskService,
    db: Any,
    path: Sequence[str],
    factory: Any = None,
    arguments: Any = None,
) -> Any:
    """The processor that a service asks for, or one of another kind.

    Raise InvalidType or InvalidArgument, which name the attribute to change.
    """
    check_retention(service.retention)
    check_policy("retryPolicy", service.retryPolicy)
    check_run_as(service.runAs)
    stall = check_seconds("stalledAfter", service.stalledAfter)
    factory = _check_factory(factory or service.processorFactory)
    arguments = _check_arguments(
        service.processorArguments if arguments is None else arguments
    )
    try:
        processor = factory(db, path, **arguments)
    except InvalidType:
        raise
    except TypeError as error:
        raise InvalidType(
            f"processorArguments: {_name(factory)} does not take {arguments!r}: {error}"
        ) from error
    if not callable(processor):
        raise InvalidType(
            f"processorFactory: {_name(factory)} returned {processor!r}, which is no "
            "processor: it can't be called."
        )
    _check_patience(stall, getattr(processor, "waitTime", None))
    return processor


def _check_patience(stall: float, wait_time: object) -> None:
    """A worker may wait between two looks, without being called stalled."""
    if isinstance(wait_time, (int, float)) and stall <= wait_time:
        raise InvalidArgument(
            f"stalledAfter: seconds that are longer than the waitTime, {wait_time!r}, "
            f"are needed, not {stall!r}."
        )


def _check_factory(factory: Any) -> Any:
    # What was named in the database and can't be imported any more can be called
    # nevertheless: that would only make an object which does nothing.
    cls = factory if isinstance(factory, type) else type(factory)
    if issubclass(cls, Broken):
        raise InvalidArgument(
            f"processorFactory: {cls.__module__}.{cls.__name__} can't be imported. "
            "Install it again, or set another factory."
        )
    if not callable(factory):
        raise InvalidType(
            "processorFactory: a class of processors, such as SimpleProcessor, is "
            f"needed, not {factory!r}."
        )
    return factory


def _check_arguments(arguments: Any) -> dict[str, Any]:
    named = isinstance(arguments, Mapping) and all(
        isinstance(name, str) for name in arguments
    )
    if not named:
        raise InvalidType(
            "processorArguments: a dict of keyword arguments, such as "
            f"{{'waitTime': 1.0}}, is needed, not {arguments!r}."
        )
    return dict(arguments)


def _name(factory: Any) -> str:
    return str(getattr(factory, "__qualname__", repr(factory)))


def of(service: TaskService) -> Background | None:
    """What processes, or has processed, a service; None if nothing has."""
    try:
        db = database_of(service)
    except LookupError:
        return None
    return _running.get(db, {}).get(tuple(path_of(service)))


def _stop_all() -> None:
    """At the end of the interpreter: let jobs that run be finished.

    Those that take too long are given back, so that they are not held to have
    crashed.
    """
    everything = [b for found in list(_running.values()) for b in found.values()]
    for background in everything:
        background.stop()
    if not _have_ended(everything, EXIT_SECONDS):
        for background in everything:
            background.abandon()
        _have_ended(everything, ABANDON_SECONDS)


def _have_ended(everything: list[Background], seconds: float) -> bool:
    """Wait, at most so long; whether all have ended."""
    end = time.monotonic() + seconds
    return all(b.wait(max(0.0, end - time.monotonic())) for b in everything)


def _after_fork() -> None:
    """A child has none of its parent's threads, and maybe a lock they held."""
    global _lock  # noqa: PLW0603 - the old one may be locked for ever
    _lock = threading.Lock()
    _running.clear()


atexit.register(_stop_all)
os.register_at_fork(after_in_child=_after_fork)
