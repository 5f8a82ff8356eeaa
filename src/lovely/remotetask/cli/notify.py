"""Telling systemd how a service is: a datagram to the socket that it names.

See sd_notify(3).  Without systemd there is no socket, and nothing to tell.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class Systemd:
    """What systemd wants to know of a service."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # Linux: a name, not a file
            self._address = "\0" + self._address[1:]
        pid = environ.get("WATCHDOG_PID", str(os.getpid()))
        given = environ.get("WATCHDOG_USEC", "")
        self.watchdog: float | None = None
        if self._address and given.isdecimal() and pid == str(os.getpid()):
            #: It wants to hear that all is well at least so often (seconds).
            self.watchdog = int(given) / 1_000_000

    def ready(self) -> None:
        """The service does its work from now on."""
        self._tell("READY=1")

    def alive(self, status: str) -> None:
        """All is well."""
        self._tell(f"WATCHDOG=1\nSTATUS={status}")

    def stopping(self) -> None:
        """It has been told to stop, and does so."""
        self._tell("STOPPING=1")

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        # Whoever listens may be gone; the work goes on all the same.
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        ):
            sender.sendto(message.encode(), self._address)
