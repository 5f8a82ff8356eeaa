"""How far something is that takes long: a bar on a terminal, else a few lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click

#: How often a line tells how far it is, where there is no bar (seconds).
NOTE_SECONDS = 10.0


class Show(Protocol):
    """Shows how much is done, and maybe that the total is another one."""

    def __call__(self, done: int, total: int | None = None, /) -> None: ...


@contextmanager
def progress(title: str, total: int) -> Iterator[Show]:
    """Within, the function that is given shows how much of the total is done.

    On standard error, so that the output can be read by a program.  If it is
    interrupted, that is told.
    """
    reached = [0, total]

    def note(done: int, changed: int | None = None, /) -> None:
        reached[:] = done, reached[1] if changed is None else changed
        show(done, changed)

    display = _bar if sys.stderr.isatty() else _notes
    try:
        with display(title, total) as show:
            yield note
    except KeyboardInterrupt:
        done, total = reached
        click.echo(f"{title}: stopped at {done:,} of {total:,}.", err=True)
        raise


@contextmanager
def _notes(title: str, total: int) -> Iterator[Show]:
    """Lines, now and then: nothing about what is over soon."""
    next_note = time.monotonic() + NOTE_SECONDS

    def show(done: int, changed: int | None = None, /) -> None:
        nonlocal next_note, total
        total = total if changed is None else changed
        if time.monotonic() >= next_note:
            next_note = time.monotonic() + NOTE_SECONDS
            click.echo(f"{title}: {done:,} of {total:,}.", err=True)

    yield show


@contextmanager
def _bar(title: str, total: int) -> Iterator[Show]:
    """A bar that moves, and is gone at the end."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        expand=True,
    )
    with bar:
        task = bar.add_task(title, total=max(total, 1))

        def show(done: int, total: int | None = None, /) -> None:
            bar.update(task, completed=done, total=total)

        yield show
