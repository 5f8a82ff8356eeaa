"""Processes that tests start, talk to in lines, and end.

Every wait has a bound, and whatever was started is stopped at the end.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: No start and no end of a process takes longer (seconds).
PATIENCE = 30.0


class Program:
    """A process that is talked to in lines, and ends when its input does.

    So it ends as well when the process that started it is killed.
    """

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._read = b""

    def line(self, seconds: float = PATIENCE) -> str:
        """The next line that it prints."""
        output = self.process.stdout
        assert output is not None
        while b"\n" not in self._read:
            ready, _, _ = select.select([output], [], [], seconds)
            assert ready, f"no line in {seconds} seconds"
            more = os.read(output.fileno(), 65536)
            assert more, "it has ended without a line"
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()

    def tell(self, line: str) -> None:
        """Give it a line to read."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def finish(self) -> int:
        """Let it end; its exit status."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        return self.process.wait(PATIENCE)

    def kill(self, *, reap: bool = True) -> None:
        """End it at once, as no process can prevent; ``reap`` as a parent should."""
        self.process.kill()
        if reap:
            self.process.wait(PATIENCE)

    def close(self) -> None:
        """End it, however it is."""
        try:
            self.finish()
        except subprocess.TimeoutExpired:
            self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def program(*arguments: str) -> Iterator[Program]:
    """A program that runs as long as the block, if it does not end before."""
    running = Program(*arguments)
    try:
        yield running
    finally:
        running.close()
