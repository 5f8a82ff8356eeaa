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
from collections.abc import Collection, Mapping
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
    common = {key: table[key] for key in COMMON if key in table}

    def of(command: click.Command | None, own: Any, *names: str) -> dict[str, Any]:
        """The defaults of a command, or of those of a group in it, by name."""
        where = ".".join(("tool.remotetask", *names))
        if not isinstance(own, Mapping):
            raise Problem(f"{path}: {names[-1]!r} is to be a table, [{where}].")
        if isinstance(command, click.Group):
            inner = {each: command.get_command(ctx, each) for each in command.commands}
            _check(f"{path}: [{where}]", own, inner)
            return {
                each: of(found, own.get(each, {}), *names, each)
                for each, found in inner.items()
            }
        _check(f"{path}: [{where}]", own, _options(command))
        return _of_command(path, command, {**common, **own})

    return {name: of(command, table.get(name, {}), name)}


def _of_command(
    path: Path, command: click.Command | None, table: Mapping[str, Any]
) -> dict[str, Any]:
    """What a table says, as the options of a command take it.

    Where only one service is taken, and several are named, none is meant.
    """
    options, found = _options(command), {}
    for key, value in table.items():
        option = options.get(key)
        several = option is not None and option.multiple
        if several and not isinstance(value, list):
            value = [value]
        if key == "service" and not several and isinstance(value, list):
            value = value[0] if len(value) == 1 else None
        if isinstance(value, str):
            value = _text(path, key, value, option)
        found[key.replace("-", "_")] = value
    return found


def _text(path: Path, key: str, value: str, option: click.Option | None) -> str:
    """A text from the file: paths are relative to it, as an editor shows them."""
    if option is not None and isinstance(option.type, click.Path):
        return str(path.parent / value)
    if key == "database":
        scheme, separator, where = value.rpartition("://")
        if scheme in {"", "file", "zconfig"} and not value.startswith("demo:"):
            return f"{scheme}{separator}{path.parent / where}"
    return value


def _options(command: click.Command | None) -> dict[str, click.Option]:
    """A command's options by their long names."""
    return {
        str(option.name).replace("_", "-"): option
        for option in (command.params if command is not None else ())
        if isinstance(option, click.Option)
    }


def _check(where: str, table: Mapping[str, Any], known: Collection[str]) -> None:
    for key in table:
        if key not in known:
            raise Problem(f"{where} has {key!r}; known are {listed(sorted(known))}.")
