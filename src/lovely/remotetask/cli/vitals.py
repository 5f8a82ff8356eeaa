"""Whether this process's workers are well, told to who watches over the process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lovely.remotetask.cli.notify import Systemd
from lovely.remotetask.cli.problems import Problem
from lovely.remotetask.cli.text import listed, number
from lovely.remotetask.health import SILENT, STALLED, WorkerState

if TYPE_CHECKING:
    from lovely.remotetask.cli.served import Served

log = logging.getLogger("lovely.remotetask")

#: How often to look (seconds): at first, until it has begun, and then.
FIRST = 0.1
PERIOD = 5.0


def check_file(file: Path) -> None:
    """Remove what a predecessor has left that was killed.  Raise Problem."""
    try:
        file.parent.stat()
        file.unlink(missing_ok=True)
    except OSError as error:
        raise Problem(f"--health-file {file}: {error.strerror}.") from error


class Vitals:
    """Looks at the worker of each service now and then, in a thread of its own.

    By the database, as everybody else sees it: so it is not well if the database can't
    be reached, and whoever looks may hang as long as that takes.
    """

    def __init__(
        self, services: Sequence[Served], systemd: Systemd, file: Path | None
    ) -> None:
        """``file`` is touched while all is well."""
        self._services, self._systemd, self._file = services, systemd, file
        self._stopped, self._touching = threading.Event(), threading.Lock()
        self._ready, self._well = False, True
        self._thread = threading.Thread(target=self._watch, name="vitals", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more; and nobody shall take the file for a sign of life."""
        self._stopped.set()
        with self._touching:
            if self._file is not None:
                with suppress(OSError):
                    self._file.unlink(missing_ok=True)

    @property
    def _period(self) -> float:
        if not self._ready:
            return FIRST
        watchdog = self._systemd.watchdog
        return PERIOD if watchdog is None else min(PERIOD, watchdog / 3)

    def _watch(self) -> None:
        while not self._stopped.wait(self._period):
            try:
                states = [served.state() for served in self._services]
            except Exception as error:
                self._note(f"the database can't be read: {error!r}")
                continue
            found = [state for state in states if state is not None]
            ill = [state.state for state in found if state.state in {SILENT, STALLED}]
            if len(found) < len(states):
                self._note("it is not among the workers" if self._ready else None)
            elif ill:
                self._note(f"it is {ill[0]}")
            else:
                self._tell(found)

    def _tell(self, found: Sequence[WorkerState]) -> None:
        if self._stopped.is_set():
            return
        if not self._ready:
            self._ready = True
            self._systemd.ready()
            for served in self._services:
                served.announce()
        states = listed(dict.fromkeys(state.state for state in found))
        held = sum(len(state.worker.held) for state in found)
        self._systemd.alive(f"{states}, {number(held, 'job')}")
        self._note(self._touch())

    def _touch(self) -> str | None:
        """Touch the file; what is wrong, if that can't be done."""
        with self._touching:
            if self._file is not None and not self._stopped.is_set():
                try:
                    self._file.touch()
                except OSError as error:
                    return f"its health file can't be touched: {error}"
        return None

    def _note(self, illness: str | None) -> None:
        """Say so when the worker is ill, and when it is well again."""
        if illness is not None and self._well:
            log.warning("the worker is not well: %s", illness)
        elif illness is None and not self._well:
            log.info("the worker is well again")
        self._well = illness is None
