"""Pages of the documentation that tell of several programs, done as they say."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.programs import PATIENCE
from tests.support import wait_until

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

    def __init__(self, page: str, path: Path) -> None:
        text = (HOW_TO / page).read_text(encoding="utf-8")
        self.port = str(free_port())
        self.text = re.sub(r"\b8[01][08]0\b", self.port, text)
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
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    """The folder of a page; its servers listen to ports that are free."""
    folder = Folder(request.param, tmp_path)
    yield folder
    folder.close()


@pytest.mark.zeo
@pytest.mark.parametrize("folder", ["worker-process.rst"], indirect=True)
def test_a_worker_process(folder: Folder) -> None:
    """The worker runs what the other program has added, and ends when it is told."""
    folder.start("runzeo")
    worker = folder.start("python worker.py")
    assert worker.stdout is not None
    assert worker.stdout.readline() == "The worker has started.\n"
    assert f"   {folder.run('python add.py')}" in folder.text
    worker.terminate()
    assert worker.wait(PATIENCE) == 0


@pytest.mark.parametrize("folder", ["pyramid.rst"], indirect=True)
@pytest.mark.parametrize("hook", [False, True], ids=["", "hook_zca"])
def test_a_pyramid_application(folder: Folder, hook: bool) -> None:
    """A view adds a job, which runs in the background, and another view shows it."""
    if hook:
        program = folder.path / "hello.py"
        code, line = program.read_text("utf-8"), 'config.include("pyramid_tm")\n'
        assert line in code
        program.write_text(code.replace(line, f"config.hook_zca(); {line}"), "utf-8")
    server = folder.start("python hello.py")
    where = f"http://localhost:{folder.port}"

    def ask(path: str, data: bytes | None = None) -> str:
        with urlopen(f"{where}/{path}", data, timeout=PATIENCE) as answer:
            return str(answer.read().decode())

    def is_there() -> bool:
        assert server.poll() is None
        with suppress(URLError):
            return bool(ask("greet", b"name=Eva"))
        return False

    wait_until(is_there, PATIENCE, pause=0.1)
    wait_until(lambda: "completed" in ask("job?id=1"), pause=0.1)
    assert f"   {ask('job?id=1')}\n" in folder.text
    # Which id comes next depends on the thread that adds the job.
    added = re.sub(r"\d+", "1", ask("greet", b"name=Eva"))
    assert f"   {added}\n" in folder.text
