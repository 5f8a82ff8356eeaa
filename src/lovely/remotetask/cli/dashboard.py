"""The command ``remotetask dashboard``: the web pages, served on this machine."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import click

from lovely.remotetask.cli.access import Access
from lovely.remotetask.cli.options import Command, on_service
from lovely.remotetask.cli.text import printable
from lovely.remotetask.cli.values import Seconds


@click.command(cls=Command)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Where to listen: an address that others can reach needs --users.",
)
@click.option(
    "--port",
    default=8080,
    show_default=True,
    metavar="NUMBER",
    type=click.IntRange(0, 65535),
    help="The port; 0 for any that is free.",
)
@click.option(
    "--users",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Let in only who has a password in this file, as htpasswd -B makes it.",
)
@click.option("--allow-changes", is_flag=True, help="Let jobs be changed.")
@click.option(
    "--allow-task",
    metavar="NAME",
    multiple=True,
    help="Let jobs of this task be added over the API.  May be repeated.",
)
@click.option(
    "--metrics",
    is_flag=True,
    help="Show metrics for Prometheus too, at /metrics; needs the extra metrics.",
)
@click.option(
    "--mask",
    metavar="REGEX",
    multiple=True,
    help="Do not show what has such a name, either: in inputs, outputs and errors.  "
    "May be repeated.",
)
@click.option(
    "--title",
    metavar="TEXT",
    help="What the pages are called; the name of the service by default.",
)
@click.option(
    "--refresh",
    metavar="SECONDS",
    type=Seconds(1),
    default=5.0,
    show_default=True,
    help="How often pages look for news.",
)
@on_service(write=True, tasks=True)
def dashboard(
    access: Access,
    *,
    host: str,
    port: int,
    users: str | None,
    allow_changes: bool,
    allow_task: Sequence[str],
    metrics: bool,
    mask: Sequence[str],
    title: str | None,
    refresh: float,
) -> None:
    """Serve the dashboard on this machine, until Ctrl-C or SIGTERM.

    Without --users, everybody on this machine can look, and with --allow-changes
    change jobs.  Passwords are sent as they are: let others in through a server that
    speaks HTTPS.
    """
    from lovely.remotetask.web import PATTERNS, BasicAuthentication, serve

    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with suppress(KeyboardInterrupt):
            serve(
                access.db,
                list(access.path),
                host=host,
                port=port,
                ready=lambda url: tell_ready(url, access),
                authentication=BasicAuthentication(users) if users else None,
                allow_changes=allow_changes,
                tasks=allow_task,
                metrics=_metrics_of(access) if metrics else None,
                mask=[*PATTERNS, *mask],
                title=title,
                refresh=refresh,
            )
    finally:
        signal.signal(signal.SIGTERM, before)


def tell_ready(url: str, access: Access) -> None:
    """Say what is served, and where."""
    click.echo(printable(f"{url} shows {access}. Ctrl-C ends it."))


def _metrics_of(access: Access) -> Any:
    """The application that shows metrics.  Raise NotInstalled."""
    from lovely.remotetask.metrics import make_app

    return make_app(access.db, list(access.path))


def _interrupt(signum: int, frame: Any) -> None:
    """SIGTERM ends it as Ctrl-C does."""
    raise KeyboardInterrupt
