"""A service that ``remotetask worker`` processes in its process."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lovely.remotetask import processing
from lovely.remotetask.cli.locate import shown
from lovely.remotetask.cli.text import listed, number
from lovely.remotetask.processor import MultiProcessor, SimpleProcessor

if TYPE_CHECKING:
    import threading

    from lovely.remotetask.cli.access import Access
    from lovely.remotetask.health import WorkerState
    from lovely.remotetask.retention import Keep
    from lovely.remotetask.service import TaskService

log = logging.getLogger("lovely.remotetask")


class Served:
    """A service, its processor in this process, and the thread that it runs in."""

    def __init__(
        self, access: Access, threads: int | None, arguments: Mapping[str, Any]
    ) -> None:
        """``threads`` and ``arguments`` count more than what the service says."""
        self.access = access
        with access.read() as service:
            self._processor = _processor(access, service, threads, arguments)
            self._name = service._threadName()
            self._tell_tasks(service)

    def __str__(self) -> str:
        return shown(self.access.path)

    def _tell_tasks(self, service: TaskService) -> None:
        names = sorted(service.getAvailableTasks())
        log.info("tasks of %s: %s", self, listed(names))
        if not names:
            log.warning("no tasks are registered: every job will fail; see --setup")

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._background = processing.Background(self._processor, self._name, None)

    @property
    def thread(self) -> threading.Thread:
        """The thread that it runs in."""
        return self._background.thread

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return not self._background.running

    @property
    def running(self) -> int:
        """How many jobs run, if the processor tells."""
        crew = getattr(self._processor, "_crew", None)
        return 0 if crew is None else len(crew.runs())

    def announce(self) -> None:
        """Say that it is among the workers of its service."""
        size = number(getattr(self._processor, "maxThreads", 1), "thread")
        log.info("worker of %s is ready, %s", self.access, size)

    def state(self) -> WorkerState | None:
        """This process's worker as everybody sees it, in the database."""
        with self.access.read() as service:
            own = f"{service.environment.process()}/"
            return next(
                (
                    found
                    for found in service.processing.workers
                    if found.worker.identity.startswith(own)
                ),
                None,
            )

    def is_idle(self) -> bool:
        """Whether it has begun, and has nothing left to do."""
        with self.access.read() as service:
            own = f"{service.environment.process()}/"
            workers = [w for w in service.workers if w.identity.startswith(own)]
            busy = any(worker.held for worker in workers)
            return bool(workers) and not busy and not service.hasJobsWaiting()

    def stop(self) -> None:
        """Begin no more jobs; return at once."""
        self._background.stop()

    def abandon(self) -> None:
        """Give back the jobs that still run; return at once."""
        self._background.abandon()


def set_retention(
    service: TaskService, keep: Sequence[tuple[str, Keep | None]]
) -> None:
    """Have the service remember for how long jobs are kept; the last word counts."""
    changed: dict[str, Keep | None] = {**service.retention, **dict(keep)}
    wanted = {status: how for status, how in changed.items() if how is not None}
    if wanted != dict(service.retention):
        service.retention = wanted


def _processor(
    access: Access,
    service: TaskService,
    threads: int | None,
    arguments: Mapping[str, Any],
) -> Any:
    """The service's processor, with what was told otherwise."""
    given = {name: value for name, value in arguments.items() if value is not None}
    factory, usual = service.processorFactory, dict(service.processorArguments)
    if threads is not None:
        usual.pop("maxThreads", None)
        if threads == 1:
            factory = SimpleProcessor
        else:
            factory, given = MultiProcessor, {**given, "maxThreads": threads}
    return processing.make_processor(
        service, access.db, access.path, factory, {**usual, **given}
    )
