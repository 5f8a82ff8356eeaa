"""The options that commands have in common, and commands that work on a service."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.core import ParameterSource

from lovely.remotetask.cli.access import Access, Wanted, opened
from lovely.remotetask.cli.database import Where
from lovely.remotetask.cli.problems import Problem
from lovely.remotetask.cli.values import Seconds, ServiceName, Status

#: The nearer a value was given, the more it counts.
SOURCES = (
    ParameterSource.COMMANDLINE,
    ParameterSource.ENVIRONMENT,
    ParameterSource.DEFAULT_MAP,
)


class PlaceOption(click.Option):
    """An option that says which service is meant, listed apart from the others."""


class Command(click.Command):
    """A command whose help tells its own options from those of the database."""

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        own: list[tuple[str, str]] = []
        place: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                (place if isinstance(param, PlaceOption) else own).append(record)
        for title, records in (("Options", own), ("Database and service", place)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def place(*names: str, **attributes: Any) -> Callable[[Any], Any]:
    """An option of the place; its variable is the same for all commands."""
    name = names[0].removeprefix("--").upper()
    return click.option(
        *names, cls=PlaceOption, envvar=f"REMOTETASK_{name}", **attributes
    )


DATABASE = [
    place(
        "--database",
        "-d",
        metavar="URI",
        help="The database: file://PATH, zeo://HOST:PORT, postgres://..., or another "
        "URI of zodburi; or the path of a file.",
    ),
    place(
        "--zconfig",
        metavar="FILE",
        type=click.Path(),
        help="The database, as <zodb> in a file of ZConfig.",
    ),
    place(
        "--wait",
        metavar="SECONDS",
        type=Seconds(),
        default=10.0,
        show_default=True,
        help="How long to wait for a server.",
    ),
]
SERVICE = [
    place(
        "--service",
        "-s",
        metavar="SERVICE",
        help="Its path (/site/tasks), or its name as a utility.  Not needed where "
        "there is only one.",
    ),
]
#: The same for who takes several.
SERVICES = [
    place(
        "--service",
        "-s",
        type=ServiceName(),
        multiple=True,
        help="Its path (/site/tasks), or its name as a utility; may be repeated.  Not "
        "needed where there is only one.",
    ),
]
TASKS = [
    place(
        "--setup",
        metavar="MODULE[:FUNCTION]",
        multiple=True,
        help="Register tasks: import the module and call the function, with the "
        "ZODB.DB if it takes an argument.  May be repeated.",
    ),
    place(
        "--zcml",
        metavar="FILE",
        type=click.Path(),
        help="Register tasks by Zope's configuration.",
    ),
]


def with_options(function: Any, *groups: list[Callable[[Any], Any]]) -> Any:
    """Decorate a function with options, in this order in the help."""
    for option in reversed([option for group in groups for option in group]):
        function = option(function)
    return function


def wanted_place(ctx: click.Context, options: dict[str, Any]) -> Wanted:
    """Take the options of the place out of those of a command.  Raise Problem."""
    database, zconfig = options.pop("database", None), options.pop("zconfig", None)
    ranks = {}
    for name, value in (("database", database), ("zconfig", zconfig)):
        source = ctx.get_parameter_source(name)
        if value and source in SOURCES:
            ranks[name] = SOURCES.index(source)
    if len(ranks) == 2 and len(set(ranks.values())) == 1:
        raise Problem("Give either --database or --zconfig, not both.")
    nearest = min(ranks, key=lambda name: ranks[name], default=None)
    where = Where(
        database if nearest == "database" else None,
        zconfig if nearest == "zconfig" else None,
        options.pop("wait", 10.0),
    )
    return Wanted(
        where,
        options.pop("service", None),
        tuple(options.pop("setup", ())),
        options.pop("zcml", None),
    )


def on_service(
    *, write: bool = False, tasks: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of the place, and an `Access` as its first argument.

    ``write``: whether it changes anything.  ``tasks``: whether it needs those of the
    application; others take the options too, for classes that are in the database.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @click.pass_context
        @functools.wraps(function)
        def command(ctx: click.Context, /, **options: Any) -> Any:
            with opened_for(ctx, options, write=write, tasks=tasks) as access:
                return function(access, **options)

        return with_options(command, DATABASE, SERVICE, TASKS)  # type: ignore[no-any-return]

    return decorate


@contextmanager
def opened_for(
    ctx: click.Context, options: dict[str, Any], **how: Any
) -> Iterator[Access]:
    """Take the options of the place from a command's, and open it."""
    with opened(place_of(ctx, options), **how) as access:
        yield access


def place_of(ctx: click.Context, options: dict[str, Any]) -> Wanted:
    """The same as `wanted_place`; there has to be a database.  Raise Problem."""
    wanted = wanted_place(ctx, options)
    if not (wanted.where.uri or wanted.where.zconfig):
        raise Problem(
            "Which database? Give --database or --zconfig, set REMOTETASK_DATABASE, or "
            "write it into [tool.remotetask] of a pyproject.toml."
        )
    return wanted


as_json = click.option("--json", is_flag=True, help="Print JSON.")
yes = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def of_status(*names: str, **attributes: Any) -> Callable[[Any], Any]:
    """An option for one of the statuses of jobs."""
    return click.option(*names, type=Status(), **attributes)
