"""The commands ``remotetask jobs`` and ``show``: what jobs there are, and one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from lovely.remotetask import listing
from lovely.remotetask.cli import describe
from lovely.remotetask.cli.access import Access
from lovely.remotetask.cli.options import Command, as_json, of_status, on_service
from lovely.remotetask.cli.output import (
    print_json,
    print_pairs,
    print_table,
    warn,
    when,
)
from lovely.remotetask.cli.text import duration, moment, printable, printable_lines
from lovely.remotetask.cli.values import Moment
from lovely.remotetask.errors import UnknownJob
from lovely.remotetask.job import CronJob, Failure, Job, PastRun
from lovely.remotetask.service import TaskService
from lovely.remotetask.values import readable


@click.command(cls=Command)
@of_status("--status", help="Only jobs with this status.")
@click.option("--task", metavar="NAME", help="Only jobs of this task.")
@click.option("--text", metavar="TEXT", help="Only jobs whose error has this text.")
@click.option("--since", type=Moment(), help="Only jobs added then or later.")
@click.option("--until", type=Moment(), help="Only jobs added before.")
@click.option(
    "--limit",
    metavar="NUMBER",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="At most so many.",
)
@click.option(
    "--start", metavar="ID", type=int, help="Go on from this job, as was told."
)
@click.option(
    "--look-at",
    metavar="NUMBER",
    type=click.IntRange(min=1),
    default=100_000,
    show_default=True,
    help="Look at so many jobs, at most, for those that are wanted.",
)
@click.option("--oldest-first", is_flag=True, help="The oldest first, not the newest.")
@as_json
@on_service()
def jobs(access: Access, json: bool, oldest_first: bool, **wanted: Any) -> None:
    """List jobs, the newest first.

    If there may be more, it tells how to go on; with --json, "next" is for --start.
    """
    with access.read() as service:
        page = listing.find(service, newest_first=not oldest_first, **wanted)
        found = [describe.brief(job) for job in page.jobs]
        rows = [_row(job) for job in page.jobs]
    if json:
        print_json({"jobs": found, "next": page.next, "looked_at": page.looked_at})
        return
    if rows:
        headers = ("id", "task", "status", "added", "took", "tries", "error")
        print_table(headers, rows, right="id tries")
    else:
        click.echo("No jobs.", err=True)
    if page.next is not None:
        warn(f"Looked at {page.looked_at:,} jobs; go on with --start {page.next}.")


def _row(job: Job) -> list[object]:
    return [
        str(job.id),
        job.task,
        job.status,
        when(job.created),
        describe.took(job.started, job.completed),
        job.attempt,
        describe.failed(job),
    ]


@click.command(cls=Command)
@click.argument("jobid", metavar="ID", type=int)
@click.option("--full", is_flag=True, help="All of input and output.")
@as_json
@on_service()
def show(access: Access, jobid: int, full: bool, json: bool) -> None:
    """Show all that is known of one job."""
    with access.read() as service:
        job = service.jobs.get(jobid)
        if job is None:
            raise UnknownJob(jobid)
        if json:
            print_json(describe.full(service, job))
            return
        print_pairs(_pairs(service, job))
        for title, lines in _sections(job, full):
            click.echo()
            click.secho(printable(title), bold=True)
            for line in lines:
                click.echo(f"  {line}".rstrip())


def _pairs(service: TaskService, job: Job) -> Iterator[tuple[str, object]]:
    yield "Job", str(job.id)
    yield "Task", job.task
    yield "Status", job.status
    yield "Added", moment(job.created)
    if job.scheduledFor is not None:
        yield "Due", moment(job.scheduledFor)
    if isinstance(job, CronJob):
        yield "Schedule", describe.schedule(job.schedule)
        yield "Paused", "yes" if job.paused else "no"
    if job.started is not None:
        yield "Started", moment(job.started)
    if job.completed is not None:
        yield "Ended", moment(job.completed)
        yield "Took", describe.took(job.started, job.completed)
    yield "Attempts", job.attempt
    if job.crashes:
        yield "Workers lost", job.crashes
    progress = service.progress(job.id)
    if progress is not None:
        yield "Progress", f"{100 * progress.fraction:.0f} % {progress.message}".strip()


def _sections(job: Job, whole: bool) -> Iterator[tuple[str, list[str]]]:
    given, output = readable(job, "input"), readable(job, "output")
    yield "Input", printable_lines(describe.pretty(given, whole=whole))
    if output is not None:
        yield "Output", printable_lines(describe.pretty(output, whole=whole))
    for attempt in job.attempts:
        if attempt.failure is not None:
            at = moment(attempt.ended)
            title = f"Attempt {attempt.number} failed {at}: {attempt.failure.type}"
            yield title, printable_lines(_told(attempt.failure))
    if isinstance(job, CronJob) and job.runs:
        yield "Last runs", [_run(run) for run in job.runs]


def _told(failure: Failure) -> str:
    return failure.traceback or failure.message


def _run(run: PastRun) -> str:
    planned = moment(run.planned) if run.planned else "asked for"
    took = "" if run.duration is None else f" in {duration(run.duration)}"
    return f"{planned}: {run.outcome}{took}"
