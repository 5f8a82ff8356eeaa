"""The command ``remotetask worker``: process a service until told to stop."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from lovely.remotetask import processing
from lovely.remotetask.cli import workerlog
from lovely.remotetask.cli.access import Access
from lovely.remotetask.cli.notify import Systemd
from lovely.remotetask.cli.options import (
    DATABASE,
    SERVICE,
    TASKS,
    Command,
    opened_for,
    with_options,
)
from lovely.remotetask.cli.problems import Problem
from lovely.remotetask.cli.stopping import Orders
from lovely.remotetask.cli.text import listed, number
from lovely.remotetask.cli.values import Retention
from lovely.remotetask.cli.vitals import Vitals
from lovely.remotetask.errors import NotInstalled
from lovely.remotetask.processor import MultiProcessor, SimpleProcessor
from lovely.remotetask.retention import Keep
from lovely.remotetask.service import TaskService

log = logging.getLogger("lovely.remotetask")

#: How often to look whether the processing still runs (seconds).
LOOK = 0.5
#: How long to wait for jobs to be given back (seconds): when the time to finish is
#: over, and after the second Ctrl-C.
GIVE_BACK = 5.0
AT_ONCE = 2.0
#: Connections beside those of the threads that run jobs.
SPARE_CONNECTIONS = 5

#: Exit statuses.
DONE, GIVEN_BACK, ENDED = 0, 1, 3

OPTIONS = [
    click.option(
        "--threads",
        metavar="NUMBER",
        type=click.IntRange(min=1),
        help="How many jobs run at a time; otherwise as the service says.",
    ),
    click.option(
        "--group-finish/--no-group-finish",
        default=None,
        help="Whether many short jobs are finished in one commit; otherwise as the "
        "service says.",
    ),
    click.option(
        "--wait-time",
        metavar="SECONDS",
        type=click.FloatRange(min=0),
        help="Look for jobs at least so often; otherwise as the service says.",
    ),
    click.option(
        "--keep",
        type=Retention(),
        multiple=True,
        help="How long to keep jobs that are over: completed=7d, error=1000, "
        "cancelled=7d,1000 or completed=forever.  The service remembers it.",
    ),
    click.option(
        "--stop-timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0),
        default=10.0,
        show_default=True,
        help="How long jobs that run may take to finish when it is told to stop; then "
        "they go back to the queue.",
    ),
    click.option(
        "--burst", is_flag=True, help="Stop by itself when no job is due any more."
    ),
    click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="A line for each job, to standard error.",
    ),
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="info",
        show_default=True,
        help="What is logged: from this level on.",
    ),
    click.option(
        "--health-file",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Touch this file every few seconds while all is well.",
    ),
    click.option(
        "--metrics-port",
        metavar="NUMBER",
        type=click.IntRange(1, 65535),
        help="Serve metrics for Prometheus there; needs the extra metrics.",
    ),
    click.option(
        "--metrics-host",
        metavar="ADDRESS",
        default="127.0.0.1",
        show_default=True,
        help="And at this address; they name tasks and tell numbers to all who ask.",
    ),
]


@click.pass_context
def _worker(ctx: click.Context, /, **options: Any) -> None:
    """Process a service until told to stop.

    SIGTERM and Ctrl-C let the jobs that run be finished, for as long as --stop-timeout
    says; a second Ctrl-C leaves at once.  Jobs that are not finished go back to the
    queue.

    The exit status is 0 if all were finished, 1 if some were given back, 2 if it can't
    begin, 3 if the processing ended by itself, and 130 after a second Ctrl-C.
    """
    workerlog.set_up(options.pop("log_format"), options.pop("log_level"))
    pool_size = (options["threads"] or MultiProcessor.maxThreads) + SPARE_CONNECTIONS
    shown = options.pop("metrics_host"), options.pop("metrics_port")
    with (
        opened_for(ctx, options, write=True, tasks=True, pool_size=pool_size) as access,
        _metrics(access, *shown),
    ):
        status = Worker(access, **options).run()
    ctx.exit(status)


_worker.__name__ = "worker"
worker = click.command("worker", cls=Command)(
    with_options(_worker, OPTIONS, DATABASE, SERVICE, TASKS)
)


class Worker:
    """A processor in this process, and who looks after it."""

    def __init__(
        self,
        access: Access,
        *,
        threads: int | None,
        group_finish: bool | None,
        wait_time: float | None,
        keep: Sequence[tuple[str, Keep | None]],
        stop_timeout: float,
        burst: bool,
        health_file: Path | None,
    ) -> None:
        self._access = access
        self._stop_timeout, self._burst = stop_timeout, burst
        self._health_file = health_file
        self._systemd = Systemd()
        if keep:
            access.write(lambda service: _set_retention(service, keep))
        with access.read() as service:
            arguments = {"waitTime": wait_time, "groupFinish": group_finish}
            self._processor = _processor(access, service, threads, arguments)
            self._name = service._threadName()
            self._warn_about_tasks(service)

    def _warn_about_tasks(self, service: TaskService) -> None:
        names = sorted(service.getAvailableTasks())
        log.info("tasks: %s", listed(names))
        if not names:
            log.warning("no tasks are registered: every job will fail; see --setup")

    def run(self) -> int:
        """Process the service; the exit status."""
        with Orders() as orders:
            background = processing.Background(self._processor, self._name, None)
            vitals = Vitals(
                self._access, self._systemd, self._health_file, self._announce
            )
            try:
                ended = self._wait(background, orders)
            finally:
                vitals.stop()
                self._systemd.stopping()
            if ended:
                log.error("the processing has ended by itself")
                return ENDED
            return self._stop(background, orders)

    def _announce(self) -> None:
        log.info("worker of %s is ready, %s", self._access, _size(self._processor))

    def _wait(self, background: processing.Background, orders: Orders) -> bool:
        """Wait for the order to stop; True if the processing has ended by itself."""
        while not orders.wait(LOOK):
            if not background.running:
                return True
            if self._burst and self._is_idle():
                log.info("no job is due any more")
                return False
        return False

    def _is_idle(self) -> bool:
        """Whether this worker has begun, and has nothing left to do."""
        with self._access.read() as service:
            own = f"{service.environment.process()}/"
            workers = [w for w in service.workers if w.identity.startswith(own)]
            busy = any(worker.held for worker in workers)
            return bool(workers) and not busy and not service.hasJobsWaiting()

    def _stop(self, background: processing.Background, orders: Orders) -> int:
        """Let jobs be finished, or give them back; the exit status."""
        running = len(_running(self._processor))
        if running:
            log.info("stopping: %s may be finished", number(running, "job"))
        background.stop()
        at_once = orders.join(background.thread, self._stop_timeout)
        if not background.thread.is_alive():
            log.info("stopped")
            return DONE
        log.warning("jobs that are not finished go back to the queue")
        background.abandon()
        background.thread.join(AT_ONCE if at_once else GIVE_BACK)
        # Their threads may never end, and Python would wait for some of them.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(130 if at_once else GIVEN_BACK)


@contextmanager
def _metrics(access: Access, host: str, port: int | None) -> Iterator[None]:
    """Within, metrics are served, if a port is given."""
    if port is None:
        yield
        return
    try:
        from lovely.remotetask import metrics
    except ModuleNotFoundError as error:
        raise NotInstalled("--metrics-port", "metrics") from error
    where = f"{f'[{host}]' if ':' in host else host}:{port}"
    with ExitStack() as stack:
        served = metrics.serve(access.db, list(access.path), port=port, host=host)
        try:
            stack.enter_context(served)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise Problem(
                f"--metrics-port: {where} can't be used: {reason}."
            ) from error
        log.info("metrics are served on http://%s/metrics", where)
        yield


def _set_retention(
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
    arguments: dict[str, Any],
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


def _running(processor: Any) -> Sequence[int]:
    """The ids of the jobs that a processor runs, if it tells."""
    crew = getattr(processor, "_crew", None)
    return [] if crew is None else list(crew.runs())


def _size(processor: Any) -> str:
    return number(getattr(processor, "maxThreads", 1), "thread")
