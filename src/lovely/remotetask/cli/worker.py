"""The command ``remotetask worker``: process a service until told to stop."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from lovely.remotetask.cli import workerlog
from lovely.remotetask.cli.access import Access
from lovely.remotetask.cli.notify import Systemd
from lovely.remotetask.cli.options import (
    DATABASE,
    SERVICES,
    TASKS,
    Command,
    opened_for,
    with_options,
)
from lovely.remotetask.cli.problems import Problem
from lovely.remotetask.cli.served import Served, set_retention
from lovely.remotetask.cli.stopping import Orders
from lovely.remotetask.cli.text import number
from lovely.remotetask.cli.values import Retention, Seconds
from lovely.remotetask.cli.vitals import Vitals, check_file
from lovely.remotetask.processor import MultiProcessor
from lovely.remotetask.retention import Keep

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
        help="How many jobs of a service run at a time; otherwise as the service says.",
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
        type=Seconds(),
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
        type=Seconds(),
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
    """Process a service, or several, until told to stop.

    SIGTERM, SIGHUP and Ctrl-C let the jobs that run be finished, for as long as
    --stop-timeout says; a second Ctrl-C leaves at once.  Jobs that are not finished go
    back to the queue.

    The exit status is 0 if all were finished, 1 if some were given back, 2 if it can't
    begin, 3 if the processing ended by itself, and 130 after a second Ctrl-C.
    """
    workerlog.set_up(options.pop("log_format"), options.pop("log_level"))
    first, *others = options.pop("service") or [None]
    threads = options["threads"] or MultiProcessor.maxThreads
    pool_size = (threads + SPARE_CONNECTIONS) * (1 + len(others))
    metrics = options.pop("metrics_host"), options.pop("metrics_port")
    options["service"] = first
    with opened_for(
        ctx, options, write=True, tasks=True, pool_size=pool_size
    ) as access:
        beside = [access.beside(name) for name in others]
        found = list({each.path: each for each in [access, *beside]}.values())
        with _metrics(found, *metrics):
            status = _serve(found, **options)
    ctx.exit(status)


def _serve(
    found: Sequence[Access],
    *,
    threads: int | None,
    group_finish: bool | None,
    wait_time: float | None,
    keep: Sequence[tuple[str, Keep | None]],
    **options: Any,
) -> int:
    """Process services; the exit status."""
    if keep:
        for access in found:
            access.write(lambda service: set_retention(service, keep))
    arguments = {"waitTime": wait_time, "groupFinish": group_finish}
    return Worker([Served(a, threads, arguments) for a in found], **options).run()


_worker.__name__ = "worker"
worker = click.command("worker", cls=Command)(
    with_options(_worker, OPTIONS, DATABASE, SERVICES, TASKS)
)


class Worker:
    """The services that this process processes, and who looks after them."""

    def __init__(
        self,
        services: Sequence[Served],
        *,
        stop_timeout: float,
        burst: bool,
        health_file: Path | None,
    ) -> None:
        self._services = services
        self._stop_timeout, self._burst = stop_timeout, burst
        self._health_file = health_file
        self._systemd = Systemd()
        if health_file is not None:
            check_file(health_file)

    def run(self) -> int:
        """Process the services; the exit status."""
        with Orders() as orders:
            for served in self._services:
                served.start()
            vitals = Vitals(self._services, self._systemd, self._health_file)
            try:
                ended = self._wait(orders)
            finally:
                vitals.stop()
                self._systemd.stopping()
            if ended:
                log.error("the processing has ended by itself")
            return self._stop(orders, ended)

    def _wait(self, orders: Orders) -> bool:
        """Wait for the order to stop; True if a processing has ended by itself."""
        while not orders.wait(LOOK):
            if any(served.ended for served in self._services):
                return True
            if self._burst and all(served.is_idle() for served in self._services):
                log.info("no job is due any more")
                return False
        return False

    def _stop(self, orders: Orders, ended: bool) -> int:
        """Let jobs be finished, or give them back; the exit status."""
        running = sum(served.running for served in self._services)
        if running:
            log.info("stopping: %s may be finished", number(running, "job"))
        for served in self._services:
            served.stop()
        at_once = orders.join([s.thread for s in self._services], self._stop_timeout)
        left = [served for served in self._services if served.thread.is_alive()]
        if not left:
            log.info("stopped")
            return ENDED if ended else DONE
        log.warning("jobs that are not finished go back to the queue")
        for served in left:
            served.abandon()
        end = time.monotonic() + (AT_ONCE if at_once else GIVE_BACK)
        for served in left:
            served.thread.join(max(0.0, end - time.monotonic()))
        # Their threads may never end, and Python would wait for some of them.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(130 if at_once else ENDED if ended else GIVEN_BACK)


@contextmanager
def _metrics(found: Sequence[Access], host: str, port: int | None) -> Iterator[None]:
    """Within, metrics are served, if a port is given."""
    if port is None:
        yield
        return
    from lovely.remotetask import metrics

    where = f"{f'[{host}]' if ':' in host else host}:{port}"
    paths = [list(access.path) for access in found]
    with ExitStack() as stack:
        served = metrics.serve(found[0].db, *paths, port=port, host=host)
        try:
            stack.enter_context(served)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise Problem(
                f"--metrics-port: {where} can't be used: {reason}."
            ) from error
        log.info("metrics are served on http://%s/metrics", where)
        yield
