"""The command ``remotetask`` and where its commands are."""

from __future__ import annotations

import os
from pathlib import Path

import click

from lovely.remotetask.cli import settings
from lovely.remotetask.cli.lazy import LazyGroup, Where
from lovely.remotetask.cli.logs import quiet
from lovely.remotetask.cli.output import colour

RUN, LOOK, CHANGE, CARE = "Run", "Look", "Change", "Look after"

COMMANDS = {
    "worker": Where(RUN, "worker", "worker"),
    "dashboard": Where(RUN, "dashboard", "dashboard"),
    "demo": Where(RUN, "demo.command", "demo"),
    "status": Where(LOOK, "status", "status"),
    "top": Where(LOOK, "top", "top"),
    "jobs": Where(LOOK, "jobs", "jobs"),
    "show": Where(LOOK, "jobs", "show"),
    "tasks": Where(LOOK, "tasks", "tasks"),
    "add": Where(CHANGE, "verbs", "add"),
    "start": Where(CHANGE, "verbs", "start"),
    "cancel": Where(CHANGE, "verbs", "cancel"),
    "retry": Where(CHANGE, "verbs", "retry"),
    "clean": Where(CHANGE, "clean", "clean"),
    "cron": Where(CHANGE, "cron", "cron"),
    "doctor": Where(CARE, "doctor", "doctor"),
    "convert": Where(CARE, "convert", "convert"),
    "bench": Where(CARE, "bench", "bench"),
}


@click.group(
    cls=LazyGroup,
    places=COMMANDS,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "REMOTETASK",
    },
)
@click.version_option(package_name="lovely.remotetask", prog_name="remotetask")
@click.option("--debug", is_flag=True, help="Show logs and tracebacks.")
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file with a table [tool.remotetask]; otherwise the nearest pyproject.toml "
    "that has one, in this directory or above.",
)
@click.pass_context
def main(context: click.Context, debug: bool, config: Path | None) -> None:
    """A job queue that lives in the application's own ZODB.

    Which database and which service is told by options, by environment variables
    (REMOTETASK_DATABASE for --database, REMOTETASK_WORKER_THREADS for --threads of
    worker), or by a table [tool.remotetask] in pyproject.toml; the first counts most.
    """
    context.obj = debug
    if not colour(os.environ):
        context.color = False  # else click does as the terminal can
    path = config or settings.find(Path.cwd())
    if path is not None and isinstance(context.command, click.Group):
        context.default_map = settings.defaults(context, context.command, path)
    context.with_resource(quiet(debug))
