"""Errors as a user meets them: one line that says what to do."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import click
from click.exceptions import Abort, Exit
from ZODB.POSException import ConflictError, POSError

from lovely.remotetask.cli.text import first_line, printable, printable_lines
from lovely.remotetask.errors import DatabaseTooOld, RemoteTaskError
from lovely.remotetask.outages import is_outage

DEBUG = "'remotetask --debug ...' shows the traceback."


class Problem(click.ClickException):
    """What the user has to change, in one line."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class Unusable(Exception):
    """What was asked for can't be done with this database; it says what to do."""


@contextmanager
def one_line_errors(debug: bool) -> Iterator[None]:
    """Within, an error is one line; with ``debug``, after its traceback."""
    try:
        yield
    except (Exit, Abort, BrokenPipeError):
        raise  # click's own; a reader that has seen enough ends quietly
    except KeyboardInterrupt:
        raise Exit(130) from None
    except click.ClickException as problem:
        if debug and problem.__cause__ is not None:
            _show_traceback(problem.__cause__)
        raise
    except Exception as error:
        if debug:
            _show_traceback(error)
        raise Problem(told(error)) from error


def _show_traceback(error: BaseException) -> None:
    """Tell where an error comes from; what it says may be anybody's text."""
    for line in printable_lines("".join(traceback.format_exception(error))):
        click.echo(line, err=True)


def told(error: Exception) -> str:
    """What there is to say of an error, and what to do."""
    if isinstance(error, ConflictError):
        return (
            "Others change the same all the time, or the database was packed just now. "
            "What was done before is kept; try again."
        )
    if isinstance(error, DatabaseTooOld):
        return (
            f"The service {error.name!r} is as an older version has left it. Stop the "
            "application, and convert it: 'remotetask convert'."
        )
    if (
        isinstance(error, POSError)
        and not isinstance(error, RemoteTaskError)
        and not is_outage(error)
    ):
        return f"{type(error).__name__}: {error}. {DEBUG}"
    if is_outage(error):
        return (
            f"The storage failed: {_line(error)}. Look whether its server runs, and "
            "try again."
        )
    if isinstance(error, OSError) and error.strerror:
        where = "" if error.filename is None else f": {error.filename}"
        return f"{error.strerror}{where}."
    if isinstance(error, (OSError, Unusable, RemoteTaskError)):
        return str(error)
    return f"{type(error).__name__}: {_line(error)}. {DEBUG}"


def _line(error: Exception) -> str:
    return first_line(str(error)).rstrip(".") or type(error).__name__
