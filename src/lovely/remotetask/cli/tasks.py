"""The command ``remotetask tasks``: which tasks are registered here."""

from __future__ import annotations

from typing import Any

import click

from lovely.remotetask.cli.access import Access
from lovely.remotetask.cli.options import Command, as_json, on_service
from lovely.remotetask.cli.output import print_json, print_table
from lovely.remotetask.cli.text import first_line


@click.command(cls=Command)
@as_json
@on_service(tasks=True)
def tasks(access: Access, json: bool) -> None:
    """List the tasks that this process knows, by --setup, --zcml or the database."""
    with access.read() as service:
        found = sorted(service.getAvailableTasks().items())
        described = [(name, _what(task), _doc(task)) for name, task in found]
    if json:
        keys = ("name", "type", "description")
        print_json([dict(zip(keys, each, strict=True)) for each in described])
    elif described:
        print_table(("name", "type", "description"), described)
    else:
        click.echo("No tasks are registered here. See --setup and --zcml.", err=True)


def _what(task: Any) -> str:
    return type(task).__name__


def _doc(task: Any) -> str:
    """What a task says of itself, in a line: its function, if it calls one."""
    function = getattr(task, "func", task)
    own = getattr(function, "__doc__", None)
    return first_line(own).strip() if isinstance(own, str) else ""
