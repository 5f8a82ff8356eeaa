"""Settings from a file: the table ``[tool.remotetask]`` of a ``pyproject.toml``.

Its keys are the long options that name a database, a service and its tasks; a table
within it, named as a command, has the options of that command::

    [tool.remotetask]
    database = "zeo://localhost:9991"
    service = "/site/tasks"
    setup = "news.tasks:register"

    [tool.remotetask.worker]
    threads = 4
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from lovely.remotetask.cli.problems import Problem
from lovely.remotetask.cli.text import listed

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

#: The options that name a database, a service and its tasks.
COMMON = ("database", "zconfig", "service", "wait", "setup", "zcml")
#: Those that are files, relative to the one that names them.
FILES = ("zconfig", "zcml")


def find(start: Path) -> Path | None:
    """The nearest ``pyproject.toml`` that has such a table, upward."""
    for directory in [start, *start.parents]:
        path = directory / "pyproject.toml"
        if path.is_file() and b"tool.remotetask" in path.read_bytes():
            return path
    return None


def load(path: Path) -> dict[str, Any]:
    """The table in a file.  Raise Problem."""
    try:
        with path.open("rb") as file:
            table = tomllib.load(file).get("tool", {}).get("remotetask")
    except OSError as error:
        raise Problem(f"{path} can't be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise Problem(f"{path} is not valid TOML: {error}.") from error
    if not isinstance(table, Mapping):
        raise Problem(f"{path} has no table [tool.remotetask].")
    return dict(table)


def defaults(ctx: click.Context, group: click.Group, path: Path) -> dict[str, Any]:
    """What the options of the command that is called have by default.

    As click wants it.  Raise Problem, also for a key that no option has: it would be
    taken for one that works.
    """
    table, name = load(path), str(ctx.invoked_subcommand)
    command = group.get_command(ctx, name)
    known = {*COMMON, *group.list_commands(ctx)}
    _check(f"{path}: [tool.remotetask]", table, known)
    common = {key: _value(path, key, table[key]) for key in COMMON if key in table}
    if isinstance(command, click.Group):
        return {name: dict.fromkeys(command.list_commands(ctx), common)}
    own = table.get(name, {})
    if not isinstance(own, Mapping):
        raise Problem(f"{path}: {name!r} is to be a table, [tool.remotetask.{name}].")
    options = _options(command)
    _check(f"{path}: [tool.remotetask.{name}]", own, options)
    found = {_key(key): _value(path, key, value) for key, value in own.items()}
    return {name: {**common, **found}}


def _options(command: click.Command | None) -> set[str]:
    """The long names of a command's options."""
    return {
        str(option.name).replace("_", "-")
        for option in (command.params if command is not None else ())
        if isinstance(option, click.Option)
    }


def _check(where: str, table: Mapping[str, Any], known: set[str]) -> None:
    for key in table:
        if key not in known:
            raise Problem(f"{where} has {key!r}; known are {listed(sorted(known))}.")


def _key(key: str) -> str:
    return key.replace("-", "_")


def _value(path: Path, key: str, value: Any) -> Any:
    """A value from the file: paths are relative to it, as an editor shows them."""
    if key == "setup" and isinstance(value, str):
        return [value]
    if key in FILES and isinstance(value, str):
        return str(path.parent / value)
    if key == "database" and isinstance(value, str):
        scheme, separator, where = value.partition("://")
        if scheme in {"file", "zconfig"} and separator:
            return f"{scheme}://{path.parent / where}"
    return value
