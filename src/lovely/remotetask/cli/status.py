"""The command ``remotetask status``: whether all is well, for people and monitors."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from lovely.remotetask.cli.access import Access
from lovely.remotetask.cli.options import Command, as_json, on_service
from lovely.remotetask.cli.output import print_json, print_pairs, print_table, when
from lovely.remotetask.cli.text import duration, iso, moment, number
from lovely.remotetask.cli.values import Seconds
from lovely.remotetask.health import SILENT, STALLED, Processing, WorkerState
from lovely.remotetask.states import ERROR, STATUSES

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

#: The rate is that of so many minutes.
MINUTES = 5
#: What the exit status says, by its number.
LEVELS = ("ok", "warning", "critical")


class Rate(NamedTuple):
    """What has been done in the last minutes."""

    completed: int
    failed: int


class Report(NamedTuple):
    """A service at a moment, and what is to be said of it."""

    at: datetime
    counts: dict[str, int]
    processing: Processing
    rate: Rate
    #: 0, 1 or 2: see LEVELS; and why.
    level: int
    reasons: list[str]

    @property
    def waited(self) -> float | None:
        """For how long the oldest job that is due has waited (seconds)."""
        oldest = self.processing.oldest
        return None if oldest is None else max(0, (self.at - oldest).total_seconds())


class Limits(NamedTuple):
    """From what on a warning is due."""

    waiting: float | None = None
    errors: int | None = None


def report(service: TaskService, limits: Limits | None = None) -> Report:
    """Look at a service; the cost does not depend on how many jobs there are."""
    counts = {status: service.count(status) for status in STATUSES}
    at = datetime.fromtimestamp(service.environment.time(), timezone.utc)
    minutes = service.history(MINUTES)
    rate = Rate(sum(m.completed for m in minutes), sum(m.failed for m in minutes))
    found = Report(at, counts, service.processing, rate, 0, [])
    warnings = list(_warnings(found, limits or Limits()))
    if found.processing.stalled:
        cause = _stall(found)
        return found._replace(level=2, reasons=[cause, *warnings])
    return found._replace(level=1 if warnings else 0, reasons=warnings)


def _stall(found: Report) -> str:
    late = f"a job has been due for {duration(found.waited)}"
    if not found.processing.workers:
        return f"there is no worker, and {late}"
    return f"no worker takes jobs, and {late}"


def _warnings(found: Report, limits: Limits) -> list[str]:
    ill = [s for _, s in found.processing.workers if s in {SILENT, STALLED}]
    reasons = [
        f"{number(ill.count(s), 'worker')} {s}" for s in dict.fromkeys(sorted(ill))
    ]
    waited = found.waited or 0
    if limits.waiting is not None and waited > limits.waiting:
        reasons.append(f"the oldest job has waited for {duration(waited)}")
    if limits.errors is not None and found.counts[ERROR] > limits.errors:
        reasons.append(f"{number(found.counts[ERROR], 'job')} in error")
    return reasons


def as_dict(found: Report, access: Access) -> dict[str, Any]:
    """The report for programs."""
    processing = found.processing
    return {
        "service": "/" + "/".join(access.path),
        "database": str(access.wanted.where),
        "at": iso(found.at),
        "state": LEVELS[found.level],
        "reasons": found.reasons,
        "stalled": processing.stalled,
        "counts": found.counts,
        "total": sum(found.counts.values()),
        "oldest_waiting": iso(processing.oldest),
        "oldest_waiting_seconds": found.waited,
        "rate": {"minutes": MINUTES, **found.rate._asdict()},
        "workers": [_worker_dict(worker) for worker in processing.workers],
    }


def _worker_dict(found: WorkerState) -> dict[str, Any]:
    worker = found.worker
    return {
        "identity": worker.identity,
        "host": worker.host,
        "pid": worker.pid,
        "state": found.state,
        "threads": worker.threads,
        "jobs": list(worker.held),
        "started": iso(worker.started),
        "heartbeat": iso(worker.heartbeat),
        "last_claim": iso(worker.lastClaim),
    }


def rate_text(found: Report) -> str:
    """How much is done, in words."""
    done = found.rate.completed + found.rate.failed
    text = f"{done / MINUTES:,.3g} jobs a minute (the last {MINUTES} minutes)"
    return text + (f", {found.rate.failed:,} failed" if found.rate.failed else "")


def waiting_text(found: Report) -> str:
    """How long the oldest job waits, in words."""
    oldest = found.processing.oldest
    if oldest is None:
        return "nothing is due"
    return f"{duration(found.waited)}, since {moment(oldest)}"


WORKER_HEADERS = ("host", "pid", "state", "threads", "jobs", "heartbeat", "since")


def worker_rows(found: Report) -> list[list[object]]:
    """The workers as rows of a table."""
    return [
        [
            worker.host,
            str(worker.pid),
            state,
            worker.threads,
            len(worker.held),
            _ago(found.at, worker.heartbeat),
            when(worker.started),
        ]
        for worker, state in found.processing.workers
    ]


def _ago(now: datetime, then: datetime | None) -> str:
    if then is None:
        return "-"
    return f"{duration(max(0, round((now - then).total_seconds())))} ago"


@click.command(cls=Command)
@click.option(
    "--max-waiting",
    metavar="SECONDS",
    type=Seconds(),
    help="Warn if the oldest job that is due waits for longer.",
)
@click.option(
    "--max-errors",
    metavar="NUMBER",
    type=click.IntRange(min=0),
    help="Warn if more jobs are in error.",
)
@as_json
@on_service()
def status(
    access: Access,
    max_waiting: float | None,
    max_errors: int | None,
    json: bool,
) -> None:
    """Tell how many jobs there are, and whether all is well.

    The exit status is 0 if it is.  It is 1 for a warning: a worker is silent or
    stalled, or one of the limits is passed.  It is 2 if jobs are due and nobody takes
    them, and also if that can't be found out.
    """
    with access.read() as service:
        found = report(service, Limits(max_waiting, max_errors))
    if json:
        print_json(as_dict(found, access))
    else:
        _print(found, access)
    click.get_current_context().exit(found.level)


def _print(found: Report, access: Access) -> None:
    print_pairs(
        [
            ("Service", access),
            ("State", LEVELS[found.level]),
            *(("", reason) for reason in found.reasons),
            *((name.capitalize(), count) for name, count in found.counts.items()),
            ("Oldest waiting", waiting_text(found)),
            ("Rate", rate_text(found)),
        ]
    )
    click.echo()
    if not found.processing.workers:
        click.echo("There is no worker.")
        return
    print_table(WORKER_HEADERS, worker_rows(found), right="threads jobs")
