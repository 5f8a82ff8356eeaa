"""The command ``remotetask demo``."""

from __future__ import annotations

import shlex
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import click
from click.exceptions import Exit
from rich.console import Console
from ZODB import DB
from ZODB.FileStorage import FileStorage

from lovely.remotetask.cli.demo.display import Display, display_on
from lovely.remotetask.cli.demo.files import files_below, reason_of
from lovely.remotetask.cli.demo.report import Phase, Run, print_report
from lovely.remotetask.cli.demo.survey import (
    Findings,
    Survey,
    registered_task,
)
from lovely.remotetask.cli.interrupt import Interrupt, Stopped, interruptible
from lovely.remotetask.cli.logs import shown_trouble
from lovely.remotetask.cli.problems import Unusable
from lovely.remotetask.cli.text import printable

#: Folders of the standard library that are not it: the default leaves them out.
NOT_STANDARD = frozenset({"site-packages", "dist-packages", "__pycache__"})


def standard_library() -> str:
    """The directory of Python's standard library."""
    return sysconfig.get_path("stdlib")


@click.command()
@click.argument(
    "directory",
    type=click.Path(exists=True, file_okay=False, readable=True, path_type=Path),
    required=False,
)
@click.option(
    "--keep",
    metavar="PATH",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the database in this directory; it is made if need be.",
)
@click.pass_context
def demo(context: click.Context, directory: Path | None, keep: Path | None) -> None:
    """Examine the files below DIRECTORY, with one job for each.

    DIRECTORY is Python's standard library by default, without what is installed
    beside it.  The jobs are added to a
    task service in a new database, are processed in the background, and find
    out how large each file is and which are the same.

    With --keep, a second run goes on where the first one stopped.

    The exit status is 0 if all files were examined, 1 if some could not be, 2
    if it can't be done as asked, and 130 after Ctrl-C.
    """
    target = Target.of(directory)
    findings, run = examine(target, keep, debug=bool(context.obj))
    print_report(Console(), target.directory, findings, run)
    context.exit(1 if findings.failed or run.unlisted_count else 0)


class Target(NamedTuple):
    """What is examined."""

    directory: Path
    #: As an argument of the command; not needed for the default.
    argument: list[str]
    leave_out: frozenset[str] = frozenset()

    @classmethod
    def of(cls, directory: Path | None) -> Target:
        """What the user has named, or the default."""
        if directory is None:
            return cls(Path(standard_library()).resolve(), [], NOT_STANDARD)
        return cls(directory.resolve(), [str(directory.resolve())])


def examine(target: Target, keep: Path | None, debug: bool) -> tuple[Findings, Run]:
    """Do what the command is for, and show it on standard error."""
    console = Console(stderr=True)

    def tell(text: str) -> None:
        console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    with (
        shown_trouble(tell, debug),
        registered_task(target.directory),
        opened_survey(target.directory, keep) as survey,
        interruptible() as interrupt,
    ):
        try:
            with display_on(console) as display:
                run = carry_out(survey, target, interrupt, display)
            return survey.findings(interrupt.check), run
        except Stopped as stopped:
            click.echo(stop_message(survey, target, keep), err=True)
            raise Exit(stopped.exit_code) from None


@contextmanager
def opened_survey(directory: Path, keep: Path | None) -> Iterator[Survey]:
    """The survey of a directory, in a database that lasts or does not."""
    with (
        home_of_database(keep) as home,
        closing(open_database(home / "Data.fs")) as db,
        closing(Survey(db, directory)) as survey,
    ):
        yield survey


@contextmanager
def home_of_database(keep: Path | None) -> Iterator[Path]:
    """The directory to keep the database in, or a temporary one."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="remotetask-demo-") as home:
            yield Path(home)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unusable(
            f"The directory {keep} can't be made: {reason_of(error)}. Choose another "
            "one for --keep."
        ) from error
    yield keep


def open_database(path: Path) -> DB:
    """Open a database, new or not.  Raise Unusable, whatever is wrong with it."""
    try:
        return DB(FileStorage(str(path)))
    except Exception as error:
        # By its name: the library of locks is ZODB's choice, not ours.
        if type(error).__name__ == "LockError":
            raise Unusable(
                f"Another process is using the database in {path.parent}. Wait for "
                "it to end, or choose another directory for --keep."
            ) from error
        raise Unusable(
            f"The database {path} can't be opened: {error}. Choose another directory "
            "for --keep."
        ) from error


def carry_out(
    survey: Survey, target: Target, interrupt: Interrupt, display: Display
) -> Run:
    """Add the jobs, and process them.  Raise Stopped."""
    run = Run()
    begun = time.perf_counter()
    seen = added = 0
    files = files_below(target.directory, run.add_unlisted, target.leave_out)
    for seen, added in survey.add(files):
        display.adding(seen, added)
        interrupt.check()
    run.added = Phase(added, time.perf_counter() - begun)
    display.all_added(seen, added)
    before = survey.progress()
    if before.done < before.jobs:
        display.examining(before.done, before.jobs)
        interrupt.check()
        run.done = process(survey, before.done, interrupt, display)
    return run


def process(
    survey: Survey, done_before: int, interrupt: Interrupt, display: Display
) -> Phase:
    """Process all jobs in the background.  Raise Stopped."""
    begun = time.perf_counter()
    with survey.processing():
        while True:
            progress = survey.progress()
            seconds = time.perf_counter() - begun
            display.examining(progress.done, progress.jobs)
            if progress.done >= progress.jobs:
                return Phase(progress.done - done_before, seconds)
            survey.check_processing()
            # Seldom enough not to disturb, often enough to measure a short run.
            interrupt.sleep(min(0.1, max(0.002, seconds / 50)))


def stop_message(survey: Survey, target: Target, keep: Path | None) -> str:
    """How far it came, and how to go on."""
    progress = survey.progress()
    message = f"Stopped: {progress.done:,} of {progress.jobs:,} jobs are done."
    if keep is None:
        return (
            f"{message} The temporary database is removed; with --keep PATH, a "
            "second run goes on where the first one stopped."
        )
    command = ["remotetask", "demo", *target.argument, "--keep", str(keep)]
    return f"{message} Go on with:\n  {shlex.join(command)}"
