"""What the demonstration says at its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from lovely.remotetask.cli.demo.files import reason_of
from lovely.remotetask.cli.demo.survey import TOLD, Findings
from lovely.remotetask.cli.text import printable


@dataclass
class Phase:
    """How much was done, and in what time."""

    count: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        if not self.count:
            return "none in this run"
        rate = self.count / max(self.seconds, 1e-6)
        return f"{rate:,.0f} per second ({self.count:,} in {self.seconds:,.2f} s)"


@dataclass
class Run:
    """What one run of the demonstration did."""

    added: Phase = field(default_factory=Phase)
    done: Phase = field(default_factory=Phase)
    #: The first folders that could not be listed, and the number of all.
    unlisted: list[tuple[str, str]] = field(default_factory=list)
    unlisted_count: int = 0

    def add_unlisted(self, error: OSError) -> None:
        """A folder could not be listed."""
        self.unlisted_count += 1
        if len(self.unlisted) < TOLD:
            self.unlisted.append((str(error.filename), reason_of(error)))


def print_report(
    console: Console, directory: Path, findings: Findings, run: Run
) -> None:
    """Print the table, and below it the first failures."""
    console.print(_table(console, directory, findings, run))
    _print_failures(console, "Failed jobs:", findings.failures, findings.failed)
    title = "Folders that could not be listed:"
    _print_failures(console, title, run.unlisted, run.unlisted_count)


def _table(console: Console, directory: Path, findings: Findings, run: Run) -> Table:
    table = Table(box=box.ROUNDED, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")

    def row(title: str, text: str, end_section: bool = False) -> None:
        # Text, not str: a name may look like rich's markup.
        table.add_row(
            title, Text(printable(text, console.encoding)), end_section=end_section
        )

    row("Directory", str(directory))
    row("Files", f"{findings.files:,}")
    row("Bytes", f"{findings.size:,} ({decimal(findings.size)})")
    row("Largest file", _largest(findings))
    row("Distinct contents", f"{len(findings.digests):,}")
    row("Failed jobs", f"{findings.failed:,}", end_section=True)
    row("Jobs added", str(run.added))
    row("Jobs done", str(run.done))
    return table


def _largest(findings: Findings) -> str:
    if findings.largest is None:
        return "none"
    return f"{findings.largest} ({decimal(findings.largest_size)})"


def _print_failures(
    console: Console, title: str, failures: list[tuple[str, str]], count: int
) -> None:
    """Print (path, reason) pairs, and how many of all are left out."""
    if not count:
        return
    lines = [title, *(f"  {path}: {reason}" for path, reason in failures)]
    if count > len(failures):
        lines.append(f"  ... and {count - len(failures):,} more")
    for line in lines:
        text = Text(printable(line, console.encoding))
        console.print(text, highlight=False, soft_wrap=True)
