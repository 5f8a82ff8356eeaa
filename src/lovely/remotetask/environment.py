"""What comes from outside: the time, chance, and who this process is.

The library asks an `Environment` for all of it, never the standard library
directly, so that tests can rule them.  A service's is its class attribute
``environment``.
"""

from __future__ import annotations

import functools
import os
import random
import socket
import time
from pathlib import Path

#: A clock that is set back by more, in seconds, is followed.
SET_BACK = 300


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _process_start(pid: int) -> str:
    """When a process began, in clock ticks after boot; '' if unknown or over.

    Linux keeps it as field 22 of /proc/PID/stat (see proc(5)); the second field
    is a name in parentheses that may hold anything, so count after it.  The
    third is the state: a zombie (Z) has ended, though its number is still taken.
    """
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else ""


@functools.cache
def _host() -> str:
    """A name for what shares process numbers with this process.

    A host name alone is not enough: two containers may bear the same name, and
    after a restart of the machine the same process number means nothing.
    """
    boot = _read("/proc/sys/kernel/random/boot_id")[:8]
    try:
        namespace = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        namespace = ""
    name = socket.gethostname().replace("/", "_")
    return ":".join(part for part in (name, boot, namespace) if part)


def machine_of(process: str) -> str:
    """What all processes of one machine, and so of one clock, have in common.

    ``process`` begins with what `Environment.process` returned.
    """
    name, *more = process.partition("/")[0].split(":")
    return more[0] if len(more) > 1 else name


class Environment:
    """The real one: the system's clock, chance and processes."""

    _last_stamp = 0

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def stamp(self) -> int:
        """Now, in microseconds since the epoch, and later than the last time.

        Two threads that ask at the same instant may be told the same.  A clock that
        is set back far is followed: else what counts from a stamp would come as late.
        """
        now = round(self.time() * 1_000_000)
        set_back = self._last_stamp - now > SET_BACK * 1_000_000
        self._last_stamp = now if set_back else max(now, self._last_stamp + 1)
        return self._last_stamp

    def monotonic(self) -> float:
        """Seconds from some point on, never running backwards."""
        return time.monotonic()

    def random(self) -> float:
        """A number from 0 to 1, for pauses and unique names."""
        return random.random()

    def sleep(self, seconds: float) -> None:
        """Wait, for a short pause before a conflict is tried again."""
        time.sleep(seconds)

    def process(self) -> str:
        """Who this process is: ``host/pid/start``, the same all its life."""
        pid = os.getpid()
        return f"{_host()}/{pid}/{_process_start(pid)}"

    def is_gone(self, process: str) -> bool:
        """Whether a process surely lives no more.

        ``process`` begins with what `process` returned in some process.  Of
        another host nothing is known: False.
        """
        host, pid, start = process.split("/")[:3]
        if host != _host():
            return False
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return _process_start(int(pid)) != start
