"""What the documentation tells of the command is so."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from lovely.remotetask.cli.commands import main
from tests.test_docs import DOCS, ROOT, text_of

PAGES = [ROOT / "README.rst", *sorted(DOCS.rglob("*.rst"))]

#: A line that calls the command, in a shell, a unit of systemd or another block.
CALL = re.compile(
    r"^ +(?:\$ |ExecStart=)?(?:[/.\w]*/)?(remotetask [a-z].*)$", re.MULTILINE
)


def calls() -> Iterator[str]:
    for page in PAGES:
        yield from CALL.findall(text_of(page))


@pytest.mark.parametrize("line", sorted(set(calls())))
def test_calls_in_the_documentation(line: str) -> None:
    """Each call that a page shows has a command and options that exist."""
    args = [word for word in shlex.split(line)[1:] if word != "..."]
    ctx = click.Context(main, info_name="remotetask")
    command: click.Command = main
    while isinstance(command, click.Group):
        name = args.pop(0)
        found = command.get_command(ctx, name)
        assert found is not None, name
        command = found
    command.make_context(command.name, args, parent=ctx)


def test_every_command_is_in_the_help() -> None:
    """There are calls on the pages, and each command has something to say."""
    assert len(set(calls())) > 15
    ctx = click.Context(main, info_name="remotetask")
    for name in main.list_commands(ctx):
        command = main.get_command(ctx, name)
        assert command is not None
        assert command.help
