"""The command ``remotetask clean``: remove jobs that are over."""

from __future__ import annotations

import sys
from collections.abc import Collection
from itertools import islice

import click

from lovely.remotetask.cli.access import Access
from lovely.remotetask.cli.options import Command, on_service, yes
from lovely.remotetask.cli.problems import Problem
from lovely.remotetask.cli.progress import progress
from lovely.remotetask.cli.text import number
from lovely.remotetask.service import TaskService
from lovely.remotetask.states import CANCELLED, COMPLETED, REMOVABLE

#: At most so many jobs are looked at, and so many removed, in one transaction.
LOOK_AT = 1000
BATCH = 100


@click.command(cls=Command)
@click.option(
    "--status",
    type=click.Choice(sorted(REMOVABLE)),
    multiple=True,
    help="Which jobs; may be repeated.  Otherwise completed and cancelled ones.",
)
@click.option(
    "--limit",
    metavar="NUMBER",
    type=click.IntRange(min=1),
    help="Remove so many, at most, the oldest first.",
)
@yes
@on_service(write=True)
def clean(
    access: Access, status: tuple[str, ...], limit: int | None, yes: bool
) -> None:
    """Remove jobs that are over.

    Workers do that by themselves, as the service's retention says.  It asks first;
    without a terminal to ask on, --yes is needed.
    """
    chosen = status or (COMPLETED, CANCELLED)
    with access.read() as service:
        counts = {status: service.count(status) for status in chosen}
    total = min(sum(counts.values()), limit or sys.maxsize)
    if not total:
        click.echo(f"There are no jobs with the status {' or '.join(chosen)}.")
        return
    if not yes:
        _ask(counts, total)
    removed = _remove(access, frozenset(chosen), total)
    click.echo(f"{number(removed, 'job')} removed.")


def _ask(counts: dict[str, int], total: int) -> None:
    """Go on only if the user says so."""
    if not sys.stdin.isatty():
        raise Problem(
            f"This would remove {number(total, 'job')}. Confirm it with --yes."
        )
    found = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    click.confirm(f"{found}. Remove {number(total, 'job')}?", abort=True)


def _remove(access: Access, chosen: Collection[str], total: int) -> int:
    """Remove jobs bit by bit: each transaction goes on where the last one ended."""
    removed = start = 0

    def batch(service: TaskService) -> tuple[int, int | None]:
        count, last = 0, None
        for jobid, job in islice(service.jobs.items(start), LOOK_AT):
            last = jobid
            if job.status in chosen:
                service._remove(job)
                count += 1
                if count in {BATCH, total - removed}:
                    break
        return count, last

    with progress("Removing", total) as show:
        while removed < total:
            count, last = access.write(batch)
            if last is None:
                break
            removed, start = removed + count, last + 1
            show(removed)
    return removed
