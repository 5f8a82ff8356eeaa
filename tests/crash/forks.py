"""Forked processes: so cheap that they can be killed by the hundred.

Everything has been imported, and tasks are registered, before the fork; the child
opens the database for itself.  A process that forks must have no threads: those
are not in the child, and the locks that they held are.  A thread that is not
Python's own, such as that of a plug-in, may still be there.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: No child is waited for longer, and none lives longer if its parent is gone.
PATIENCE = 60
#: What still lives then says where it hangs.
STUCK = 55

KILLED = -signal.SIGKILL


class Pipe:
    """One end for each: lines that are written to, and lines that are read.

    What has been written is there to be read, however the writer ended.
    """

    def __init__(self, reading: int, writing: int) -> None:
        self.reading, self._writing = reading, writing
        self._read = b""

    def tell(self, *words: object) -> None:
        """Write a line."""
        os.write(self._writing, " ".join(map(str, words)).encode() + b"\n")

    def line(self) -> str | None:
        """The next line, waited for; None at the end."""
        while b"\n" not in self._read:
            ready, _, _ = select.select([self.reading], [], [], PATIENCE)
            assert ready, f"no line in {PATIENCE} seconds"
            more = os.read(self.reading, 65536)
            if not more:
                return None
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()

    def until(self, last: str) -> list[str]:
        """The lines before that one, which is waited for."""
        lines = []
        while (line := self.line()) != last:
            assert line is not None, lines
            lines.append(line)
        return lines

    def close(self) -> None:
        """Neither read nor write any more."""
        os.close(self.reading)
        os.close(self._writing)


class Child:
    """A process that calls a function with a pipe to its parent, and ends."""

    def __init__(self, function: Callable[[Pipe], None]) -> None:
        # Of databases that were closed a moment ago.
        for thread in set(threading.enumerate()) - {threading.current_thread()}:
            thread.join(PATIENCE)
        assert threading.active_count() == 1, threading.enumerate()
        hearing, saying = os.pipe()
        listening, telling = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _live(function, Pipe(listening, saying))
        os.close(saying)
        os.close(listening)
        self.pipe = Pipe(hearing, telling)
        self._ended: int | None = None
        self._closed = False

    def expect(self, *words: object) -> None:
        """Wait for a line, which must be this one."""
        wanted = " ".join(map(str, words))
        found = self.pipe.line()
        assert found == wanted, f"not {wanted!r} but {[found, *self.lines()]}"

    def lines(self) -> list[str]:
        """What it has still to say, till it ends."""
        return list(iter(self.pipe.line, None))

    def end(self) -> int:
        """Wait until it ends; its exit status, or minus the signal."""
        if self._ended is None:
            _, status = os.waitpid(self.pid, 0)
            self._ended = os.waitstatus_to_exitcode(status)
        return self._ended

    def kill(self) -> None:
        """End it at once, as no process can prevent."""
        if self._ended is None:
            os.kill(self.pid, signal.SIGKILL)
            self.end()

    def close(self) -> None:
        """Whatever it does, it is over."""
        if not self._closed:
            self._closed = True
            self.kill()
            self.pipe.close()


@contextmanager
def child(function: Callable[[Pipe], None]) -> Iterator[Child]:
    """A child that lives as long as the block, at most."""
    found = Child(function)
    try:
        yield found
    finally:
        found.close()


def _live(function: Callable[[Pipe], None], pipe: Pipe) -> None:
    """The child's life.  It never returns to what its parent was doing."""
    status = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(PATIENCE)
        # Where the parent had other threads, the C library's look-up may hang.  A ZEO
        # client makes one for each server, whose address is a number here.
        socket.gethostbyaddr = lambda address: (address, [], [address])
        faulthandler.dump_traceback_later(STUCK, file=sys.__stderr__)
        function(pipe)
        status = 0
    except BaseException:
        pipe.tell(traceback.format_exc())
    finally:
        os._exit(status)
