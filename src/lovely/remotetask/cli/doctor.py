"""The command ``remotetask doctor``: whether a database is sound, and what to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import click

from lovely.remotetask import checks, listing, processing
from lovely.remotetask.checks import Problem
from lovely.remotetask.cli.access import Access
from lovely.remotetask.cli.options import (
    DATABASE,
    SERVICE,
    TASKS,
    Command,
    as_json,
    opened_for,
    with_options,
)
from lovely.remotetask.cli.output import print_json
from lovely.remotetask.cli.progress import progress
from lovely.remotetask.cli.text import duration, listed, number, printable
from lovely.remotetask.errors import InvalidArgument, InvalidType
from lovely.remotetask.health import SILENT, STALLED
from lovely.remotetask.repairs import REPAIRABLE, repair
from lovely.remotetask.service import TaskService
from lovely.remotetask.states import QUEUED

#: So many problems are told, and repaired, in one go.
MOST = 1000
#: So many of the jobs that wait are asked for their tasks.
LOOK_AT = 1000

#: Where such problems are, nothing can be repaired safely.
DAMAGE = frozenset({checks.STRUCTURE, checks.UNREADABLE})

ADVICE = {
    checks.STRUCTURE: "The job table or the queue is damaged. Restore a backup, and "
    "report what has happened: nothing that the library does leads to this.",
    checks.COUNTS: "Only the numbers that are shown are wrong; --repair corrects them.",
    checks.PLACE: "It would never run, or out of its turn; --repair queues it anew.",
    checks.CLAIM: "Nobody will finish it; --repair gives it back to the queue.",
    checks.HELD: "Its worker can't go on; --repair takes the job from it.",
    checks.INDEX: "Lists of what has failed would be wrong; --repair corrects them.",
    checks.UNREADABLE: "Its record is lost or damaged. Restore a backup; for a file, "
    "ZODB.scripts.fstest and fsrefs tell more.",
    "configuration": "Set another value on the service, and commit.",
    "task": "Register it where workers run (--setup, --zcml), or cancel these jobs.",
    "worker": "Look at its log and at its machine; if it hangs, end it: others take "
    "over its jobs.",
    "stall": "Start a worker: remotetask worker.",
}


class Examined(NamedTuple):
    """What was found."""

    jobs: int
    seconds: float
    problems: list[Problem]
    #: Whether there were more than are told.
    more: bool


@click.pass_context
def _doctor(ctx: click.Context, /, repair: bool, json: bool, **options: Any) -> None:
    """Check that a service is sound, and say what to do where it is not.

    It looks at every job, in one transaction that reads only, while the service is
    in use: whether status, queue, schedule, claims and counts agree; whether workers
    take jobs; and whether tasks are registered here that jobs wait for.

    The exit status is 0 if nothing is wrong (any more), 1 if something is, and 2 if
    that can't be found out.
    """
    with opened_for(ctx, options, write=repair, tasks=True) as access:
        examined = examine(access)
        repaired = 0
        while repair and (done := _repair_all(access, examined.problems)):
            repaired += done
            examined = examine(access)
    if json:
        print_json(_as_dict(examined, repaired))
    else:
        _print(examined, repaired, asked=repair)
    ctx.exit(1 if examined.problems else 0)


_doctor.__name__ = "doctor"
doctor = click.command("doctor", cls=Command)(
    with_options(
        _doctor,
        [
            click.option(
                "--repair", is_flag=True, help="Put right what can be safely."
            ),
            as_json,
        ],
        DATABASE,
        SERVICE,
        TASKS,
    )
)


def examine(access: Access) -> Examined:
    """Look at everything."""
    begun = time.perf_counter()
    with access.read() as service:
        jobs = _count(service)
        with progress("Looking at jobs", jobs) as show:
            found = checks.problems(service, show)
            problems = list(islice(found, MOST))
            more = next(found, None) is not None
        problems.extend(upkeep(access, service))
    return Examined(jobs, time.perf_counter() - begun, problems, more)


def _count(service: TaskService) -> int:
    try:
        return service.count()
    except LookupError:
        return 0  # it is damaged, as will be told


def upkeep(access: Access, service: TaskService) -> Iterator[Problem]:
    """What is not as it should be, though the database is sound."""
    try:
        processing.make_processor(service, access.db, access.path)
    except (InvalidType, InvalidArgument) as error:
        yield Problem("configuration", str(error))
        return
    try:
        found = service.processing
    except LookupError:
        return
    for worker, state in found.workers:
        if state in {SILENT, STALLED}:
            name = f"process {worker.pid} on {worker.host}"
            yield Problem("worker", f"worker {worker.identity} ({name}) is {state}")
    if found.stalled:
        late = duration(time.time() - found.oldest.timestamp()) if found.oldest else "-"
        text = f"jobs are due, the oldest for {late}, and no worker takes them"
        yield Problem("stall", text)
    yield from _unknown_tasks(service)


def _unknown_tasks(service: TaskService) -> Iterator[Problem]:
    """Tasks that jobs wait for; nothing is said where none are registered at all."""
    known = service.getAvailableTasks()
    page = listing.find(
        service, status=QUEUED, limit=LOOK_AT, look_at=LOOK_AT, newest_first=False
    )
    missing = sorted({job.task for job in page.jobs} - set(known))
    if known and missing:
        text = f"jobs wait for tasks that are not registered here: {listed(missing)}"
        yield Problem("task", text)


def _repair_all(access: Access, problems: list[Problem]) -> int:
    """Put right what can be; how much that was.

    Nothing, if the table is damaged: what the rest looks like may come of that.  The
    counts come last: the other repairs may have corrected them.
    """
    if any(problem.kind in DAMAGE for problem in problems):
        return 0
    found = [problem for problem in problems if problem.kind in REPAIRABLE]
    others = [problem for problem in found if problem.kind != checks.COUNTS]
    repaired = 0
    for problem in others or found:
        repaired += access.write(lambda service, p=problem: repair(service, p))  # type: ignore[misc]
    return repaired


def _as_dict(examined: Examined, repaired: int) -> dict[str, Any]:
    return {
        "jobs": examined.jobs,
        "seconds": round(examined.seconds, 3),
        "repaired": repaired,
        "problems": [
            {
                "kind": problem.kind,
                "text": problem.text,
                "job": problem.jobid,
                "advice": ADVICE[problem.kind],
            }
            for problem in examined.problems
        ],
        "more": examined.more,
    }


def _print(examined: Examined, repaired: int, asked: bool) -> None:
    looked_at = f"{number(examined.jobs, 'job')} in {duration(examined.seconds)}"
    if repaired or asked:
        click.echo(f"{number(repaired, 'problem')} repaired.")
    if not examined.problems:
        click.secho(f"All is well: looked at {looked_at}.", fg="green")
        return
    said = number(len(examined.problems), "problem")
    click.secho(f"{said}: looked at {looked_at}.", fg="red")
    for kind in dict.fromkeys(problem.kind for problem in examined.problems):
        click.echo()
        for problem in examined.problems:
            if problem.kind == kind:
                click.echo(f"- {printable(problem.text)}")
        click.echo(f"  {ADVICE[kind]}")
    if examined.more:
        click.echo(f"\nThere are more; these are the first {MOST:,}.")
