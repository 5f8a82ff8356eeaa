"""What is shown of the log while a command runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lovely.remotetask.cli.text import printable_lines

log = logging.getLogger()


class Printable(logging.Formatter):
    """Lines that a terminal can show: a message may have been anybody's text."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(printable_lines(super().format(record)))


class TroubleHandler(logging.Handler):
    """Tells, once each, what goes wrong in the background.

    Failed jobs are logged too, but without an exception: the demonstration
    lists them itself.
    """

    def __init__(self, tell: Callable[[str], object]) -> None:
        super().__init__(logging.ERROR)
        self._tell = tell
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        trouble = f"{type(error).__name__}: {error}"
        if (
            error is not None
            and record.name == "lovely.remotetask"
            and trouble not in self._told
        ):
            self._told.add(trouble)
            self._tell(f"Trouble in the background, trying again: {trouble}")


@contextmanager
def shown_trouble(tell: Callable[[str], object], debug: bool) -> Iterator[None]:
    """Within, trouble in the background is told, unless all of the log is shown."""
    with handled_by(logging.NullHandler() if debug else TroubleHandler(tell)):
        yield


@contextmanager
def quiet(debug: bool) -> Iterator[None]:
    """Within, all of the log is shown, or none: errors are told otherwise."""
    handler = logging.StreamHandler() if debug else logging.NullHandler()
    handler.setFormatter(Printable("%(levelname)s %(name)s: %(message)s"))
    with handled_by(handler):
        yield


@contextmanager
def handled_by(handler: logging.Handler) -> Iterator[None]:
    """Within, a handler has the whole log."""
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
