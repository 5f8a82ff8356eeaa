"""The command ``remotetask convert``: services that older versions have left."""

from __future__ import annotations

import sys
from typing import Any

import click
from ZODB.POSException import ConflictError

from lovely.remotetask.cli.access import Wanted
from lovely.remotetask.cli.database import open_database
from lovely.remotetask.cli.options import (
    DATABASE,
    Command,
    place_of,
    with_options,
    yes,
)
from lovely.remotetask.cli.problems import Problem, Unusable
from lovely.remotetask.cli.progress import Show, progress
from lovely.remotetask.cli.registration import prepare_path
from lovely.remotetask.cli.text import number
from lovely.remotetask.evolve import Evolved, Progress, evolve
from lovely.remotetask.versions import CURRENT


@click.pass_context
def _convert(
    ctx: click.Context,
    /,
    timezone: str | None,
    batch: int,
    yes: bool,
    **options: Any,
) -> None:
    """Convert the services in a database to this version, with their jobs.

    Stop the application first, and keep a copy: there is no way back.  It can be
    interrupted, and goes on when it is called again.  What was written by Python 2 has
    to be converted by zodbupdate before.
    """
    wanted = place_of(ctx, options)
    if not yes:
        _ask(wanted)
    prepare_path()  # for the application's classes
    db = open_database(wanted.where, read_only=False)
    try:
        with progress("Converting", 1) as show:
            found = evolve(db, timezone=timezone, batch=batch, progress=_shown(show))
    except ConflictError as error:
        raise Unusable(
            "Another process changes these services all the time: another conversion, "
            "or the application? What is done is kept: when that has ended, call it "
            "again."
        ) from error
    finally:
        db.close()
    for evolved in found:
        click.echo(_told(evolved))
    if not found:
        click.echo("There is no task service in this database.")


_convert.__name__ = "convert"
convert = click.command("convert", cls=Command)(
    with_options(
        _convert,
        [
            click.option(
                "--timezone",
                metavar="NAME",
                help="The zone of the old server's clock, such as Europe/Vienna; "
                "otherwise that of this machine.",
            ),
            click.option(
                "--batch",
                metavar="NUMBER",
                type=click.IntRange(min=1),
                default=1000,
                show_default=True,
                help="How many jobs are converted in one transaction.",
            ),
            yes,
        ],
        DATABASE,
    )
)


def _ask(wanted: Wanted) -> None:
    """Go on only if the user says so."""
    if not sys.stdin.isatty():
        raise Problem(f"This would convert {wanted.where}. Confirm it with --yes.")
    click.confirm(
        f"Is the application stopped, and is there a copy of {wanted.where}?",
        abort=True,
    )


def _shown(show: Show) -> Any:
    """Shows how far the conversion is."""

    def tell(found: Progress) -> None:
        show(found.done, found.total)

    return tell


def _told(evolved: Evolved) -> str:
    """What has become of a service."""
    jobs = number(evolved.jobs, "job")
    if evolved.version == CURRENT:
        return f"{evolved.service}: nothing to do, {jobs}."
    lost = f", {evolved.lost:,} of them in error, as nothing would have run them"
    return f"{evolved.service}: converted, {jobs}{lost if evolved.lost else ''}."
