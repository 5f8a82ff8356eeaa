"""The command ``remotetask top``: a service as it goes, on a terminal."""

from __future__ import annotations

import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from lovely.remotetask import listing
from lovely.remotetask.cli import describe
from lovely.remotetask.cli.access import Access
from lovely.remotetask.cli.options import Command, on_service
from lovely.remotetask.cli.output import STYLES, on_terminal, rich_table, styled, when
from lovely.remotetask.cli.problems import Problem, told
from lovely.remotetask.cli.status import (
    LEVELS,
    WORKER_HEADERS,
    Report,
    rate_text,
    report,
    waiting_text,
    worker_rows,
)
from lovely.remotetask.cli.text import moment, printable
from lovely.remotetask.cli.values import Seconds
from lovely.remotetask.job import Job
from lovely.remotetask.service import TaskService
from lovely.remotetask.states import ERROR, PROCESSING, STATUSES

#: So many jobs that run, and that have failed, are shown; as many as there is room.
MOST = 50
#: Lines besides those of statuses, workers and jobs: titles, and empty ones.
OTHER_LINES = 10
#: Keys that end it.
QUIT = "qQ\x1b\x04"


@click.command(cls=Command)
@click.option(
    "--interval",
    metavar="SECONDS",
    type=Seconds(0.1),
    default=1.0,
    show_default=True,
    help="How often to look.",
)
@on_service()
def top(access: Access, interval: float) -> None:
    """Watch a service: counts, workers, jobs that run, and what has failed.

    It needs a terminal; q or Ctrl-C ends it.
    """
    if not on_terminal():
        raise Problem(
            "'top' needs a terminal. Elsewhere, 'status --json' tells as much."
        )
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with (
        suppress(KeyboardInterrupt),
        keys() as pressed,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while True:
            live.update(view(access, console.size.height), refresh=True)
            if pressed(interval):
                return
            with suppress(Exception):  # it is told with the next look
                access.renew()


@contextmanager
def keys() -> Iterator[Any]:
    """Within, the function that is given waits; whether a key was pressed to end."""
    if not sys.stdin.isatty():
        yield lambda seconds: bool(select.select([], [], [], seconds)[0])
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield _quit_pressed
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _quit_pressed(seconds: float) -> bool:
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and sys.stdin.read(1) in QUIT


def view(access: Access, height: int) -> Any:
    """What is shown, for a screen of so many lines."""
    from rich.text import Text

    try:
        with access.read() as service:
            return _page(access, service, height)
    except Exception as error:
        where, what = printable(str(access)), printable(told(error))
        return Text(f"{where}\n\n{what}", style="red")


def _page(access: Access, service: TaskService, height: int) -> Any:
    from rich.console import Group

    found = report(service)
    workers = worker_rows(found)
    room = max(2, height - len(STATUSES) - len(workers) - OTHER_LINES)
    running = [_running_row(service, job) for job in _jobs(service, PROCESSING)]
    failed = [_failed_row(job) for job in _jobs(service, ERROR)]
    shown = running[: max(1, room // 2, room - len(failed))]
    parts = [_header(access, found), _counts(found)]
    if workers:
        texts = [[_cell(value) for value in row] for row in workers]
        parts.append(rich_table(WORKER_HEADERS, texts, numeric={3, 4}))
    if shown:
        table = rich_table(("running", "task", "added", "progress"), shown)
        parts.extend(["", table])
    if failed:
        kept = failed[: max(1, room - len(shown))]
        parts.extend(["", rich_table(("failed", "task", "at", "error"), kept)])
    return Group(*parts)


def _jobs(service: TaskService, status: str) -> list[Job]:
    return list(listing.find(service, status=status, limit=MOST).jobs)


def _cell(value: object) -> str:
    return printable(str(value))


def _header(access: Access, found: Report) -> Any:
    from rich.text import Text

    level = LEVELS[found.level]
    title = Text()
    title.append(printable(str(access)), style="bold")
    title.append(f"   {moment(found.at)}   ")
    title.append(level, style=STYLES[level])
    title.append(f": {'; '.join(found.reasons)}" if found.reasons else "")
    return title


def _counts(found: Report) -> Any:
    from rich.table import Table

    table = Table.grid(padding=(0, 3))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    notes = {"queued": waiting_text(found), "completed": rate_text(found)}
    table.add_row("", "", "")
    for status, count in found.counts.items():
        table.add_row(styled(status), f"{count:,}", notes.get(status, ""))
    table.add_row("", "", "")
    return table


def _running_row(service: TaskService, job: Job) -> list[str]:
    progress = service.progress(job.id)
    shown = "" if progress is None else f"{100 * progress.fraction:.0f} % "
    message = "" if progress is None else printable(progress.message)
    return [str(job.id), printable(job.task), when(job.created), shown + message]


def _failed_row(job: Job) -> list[str]:
    error = printable(describe.failed(job))
    return [str(job.id), printable(job.task), when(job.completed), error]
