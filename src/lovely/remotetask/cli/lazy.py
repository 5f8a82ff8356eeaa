"""A group of commands of which only the one that is called is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click

from lovely.remotetask.cli.problems import one_line_errors


class Where(NamedTuple):
    """Where a command is: its section in the help, its module and its name there."""

    section: str
    module: str
    name: str


class LazyGroup(click.Group):
    """Commands by name, in an order that makes sense, not that of the alphabet."""

    def __init__(
        self, *args: Any, places: Mapping[str, Where] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._places = dict(places or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        where = self._places.get(cmd_name)
        if where is None:
            return None
        module = import_module(f"lovely.remotetask.cli.{where.module}")
        command: click.Command = getattr(module, where.name)
        return command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        width = max(map(len, self._places))
        for section in dict.fromkeys(where.section for where in self._places.values()):
            rows = [
                (f"{name:{width}}", self._help(ctx, name))
                for name, where in self._places.items()
                if where.section == section
            ]
            with formatter.section(section):
                formatter.write_dl(rows)

    def _help(self, ctx: click.Context, name: str) -> str:
        command = self.get_command(ctx, name)
        return "" if command is None else command.get_short_help_str(100)

    def invoke(self, ctx: click.Context) -> Any:
        with one_line_errors(debug=bool(ctx.params.get("debug"))):
            return super().invoke(ctx)
