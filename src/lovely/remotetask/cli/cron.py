"""The commands ``remotetask cron ...``: jobs that come back on a schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from lovely.remotetask import listing
from lovely.remotetask.cli import describe
from lovely.remotetask.cli.access import Access
from lovely.remotetask.cli.options import Command, as_json, on_service
from lovely.remotetask.cli.output import print_json, print_table, warn, when
from lovely.remotetask.cli.problems import Problem
from lovely.remotetask.cli.text import iso, moment
from lovely.remotetask.errors import InvalidArgument, UnknownJob
from lovely.remotetask.job import CronJob
from lovely.remotetask.service import TaskService
from lovely.remotetask.states import CRONJOB, DELAYED, PROCESSING

#: What a cron job may be that is not over.
STATUSES = (CRONJOB, PROCESSING, DELAYED)

ids = click.argument("jobids", metavar="ID...", type=int, nargs=-1, required=True)


@click.group()
def cron() -> None:
    """Cron jobs: list them, pause, resume or run them."""


def _cron_jobs(service: TaskService) -> Iterator[CronJob]:
    """Those that are not over."""
    for status in STATUSES:
        start: int | None = None
        while service.count(status):
            page = listing.find(service, status=status, start=start, limit=1000)
            yield from (job for job in page.jobs if isinstance(job, CronJob))
            start = page.next
            if start is None:
                break


@cron.command("list", cls=Command)
@as_json
@on_service()
def list_(access: Access, json: bool) -> None:
    """List the cron jobs, with their next and their last run."""
    with access.read() as service:
        found = sorted(_cron_jobs(service), key=lambda job: job.id)
        if json:
            print_json([describe.full(service, job) for job in found])
            return
        rows = [_row(job) for job in found]
    if rows:
        headers = ("id", "task", "schedule", "status", "next run", "last run")
        print_table(headers, rows, right="id")
    else:
        click.echo("There are no cron jobs.", err=True)


def _row(job: CronJob) -> list[object]:
    return [
        str(job.id),
        job.task,
        describe.schedule(job.schedule),
        "paused" if job.paused else job.status,
        when(job.scheduledFor),
        describe.outcome(job),
    ]


@cron.command(cls=Command)
@ids
@on_service(write=True)
def pause(access: Access, jobids: Sequence[int]) -> None:
    """Let no other run begin that is planned."""
    _each(access, jobids, "paused", lambda service, jobid: service.pause(jobid))


@cron.command(cls=Command)
@ids
@on_service(write=True)
def resume(access: Access, jobids: Sequence[int]) -> None:
    """Let cron jobs that were paused go on."""
    _each(access, jobids, "goes on", lambda service, jobid: service.resume(jobid))


@cron.command(cls=Command)
@ids
@on_service(write=True)
def run(access: Access, jobids: Sequence[int]) -> None:
    """Run cron jobs at once, whatever is planned."""
    _each(access, jobids, "runs now", lambda service, jobid: service.runNow(jobid))


@cron.command("next", cls=Command)
@click.argument("jobid", metavar="ID", type=int)
@click.option(
    "--count",
    "-n",
    metavar="NUMBER",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="How many.",
)
@as_json
@on_service()
def next_(access: Access, jobid: int, count: int, json: bool) -> None:
    """Tell when a cron job runs next."""
    with access.read() as service:
        job: Any = service.jobs.get(jobid)
        if job is None:
            raise UnknownJob(jobid)
        if not isinstance(job, CronJob):
            raise Problem(f"Job {jobid} is no cron job; 'cron list' lists those.")
        found, paused = job.upcoming(count), job.paused
    if json:
        print_json([iso(each) for each in found])
        return
    for each in found:
        click.echo(moment(each))
    if not found:
        why = "It is paused." if paused else "It is over."
        warn(f"Nothing is planned. {why}")


def _each(
    access: Access,
    jobids: Sequence[int],
    done: str,
    one: Callable[[TaskService, int], bool],
) -> None:
    """Do something with each, all in one transaction; exit with 1 if one is over."""

    def work(service: TaskService) -> list[tuple[int, bool]]:
        try:
            return [(jobid, one(service, jobid)) for jobid in dict.fromkeys(jobids)]
        except InvalidArgument as error:
            raise Problem(f"{error} Nothing was changed.") from error

    over = 0
    for jobid, changed in access.write(work):
        if changed:
            click.echo(f"Job {jobid}: {done}.")
        else:
            over += 1
            warn(f"Job {jobid} is over.")
    if over:
        click.get_current_context().exit(1)
