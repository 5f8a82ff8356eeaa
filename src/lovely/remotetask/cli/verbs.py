"""The commands that do something with jobs: add, start, cancel and retry them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import click

from lovely.remotetask import listing
from lovely.remotetask.cli.access import Access
from lovely.remotetask.cli.options import Command, on_service
from lovely.remotetask.cli.output import warn
from lovely.remotetask.cli.problems import Problem
from lovely.remotetask.cli.progress import progress
from lovely.remotetask.cli.text import listed, number
from lovely.remotetask.cli.values import Json, Moment, Seconds
from lovely.remotetask.errors import UnknownJob, UnknownTask
from lovely.remotetask.service import TaskService
from lovely.remotetask.states import CANCELLABLE, ERROR, PROCESSING

#: So many jobs are changed in one transaction.
BATCH = 100

ids = click.argument("jobids", metavar="ID...", type=int, nargs=-1)


@click.command(cls=Command)
@click.argument("task")
@click.argument("input", type=Json(), metavar="[JSON]", default="null")
@click.option("--later", is_flag=True, help="Wait for 'remotetask start'.")
@click.option(
    "--delay",
    metavar="SECONDS",
    type=Seconds(),
    help="Run after so many seconds.",
)
@click.option("--at", type=Moment(), help="Run then, or as soon as possible after.")
@click.option(
    "--retry",
    metavar="NUMBER",
    type=click.IntRange(min=0),
    help="Try so often again if it fails; otherwise as the task or the service says.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=Seconds(),
    help="Ask the task to stop after so many seconds.",
)
@on_service(write=True, tasks=True)
def add(
    access: Access, task: str, input: Any, later: bool, at: datetime | None, **more: Any
) -> None:
    """Add a job, and print its id.

    The input is JSON; '-' reads it from standard input.  Tasks have to be known here:
    see --setup and --zcml.
    """

    def work(service: TaskService) -> int:
        try:
            return service.add(task, input, startLater=later, at=at, **more)
        except UnknownTask:
            known = listed(sorted(service.getAvailableTasks()))
            raise Problem(
                f"The task {task!r} is not registered here (known: {known}). Register "
                "it with --setup or --zcml."
            ) from None

    click.echo(access.write(work))


@click.command(cls=Command)
@ids
@on_service(write=True)
def start(access: Access, jobids: Sequence[int]) -> None:
    """Queue jobs that were added to be started later."""

    def one(service: TaskService, jobid: int) -> str | None:
        return None if service.startJob(jobid) else "does not wait for that"

    _each(access, jobids, "started", one)


@click.command(cls=Command)
@ids
@on_service(write=True)
def cancel(access: Access, jobids: Sequence[int]) -> None:
    """Cancel jobs.

    One that runs is asked to stop; it is never killed.
    """

    def one(service: TaskService, jobid: int) -> str | None:
        status = service.getStatus(jobid)
        service.cancel(jobid)
        return None if status in CANCELLABLE | {PROCESSING} else "is over"

    _each(access, jobids, "cancelled, or asked to stop", one)


@click.command(cls=Command)
@ids
@click.option("--all", is_flag=True, help="All that are in error.")
@click.option("--task", metavar="NAME", help="With --all: only jobs of this task.")
@on_service(write=True)
def retry(access: Access, jobids: Sequence[int], all: bool, task: str | None) -> None:
    """Queue jobs again that are in error or cancelled."""
    if all == bool(jobids):
        raise Problem("Which jobs? Give their ids, or --all.")
    if task and not all:
        raise Problem("--task goes with --all, not with ids. Nothing was changed.")
    if all:
        click.echo(f"{number(_retry_all(access, task), 'job')} queued again.")
        return

    def one(service: TaskService, jobid: int) -> str | None:
        return None if service.retry(jobid) else "is neither in error nor cancelled"

    _each(access, jobids, "queued again", one)


def _retry_all(access: Access, task: str | None) -> int:
    """Queue all jobs again that are in error now; how many there were."""
    with access.read() as service:
        total = service.count(ERROR)
    done, start = 0, None

    def batch(service: TaskService) -> tuple[int, int | None]:
        page = listing.find(service, status=ERROR, task=task, start=start, limit=BATCH)
        return sum(service.retry(job.id) for job in page.jobs), page.next

    with progress("Queueing again", total) as show:
        while True:
            more, start = access.write(batch)
            done += more
            show(done)
            if start is None:
                return done


def _each(
    access: Access,
    jobids: Sequence[int],
    done: str,
    one: Callable[[TaskService, int], str | None],
) -> None:
    """Do something with each job, in one transaction, and tell how it went.

    ``one`` returns why it can't be done.  Exit with 1 if that is so for any.
    """
    if not jobids:
        raise Problem("Which jobs? Give their ids.")

    def work(service: TaskService) -> list[tuple[int, str, str | None]]:
        unknown = [jobid for jobid in jobids if jobid not in service.jobs]
        if unknown:
            raise _unknown(unknown)
        before = {jobid: service.getStatus(jobid) for jobid in jobids}
        return [(jobid, before[jobid], one(service, jobid)) for jobid in before]

    refused = 0
    for jobid, status, reason in access.write(work):
        if reason is None:
            click.echo(f"Job {jobid}: {done}.")
        else:
            refused += 1
            warn(f"Job {jobid} {reason}: it is {status!r}.")
    if refused:
        click.get_current_context().exit(1)


def _unknown(jobids: Sequence[int]) -> Exception:
    if len(jobids) == 1:
        return UnknownJob(jobids[0])
    return Problem(f"There are no jobs {listed(jobids)}. Nothing was changed.")
