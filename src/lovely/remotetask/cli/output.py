"""Printing tables and JSON: for a terminal, or plain for who reads it in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import click

from lovely.remotetask.cli import text
from lovely.remotetask.cli.text import printable

#: Colours of what is not as it should be, and of what is.
STYLES = {
    "error": "red",
    "critical": "bold red",
    "stalled": "bold red",
    "silent": "red",
    "warning": "yellow",
    "ok": "green",
    "completed": "green",
    "processing": "cyan",
}

#: A column that is wider may be cut off on a terminal, but not to less than that.
WIDE, NARROW = 24, 6


def on_terminal() -> bool:
    """Whether standard output is read by a person."""
    return sys.stdout.isatty()


def colour(environ: Mapping[str, str]) -> bool:
    """Whether colours and bold text are wanted, where a terminal can show them.

    rich asks the same of the environment.
    """
    dumb = environ.get("TERM") in {"dumb", "unknown"}
    return not dumb and not environ.get("NO_COLOR")


def print_json(value: Any) -> None:
    """Print JSON, for a program; on one line, unless a person reads it."""
    click.echo(json.dumps(value, indent=2 if on_terminal() else None))


def print_table(
    headers: Sequence[str], rows: Iterable[Sequence[object]], right: str = ""
) -> None:
    """Print rows in columns.

    On a terminal they fit its width; elsewhere nothing is cut off.  ``right`` has the
    headers of the columns of numbers.
    """
    texts = [[_cell(value) for value in row] for row in rows]
    numeric = {index for index, header in enumerate(headers) if header in right.split()}
    if on_terminal():
        _print_rich(headers, texts, numeric)
    else:
        for line in plain_table(headers, texts, numeric):
            click.echo(line)


def plain_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], numeric: Iterable[int] = ()
) -> Iterable[str]:
    """Lines of columns, two spaces apart."""
    all_rows = [[header.upper() for header in headers], *rows]
    widths = [max(len(row[index]) for row in all_rows) for index in range(len(headers))]
    for row in all_rows:
        cells = [
            cell.rjust(width) if index in set(numeric) else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return printable(str(value), sys.stdout.encoding or "utf-8")


def _print_rich(
    headers: Sequence[str], rows: Sequence[Sequence[str]], numeric: set[int]
) -> None:
    from rich.console import Console

    Console().print(rich_table(headers, rows, numeric), highlight=False)


def rich_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], numeric: Iterable[int] = ()
) -> Any:
    """A table of rich.

    Where there is no room, its last column is cut off, and what is very wide.
    """
    from rich.table import Table

    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold underline"
    )
    for index, header in enumerate(headers):
        width = max([len(header), *(len(row[index]) for row in rows)])
        cut = width > WIDE or index == len(headers) - 1
        table.add_column(
            header.capitalize(),
            justify="right" if index in set(numeric) else "left",
            # rich takes room only from columns that may wrap; no text here does.
            no_wrap=not cut,
            overflow="ellipsis",
            min_width=min(width, NARROW) if cut else width,
        )
    for row in rows:
        table.add_row(*map(styled, row))
    return table


def styled(value: str) -> Any:
    """Text of rich, in the colour of what it says; markup in it counts for nothing."""
    from rich.text import Text

    style = STYLES.get(value, "")
    return Text(value, style=style, no_wrap=True, overflow="ellipsis")


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Print what something has, each on a line."""
    shown = [(title, _cell(value)) for title, value in pairs]
    width = max((len(title) for title, _ in shown), default=0)
    for title, value in shown:
        name = click.style(f"{title:<{width}}", bold=True)
        color = STYLES.get(value)
        styled = click.style(value, fg=color.split()[-1]) if color else value
        click.echo(f"{name}  {styled}")


def when(moment: datetime | None) -> str:
    """A moment in a table: short, on a terminal."""
    if moment is None or not on_terminal():
        return text.moment(moment)
    local = moment.astimezone()
    today = datetime.now(timezone.utc).astimezone().date()
    return f"{local:%H:%M:%S}" if local.date() == today else f"{local:%m-%d %H:%M}"


def warn(message: str) -> None:
    """Say something beside the output."""
    click.echo(printable(message), err=True)
