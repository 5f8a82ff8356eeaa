"""The group of commands."""

from __future__ import annotations

import click

from lovely.remotetask.cli.demo import demo


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lovely.remotetask", prog_name="remotetask")
@click.option("--debug", is_flag=True, hidden=True, help="Show logs and tracebacks.")
@click.pass_context
def main(context: click.Context, debug: bool) -> None:
    """A job queue that lives in the application's own ZODB."""
    context.obj = debug


main.add_command(demo)
