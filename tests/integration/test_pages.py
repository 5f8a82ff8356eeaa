"""Pages of the documentation that tell of several programs, done as they say."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import PATIENCE

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"

#: A file's name at the beginning of a line, and what is in it.
FILE = re.compile(r"^``(\w+\.py)`` [^`]*?::\n\n((?:    .*\n|\n)+)", re.MULTILINE)


def free_port() -> int:
    """A port of this machine that nobody listens to."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


class Folder:
    """A folder with the files of a page, where its commands are run."""

    def __init__(self, page: str, path: Path, port: int) -> None:
        """``port``: instead of the page's 8100."""
        text = (HOW_TO / page).read_text(encoding="utf-8")
        self.text = text.replace("8100", str(port))
        self.path = path
        self._started: list[subprocess.Popen[str]] = []
        for name, code in FILE.findall(self.text):
            (path / name).write_text(textwrap.dedent(code), encoding="utf-8")

    def command(self, program: str) -> list[str]:
        """The page's command that begins like this, for here."""
        found = re.search(rf"^   \$ ({program}.*)$", self.text, re.MULTILINE)
        assert found is not None
        first, *more = found[1].split()
        where = Path(sys.executable).parent
        return [shutil.which(first, path=str(where)) or str(where / first), *more]

    def start(self, program: str) -> subprocess.Popen[str]:
        """Start a command; it is ended at the end."""
        process = subprocess.Popen(
            self.command(program), cwd=self.path, stdout=subprocess.PIPE, text=True
        )
        self._started.append(process)
        return process

    def run(self, program: str) -> str:
        """Run a command to its end; what it printed."""
        return subprocess.run(
            self.command(program),
            cwd=self.path,
            stdout=subprocess.PIPE,
            text=True,
            timeout=2 * PATIENCE,
            check=True,
        ).stdout

    def close(self) -> None:
        """End what still runs."""
        for process in reversed(self._started):
            process.terminate()
            process.wait(PATIENCE)
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """The folder of the page on workers."""
    folder = Folder("worker-process.rst", tmp_path, free_port())
    yield folder
    folder.close()


@pytest.mark.zeo
def test_a_worker_process(folder: Folder) -> None:
    """The worker runs what the other program has added, and ends when it is told."""
    folder.start("runzeo")
    worker = folder.start("python worker.py")
    assert worker.stdout is not None
    assert worker.stdout.readline() == "The worker has started.\n"
    assert f"   {folder.run('python add.py')}" in folder.text
    worker.terminate()
    assert worker.wait(PATIENCE) == 0
