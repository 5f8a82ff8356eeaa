"""How the demonstration shows what it does: bars on a terminal, else a few lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

#: How often a line tells how far it is, where there is no bar (seconds).
NOTE_SECONDS = 10.0


class Display(Protocol):
    """Shows two phases, one after the other."""

    def adding(self, seen: int, added: int) -> None:
        """So many files have been looked at, and so many jobs been added."""

    def all_added(self, seen: int, added: int) -> None:
        """That was the last file."""

    def examining(self, done: int, jobs: int) -> None:
        """So many jobs are done, of all."""


@contextmanager
def display_on(console: Console) -> Iterator[Display]:
    """The display that suits what the console writes to."""
    # FORCE_COLOR makes rich take a pipe for a terminal: right for colours, but
    # what moves the cursor must not get into a file.
    if console.is_interactive and console.file.isatty():
        with (bars := Bars(console)):
            yield bars
    else:
        yield Notes(console)


class Bars(Progress):
    """Bars that move."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[amount]}", justify="right"),
            Speed(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            expand=True,
        )
        self._adding = self.add_task("Adding jobs", total=None, amount="0", count=0)
        self._examining: TaskID | None = None
        self._before = 0

    def adding(self, seen: int, added: int) -> None:
        self.update(self._adding, amount=f"{added:,}", count=added)

    def all_added(self, seen: int, added: int) -> None:
        self.update(self._adding, completed=1, total=1)

    def examining(self, done: int, jobs: int) -> None:
        if self._examining is None:
            self._before = done
            self._examining = self.add_task(
                "Examining files", total=jobs, amount=f"{done:,}/{jobs:,}", count=0
            )
        self.update(
            self._examining,
            completed=done,
            amount=f"{done:,}/{jobs:,}",
            count=done - self._before,
        )


class Speed(ProgressColumn):
    """So many a second, on average: as the report will say."""

    def render(self, task: Task) -> Text:
        seconds = task.finished_time or task.elapsed
        speed = task.fields["count"] / seconds if seconds else 0
        return Text(f"{speed:,.0f}/s", justify="right")


class Notes:
    """Lines, now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = False
        self._say("Adding jobs ...")

    def adding(self, seen: int, added: int) -> None:
        self._now_and_then(f"{added:,} jobs added for {seen:,} files so far.")

    def all_added(self, seen: int, added: int) -> None:
        self._say(f"{added:,} jobs added for {seen:,} files.")

    def examining(self, done: int, jobs: int) -> None:
        if not self._begun:
            self._begun = True
            self._say(f"Examining files: {jobs - done:,} jobs to do ...")
        self._now_and_then(f"{done:,} of {jobs:,} jobs done.")

    def _now_and_then(self, text: str) -> None:
        if time.monotonic() >= self._next:
            self._say(text)

    def _say(self, text: str) -> None:
        self._next = time.monotonic() + NOTE_SECONDS
        self._console.print(text, highlight=False, soft_wrap=True)
