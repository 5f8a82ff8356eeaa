"""Running the command: in this process, in one of its own, and on a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from lovely.remotetask.cli import main
from tests.programs import PATIENCE, ROOT

COMMAND = [sys.executable, "-m", "lovely.remotetask.cli"]

#: The application's tasks.
SETUP = ["--setup", "tests.cli.application:tasks"]


def invoke(*args: object, input: str | None = None) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, list(map(str, args)), input=input)


def done(*args: object, input: str | None = None, status: int = 0) -> str:
    """The output of a command that ends with this status."""
    result = invoke(*args, input=input)
    assert result.exit_code == status, (result.output, result.exception)
    return result.stdout


def refused(*args: object) -> str:
    """The one line of a command that can't be done as asked."""
    result = invoke(*args)
    assert result.exit_code == 2, result.output
    line = result.output.splitlines()[-1]
    assert line.startswith("Error: ")
    assert "Traceback" not in result.output
    return line


def environment(**more: str) -> dict[str, str]:
    """The variables for a process: nothing that rich, click or we look at."""
    odd = {"FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES", "TERM", "TTY_COMPATIBLE"}
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in odd and not key.startswith("REMOTETASK_")
    }
    return kept | more


def run(*args: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, its output in pipes."""
    return subprocess.run(
        [*COMMAND, *map(str, args)],
        cwd=ROOT,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Running:
    """A command that goes on in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self._log = process, log

    @property
    def log(self) -> str:
        """What it has said on standard error."""
        return self._log.read_text(encoding="utf-8")

    def signal(self, signum: int) -> None:
        """Send it a signal."""
        self.process.send_signal(signum)

    def end(self, signum: int | None = None) -> int:
        """Wait until it ends, by a signal or by itself; its exit status."""
        if signum is not None:
            self.signal(signum)
        return self.process.wait(PATIENCE)


@contextmanager
def started(log: Path, *args: object, **env: str) -> Iterator[Running]:
    """The command in a process of its own, at most as long as the block."""
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [*COMMAND, *map(str, args)],
            cwd=ROOT,
            env=environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield Running(process, log)
        finally:
            process.kill()


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process, self._master = process, master
        self.written = b""

    @property
    def plain(self) -> str:
        """What it has written, without control codes."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.written.decode())

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def read_until(self, condition: Callable[[str], Any]) -> None:
        """Read what it writes until that holds."""
        end = time.monotonic() + PATIENCE
        while not condition(self.plain):
            assert time.monotonic() < end, self.plain
            assert self._read(), self.plain

    def end(self) -> int:
        """Read all, until it ends; its exit status."""
        end = time.monotonic() + PATIENCE
        while self._read() and time.monotonic() < end:
            pass
        return self.process.wait(PATIENCE)

    def _read(self) -> bool:
        """Read what there is; False when the other end is closed."""
        if select.select([self._master], [], [], 1.0)[0]:
            try:
                chunk = os.read(self._master, 65536)
            except OSError:  # how Linux tells that the other end is closed
                return False
            self.written += chunk
            return bool(chunk)
        return True


@contextmanager
def on_terminal(
    *args: object, width: int = 80, height: int = 40, **env: str
) -> Iterator[Terminal]:
    """The command on a terminal of its own, at most as long as the block."""
    master, slave = pty.openpty()
    size = {"COLUMNS": str(width), "LINES": str(height)}
    try:
        process = subprocess.Popen(
            [*COMMAND, *map(str, args)],
            cwd=ROOT,
            env=environment(**{"TERM": "xterm-256color", **size, **env}),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        try:
            yield Terminal(process, master)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait(PATIENCE)
    finally:
        os.close(master)
